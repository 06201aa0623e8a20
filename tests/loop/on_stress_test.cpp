// tests/loop/on_stress_test.cpp - work that travels between loops while it is cancelled and the loops close
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/error.hpp>
#include <ferry/core/outcome.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/on.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"
#include "support/race.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::task;
using ferry_test::dice;
using ferry_test::race;
using namespace std::chrono_literals;

namespace {
/// Returns what it was given, on the loop it says; or waits until it is cancelled.
task<std::unique_ptr<int>> visit(event_loop& there, std::unique_ptr<int> value, int yields) {
    if (event_loop::current() != &there) *value = -1;
    if (yields == 4) co_await ferry::sleep_for(1h);
    for (int i = 0; i < yields; ++i) co_await ferry::yield_now();
    co_return value;
}

struct tally {
    int values = 0;
    int late = 0;
    int closed = 0;
    int cancelled = 0;
    int wrong = 0;
};

/// Sends visits over, one after another, each under a time limit that may be over before it has begun.
task<> traveller(event_loop& home, event_loop& there, std::uint64_t seed, int visits, tally& seen) {
    dice random(seed);
    for (int id = 0; id < visits; ++id) {
        auto value = std::make_unique<int>(id);
        auto over = ferry::on(there, visit(there, std::move(value), random.roll(5)));
        auto limited = ferry::try_timeout(std::chrono::microseconds(random.roll(50)), std::move(over));
        ferry::outcome<std::optional<std::unique_ptr<int>>> ended = co_await ferry::as_result(std::move(limited));
        if (event_loop::current() != &home) ++seen.wrong;
        if (ended.has_value()) {
            std::optional<std::unique_ptr<int>>& answer = ended.value();
            ++(answer ? seen.values : seen.late);
            if (answer && **answer != id) ++seen.wrong;
        } else if (ended.is_cancelled()) {
            ++seen.cancelled;
            throw ferry::cancelled();
        } else {
            ++seen.closed;
            break;
        }
    }
}
}  // namespace

TEST_CASE("work that travels between two running loops under time limits comes home once", "[loop][on][mt]") {
    const ferry_test::frame_count frames;
    event_loop one;
    event_loop two;
    tally of_one[2];
    tally of_two[2];
    std::vector<ferry::future<void>> there_and_back;
    for (std::uint64_t seed : {0u, 1u}) {
        there_and_back.push_back(ferry::spawn(one, traveller(one, two, seed, 300, of_one[seed])));
        there_and_back.push_back(ferry::spawn(two, traveller(two, one, seed + 2, 300, of_two[seed])));
    }
    std::thread other([&] { two.run(); });
    std::thread waiting([&] {
        for (ferry::future<void>& each : there_and_back) each.get();
        one.stop();
        two.stop();
    });
    one.run();
    other.join();
    waiting.join();
    for (const tally& seen : {of_one[0], of_one[1], of_two[0], of_two[1]}) {
        CHECK(seen.values + seen.late == 300);
        CHECK(seen.closed + seen.cancelled + seen.wrong == 0);
    }
}

TEST_CASE("the other loop closes while work travels to it: a value, or closed_error, comes home", "[loop][on][mt]") {
    const ferry_test::frame_count frames;
    for (std::uint64_t round = 0; round < 100; ++round) {
        event_loop home;
        event_loop there;
        tally seen[2];
        race(
            [&] {
                auto first = ferry::spawn(home, traveller(home, there, 2 * round, 1'000'000, seen[0]));
                auto second = ferry::spawn(home, traveller(home, there, 2 * round + 1, 1'000'000, seen[1]));
                home.run(std::move(first));
                home.run(std::move(second));
            },
            [&] {
                for (int turns = dice(round).roll(60); turns > 0; --turns) there.run_once(20us);
                there.close();
            });
        for (const tally& of : seen) {
            CHECK(of.closed == 1);
            CHECK(of.cancelled + of.wrong == 0);
        }
    }
}

TEST_CASE("the home loop closes while its work is away: it waits, and nothing comes home to a closed loop",
          "[loop][on][mt]") {
    const ferry_test::frame_count frames;
    for (std::uint64_t round = 0; round < 100; ++round) {
        event_loop there;
        tally seen[2];
        race(
            [&] {
                event_loop home;
                { auto first = ferry::spawn(home, traveller(home, there, 2 * round, 1'000'000, seen[0])); }
                { auto second = ferry::spawn(home, traveller(home, there, 2 * round + 1, 1'000'000, seen[1])); }
                for (int turns = 2 + dice(round).roll(60); turns > 0; --turns) home.run_once(20us);
                home.close();
                there.stop();
            },
            [&] { there.run(); });
        for (const tally& of : seen) {
            CHECK(of.cancelled == 1);
            CHECK(of.closed + of.wrong == 0);
        }
    }
}
