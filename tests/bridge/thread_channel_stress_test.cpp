// tests/bridge/thread_channel_stress_test.cpp - many threads and tasks on one channel, and its end
// SPDX-License-Identifier: BSL-1.0
#include "core/frame_count.hpp"
#include "support/catch.hpp"
#include "support/race.hpp"

#include <ferry/bridge/thread_channel.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

using ferry_test::dice;
using ferry_test::race;
using namespace std::chrono_literals;

namespace {
using item = std::unique_ptr<int>;
using channel = ferry::thread_channel<item>;
using numbers = std::vector<int>;

std::chrono::microseconds a_moment(dice& random) { return std::chrono::microseconds(random.roll(4)); }

/// Pushes numbers from `first` on in every way there is, until the channel is closed; keeps those it was rid of.
void push_as_thread(channel& to, int first, numbers& accepted) {
    dice random(static_cast<std::uint64_t>(first));
    try {
        for (int number = first;; ++number) {
            item mine = std::make_unique<int>(number);
            const int way = random.roll(3);
            if (way == 0) to.push(std::move(mine));
            if (way == 1 && !to.push_for(a_moment(random), std::move(mine))) continue;
            if (way == 2 && !to.try_push(std::move(mine))) {
                if (to.closed()) return;
                std::this_thread::yield();
                continue;
            }
            accepted.push_back(number);
        }
    } catch (const ferry::closed_error&) {}
}
void pop_as_thread(channel& from, std::uint64_t seed, numbers& seen) {
    dice random(seed);
    try {
        for (;;) {
            const int way = random.roll(3);
            item mine;
            if (way == 0) mine = from.pop();
            if (way == 1) mine = from.pop_for(a_moment(random)).value_or(nullptr);
            if (way == 2) mine = from.try_pop().value_or(nullptr);
            if (mine != nullptr) seen.push_back(*mine);
        }
    } catch (const ferry::closed_error&) {}
}
ferry::task<> push_as_task(channel& to, int first, numbers& accepted) {
    dice random(static_cast<std::uint64_t>(first));
    try {
        for (int number = first;; ++number) {
            if (random.roll(2) == 0) {
                co_await to.async_push(std::make_unique<int>(number));
            } else {
                auto push = to.async_push(std::make_unique<int>(number));
                const bool in_time = co_await ferry::try_timeout(a_moment(random), std::move(push));
                if (!in_time) continue;
            }
            accepted.push_back(number);
        }
    } catch (const ferry::closed_error&) {}
}
ferry::task<> pop_as_task(channel& from, std::uint64_t seed, numbers& seen) {
    dice random(seed);
    try {
        for (;;) {
            if (random.roll(2) == 0) {
                const item mine = co_await from.async_pop();
                seen.push_back(*mine);
            } else {
                const std::optional<item> mine = co_await ferry::try_timeout(a_moment(random), from.async_pop());
                if (mine) seen.push_back(**mine);
            }
        }
    } catch (const ferry::closed_error&) {}
}
}  // namespace

TEST_CASE("close() races pushes and pops of threads and tasks under time limits: no item is lost or doubled",
          "[bridge][thread_channel][mt]") {
    const ferry_test::frame_count frames;
    for (std::uint64_t round = 0; round < 60; ++round) {
        channel shared(1 + static_cast<std::size_t>(dice(round).roll(4)));
        std::array<numbers, 4> accepted;
        std::array<numbers, 4> seen;
        race([&] { push_as_thread(shared, 0, accepted[0]); }, [&] { push_as_thread(shared, 1'000'000, accepted[1]); },
             [&] { pop_as_thread(shared, 2 * round, seen[0]); }, [&] { pop_as_thread(shared, 2 * round + 1, seen[1]); },
             [&] {
                 ferry::event_loop loop;
                 auto push = loop.spawn(push_as_task(shared, 2'000'000, accepted[2]));
                 auto pop = loop.spawn(pop_as_task(shared, round, seen[2]));
                 loop.run(std::move(push));
                 loop.run(std::move(pop));
             },
             [&] {
                 ferry::event_loop loop;
                 auto pop = loop.spawn(pop_as_task(shared, round + 1, seen[3]));
                 auto push = loop.spawn(push_as_task(shared, 3'000'000, accepted[3]));
                 loop.run(std::move(push));
                 loop.run(std::move(pop));
             },
             [&] {
                 dice random(round);
                 for (int waits = random.roll(100); waits > 0; --waits) random.dawdle();
                 shared.close();
             });
        numbers in;
        numbers out;
        for (const numbers& each : accepted) in.insert(in.end(), each.begin(), each.end());
        for (const numbers& each : seen) out.insert(out.end(), each.begin(), each.end());
        while (std::optional<item> left = shared.try_pop()) out.push_back(**left);
        std::sort(in.begin(), in.end());
        std::sort(out.begin(), out.end());
        CHECK(in == out);
    }
}

