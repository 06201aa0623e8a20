// tests/loop/virtual_clock_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using ferry::task;
using namespace std::chrono_literals;

TEST_CASE("virtual time jumps from deadline to deadline", "[loop][virtual_clock]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    std::vector<std::chrono::nanoseconds> seen;
    const auto body = [&]() -> task<> {
        for (const std::chrono::seconds step : {1s, 3600s, 86400s}) {
            co_await ferry::sleep_for(step);
            seen.push_back(clock.elapsed());
        }
    };
    loop.run(body());
    CHECK(seen == std::vector<std::chrono::nanoseconds>{1s, 3601s, 90001s});
}

TEST_CASE("virtual time stands still while anything is ready, and in run_until_idle", "[loop][virtual_clock]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    auto sleeping = ferry::spawn(loop, ferry::sleep_for(1s));
    const auto busy = []() -> task<> {
        for (int i = 0; i < 1'000; ++i) co_await ferry::yield_now();
    };
    loop.run(busy());
    loop.run_until_idle();
    CHECK(clock.elapsed() == 0s);
    CHECK(!sleeping.is_ready());
    clock.advance(999ms);
    loop.run_until_idle();
    CHECK(!sleeping.is_ready());
    clock.advance(1ms);
    loop.run_until_idle();
    CHECK(sleeping.is_ready());
}

TEST_CASE("virtual time stands still while a thread works for the loop", "[loop][virtual_clock][mt]") {
    const ferry_test::frame_count frames;
    for (int round = 0; round < 50; ++round) {
        ferry::virtual_clock clock;
        ferry::event_loop loop(clock);
        std::chrono::nanoseconds at_result(-1);
        std::thread worker;
        loop.post([&] {
            loop.begin_outside_work();
            worker = std::thread([&] {
                std::this_thread::yield();
                loop.post([&] {
                    at_result = clock.elapsed();
                    loop.end_outside_work();
                });
            });
        });
        loop.run(ferry::sleep_for(1h));
        worker.join();
        CHECK(at_result == 0s);
        CHECK(clock.elapsed() == 1h);
    }
}

TEST_CASE("a post from another thread reaches a loop whose time is virtual", "[loop][virtual_clock][mt]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    std::thread other([&loop] { loop.post([&loop] { loop.stop(); }); });
    loop.run();
    other.join();
    CHECK(clock.elapsed() == 0s);
}

TEST_CASE("two loops may share one virtual clock's time, one after the other", "[loop][virtual_clock]") {
    ferry::virtual_clock clock;
    for (int round = 1; round <= 2; ++round) {
        ferry::event_loop loop(clock);
        loop.run(ferry::sleep_for(1s));
        CHECK(clock.elapsed() == std::chrono::seconds(round));
    }
}
