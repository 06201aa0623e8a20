// tests/loop/event_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <utility>
#include <vector>

using ferry::task;
using namespace std::chrono_literals;

namespace {
task<> note_when_set(ferry::event& ready, std::vector<int>& order, int id) {
    co_await ready.wait();
    order.push_back(id);
}
}  // namespace

TEST_CASE("event resumes its waiters in the order they began to wait", "[loop][event][order]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    ferry::event ready(loop);
    std::vector<int> order;
    for (int id : {1, 2, 3}) auto dropped = ferry::spawn(loop, note_when_set(ready, order, id));
    loop.run_until_idle();
    REQUIRE(order.empty());
    CHECK(!ready.is_set());
    ready.set();
    CHECK(order.empty());  // set() schedules; it never resumes in place
    loop.run_until_idle();
    CHECK(order == std::vector<int>{1, 2, 3});
}

TEST_CASE("who comes to an event that is set does not wait", "[loop][event]") {
    ferry::event_loop loop;
    ferry::event ready(loop);
    ready.set();
    ready.set();
    CHECK(ready.is_set());
    std::vector<int> order;
    const auto body = [&]() -> task<> {
        loop.post([&order] { order.push_back(2); });
        co_await note_when_set(ready, order, 1);
    };
    loop.run(body());
    loop.run_until_idle();
    CHECK(order == std::vector<int>{1, 2});
}

TEST_CASE("a waiter that is cancelled leaves the others in their order", "[loop][event][order]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::event ready(loop);
    std::vector<int> order;
    auto first = ferry::spawn(loop, note_when_set(ready, order, 1));
    auto gives_up = ferry::spawn(loop, ferry::timeout(1s, note_when_set(ready, order, 2)));
    auto third = ferry::spawn(loop, note_when_set(ready, order, 3));
    REQUIRE_THROWS_AS(loop.run(std::move(gives_up)), ferry::timeout_error);
    ready.set();
    loop.run_until_idle();
    CHECK(order == std::vector<int>{1, 3});
}

TEST_CASE("a task that waits may destroy the event once it is set", "[loop][event]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    const auto body = [&]() -> task<> {
        ferry::event ready(loop);
        loop.post([&ready] { ready.set(); });
        co_await ready.wait();
    };
    loop.run(body());
    CHECK(!loop.closing());
}
