// tests/loop/every_test.cpp - a steady beat
// SPDX-License-Identifier: BSL-1.0
#include "support/catch.hpp"

#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/every.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;

namespace {
ferry::task<> listen(std::vector<std::chrono::nanoseconds>& at, std::vector<std::size_t>& beats, int many,
                     std::chrono::milliseconds work, const ferry::virtual_clock& clock) {
    ferry::interval beat = ferry::every(10ms);
    for (int count = 0; count < many; ++count) {
        beats.push_back(co_await beat.next());
        at.push_back(clock.elapsed());
        co_await ferry::sleep_for(work);
    }
}
}  // namespace

TEST_CASE("beats keep their distance from the start, however long the work between them takes", "[loop][every]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    std::vector<std::chrono::nanoseconds> at;
    std::vector<std::size_t> beats;
    loop.run(listen(at, beats, 4, 3ms, clock));
    CHECK(at == std::vector<std::chrono::nanoseconds>{10ms, 20ms, 30ms, 40ms});
    CHECK(beats == std::vector<std::size_t>{1, 1, 1, 1});
}

TEST_CASE("beats that were missed are counted, not made up for", "[loop][every]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    std::vector<std::chrono::nanoseconds> at;
    std::vector<std::size_t> beats;
    loop.run(listen(at, beats, 3, 25ms, clock));
    CHECK(at == std::vector<std::chrono::nanoseconds>{10ms, 35ms, 60ms});
    CHECK(beats == std::vector<std::size_t>{1, 2, 3});
}

TEST_CASE("a cancelled wait for a beat takes none, and the next wait gets it", "[loop][every]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    std::vector<std::size_t> beats;
    loop.run([](std::vector<std::size_t>& out) -> ferry::task<> {
        ferry::interval beat = ferry::every(10ms);
        const auto early = co_await ferry::try_timeout(3ms, beat.next());
        CHECK_FALSE(early.has_value());
        out.push_back(co_await beat.next());
    }(beats));
    CHECK(beats == std::vector<std::size_t>{1});
    CHECK(clock.elapsed() == 10ms);
}

TEST_CASE("a period that is not above zero is refused", "[loop][every]") {
    ferry::event_loop loop;
    CHECK_THROWS_AS(ferry::interval(loop, 0ms), std::invalid_argument);
    CHECK_THROWS_AS(ferry::interval(loop, -1ms), std::invalid_argument);
}
