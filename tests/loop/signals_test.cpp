// tests/loop/signals_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/signals.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

using ferry::task;
using namespace std::chrono_literals;

namespace {
std::atomic<int> handled{0};
void handler(int) { ++handled; }

/// Counts SIGUSR1 and SIGUSR2 in a handler of the test's own while it lives.
class own_handler {
public:
    own_handler() {
        handled = 0;
        struct sigaction action {};
        action.sa_handler = &handler;
        ::sigaction(SIGUSR1, &action, &before_[0]);
        ::sigaction(SIGUSR2, &action, &before_[1]);
    }
    ~own_handler() {
        ::sigaction(SIGUSR1, &before_[0], nullptr);
        ::sigaction(SIGUSR2, &before_[1], nullptr);
    }
    own_handler(const own_handler&) = delete;
    own_handler& operator=(const own_handler&) = delete;

private:
    struct sigaction before_[2];
};

task<> collect(ferry::signals& source, std::vector<int>& received, int count) {
    for (int i = 0; i < count; ++i) received.push_back(co_await source.wait());
}
}  // namespace

TEST_CASE("a signal goes to the task that waits for it, and to the former handler afterwards", "[loop][signals]") {
    const ferry_test::frame_count frames;
    const own_handler own;
    ferry::event_loop loop;
    std::vector<int> received;
    {
        ferry::signals source(loop, {SIGUSR1, SIGUSR2});
        auto done = ferry::spawn(loop, collect(source, received, 3));
        loop.run_until_idle();
        std::raise(SIGUSR1);
        loop.run_once();
        loop.run_once();
        CHECK(received == std::vector<int>{SIGUSR1});
        std::raise(SIGUSR2);
        std::raise(SIGUSR1);
        loop.run(std::move(done));
        CHECK(received == std::vector<int>{SIGUSR1, SIGUSR2, SIGUSR1});
    }
    CHECK(handled == 0);
    std::raise(SIGUSR1);
    std::raise(SIGUSR2);
    CHECK(handled == 2);
}

TEST_CASE("a signal that comes before wait() is not lost", "[loop][signals]") {
    const own_handler own;
    ferry::event_loop loop;
    ferry::signals source(loop, {SIGUSR1});
    std::raise(SIGUSR1);
    CHECK(loop.run(source.wait()) == SIGUSR1);
    CHECK(handled == 0);
}

TEST_CASE("every listener gets every signal, and the last to leave restores the handler", "[loop][signals]") {
    const ferry_test::frame_count frames;
    const own_handler own;
    ferry::event_loop loop;
    ferry::event_loop other_loop;
    {
        ferry::signals first(loop, {SIGUSR1});
        {
            ferry::signals second(loop, {SIGUSR2, SIGUSR1});
            ferry::signals elsewhere(other_loop, {SIGUSR1});
            std::raise(SIGUSR1);
            CHECK(loop.run(second.wait()) == SIGUSR1);
            CHECK(loop.run(first.wait()) == SIGUSR1);
            CHECK(other_loop.run(elsewhere.wait()) == SIGUSR1);
        }
        std::raise(SIGUSR2);
        CHECK(handled == 1);
        std::raise(SIGUSR1);
        CHECK(handled == 1);
        CHECK(loop.run(first.wait()) == SIGUSR1);
    }
    std::raise(SIGUSR1);
    CHECK(handled == 2);
}

TEST_CASE("waiting for a signal can be cancelled, and again begun", "[loop][signals]") {
    const ferry_test::frame_count frames;
    const own_handler own;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::signals source(loop, {SIGUSR1});
    REQUIRE_THROWS_AS(loop.run(ferry::timeout(1s, source.wait())), ferry::timeout_error);
    std::raise(SIGUSR1);
    CHECK(loop.run(ferry::timeout(1s, source.wait())) == SIGUSR1);
}

TEST_CASE("a cancellation that comes with the signal leaves it for the next wait", "[loop][signals]") {
    const own_handler own;
    ferry::event_loop loop;
    ferry::signals source(loop, {SIGUSR1});
    auto waits = ferry::spawn(loop, source.wait());
    loop.run_until_idle();
    std::raise(SIGUSR1);
    loop.run_once();  // the descriptor's report has woken the task, which has not run
    loop.cancel_tasks();
    int number = 0;
    try {
        number = waits.get();
    } catch (const ferry::cancelled&) {
        number = loop.run(source.wait());
    }
    CHECK(number == SIGUSR1);
}

TEST_CASE("signals says what it cannot listen to", "[loop][signals]") {
    const own_handler own;
    ferry::event_loop loop;
    REQUIRE_THROWS_AS(ferry::signals(loop, {SIGUSR1, SIGKILL}), std::system_error);
    REQUIRE_THROWS_AS(ferry::signals(loop, {0}), std::system_error);
    REQUIRE_THROWS_AS(ferry::signals(loop, {65}), std::system_error);
    REQUIRE_THROWS_AS(ferry::signals(loop, {-1}), std::system_error);
    std::raise(SIGUSR1);
    CHECK(handled == 1);  // the first of them was taken back
}

TEST_CASE("more listeners than the process has room for are refused", "[loop][signals]") {
    const own_handler own;
    ferry::event_loop loop;
    {
        std::vector<std::unique_ptr<ferry::signals>> many;
        for (int i = 0; i < 64; ++i)
            many.push_back(std::make_unique<ferry::signals>(loop, std::initializer_list{SIGUSR1}));
        REQUIRE_THROWS_AS(ferry::signals(loop, {SIGUSR1}), std::length_error);
        REQUIRE_THROWS_AS(ferry::signals(loop, {SIGUSR2}), std::length_error);
    }
    ferry::signals room_again(loop, {SIGUSR1});
    std::raise(SIGUSR1);
    CHECK(loop.run(room_again.wait()) == SIGUSR1);
    CHECK(handled == 0);
}

TEST_CASE("signals may come and go while they are raised on another thread", "[loop][signals][mt]") {
    const own_handler own;
    std::atomic<bool> stop{false};
    std::thread raises([&stop] {
        while (!stop.load(std::memory_order_relaxed)) {
            std::raise(SIGUSR1);
            std::this_thread::yield();
        }
    });
    int received = 0;
    for (int round = 0; round < 200; ++round) {
        ferry::event_loop loop;
        ferry::signals source(loop, {SIGUSR1});
        received += loop.run(source.wait()) == SIGUSR1;
    }
    stop.store(true, std::memory_order_relaxed);
    raises.join();
    CHECK(received == 200);
}

TEST_CASE("a signal that arrives as its listener leaves is not written into somebody else's descriptor",
          "[loop][signals][mt]") {
    const own_handler own;
    std::atomic<bool> stop{false};
    std::thread raises([&stop] {
        while (!stop.load(std::memory_order_relaxed)) std::raise(SIGUSR1);
    });
    ferry::event_loop loop;
    int strays = 0;
    for (int round = 0; round < 1'000; ++round) {
        { const ferry::signals leaves(loop, {SIGUSR1}); }
        int ends[2];
        REQUIRE(::pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);  // the same numbers as before
        std::this_thread::yield();
        char octet = 0;
        strays += ::read(ends[0], &octet, 1) == 1;
        ::close(ends[0]);
        ::close(ends[1]);
    }
    stop.store(true, std::memory_order_relaxed);
    raises.join();
    CHECK(strays == 0);
}
