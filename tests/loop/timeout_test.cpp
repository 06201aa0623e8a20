// tests/loop/timeout_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

using ferry::task;
using ferry::timeout;
using ferry::timeout_error;
using namespace std::chrono_literals;

namespace {
task<int> value_after(std::chrono::seconds delay) {
    co_await ferry::sleep_for(delay);
    co_return 7;
}
/// Swallows a cancellation and yields a value all the same.
task<int> value_in_the_end() {
    try {
        co_await ferry::sleep_for(1h);
    } catch (const ferry::cancelled&) {}
    co_return 8;
}

struct fixture {
    ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop{clock};
};
}  // namespace

TEST_CASE("timeout yields the value that comes in time, and leaves no timer behind", "[loop][timeout]") {
    fixture test;
    CHECK(test.loop.run(timeout(2s, value_after(1s))) == 7);
    CHECK(test.clock.elapsed() == 1s);
    CHECK(test.loop.timers().empty());
    test.loop.run(timeout(std::chrono::hours::max(), ferry::sleep_for(1s)));
    CHECK(test.clock.elapsed() == 2s);
}

TEST_CASE("timeout throws timeout_error when the time is over, and says whose", "[loop][timeout]") {
    fixture test;
    std::string text;
    try {
        test.loop.run(timeout(1500us, value_after(1h)).named("fetch"));
    } catch (const timeout_error& error) {
        text = error.what();
    }
    CHECK(text.find("task fetch ") != std::string::npos);
    CHECK(text.find("2 ms") != std::string::npos);
    CHECK(test.clock.elapsed() == 1500us);
    CHECK(test.loop.timers().empty());
}

TEST_CASE("a value that comes late is delivered", "[loop][timeout]") {
    fixture test;
    bool next_checkpoint_passes = false;
    const auto body = [&]() -> task<int> {
        const int value = co_await timeout(1s, value_in_the_end());
        co_await ferry::sleep_for(1s);  // the deadline's cancellation ended with its scope
        next_checkpoint_passes = true;
        co_return value;
    };
    CHECK(test.loop.run(body()) == 8);
    CHECK(next_checkpoint_passes);
    CHECK(test.clock.elapsed() == 2s);
}

TEST_CASE("timeout lets an error pass", "[loop][timeout]") {
    fixture test;
    const auto fails = []() -> task<> {
        co_await ferry::sleep_for(1s);
        throw std::out_of_range("inside");
    };
    REQUIRE_THROWS_AS(test.loop.run(timeout(2s, fails())), std::out_of_range);
    CHECK(test.loop.timers().empty());
}

TEST_CASE("a timeout of nothing gives what ends at once its chance", "[loop][timeout]") {
    fixture test;
    const auto at_once = []() -> task<int> { co_return 3; };
    CHECK(test.loop.run(timeout(0s, at_once())) == 3);
    CHECK(test.loop.run(timeout(-1s, at_once())) == 3);
    REQUIRE_THROWS_AS(test.loop.run(timeout(0s, value_after(1s))), timeout_error);
    CHECK(test.clock.elapsed() == 0s);
}

TEST_CASE("when the task around a timeout is cancelled too, cancelled goes on", "[loop][timeout]") {
    fixture test;
    SECTION("while it waits") {
        auto done = ferry::spawn(test.loop, timeout(1h, value_after(2h)));
        test.loop.run_until_idle();
        test.loop.cancel_tasks();
        REQUIRE_THROWS_AS(done.get(), ferry::cancelled);
    }
    SECTION("in the same turn in which the deadline passes") {
        const auto body = [&]() -> task<> { co_await timeout(1s, ferry::sleep_for(1h)); };
        auto done = ferry::spawn(test.loop, body());
        test.loop.run_until_idle();
        test.clock.advance(1s);
        test.loop.cancel_tasks();
        REQUIRE_THROWS_AS(done.get(), ferry::cancelled);
    }
    SECTION("before it begins") {
        const auto catches_then_waits = []() -> task<> {
            try {
                co_await ferry::sleep_for(1h);
            } catch (const ferry::cancelled&) {}
            co_await timeout(1h, ferry::sleep_for(1s));
        };
        auto done = ferry::spawn(test.loop, catches_then_waits());
        test.loop.run_until_idle();
        test.loop.cancel_tasks();
        REQUIRE_THROWS_AS(done.get(), ferry::cancelled);
    }
    CHECK(test.loop.timers().empty());
    CHECK(test.clock.elapsed() <= 1s);
}

TEST_CASE("of two timeouts, the one that passed throws its timeout_error", "[loop][timeout]") {
    fixture test;
    std::string thrown_by;
    const auto inner = [&](std::chrono::seconds limit) -> task<> {
        try {
            co_await timeout(limit, ferry::sleep_for(1h));
        } catch (const timeout_error&) {
            thrown_by = "inner";
        }
    };
    const auto outer = [&](std::chrono::seconds limit, std::chrono::seconds inner_limit) -> task<> {
        try {
            co_await timeout(limit, inner(inner_limit));
        } catch (const timeout_error&) {
            thrown_by = "outer";
        }
    };
    test.loop.run(outer(2s, 1s));
    CHECK(thrown_by == "inner");
    test.loop.run(outer(1s, 2s));
    CHECK(thrown_by == "outer");
    test.loop.run(outer(1s, 1s));  // both at once: the inner one's cancellation comes from outside, too
    CHECK(thrown_by == "outer");
    CHECK(test.clock.elapsed() == 3s);
}

TEST_CASE("timeout stays inside the logical task", "[loop][timeout]") {
    fixture test;
    const auto whose = []() -> task<const void*> { co_return &co_await ferry::detail::current_task(); };
    const auto body = [&]() -> task<bool> {
        const void* const self = &co_await ferry::detail::current_task();
        const void* const inside = co_await timeout(1s, whose());
        co_return inside == self;
    };
    CHECK(test.loop.run(body()));
}
