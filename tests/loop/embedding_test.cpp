// tests/loop/embedding_test.cpp - a loop inside a foreign one
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>

using ferry::event_loop;
using ferry::task;
using namespace std::chrono_literals;

namespace {
task<> note_twice(std::vector<int>& order, int id) {
    order.push_back(id);
    co_await ferry::yield_now();
    order.push_back(10 * id);
}

task<> hour() { co_await ferry::sleep_for(1h); }

bool becomes_readable(int descriptor, int milliseconds) {
    pollfd entry{descriptor, POLLIN, 0};
    return ::poll(&entry, 1, milliseconds) == 1;
}
}  // namespace

TEST_CASE("a loop can be driven from another: native_handle, next_deadline, run_once", "[loop][embedding][epoll]") {
    event_loop loop;
    int posted = 0;
    const int handle = loop.native_handle();
    loop.run_once();
    CHECK(!becomes_readable(handle, 0));
    CHECK(loop.next_deadline() == event_loop::time_point::max());
    SECTION("a post from another thread makes the handle readable") {
        for (int round = 1; round <= 3; ++round) {
            std::thread([&] { loop.post([&posted] { ++posted; }); }).join();
            REQUIRE(becomes_readable(handle, 10'000));
            loop.run_once();
            CHECK(posted == round);
            CHECK(!becomes_readable(handle, 0));
        }
    }
    SECTION("so does a post from this thread, and a spawn") {
        loop.post([&posted] { ++posted; });
        REQUIRE(becomes_readable(handle, 0));
        loop.run_once();
        CHECK(posted == 1);
        auto sleeping = ferry::spawn(loop, hour());
        REQUIRE(becomes_readable(handle, 0));
        loop.run_once();
        CHECK(loop.next_deadline() > loop.now() + 59min);
        CHECK(loop.next_deadline() <= loop.now() + 1h);
    }
    SECTION("so does a post that came while run_once was ending") {
        loop.post([&] { loop.post([&posted] { ++posted; }); });
        loop.run_once();
        CHECK(posted == 0);
        const auto next = loop.next_deadline();
        CHECK(next <= loop.now());
        CHECK(becomes_readable(handle, 0));
        loop.run_once();
        CHECK(posted == 1);
    }
    SECTION("next_deadline is now while tasks are ready") {
        std::vector<int> order;
        auto done = ferry::spawn(loop, note_twice(order, 1));
        loop.run_once();
        loop.post([&] { auto other = ferry::spawn(note_twice(order, 2)); });
        const auto next = loop.next_deadline();
        CHECK(next <= loop.now());
        loop.run_until_idle();
        CHECK(loop.next_deadline() == event_loop::time_point::max());
    }
}

TEST_CASE("run_once waits at most as long as it was told", "[loop][embedding]") {
    ferry::virtual_clock clock;
    event_loop loop(clock);
    auto sleeping = ferry::spawn(loop, hour());
    loop.run_until_idle();
    loop.run_once(1min);
    loop.run_once(1min);
    CHECK(clock.elapsed() <= 2min);
    while (!sleeping.is_ready()) loop.run_once(std::chrono::nanoseconds::max());
    CHECK(clock.elapsed() == 1h);
}

TEST_CASE("blocking on a loop that only this thread runs is refused, with the way out", "[loop][embedding]") {
    ferry::event_loop loop;
    loop.bind_to_this_thread();
    ferry::future<void> pending = loop.spawn(hour());
    std::string text;
    try {
        pending.wait();
    } catch (const ferry::deadlock_error& refused) {
        text = refused.what();
    }
    CHECK(text.find("only this thread runs") != std::string::npos);
    CHECK(text.find("run_once()") != std::string::npos);
    CHECK_THROWS_AS(ferry::block_on(loop, hour()), ferry::deadlock_error);
    CHECK_THROWS_AS(pending.wait_for(1ms), ferry::deadlock_error);
    loop.run_once();  // running it is what that thread is there for
}

TEST_CASE("another thread may block on a loop that is bound to this one", "[loop][embedding][mt]") {
    ferry::event_loop loop;
    loop.bind_to_this_thread();
    bool done = false;
    ferry::future<void> work = loop.spawn([&]() -> task<> {
        co_await ferry::yield_now();
        done = true;
    });
    std::thread other([&] { work.wait(); });
    loop.run_until_idle();
    other.join();
    CHECK(done);
}

TEST_CASE("a bound loop that is gone is not taken for another one at its place", "[loop][embedding]") {
    for (int round = 0; round < 3; ++round) {
        ferry::event_loop loop;
        if (round == 0) loop.bind_to_this_thread();
        if (round == 0) continue;
        std::thread other([&] { loop.run_until_idle(); });
        other.join();
        CHECK_FALSE(ferry::detail::executor::is_bound_to_this_thread(&loop));
    }
}

TEST_CASE("a loop that was bound to one thread may end on another, and is forgotten by both", "[loop][embedding]") {
    auto loop = std::make_unique<event_loop>();
    const event_loop* const was_there = loop.get();
    loop->bind_to_this_thread();
    CHECK(ferry::detail::executor::is_bound_to_this_thread(was_there));
    std::thread([&] {
        CHECK(!ferry::detail::executor::is_bound_to_this_thread(was_there));
        loop.reset();
    }).join();
    CHECK(!ferry::detail::executor::is_bound_to_this_thread(was_there));
    event_loop next;
    next.bind_to_this_thread();
    CHECK(ferry::detail::executor::is_bound_to_this_thread(&next));
    CHECK(!ferry::detail::executor::is_bound_to_this_thread(was_there));
}

TEST_CASE("a loop that was bound to a thread which has ended may end later", "[loop][embedding]") {
    auto loop = std::make_unique<event_loop>();
    std::thread([&] { loop->bind_to_this_thread(); }).join();
    CHECK(!ferry::detail::executor::is_bound_to_this_thread(loop.get()));
    loop.reset();
}
