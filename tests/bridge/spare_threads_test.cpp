// tests/bridge/spare_threads_test.cpp - pools whose threads are blocked in waits of ferry's
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>

#include "bridge/progress.hpp"
#include "bridge/reports.hpp"
#include "core/frame_count.hpp"
#include "support/catch.hpp"
#include "support/race.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::task;
using ferry::thread_pool;
using ferry::thread_pool_options;
using ferry_test::progress;
using namespace std::chrono_literals;

namespace {
template <class Condition>
void until(Condition condition) {
    while (!condition()) std::this_thread::yield();
}

/// Calls fn on the pool from `calls` tasks at the same time and returns the sum of what it returns.
template <class Fn>
int sum_of(event_loop& loop, thread_pool& pool, int calls, Fn& fn) {
    int sum = 0;
    const auto one = [&]() -> task<> { sum += co_await ferry::to_thread(pool, std::ref(fn)); };
    const auto all = [&](ferry::task_group& group) -> task<> {
        for (int i = 0; i < calls; ++i) group.start(one);
        co_return;
    };
    loop.run(ferry::with_task_group(all));
    return sum;
}

/// A call that waits, in a wait of ferry's, until it is told to go on.
class blocked_call {
public:
    int operator()() {
        started.advance();
        return future_.get();
    }
    void go_on(int value = 1) { promise_.set_value(value); }
    progress started;

private:
    ferry::promise<int> promise_;
    ferry::future<int> future_ = promise_.get_future();
};
}  // namespace

TEST_CASE("S04: a pool whose threads all wait for it starts spare ones, which end when they are not needed",
          "[bridge][thread_pool][spare]") {
    const ferry_test::frame_count frames;
    const ferry_test::reports reports;
    event_loop loop;
    progress all_there;
    progress ended;
    std::atomic<std::size_t> most_spares{0};
    thread_pool pool(thread_pool_options().name("s04").size(4).max_spare(4).spare_linger(1ms).on_thread_end(
        [&ended] { ended.advance(); }));
    const auto load = [&] {
        const std::size_t spares = pool.metrics().spares;
        for (std::size_t most = most_spares; spares > most && !most_spares.compare_exchange_weak(most, spares);) {}
        return 1;
    };
    const auto fetch = [&]() -> task<int> { co_return co_await ferry::to_thread(pool, load); };
    const auto import = [&] {
        all_there.advance();
        all_there.wait_for(4);
        return ferry::block_on(fetch());
    };
    CHECK(sum_of(loop, pool, 4, import) == 4);
    CHECK(most_spares >= 1);
    CHECK(most_spares <= 4);
    ended.wait_for();
    until([&] { return pool.threads() <= 4; });
    CHECK(pool.metrics().spares == 0);
    CHECK(pool.metrics().blocked == 0);
    CHECK(sum_of(loop, pool, 4, load) == 4);
    CHECK(reports.count() == 0);
}

TEST_CASE("S05: a pool without spare threads whose last free one is only busy loses nothing",
          "[bridge][thread_pool][spare]") {
    const ferry_test::frame_count frames;
    const ferry_test::reports reports;
    event_loop loop;
    progress all_there;
    std::atomic<int> arrived{0};
    thread_pool pool(thread_pool_options().name("s05").size(4).max_spare(0));
    const auto load = [] { return 1; };
    const auto fetch = [&]() -> task<int> { co_return co_await ferry::to_thread(pool, load); };
    const auto import = [&] {
        const bool is_busy = arrived.fetch_add(1) == 3;
        all_there.advance();
        all_there.wait_for(4);
        if (!is_busy) return ferry::block_on(fetch());
        until([&] { return pool.metrics().blocked == 3 && pool.metrics().queued == 3; });  // nobody else is left
        return 1;
    };
    CHECK(sum_of(loop, pool, 4, import) == 4);
    CHECK(pool.threads() == 4);
    CHECK(reports.count() == 0);
}

TEST_CASE("a spare thread comes when a call blocks, and when one is queued while all threads are blocked",
          "[bridge][thread_pool][spare][order]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    thread_pool pool(thread_pool_options().size(1));
    const auto two = [] { return 2; };
    blocked_call first;
    blocked_call second;
    progress may_block;
    const auto block_later = [&] {
        first.started.advance();
        may_block.wait_for();
        return first();
    };
    auto a = ferry::spawn(loop, ferry::to_thread(pool, block_later));
    auto behind_it = ferry::spawn(loop, ferry::to_thread(pool, two));
    loop.run_once();
    first.started.wait_for(1);
    CHECK(pool.threads() == 1);
    CHECK(pool.queued() == 1);
    may_block.advance();
    CHECK(loop.run(std::move(behind_it)) == 2);
    CHECK(pool.metrics().blocked == 1);
    CHECK(pool.threads() == 2);

    auto b = ferry::spawn(loop, ferry::to_thread(pool, std::ref(second)));
    loop.run_once();
    second.started.wait_for();
    until([&] { return pool.metrics().blocked == 2; });
    CHECK(loop.run(ferry::to_thread(pool, two)) == 2);  // a third thread's
    CHECK(pool.metrics().spares == 2);
    first.go_on(3);
    second.go_on(4);
    CHECK(loop.run(std::move(a)) + loop.run(std::move(b)) == 7);
    CHECK(pool.metrics().blocked == 0);
}

