// tests/loop/sleep_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <string>
#include <utility>
#include <vector>

using ferry::task;
using namespace std::chrono_literals;

namespace {
task<> note_after(std::chrono::nanoseconds delay, std::vector<int>& order, int id) {
    co_await ferry::sleep_for(delay);
    order.push_back(id);
}
}  // namespace

TEST_CASE("sleeping tasks go on in the order of their deadlines, equal ones in the order they came",
          "[loop][sleep][order]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    std::vector<int> order;
    auto c = ferry::spawn(loop, note_after(2s, order, 3));
    auto a = ferry::spawn(loop, note_after(1s, order, 1));
    auto b = ferry::spawn(loop, note_after(1s, order, 2));
    loop.run(std::move(c));
    CHECK(order == std::vector<int>{1, 2, 3});
    CHECK(clock.elapsed() == 2s);
}

TEST_CASE("sleep_until waits for a time of the loop's clock", "[loop][sleep]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    const auto start = loop.now();
    loop.run(ferry::sleep_until(start + 5s));
    CHECK(clock.elapsed() == 5s);
    loop.run(ferry::sleep_until(start));  // past already
    loop.run(ferry::sleep_until(ferry::event_loop::time_point::min()));
    CHECK(clock.elapsed() == 5s);
}

TEST_CASE("a sleep of no length still lets run what is ready", "[loop][sleep]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    for (const std::chrono::nanoseconds length : {0ns, -5ns, std::chrono::nanoseconds::min()}) {
        std::vector<int> order;
        auto sleeps = ferry::spawn(loop, note_after(length, order, 2));
        loop.post([&order] { order.push_back(1); });
        loop.run_until_idle();
        CHECK(order == std::vector<int>{1, 2});
    }
    CHECK(clock.elapsed() == 0s);
}

TEST_CASE("a sleep for ever can be asked for, and ends with a cancellation", "[loop][sleep]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    clock.advance(24h);
    auto longest = ferry::spawn(loop, ferry::sleep_for(std::chrono::nanoseconds::max()));
    auto longer = ferry::spawn(loop, ferry::sleep_for(std::chrono::hours::max()));
    auto until = ferry::spawn(loop, ferry::sleep_until(ferry::event_loop::time_point::max()));
    loop.run_until_idle();
    CHECK(loop.next_deadline() == ferry::event_loop::time_point::max());
    loop.cancel_tasks();
    CHECK(loop.timers().empty());
    REQUIRE_THROWS_AS(longest.get(), ferry::cancelled);
    REQUIRE_THROWS_AS(longer.get(), ferry::cancelled);
    REQUIRE_THROWS_AS(until.get(), ferry::cancelled);
}

TEST_CASE("real sleeps last at least as long as they were asked to", "[loop][sleep]") {
    ferry::event_loop loop;
    const auto start = loop.now();
    loop.run(ferry::sleep_for(2ms));
    CHECK(loop.now() - start >= 2ms);
}

TEST_CASE("yield_now lets every other ready task run first", "[loop][sleep][order]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    std::string trace;
    const auto body = [&](char name) -> task<> {
        for (int i = 0; i < 3; ++i) {
            trace.push_back(name);
            co_await ferry::yield_now();
        }
    };
    auto a = ferry::spawn(loop, body('a'));
    auto b = ferry::spawn(loop, body('b'));
    auto c = ferry::spawn(loop, body('c'));
    loop.run_until_idle();
    CHECK(trace == "abcabcabc");
}

TEST_CASE("a task that is cancelled while it gives way meets that as it goes on, and runs once",
          "[loop][sleep][order]") {
    ferry::event_loop loop;
    int resumed = 0;
    int ended_cancelled = 0;
    const auto give_way = [&]() -> ferry::task<> {
        try {
            co_await ferry::yield_now();
            ++resumed;
        } catch (const ferry::cancelled&) {
            ++ended_cancelled;
            throw;
        }
    };
    const auto two = [&]() -> ferry::task<> {
        co_await ferry::with_task_group([&](ferry::task_group& group) -> ferry::task<> {
            group.start(give_way());
            co_await ferry::yield_now();  // now the other one is giving way: ready, and waiting in nothing
            group.cancel();
        });
    };
    loop.run(two());
    CHECK(resumed == 0);
    CHECK(ended_cancelled == 1);
}

TEST_CASE("a task that yields for ever does not keep timers and posts waiting", "[loop][sleep]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    bool posted = false;
    const auto spin = []() -> task<> {
        for (;;) co_await ferry::yield_now();
    };
    auto spinning = ferry::spawn(loop, spin());
    loop.post([&posted] { posted = true; });
    loop.run(ferry::sleep_for(1ms));
    CHECK(posted);
    loop.cancel_tasks();
    REQUIRE_THROWS_AS(spinning.get(), ferry::cancelled);
}
