// tests/bridge/limiter_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/limiter.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>

#include "bridge/progress.hpp"
#include "core/frame_count.hpp"
#include "support/catch.hpp"
#include "support/race.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::limiter;
using ferry::task;
using ferry::thread_pool;
using ferry_test::progress;
using namespace std::chrono_literals;

namespace {
class held_call {
public:
    int operator()(int value) {
        started.advance();
        release.wait_for();
        return value;
    }
    progress started;
    progress release;
};
auto held(thread_pool& pool, limiter& limit, held_call& call, int value) {
    return ferry::to_thread(pool, limit, std::ref(call), value);
}
int seven() { return 7; }
}  // namespace

TEST_CASE("calls beyond the limit wait, occupy no thread, and come in their order", "[bridge][limiter][order]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    held_call call;
    std::vector<int> order;
    thread_pool pool(8);
    limiter two(2);
    CHECK(two.limit() == 2);
    std::vector<ferry::future<int>> first;
    for (int id = 0; id < 2; ++id) first.push_back(ferry::spawn(loop, held(pool, two, call, id)));
    const auto note = [&](int id) { order.push_back(id); };  // one after another: the other share stays taken
    held_call last;
    loop.run_once();
    call.started.wait_for(2);
    auto keeps_one = ferry::spawn(loop, held(pool, two, last, 5));
    std::vector<ferry::future<void>> rest;
    for (int id = 0; id < 10; ++id) rest.push_back(ferry::spawn(loop, ferry::to_thread(pool, two, note, id)));
    loop.run_once();
    CHECK(two.running() == 2);
    CHECK(two.waiting() == 11);
    CHECK(pool.threads() == 2);
    CHECK(pool.queued() == 0);
    call.release.advance();
    for (ferry::future<void>& each : rest) loop.run(std::move(each));
    CHECK(order == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
    CHECK(two.running() == 1);
    last.release.advance();
    CHECK(loop.run(std::move(keeps_one)) == 5);
    CHECK(loop.run(std::move(first[0])) + loop.run(std::move(first[1])) == 1);
    CHECK(two.running() == 0);
    CHECK(two.waiting() == 0);
}

TEST_CASE("a limiter lets one call run at least, and other calls are none of its business", "[bridge][limiter]") {
    limiter none(0);
    CHECK(none.limit() == 1);
    CHECK(ferry::run(ferry::to_thread(none, seven)) == 7);
    held_call call;
    event_loop loop;
    thread_pool pool(2);
    auto limited = ferry::spawn(loop, held(pool, none, call, 1));
    loop.run_once();
    call.started.wait_for();
    CHECK(loop.run(ferry::to_thread(pool, seven)) == 7);
    call.release.advance();
    CHECK(loop.run(std::move(limited)) == 1);
}

TEST_CASE("sync_to_async(...).limited() keeps to the limit, also where it is thread-sensitive",
          "[bridge][limiter][order]") {
    event_loop loop;
    held_call call;
    thread_pool pool(4);
    limiter one(1);
    const auto on_pool = ferry::sync_to_async(std::ref(call)).limited(one).on(pool);
    const auto at_home = ferry::sync_to_async(seven).sensitive().limited(one);
    auto first = ferry::spawn(loop, on_pool(1));
    auto second = ferry::spawn(loop, on_pool(2));
    auto third = ferry::spawn(loop, at_home());
    loop.run_once();
    call.started.wait_for();
    CHECK(one.running() == 1);
    CHECK(one.waiting() == 2);
    call.release.advance();
    CHECK(loop.run(std::move(first)) + loop.run(std::move(second)) + loop.run(std::move(third)) == 10);
}

TEST_CASE("a cancelled call leaves its place: one that waits at the limit, and one that was let in and is queued",
          "[bridge][limiter][order]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    held_call busy;
    std::atomic<int> run{0};
    const auto count = [&run] { run.fetch_add(1); };
    thread_pool pool(1);
    limiter two(2);
    const auto body = [&](ferry::task_group& group) -> task<> {
        group.start(held(pool, two, busy, 0));
        co_await ferry::yield_now();
        busy.started.wait_for();
        const auto cancelled = [&](ferry::task_group& inner) -> task<> {
            inner.start(ferry::to_thread(pool, two, count));  // let in, and queued at the pool
            inner.start(ferry::to_thread(pool, two, count));  // waits
            co_await ferry::yield_now();
            CHECK(two.running() == 2);
            CHECK(two.waiting() == 1);
            CHECK(pool.queued() == 1);
            inner.cancel();
        };
        co_await ferry::with_task_group(cancelled);
        CHECK(two.running() == 1);
        CHECK(two.waiting() == 0);
        CHECK(pool.queued() == 0);
        group.start(ferry::to_thread(pool, two, count));
        busy.release.advance();
    };
    loop.run(ferry::with_task_group(body));
    CHECK(run == 1);
    CHECK(two.running() == 0);
}

TEST_CASE("a call that throws passes its share on", "[bridge][limiter]") {
    const ferry_test::frame_count frames;
    limiter one(1);
    const auto fails = [] { throw std::runtime_error("in the call"); };
    for (int i = 0; i < 3; ++i) REQUIRE_THROWS_AS(ferry::run(ferry::to_thread(one, fails)), std::runtime_error);
    CHECK(ferry::run(ferry::to_thread(one, seven)) == 7);
    CHECK(one.running() == 0);
}

TEST_CASE("calls whose pool has closed do not keep the limit from those of others, however many they are",
          "[bridge][limiter][order]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    held_call busy;
    std::optional<thread_pool> closing(std::in_place, 1u);
    thread_pool other(1);
    limiter one(1);
    auto running = ferry::spawn(loop, held(*closing, one, busy, 1));
    loop.run_once();
    busy.started.wait_for();
    int refused = 0;
    const auto refused_one = [&]() -> task<> {
        try {
            co_await ferry::to_thread(*closing, one, seven);
        } catch (const ferry::closed_error&) {
            ++refused;
        }
    };
    const auto many = [&](ferry::task_group& group) -> task<> {
        for (int i = 0; i < 20'000; ++i) group.start(refused_one);
        const auto last = [&]() -> task<> {
            const int value = co_await ferry::to_thread(other, one, seven);
            CHECK(value == 7);
        };
        group.start(last);
        co_await ferry::yield_now();
        co_await ferry::yield_now();
        closing->close();
        busy.release.advance();
    };
    loop.run(ferry::with_task_group(many));
    CHECK(refused == 20'000);
    CHECK(loop.run(std::move(running)) == 1);
    CHECK(one.running() + one.waiting() == 0);
}

TEST_CASE("a limiter may go away before its calls, which keep to the limit", "[bridge][limiter][order]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    held_call call;
    thread_pool pool(4);
    auto limit = std::make_unique<limiter>(1u);
    std::vector<ferry::future<int>> results;
    for (int id = 0; id < 3; ++id) results.push_back(ferry::spawn(loop, held(pool, *limit, call, id)));
    loop.run_once();
    call.started.wait_for();
    limit.reset();
    CHECK(pool.threads() == 1);
    call.release.advance();
    for (int id = 0; id < 3; ++id) CHECK(loop.run(std::move(results[static_cast<std::size_t>(id)])) == id);
}

TEST_CASE("a call that is left behind keeps its share until it has ended", "[bridge][limiter][order]") {
    event_loop loop;
    const auto call = std::make_shared<held_call>();
    thread_pool pool(2);
    limiter one(1);
    const auto waits = [](std::shared_ptr<held_call> what) { (*what)(0); };
    const auto body = [&](ferry::task_group& group) -> task<> {
        group.start(ferry::to_thread(ferry::abandonable, pool, one, waits, call));
        co_await ferry::yield_now();
        call->started.wait_for();
        group.cancel();
    };
    loop.run(ferry::with_task_group(body));
    CHECK(one.running() == 1);
    auto next = ferry::spawn(loop, ferry::to_thread(pool, one, seven));
    loop.run_once();
    CHECK(one.waiting() == 1);
    call->release.advance();
    CHECK(loop.run(std::move(next)) == 7);
}

TEST_CASE("loops on many threads, calls on several pools, and cancellations never exceed a limit, and lose no call",
          "[bridge][limiter][mt]") {
    constexpr int lanes = 3;
    limiter two(2);
    thread_pool small(1);
    thread_pool large(thread_pool::default_size());
    std::atomic<int> inside{0};
    std::atomic<int> most{0};
    std::atomic<int> ended{0};
    const auto work = [&] {
        const int now = inside.fetch_add(1) + 1;
        for (int known = most; now > known && !most.compare_exchange_weak(known, now);) {}
        std::this_thread::yield();
        inside.fetch_sub(1);
        ended.fetch_add(1);
    };
    std::atomic<int> delivered{0};
    const auto lane = [&](int id) {
        ferry_test::dice dice(static_cast<std::uint64_t>(id) + 1);
        event_loop loop;
        const auto call = [&](thread_pool& pool) -> task<> {
            co_await ferry::to_thread(pool, two, work);
            delivered.fetch_add(1);
        };
        const auto crowd = [&](ferry::task_group& group) -> task<> {
            const int calls = 1 + dice.roll(8);
            for (int i = 0; i < calls; ++i) group.start(call, std::ref(dice.roll(2) == 0 ? small : large));
            for (int i = dice.roll(4); i > 0; --i) co_await ferry::yield_now();
            dice.dawdle();
            if (dice.roll(2) == 0) group.cancel();
        };
        for (int round = 0; round < 100; ++round) loop.run(ferry::with_task_group(crowd));
    };
    std::vector<std::thread> threads;
    for (int id = 0; id < lanes; ++id) threads.emplace_back(lane, id);
    for (std::thread& thread : threads) thread.join();
    CHECK(most <= 2);
    CHECK(ended == delivered);
    CHECK(delivered > 0);
    CHECK(two.running() + two.waiting() == 0);
}
