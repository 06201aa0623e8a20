// tests/loop/loop_stress_test.cpp - threads that post to, spawn on, stop and close loops at random moments
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"
#include "support/race.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::task;
using ferry_test::dice;
using ferry_test::race;
using namespace std::chrono_literals;

namespace {
task<> yield_often(int times) {
    for (int i = 0; i < times; ++i) co_await ferry::yield_now();
}
task<int> seven_after(int yields) {
    for (int i = 0; i < yields; ++i) co_await ferry::yield_now();
    co_return 7;
}
task<> hour() { co_await ferry::sleep_for(1h); }

/// What the futures that a thread waited for ended in.
struct ends {
    int values = 0;
    int closed = 0;
    int other = 0;
    void note(ferry::future<int>& result) {
        try {
            (result.get() == 7 ? values : other) += 1;
        } catch (const ferry::closed_error&) {
            ++closed;
        }
    }
};
}  // namespace

TEST_CASE("posts by threads to a loop that is run, stopped and closed at random are run once or refused",
          "[loop][event_loop][mt]") {
    const ferry_test::frame_count frames;
    for (std::uint64_t round = 0; round < 150; ++round) {
        event_loop loop;
        int run = 0;
        std::array<int, 2> accepted{};
        const auto poster = [&](std::size_t id) {
            dice random(round * 2 + id);
            try {
                for (;;) {
                    loop.post([&run] { ++run; });
                    ++accepted[id];
                    if (random.roll(20) == 0) loop.stop();
                    if (random.roll(4) == 0) random.dawdle();
                }
            } catch (const ferry::closed_error&) {}
        };
        const auto runner = [&] {
            dice random(round);
            for (int steps = random.roll(12); steps > 0; --steps) {
                const int step = random.roll(4);
                if (step == 0) loop.run();  // a poster stops it
                if (step == 1) loop.run(yield_often(random.roll(5)));
                if (step == 2) loop.run_once(std::chrono::microseconds(random.roll(3)));
                if (step == 3) random.dawdle();
            }
            loop.close();
        };
        race([&] { poster(0); }, [&] { poster(1); }, runner);
        CHECK(run == accepted[0] + accepted[1]);
    }
}

TEST_CASE("tasks that threads spawn while the loop closes end in their value or in closed_error", "[loop][spawn][mt]") {
    const ferry_test::frame_count frames;
    for (std::uint64_t round = 0; round < 150; ++round) {
        event_loop loop;
        std::array<ends, 2> seen{};
        std::array<int, 2> spawned{};
        const auto spawner = [&](std::size_t id) {
            dice random(round * 2 + id);
            try {
                for (;;) {
                    auto first = ferry::spawn(loop, seven_after(random.roll(3)));
                    ++spawned[id];
                    { auto dropped = ferry::spawn(loop, hour()); }
                    if (random.roll(2) == 0) {
                        auto second = ferry::spawn(loop, seven_after(0));
                        ++spawned[id];
                        seen[id].note(second);
                    }
                    seen[id].note(first);
                }
            } catch (const ferry::closed_error&) {}
        };
        const auto runner = [&] {
            dice random(round);
            for (int steps = random.roll(30); steps > 0; --steps) loop.run_once(20us);
            loop.close();
        };
        race([&] { spawner(0); }, [&] { spawner(1); }, runner);
        for (std::size_t id : {0u, 1u}) {
            CHECK(seen[id].values + seen[id].closed <= spawned[id]);  // the last one may have been dropped unseen
            CHECK(seen[id].values + seen[id].closed + 1 >= spawned[id]);
            CHECK(seen[id].other == 0);
        }
    }
}

TEST_CASE("loops are made and destroyed on many threads at once, while others wait for their tasks",
          "[loop][event_loop][mt]") {
    const ferry_test::frame_count frames;
    constexpr std::size_t lanes = 3;
    std::mutex mutex;  // guards the mail
    std::array<std::vector<ferry::future<int>>, lanes> mail;
    std::array<ends, lanes> seen{};
    const auto lane = [&](std::size_t id) {
        dice random(id);
        for (int round = 0; round < 200; ++round) {
            event_loop loop;
            {
                const std::lock_guard lock(mutex);
                mail[(id + 1) % lanes].push_back(ferry::spawn(loop, seven_after(random.roll(4))));
            }
            { auto left_behind = ferry::spawn(loop, hour()); }
            loop.run(yield_often(random.roll(4)));
            std::vector<ferry::future<int>> received;
            {
                const std::lock_guard lock(mutex);
                received.swap(mail[id]);
            }
            for (ferry::future<int>& each : received) {
                if (random.roll(2) == 0) {
                    try {
                        (loop.run(std::move(each)) == 7 ? seen[id].values : seen[id].other) += 1;
                    } catch (const ferry::closed_error&) {
                        ++seen[id].closed;
                    }
                } else if (each.wait_for(std::chrono::microseconds(random.roll(20)))) {
                    seen[id].note(each);
                } else {
                    const std::lock_guard lock(mutex);
                    mail[id].push_back(std::move(each));
                }
            }
        }
    };
    // A lane can wait for a neighbour inside its loop's life, so all of them keep running to their end.
    race([&] { lane(0); }, [&] { lane(1); }, [&] { lane(2); });
    int ended = 0;
    for (std::size_t id = 0; id < lanes; ++id) {
        for (ferry::future<int>& each : mail[id]) seen[id].note(each);
        ended += seen[id].values + seen[id].closed;
        CHECK(seen[id].other == 0);
        mail[id].clear();
    }
    CHECK(ended == 200 * static_cast<int>(lanes));
}

TEST_CASE("many threads stop one loop, and one of them wins each run", "[loop][event_loop][mt]") {
    event_loop loop;
    std::atomic<bool> over{false};
    const auto stopper = [&](std::uint64_t seed) {
        dice random(seed);
        while (!over.load(std::memory_order_acquire)) {
            loop.stop();
            random.dawdle();
        }
    };
    int runs = 0;
    const auto runner = [&] {
        for (; runs < 1000; ++runs) loop.run();
        over.store(true, std::memory_order_release);
    };
    race([&] { stopper(1); }, [&] { stopper(2); }, runner);
    CHECK(runs == 1000);
}