TEST_CASE("there are never more spare threads than the pool may have", "[bridge][thread_pool][spare][order]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    std::vector<blocked_call> calls(4);
    thread_pool pool(thread_pool_options().size(1).max_spare(2));
    std::vector<ferry::future<int>> results;
    for (blocked_call& call : calls) results.push_back(ferry::spawn(loop, ferry::to_thread(pool, std::ref(call))));
    loop.run_once();
    for (std::size_t at = 0; at < 3; ++at) calls[at].started.wait_for();
    until([&] { return pool.metrics().blocked == 3; });
    CHECK(pool.threads() == 3);
    CHECK(pool.queued() == 1);
    calls[1].go_on();  // its thread is the one that runs now
    calls[3].started.wait_for();
    CHECK(pool.threads() == 3);
    for (std::size_t at : {0u, 2u, 3u}) calls[at].go_on();
    for (ferry::future<int>& result : results) CHECK(loop.run(std::move(result)) == 1);
}

TEST_CASE("once blocked calls go on, the pool takes no further call until no more than its size run",
          "[bridge][thread_pool][spare][order]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    blocked_call blocked;
    progress begun;
    progress release;
    const auto busy = [&] {
        begun.advance();
        release.wait_for();
        return 2;
    };
    const auto three = [] { return 3; };
    thread_pool pool(thread_pool_options().size(1).max_spare(3));
    auto first = ferry::spawn(loop, ferry::to_thread(pool, std::ref(blocked)));
    auto second = ferry::spawn(loop, ferry::to_thread(pool, busy));
    auto third = ferry::spawn(loop, ferry::to_thread(pool, three));
    loop.run_once();
    begun.wait_for();  // on a spare thread
    blocked.go_on();
    CHECK(loop.run(std::move(first)) == 1);
    until([&] { return pool.metrics().idle == 1; });  // it has not taken the third call
    CHECK(pool.metrics().running == 1);
    CHECK(pool.queued() == 1);
    CHECK(pool.threads() == 2);
    release.advance();
    CHECK(loop.run(std::move(second)) + loop.run(std::move(third)) == 5);
    CHECK(pool.threads() == 2);
}

TEST_CASE("a worker that drives a loop without pause is blocked for its pool all the same",
          "[bridge][thread_pool][spare]") {
    event_loop loop;
    thread_pool pool(thread_pool_options().size(1));
    const auto five = [] { return 5; };
    const auto asks_again_and_again = [&]() -> task<int> {
        auto result = ferry::spawn(ferry::to_thread(pool, five));
        while (!result.is_ready()) co_await ferry::yield_now();
        co_return result.get();
    };
    const auto call = [&] { return ferry::block_on(ferry::on_private_loop, asks_again_and_again()); };
    CHECK(loop.run(ferry::to_thread(pool, call)) == 5);
}

TEST_CASE("a worker that serves a thread-sensitive call while it waits is blocked for its pool all the same",
          "[bridge][thread_pool][spare]") {
    event_loop loop;
    thread_pool pool(thread_pool_options().size(1));
    std::thread::id outer;
    std::thread::id sensitive;
    progress begun;
    progress ended;
    const auto other = [&] {
        begun.wait_for();
        ended.advance();
    };
    const auto at_home = [&] {  // a plain wait, of which the pool learns nothing
        sensitive = std::this_thread::get_id();
        begun.advance();
        ended.wait_for();
        return 6;
    };
    const auto inner = [&]() -> task<int> {
        auto meanwhile = ferry::spawn(ferry::to_thread(pool, other));
        const int value = co_await ferry::to_thread(ferry::thread_sensitive, at_home);
        co_await std::move(meanwhile);
        co_return value;
    };
    const auto call = [&] {
        outer = std::this_thread::get_id();
        return ferry::block_on(inner());
    };
    CHECK(loop.run(ferry::to_thread(pool, call)) == 6);
    CHECK(outer == sensitive);
}

TEST_CASE("calls that wait for further calls of the same small pool all end, while its threads come and go",
          "[bridge][thread_pool][spare][mt]") {
    constexpr int loops = 2;
    constexpr int rounds = 60;
    thread_pool pool(thread_pool_options().size(2).max_spare(64).spare_linger(0ms).idle_end(0ms));
    std::atomic<int> leaves{0};
    class nested {
    public:
        nested(thread_pool& where, std::atomic<int>& count) : pool_(where), leaves_(count) {}
        int operator()(int depth) {
            if (depth == 0) {
                leaves_.fetch_add(1);
                return 1;
            }
            const auto both = [this, depth]() -> task<int> {
                auto left = ferry::spawn(ferry::to_thread(pool_, std::ref(*this), depth - 1));
                const int right = co_await ferry::to_thread(pool_, std::ref(*this), depth - 1);
                co_return right + co_await std::move(left);
            };
            return ferry::block_on(both());
        }

    private:
        thread_pool& pool_;
        std::atomic<int>& leaves_;
    };
    nested tree(pool, leaves);
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int id = 0; id < loops; ++id) {
        threads.emplace_back([&, id] {
            ferry_test::dice dice(static_cast<std::uint64_t>(id) + 1);
            event_loop loop;
            for (int round = 0; round < rounds; ++round) {
                const int depth = dice.roll(4);
                if (loop.run(ferry::to_thread(pool, std::ref(tree), depth)) != 1 << depth) wrong.fetch_add(1);
                dice.dawdle();
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    until([&] { return pool.threads() == 0; });
    const ferry::pool_metrics metrics = pool.metrics();
    CHECK(metrics.queued + metrics.running + metrics.blocked + metrics.idle + metrics.spares == 0);
    CHECK(leaves > 0);
}