TEST_CASE("loops close while their tasks push and pop: what was accepted is popped by others",
          "[bridge][thread_channel][mt]") {
    const ferry_test::frame_count frames;
    for (std::uint64_t round = 0; round < 60; ++round) {
        channel shared(2);
        std::array<numbers, 2> accepted;
        std::array<numbers, 2> seen;
        const auto closes_its_loop = [&](std::size_t id) {
            ferry::event_loop loop;
            { auto push = loop.spawn(push_as_task(shared, static_cast<int>(id) * 1'000'000, accepted[id])); }
            { auto pop = loop.spawn(pop_as_task(shared, round + id, seen[id])); }
            for (int turns = dice(round + id).roll(40); turns > 0; --turns) loop.run_once(5us);
        };
        race([&] { closes_its_loop(0); }, [&] { closes_its_loop(1); });
        numbers in;
        numbers out;
        for (const numbers& each : accepted) in.insert(in.end(), each.begin(), each.end());
        for (const numbers& each : seen) out.insert(out.end(), each.begin(), each.end());
        while (std::optional<item> left = shared.try_pop()) out.push_back(**left);
        std::sort(in.begin(), in.end());
        std::sort(out.begin(), out.end());
        CHECK(in == out);
    }
}

TEST_CASE("a channel may be destroyed once everyone whom close() woke has left, also before close() returns",
          "[bridge][thread_channel][mt]") {
    const ferry_test::frame_count frames;
    for (std::uint64_t round = 0; round < 400; ++round) {
        auto shared = std::make_unique<channel>(1);
        channel* const closing = shared.get();
        if (round % 2 == 0) shared->push(std::make_unique<int>(1));  // full: those who push wait, else those who pop
        int closed = 0;
        race([closing] { closing->close(); },
             [&] {
                 const auto waits = [](channel& of, bool full, int& count) -> ferry::task<> {
                     try {
                         if (full) {
                             co_await of.async_push(std::make_unique<int>(2));
                         } else {
                             static_cast<void>(co_await of.async_pop());
                         }
                     } catch (const ferry::closed_error&) {
                         ++count;
                     }
                 };
                 ferry::event_loop loop;
                 auto first = loop.spawn(waits(*shared, round % 2 == 0, closed));
                 auto second = loop.spawn(waits(*shared, round % 2 == 0, closed));
                 loop.run(std::move(first));
                 loop.run(std::move(second));
                 shared.reset();
             });
        CHECK(closed == 2);
    }
}

TEST_CASE("a channel may be destroyed by the thread that pops the last item, while its push is on the way out",
          "[bridge][thread_channel][mt]") {
    for (std::uint64_t round = 0; round < 400; ++round) {
        auto shared = std::make_unique<channel>(1);
        channel* const pushing = shared.get();
        int got = 0;
        race(
            [&] {
                dice(round).dawdle();
                pushing->push(std::make_unique<int>(7));
            },
            [&] {
                got = *shared->pop();
                shared.reset();
            });
        CHECK(got == 7);
    }
}
