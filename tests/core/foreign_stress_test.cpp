// tests/core/foreign_stress_test.cpp - foreign awaitables that other threads resume or destroy at once, late, or at close
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"
#include "support/race.hpp"

#include <array>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
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
/// What two foreign threads take suspended coroutines from.
class foreign_side {
public:
    void add(std::coroutine_handle<> waiting) {
        const std::lock_guard lock(mutex_);
        waiting_.push_back(waiting);
    }
    void end() {
        const std::lock_guard lock(mutex_);
        ended_ = true;
    }
    /// Resumes or destroys what comes, until end().
    void work(std::uint64_t seed) {
        dice random(seed);
        for (;;) {
            std::coroutine_handle<> next;
            {
                const std::lock_guard lock(mutex_);
                if (waiting_.empty() && ended_) return;
                if (!waiting_.empty()) {
                    next = waiting_.back();
                    waiting_.pop_back();
                }
            }
            if (!next) {
                std::this_thread::yield();
                continue;
            }
            if (random.roll(2) == 0) random.dawdle();
            if (random.roll(3) == 0) {
                next.destroy();
            } else {
                next.resume();
            }
        }
    }

private:
    std::mutex mutex_;  // guards the rest
    std::vector<std::coroutine_handle<>> waiting_;
    bool ended_ = false;
};

/// Knows nothing of ferry. Its value is written by the resuming side of the suspension, before it is published.
class foreign_value {
public:
    foreign_value(foreign_side& side, int value) : side_(side), value_(std::make_unique<int>(value)) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) { side_.add(waiting); }  // resumed, perhaps, before it returns
    std::unique_ptr<int> await_resume() { return std::move(value_); }

private:
    foreign_side& side_;
    std::unique_ptr<int> value_;
};

struct tally {
    int values = 0;
    int destroyed = 0;
    int wrong = 0;
};

task<> awaits_often(event_loop& home, foreign_side& side, int times, tally& seen) {
    for (int i = 0; i < times; ++i) {
        try {
            foreign_value value(side, i);
            const std::unique_ptr<int> got = co_await std::move(value);
            ++(*got == i ? seen.values : seen.wrong);
        } catch (const ferry::broken_promise&) {
            ++seen.destroyed;
        }
        if (event_loop::current() != &home) ++seen.wrong;
    }
}
}  // namespace

TEST_CASE("foreign awaitables resumed or destroyed on other threads send each task home once", "[core][foreign][mt]") {
    const ferry_test::frame_count frames;
    foreign_side side;
    std::array<tally, 3> seen{};
    race([&] { side.work(1); }, [&] { side.work(2); },
         [&] {
             event_loop loop;
             std::vector<ferry::future<void>> tasks;
             for (tally& each : seen) tasks.push_back(ferry::spawn(loop, awaits_often(loop, side, 1'000, each)));
             for (ferry::future<void>& each : tasks) loop.run(std::move(each));
             side.end();
         });
    for (const tally& each : seen) {
        CHECK(each.values + each.destroyed == 1'000);
        CHECK(each.destroyed > 0);
        CHECK(each.wrong == 0);
    }
}

TEST_CASE("a loop that closes, and a time limit that ends, wait for what foreign threads still hold",
          "[core][foreign][mt]") {
    const ferry_test::frame_count frames;
    for (std::uint64_t round = 0; round < 100; ++round) {
        foreign_side side;
        std::array<tally, 3> seen{};
        race([&] { side.work(2 * round); }, [&] { side.work(2 * round + 1); },
             [&] {
                 dice random(round);
                 event_loop loop;
                 for (tally& each : seen) {
                     auto body = awaits_often(loop, side, 20, each);
                     auto limited = ferry::try_timeout(std::chrono::microseconds(random.roll(50)), std::move(body));
                     { auto dropped = ferry::spawn(loop, std::move(limited)); }
                 }
                 for (int turns = 1 + random.roll(20); turns > 0; --turns) loop.run_once(5us);
                 loop.close();
                 side.end();
             });
        for (const tally& each : seen) CHECK((each.wrong == 0 && each.values + each.destroyed == 20));
    }
}
