// tests/loop/on_test.cpp - work on another loop
// SPDX-License-Identifier: BSL-1.0
#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <ferry/bridge/loop_thread.hpp>
#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/on.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace {
ferry::task<ferry::event_loop*> where() {
    co_await ferry::yield_now();
    co_return ferry::event_loop::current();
}
ferry::task<std::unique_ptr<int>> make(int value) {
    co_await ferry::yield_now();
    co_return std::make_unique<int>(value);
}
ferry::task<> fail() {
    co_await ferry::yield_now();
    throw std::runtime_error("over there");
}
ferry::task<int> stubborn(int value) {
    try {
        co_await ferry::sleep_for(1h);
    } catch (const ferry::cancelled&) {}
    co_return value;
}
}  // namespace

TEST_CASE("on runs its task on the other loop, and the awaiting task goes on on its own", "[loop][on][mt]") {
    ferry::loop_thread other;
    ferry::event_loop home;
    home.run([](ferry::event_loop& there, ferry::event_loop& here) -> ferry::task<> {
        ferry::event_loop* const ran_on = co_await ferry::on(there, where());
        CHECK(ran_on == &there);
        CHECK(ferry::event_loop::current() == &here);
        const std::unique_ptr<int> made = co_await ferry::on(there, make(5));
        CHECK(*made == 5);
        ferry::event_loop* const at_home = co_await ferry::on(here, where());
        CHECK(at_home == &here);
    }(other.loop(), home));
    CHECK_THROWS_WITH(home.run(ferry::on(other.loop(), fail())), "over there");
}

TEST_CASE("a cancellation is sent to the other loop, and its end is awaited", "[loop][on]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop home(clock);
    ferry::event_loop other;
    SECTION("where the work ends in cancelled") {
        auto done = home.spawn(ferry::try_timeout(1ms, ferry::on(other, ferry::sleep_for(1h))));
        home.run(ferry::sleep_for(5ms));
        CHECK_FALSE(done.is_ready());
        other.run_until_idle();
        home.run_until_idle();
        CHECK_FALSE(done.get());
    }
    SECTION("where the work has a value all the same") {
        auto done = home.spawn(ferry::try_timeout(1ms, ferry::on(other, stubborn(3))));
        home.run_until_idle();
        other.run_until_idle();
        home.run(ferry::sleep_for(5ms));
        other.run_until_idle();
        home.run_until_idle();
        CHECK(done.get() == std::optional<int>(3));
    }
    SECTION("where it had ended already, its value is delivered") {
        auto done = home.spawn(ferry::try_timeout(1ms, ferry::on(other, make(4))));
        home.run_until_idle();
        other.run_until_idle();
        clock.advance(2ms);
        home.run_until_idle();
        CHECK(**done.get() == 4);
        other.run_until_idle();  // the cancellation, if one was sent, finds nobody
    }
}

TEST_CASE("on a closed loop, on throws closed_error", "[loop][on]") {
    const ferry_test::frame_count frames;
    ferry::event_loop home;
    ferry::event_loop other;
    SECTION("closed before") {
        other.close();
        CHECK_THROWS_AS(home.run(ferry::on(other, make(1))), ferry::closed_error);
    }
    SECTION("closed before it started") {
        auto done = home.spawn(ferry::on(other, make(1)));
        home.run_until_idle();
        other.close();
        home.run_until_idle();
        CHECK_THROWS_AS(done.get(), ferry::closed_error);
    }
    SECTION("closed while it ran") {
        auto done = home.spawn(ferry::on(other, ferry::sleep_for(1h)));
        home.run_until_idle();
        other.run_until_idle();
        other.close();
        home.run_until_idle();
        CHECK_THROWS_AS(done.get(), ferry::closed_error);
    }
}

TEST_CASE("tasks of two loops await each other's work under random cancellations", "[loop][on][mt]") {
    ferry::loop_thread other;
    const int rounds = 3000;
    int ended = 0;
    int values = 0;
    ferry::event_loop home;
    home.run([](ferry::event_loop& there, int many, int& all, int& got) -> ferry::task<> {
        for (int round = 0; round < many; ++round) {
            const auto limit = std::chrono::microseconds(round % 7 * 5);
            const auto made = co_await ferry::try_timeout(limit, ferry::on(there, make(round)));
            ++all;
            if (made.has_value() && **made == round) ++got;
        }
    }(other.loop(), rounds, ended, values));
    CHECK(ended == rounds);
    CHECK(values <= rounds);
}
