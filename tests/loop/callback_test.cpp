// tests/loop/callback_test.cpp - interfaces that call back
// SPDX-License-Identifier: BSL-1.0
#include "core/frame_count.hpp"
#include "loop/unhandled_exceptions.hpp"
#include "support/catch.hpp"

#include <ferry/core/error.hpp>
#include <ferry/loop/callback.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

using namespace std::chrono_literals;

TEST_CASE("callback_to_awaitable yields what the callback was given, on any thread", "[loop][callback][mt]") {
    for (int round = 0; round < 100; ++round) {
        std::thread worker;
        const auto begin = [&worker](ferry::completion<std::unique_ptr<int>> done) {
            worker = std::thread([done] { done(std::make_unique<int>(5)); });
        };
        const std::unique_ptr<int> got = ferry::run(ferry::callback_to_awaitable<std::unique_ptr<int>>(begin));
        worker.join();
        REQUIRE(*got == 5);
    }
}

TEST_CASE("the callback may come before the function returns, and through a std::function", "[loop][callback]") {
    const auto at_once = [](const ferry::completion<>& done) {
        const std::function<void()> legacy = [done] { done(); };
        legacy();
    };
    bool went_on = false;
    ferry::run([](auto begin, bool& after) -> ferry::task<> {
        co_await ferry::callback_to_awaitable(begin);
        after = true;
    }(at_once, went_on));
    CHECK(went_on);
}

TEST_CASE("the first call of a completion counts", "[loop][callback]") {
    bool second = true;
    bool third = true;
    const auto twice = [&](const ferry::completion<int>& done) {
        done(1);
        second = done(2);
        third = done.fail(std::make_exception_ptr(std::runtime_error("late")));
    };
    CHECK(ferry::run(ferry::callback_to_awaitable<int>(twice)) == 1);
    CHECK_FALSE(second);
    CHECK_FALSE(third);
}

TEST_CASE("a failure, a function that throws, and a callback that never comes are exceptions", "[loop][callback]") {
    const ferry_test::frame_count frames;
    const auto fails = [](const ferry::completion<int>& done) {
        done.fail(std::make_exception_ptr(std::runtime_error("failed")));
    };
    const auto throws = [](const ferry::completion<int>&) { throw std::runtime_error("did not begin"); };
    const auto forgets = [](const ferry::completion<int>&) {};
    CHECK_THROWS_WITH(ferry::run(ferry::callback_to_awaitable<int>(fails)), "failed");
    CHECK_THROWS_WITH(ferry::run(ferry::callback_to_awaitable<int>(throws)), "did not begin");
    CHECK_THROWS_AS(ferry::run(ferry::callback_to_awaitable<int>(forgets)), ferry::broken_promise);
}

TEST_CASE("a value, or a failure, that comes after the wait was cancelled is dropped", "[loop][callback]") {
    const ferry_test::frame_count frames;
    const ferry_test::unhandled_exceptions unhandled;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    std::optional<ferry::completion<int>> kept;
    const auto keep = [&kept](ferry::completion<int> done) { kept.emplace(std::move(done)); };
    auto given_up = loop.spawn(ferry::try_timeout(1ms, ferry::callback_to_awaitable<int>(keep)));
    loop.run(ferry::sleep_for(2ms));
    CHECK(given_up.get() == std::nullopt);
    SECTION("a value") { CHECK((*kept)(3)); }
    SECTION("a failure") { CHECK(kept->fail(std::make_exception_ptr(std::runtime_error("given up")))); }
    SECTION("nothing") {}
    kept.reset();
    CHECK(unhandled.all().empty());
}

TEST_CASE("a task that is cancelled already begins nothing", "[loop][callback]") {
    const ferry_test::frame_count frames;
    int begun = 0;
    const auto begin = [&begun](const ferry::completion<int>& done) {
        ++begun;
        done(1);
    };
    const auto body = [&](ferry::task_group& group) -> ferry::task<> {
        group.cancel();
        co_await ferry::callback_to_awaitable<int>(begin);
    };
    ferry::run(ferry::with_task_group(body));
    CHECK(begun == 0);
}
