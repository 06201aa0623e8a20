// tests/bridge/homes_stress_test.cpp - homes that come and go while threads and tasks send them calls
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/bridge/thread_sensitive.hpp>
#include <ferry/core/error.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>

#include "support/catch.hpp"
#include "support/race.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::task;
using ferry::thread_sensitive;
using ferry::to_thread;
using ferry_test::dice;
using ferry_test::race;
using namespace std::chrono_literals;

TEST_CASE("calls race the end of their home: each runs once, at home or further out, or was withdrawn",
          "[bridge][homes][mt]") {
    // Tasks of another loop call home to a frame that returns meanwhile, with time limits that are over at once.
    ferry::loop_thread elsewhere;
    std::atomic<int> runs{0};
    std::atomic<int> delivered{0};
    std::atomic<int> withdrawn{0};
    std::atomic<int> at_once{0};
    std::atomic<int> wrong{0};
    const auto call = [&](std::thread::id home) {
        // At home they run one at a time; what was re-homed runs on the one sensitive thread.
        if (std::this_thread::get_id() == home && at_once.fetch_add(1) != 0) wrong.fetch_add(1);
        runs.fetch_add(1);
        if (std::this_thread::get_id() == home) at_once.fetch_sub(1);
        return 1;
    };
    const auto calls_home = [&](std::uint64_t seed, std::thread::id home) -> task<> {
        dice random(seed);
        for (int i = random.roll(4); i > 0; --i) co_await ferry::yield_now();
        for (int i = 0; i < 3; ++i) {
            if (random.roll(3) == 0) {
                const auto value = co_await ferry::try_timeout(0ns, to_thread(thread_sensitive, call, home));
                (value ? delivered : withdrawn).fetch_add(1);
            } else {
                const int one = co_await to_thread(thread_sensitive, call, home);
                delivered.fetch_add(one);
            }
        }
    };
    std::vector<ferry::future<void>> left;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        dice random(seed);
        const int yields = random.roll(8);
        const std::thread::id here = std::this_thread::get_id();
        const auto frame = [&]() -> task<> {
            for (std::uint64_t i = 0; i < 4; ++i) left.push_back(ferry::spawn(calls_home(seed * 10 + i, here)));
            for (int i = 0; i < yields; ++i) co_await ferry::yield_now();
        };
        ferry::block_on(elsewhere.loop(), frame());
    }
    for (ferry::future<void>& each : left) each.get();
    CHECK(runs == delivered);
    CHECK(delivered + withdrawn == 300 * 4 * 3);
    CHECK(wrong == 0);
}

TEST_CASE("threads that end with their loops and queues race the calls that come to them", "[bridge][homes][mt]") {
    std::atomic<int> runs{0};
    const auto count = [&] { runs.fetch_add(1); };
    const auto body = [&](std::uint64_t seed) -> task<> {
        dice random(seed);
        for (int i = random.roll(5); i > 0; --i) co_await to_thread(thread_sensitive, count);
        { auto left = ferry::spawn(to_thread(thread_sensitive, count)); }
        for (int i = random.roll(3); i > 0; --i) co_await ferry::yield_now();
    };
    const auto lane = [&](std::uint64_t lane_seed) {
        for (std::uint64_t i = 0; i < 100; ++i) {
            std::thread short_lived([&, i] { ferry::block_on(body(lane_seed * 1000 + i)); });
            short_lived.join();
        }
    };
    race([&] { lane(1); }, [&] { lane(2); });
    CHECK(runs > 0);
}

TEST_CASE("a thread that sleeps in its loop is woken by whoever comes first, and loses nobody", "[bridge][homes][mt]") {
    // Each round of the ping-pong wakes the sleeping thread in one of its three ways: a post to the loop that it drives, a
    // call that comes home, the end of what it waits for.
    ferry::thread_pool pool(2);
    std::atomic<int> at_home{0};
    const auto nothing = [&] { at_home.fetch_add(1); };
    const auto home_call = [&]() -> task<> { co_await to_thread(thread_sensitive, nothing); };
    const auto from_pool = [&](std::uint64_t seed) {
        dice random(seed);
        random.dawdle();
    };
    const auto body = [&](std::uint64_t seed) -> task<> {
        dice random(seed);
        for (int i = 0; i < 20; ++i) {
            auto call = ferry::spawn(home_call());
            co_await to_thread(pool, from_pool, seed * 100 + static_cast<std::uint64_t>(i));
            if (random.roll(2) == 0) co_await ferry::sleep_for(std::chrono::microseconds(random.roll(20)));
            co_await std::move(call);
        }
    };
    for (std::uint64_t seed = 1; seed <= 20; ++seed) ferry::block_on(body(seed));
    CHECK(at_home == 400);
    // The same where the loop is another thread's, and only calls and the end wake this one.
    ferry::loop_thread elsewhere;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) ferry::block_on(elsewhere.loop(), body(seed));
    CHECK(at_home == 800);
}

TEST_CASE("futures wake a home thread that waits with time limits in a call, whatever it drives",
          "[bridge][homes][mt]") {
    int came = 0;
    int late = 0;
    for (std::uint64_t seed = 1; seed <= 150; ++seed) {
        dice random(seed);
        ferry::promise<int> promise;
        const ferry::future<int> future = promise.get_future();
        const auto limit = std::chrono::microseconds(random.roll(60));
        const auto waits = [&] { return future.wait_for(limit); };
        const auto body = [&]() -> task<> {
            { auto left = ferry::spawn(ferry::sleep_for(1h)); }
            co_await ferry::yield_now();
            const bool in_time = co_await to_thread(thread_sensitive, waits);
            (in_time ? came : late) += 1;
        };
        race(
            [&] {
                dice mine(seed * 3);
                mine.dawdle();
                promise.set_value(1);
            },
            [&] { ferry::block_on(body()); });
    }
    CHECK(came + late == 150);
}

TEST_CASE("tokens for a sleeping thread race its going to sleep and its waking", "[bridge][homes][mt]") {
    class place final : public ferry::detail::wakeable {
    public:
        void wake() noexcept override {
            woken.store(true, std::memory_order_release);
            woken.notify_all();
        }
        std::atomic<bool> woken{false};
    };
    for (std::uint64_t seed = 1; seed <= 400; ++seed) {
        std::atomic<ferry::detail::thread_parker*> parker{nullptr};
        std::atomic<int> sent{0};
        const auto sends = [&](std::uint64_t mine) {
            dice random(mine);
            while (parker.load() == nullptr) std::this_thread::yield();
            random.dawdle();
            sent.fetch_add(1);
            parker.load()->unpark();
        };
        race([&] { sends(seed * 2); }, [&] { sends(seed * 3); },
             [&] {
                 dice random(seed * 5);
                 ferry::detail::thread_parker& mine = ferry::detail::thread_parker::of_this_thread();
                 parker = &mine;
                 random.dawdle();
                 while (sent.load() < 2) {
                     place elsewhere;
                     if (!mine.begin_sleep_in(elsewhere)) continue;
                     if (sent.load() < 2) elsewhere.woken.wait(false);
                     mine.end_sleep_in();  // the place goes away: nobody may touch it any more
                 }
             });
    }
}
