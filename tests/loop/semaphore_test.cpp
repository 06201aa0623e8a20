// tests/loop/semaphore_test.cpp - at most so many at a time
// SPDX-License-Identifier: BSL-1.0
#include "core/frame_count.hpp"
#include "net/aborts.hpp"
#include "support/catch.hpp"

#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/semaphore.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <random>
#include <vector>

using namespace std::chrono_literals;

namespace {
ferry::task<> hold(ferry::semaphore& from, std::size_t count, std::vector<int>& order, int id,
                   std::chrono::milliseconds time) {
    const ferry::semaphore::permit share = co_await from.acquire(count);
    order.push_back(id);
    co_await ferry::sleep_for(time);
}
ferry::task<bool> try_for(ferry::semaphore& from, std::size_t count, std::chrono::milliseconds limit) {
    const ferry::semaphore::permit share = co_await from.try_acquire_for(limit, count);
    co_return static_cast<bool>(share);
}
}  // namespace

TEST_CASE("a semaphore lets in as many as it has permits, in the order of the requests", "[loop][semaphore][order]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::semaphore two(loop, 2);
    std::vector<int> order;
    std::vector<ferry::future<void>> ends;
    for (int id : {1, 2, 3, 4}) ends.push_back(loop.spawn(hold(two, 1, order, id, 2ms)));
    loop.run_until_idle();
    CHECK(order == std::vector<int>{1, 2});
    loop.run(ferry::sleep_for(3ms));
    CHECK(order == std::vector<int>{1, 2, 3, 4});
    loop.run(ferry::sleep_for(3ms));
    CHECK(two.available() == 2);
}

TEST_CASE("a request for many is not overtaken by a later one for few", "[loop][semaphore][order]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::semaphore three(loop, 3);
    std::vector<int> order;
    std::vector<ferry::future<void>> ends;
    ends.push_back(loop.spawn(hold(three, 1, order, 1, 5ms)));
    ends.push_back(loop.spawn(hold(three, 3, order, 2, 5ms)));
    ends.push_back(loop.spawn(hold(three, 1, order, 3, 5ms)));
    loop.run_until_idle();
    CHECK(order == std::vector<int>{1});
    CHECK_FALSE(three.try_acquire());
    loop.run(ferry::sleep_for(6ms));
    CHECK(order == std::vector<int>{1, 2});
    loop.run(ferry::sleep_for(20ms));
    CHECK(order == std::vector<int>{1, 2, 3});
}

TEST_CASE("when a request for many gives up, those behind it go on", "[loop][semaphore][order]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::semaphore two(loop, 2);
    std::vector<int> order;
    auto first = loop.spawn(hold(two, 1, order, 1, 100ms));
    SECTION("cancelled") {
        auto many = loop.spawn(ferry::try_timeout(5ms, hold(two, 2, order, 2, 1ms)));
        auto few = loop.spawn(hold(two, 1, order, 3, 1ms));
        loop.run(ferry::sleep_for(6ms));
        CHECK_FALSE(many.get());
    }
    SECTION("out of time") {
        auto many = loop.spawn(try_for(two, 2, 5ms));
        auto few = loop.spawn(hold(two, 1, order, 3, 1ms));
        loop.run(ferry::sleep_for(6ms));
        CHECK_FALSE(many.get());
    }
    CHECK(order == std::vector<int>{1, 3});
    loop.run(ferry::sleep_for(200ms));
    CHECK(two.available() == 2);
}

TEST_CASE("release adds permits, detach keeps one back", "[loop][semaphore]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::semaphore gate(loop, 0);
    auto waits = loop.spawn(try_for(gate, 2, 10ms));
    loop.run_until_idle();
    gate.release();
    loop.run_until_idle();
    CHECK_FALSE(waits.is_ready());
    gate.release();
    loop.run_until_idle();
    CHECK(waits.get());
    CHECK(gate.available() == 2);
    gate.try_acquire().detach();
    CHECK(gate.available() == 1);
    ferry::semaphore::permit early = gate.try_acquire();
    early.release();
    CHECK_FALSE(early);
    CHECK(gate.available() == 1);
}

TEST_CASE("permits granted to a task that is cancelled before it resumes are delivered and come back",
          "[loop][semaphore]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::semaphore gate(loop, 0);
    std::vector<int> order;
    auto waiting = loop.spawn(ferry::try_timeout(1ms, hold(gate, 1, order, 1, 5ms)));
    loop.run_until_idle();
    gate.release();
    clock.advance(2ms);
    loop.run_until_idle();
    CHECK(order == std::vector<int>{1});
    CHECK(gate.available() == 1);
}

TEST_CASE("a thousand tasks with random sizes, limits and cancellations never hold more than there is",
          "[loop][semaphore]") {
    const ferry_test::frame_count frames;
    for (unsigned seed = 0; seed < 5; ++seed) {
        INFO("seed " << seed);
        ferry::virtual_clock clock;
        ferry::event_loop loop(clock);
        ferry::semaphore five(loop, 5);
        std::mt19937 random(seed);
        std::size_t held = 0;
        std::size_t most = 0;
        const auto work = [&](std::size_t count, int limit, int time) -> ferry::task<> {
            const ferry::semaphore::permit share =
                co_await five.try_acquire_for(std::chrono::milliseconds(limit), count);
            if (!share) co_return;
            held += count;
            most = std::max(most, held);
            const auto slept = co_await ferry::as_result(ferry::sleep_for(std::chrono::milliseconds(time)));
            held -= count;
        };
        std::vector<ferry::future<bool>> ends;
        for (int id = 0; id < 1000; ++id) {
            const std::size_t count = 1 + random() % 5;
            const int limit = static_cast<int>(random() % 500);
            const int time = static_cast<int>(random() % 4);
            ends.push_back(
                loop.spawn(ferry::try_timeout(std::chrono::milliseconds(random() % 500), work(count, limit, time))));
        }
        loop.run(ferry::sleep_for(1h));
        CHECK(most == 5);
        CHECK(five.available() == 5);
        for (ferry::future<bool>& end : ends) CHECK(end.is_ready());
    }
}

TEST_CASE("a permit of a semaphore that is released twice is an assertion", "[loop][semaphore]") {
    ferry::event_loop loop;
    const auto twice = [&loop] {
        ferry::semaphore permits(loop, 2);
        auto held = permits.try_acquire();
        held.release();
        held.release();
    };
    CHECK(ferry_test::aborts(twice));
}
