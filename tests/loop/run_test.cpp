// tests/loop/run_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <csignal>
#include <stdexcept>
#include <string>
#include <vector>

using ferry::task;
using namespace std::chrono_literals;

namespace {
task<int> raise_then(int signal, std::vector<int>& order) {
    std::raise(signal);
    try {
        co_await ferry::sleep_for(1h);
    } catch (const ferry::cancelled&) {
        order.push_back(signal);
        throw;
    }
    co_return 1;
}
}  // namespace

TEST_CASE("run makes a loop, runs the awaitable on it and returns its result", "[loop][run]") {
    const ferry_test::frame_count frames;
    const auto body = []() -> task<std::string> {
        co_await ferry::yield_now();
        co_return ferry::event_loop::current() == nullptr ? "no loop" : "a loop";
    };
    CHECK(ferry::run(body()) == "a loop");
    ferry::run(ferry::sleep_for(0s));
    CHECK(ferry::event_loop::current() == nullptr);
}

TEST_CASE("run throws what the awaitable throws", "[loop][run]") {
    const ferry_test::frame_count frames;
    const auto body = []() -> task<> {
        throw std::out_of_range("no");
        co_return;
    };
    REQUIRE_THROWS_AS(ferry::run(body()), std::out_of_range);
}

TEST_CASE("run cancels and awaits what the awaitable has spawned before it returns", "[loop][run]") {
    const ferry_test::frame_count frames;
    std::vector<int> order;
    const auto child = [&]() -> task<> {
        try {
            co_await ferry::sleep_for(1h);
        } catch (const ferry::cancelled&) {
            order.push_back(2);
            throw;
        }
    };
    const auto body = [&]() -> task<int> {
        auto dropped = ferry::spawn(child());
        co_await ferry::yield_now();
        order.push_back(1);
        co_return 3;
    };
    CHECK(ferry::run(body()) == 3);
    CHECK(order == std::vector<int>{1, 2});
}

TEST_CASE("run(cancel_on_signals) cancels the awaitable on SIGINT and SIGTERM", "[loop][run]") {
    const ferry_test::frame_count frames;
    for (int signal : {SIGINT, SIGTERM}) {
        std::vector<int> order;
        REQUIRE_THROWS_AS(ferry::run(ferry::cancel_on_signals, raise_then(signal, order)), ferry::cancelled);
        CHECK(order == std::vector<int>{signal});
    }
}

TEST_CASE("run(cancel_on_signals) returns what the awaitable ends with", "[loop][run]") {
    const ferry_test::frame_count frames;
    const auto at_once = []() -> task<int> { co_return 4; };
    const auto stubborn = []() -> task<std::string> {
        std::raise(SIGTERM);
        try {
            co_await ferry::sleep_for(1h);
        } catch (const ferry::cancelled&) {}
        co_return "cleaned up";
    };
    const auto fails = []() -> task<> {
        co_await ferry::yield_now();
        throw std::out_of_range("no");
    };
    const auto nothing = []() -> task<> { co_await ferry::yield_now(); };
    CHECK(ferry::run(ferry::cancel_on_signals, at_once()) == 4);
    CHECK(ferry::run(ferry::cancel_on_signals, stubborn()) == "cleaned up");
    REQUIRE_THROWS_AS(ferry::run(ferry::cancel_on_signals, fails()), std::out_of_range);
    ferry::run(ferry::cancel_on_signals, nothing());
    int object = 0;
    const auto reference = [&]() -> task<int&> { co_return object; };
    CHECK(&ferry::run(ferry::cancel_on_signals, reference()) == &object);
}
