// tests/core/outcome_test.cpp - ends as values: as_result and try_timeout
// SPDX-License-Identifier: BSL-1.0
#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <ferry/core/error.hpp>
#include <ferry/core/outcome.hpp>
#include <ferry/loop/bounded_queue.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

using namespace std::chrono_literals;

namespace {
ferry::task<std::string> late(std::chrono::milliseconds delay, std::string value) {
    co_await ferry::sleep_for(delay);
    co_return value;
}
ferry::task<> fail() {
    co_await ferry::yield_now();
    throw std::runtime_error("failed");
}
ferry::task<int&> refer(int& to) { co_return to; }
}  // namespace

TEST_CASE("as_result yields a value, an exception or a cancellation", "[core][outcome]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    loop.run([]() -> ferry::task<> {
        ferry::outcome<std::string> good = co_await ferry::as_result(late(1ms, "value"));
        CHECK(good.has_value());
        CHECK(good.value() == "value");
        CHECK(good.error() == nullptr);
        CHECK_FALSE(good.is_cancelled());

        ferry::outcome<void> bad = co_await ferry::as_result(fail());
        CHECK_FALSE(bad.has_value());
        CHECK_FALSE(bad.is_cancelled());
        CHECK_THROWS_WITH(bad.value(), "failed");

        int number = 3;
        ferry::outcome<int&> reference = co_await ferry::as_result(refer(number));
        CHECK(&reference.value() == &number);

        ferry::bounded_queue<std::unique_ptr<int>> queue(*ferry::event_loop::current(), 1);
        queue.close();
        auto closed = co_await ferry::as_result(queue.pop());
        CHECK_THROWS_AS(closed.value(), ferry::closed_error);
    }());
}

TEST_CASE("as_result catches a cancellation, which stays pending for the scope", "[core][outcome]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    bool was_cancelled = false;
    bool went_on = false;
    auto stopped = loop.spawn(ferry::try_timeout(1ms, [](bool& seen, bool& after) -> ferry::task<> {
        const ferry::outcome<void> slept = co_await ferry::as_result(ferry::sleep_for(1h));
        seen = slept.is_cancelled();
        co_await ferry::yield_now();
        after = true;
    }(was_cancelled, went_on)));
    loop.run(ferry::sleep_for(10ms));
    CHECK_FALSE(stopped.get());
    CHECK(was_cancelled);
    CHECK_FALSE(went_on);
}

TEST_CASE("try_timeout yields the value in time, or nothing", "[core][outcome]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    int number = 0;
    CHECK(loop.run(ferry::try_timeout(5ms, late(1ms, "x"))) == std::optional<std::string>("x"));
    CHECK(loop.run(ferry::try_timeout(5ms, late(10ms, "x"))) == std::nullopt);
    CHECK(loop.run(ferry::try_timeout(5ms, ferry::sleep_for(1ms))));
    CHECK_FALSE(loop.run(ferry::try_timeout(5ms, ferry::sleep_for(10ms))));
    CHECK(loop.run(ferry::try_timeout(5ms, refer(number))) == &number);
    CHECK(clock.elapsed() == 12ms);
}

TEST_CASE("try_timeout passes on what the awaitable throws", "[core][outcome]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    CHECK_THROWS_WITH(loop.run(ferry::try_timeout(5ms, fail())), "failed");
}

TEST_CASE("try_timeout throws cancelled where the task around it is cancelled, even when both are due at once",
          "[core][outcome]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    bool went_on = false;
    auto body = [&went_on](std::chrono::milliseconds inner) -> ferry::task<> {
        co_await ferry::try_timeout(inner, ferry::sleep_for(2h));
        went_on = true;
    };
    for (const std::chrono::milliseconds inner : {5ms, 6ms, 1000ms}) {
        CHECK_THROWS_AS(loop.run(ferry::timeout(5ms, body(inner))), ferry::timeout_error);
        CHECK_FALSE(went_on);
    }
}
