// tests/loop/latch_test.cpp - a count of what is still to be done
// SPDX-License-Identifier: BSL-1.0
#include "support/catch.hpp"

#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/latch.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <chrono>

using namespace std::chrono_literals;

TEST_CASE("a latch opens when its count has come down, for all who wait and all who come later", "[loop][latch]") {
    ferry::event_loop loop;
    ferry::latch latch(loop, 3);
    int through = 0;
    for (int id = 0; id < 2; ++id) {
        loop.spawn([&]() -> ferry::task<> {
            co_await latch.arrive_and_wait();
            ++through;
        });
    }
    loop.run_until_idle();
    CHECK(through == 0);
    CHECK_FALSE(latch.is_open());
    latch.count_down();
    CHECK(latch.is_open());
    CHECK(through == 0);  // they resume from the loop
    loop.run_until_idle();
    CHECK(through == 2);
    loop.run(latch.wait());
}

TEST_CASE("a latch of zero is open", "[loop][latch]") {
    ferry::event_loop loop;
    ferry::latch latch(loop, 0);
    CHECK(latch.is_open());
    loop.run(latch.wait());
}

TEST_CASE("a cancelled wait for a latch leaves its count alone", "[loop][latch]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::latch latch(loop, 1);
    CHECK_FALSE(loop.run(ferry::try_timeout(1ms, latch.wait())));
    latch.count_down();
    loop.run(latch.wait());
}
