// tests/bridge/pool_observer_test.cpp - what a pool tells of its calls, one by one and in sum
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/pool_observer.hpp>
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

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::pool_call;
using ferry::pool_metrics;
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
int seven() { return 7; }

/// Notes what it is told.
class witness final : public ferry::pool_observer {
public:
    void enqueued(const pool_call& call) noexcept override { note("enqueued", call); }
    void dropped(const pool_call& call) noexcept override { note("dropped", call); }
    void started(const pool_call& call) noexcept override { note("started", call); }
    void ended(const pool_call& call) noexcept override {
        note("ended", call);
        const std::lock_guard lock(mutex_);
        last_ = call;
    }
    /// "EVENT CALL POOL [THREAD]", in the order in which they came.
    [[nodiscard]] std::vector<std::string> told() const {
        const std::lock_guard lock(mutex_);
        return told_;
    }
    [[nodiscard]] pool_call last() const {
        const std::lock_guard lock(mutex_);
        return last_;
    }

private:
    void note(std::string text, const pool_call& call) {
        text.append(" ").append(ferry::detail::short_name(call.name)).append(" ").append(call.pool);
        if (call.thread != nullptr) text.append(" ").append(call.thread);
        const std::lock_guard lock(mutex_);
        told_.push_back(text);
    }
    mutable std::mutex mutex_;  // guards what follows
    std::vector<std::string> told_;
    pool_call last_;
};
using strings = std::vector<std::string>;

/// Counts only: what many threads tell at the same time.
class counting_witness final : public ferry::pool_observer {
public:
    void enqueued(const pool_call&) noexcept override { ++enqueued_calls; }
    void dropped(const pool_call&) noexcept override { ++dropped_calls; }
    void started(const pool_call&) noexcept override { ++started_calls; }
    void ended(const pool_call&) noexcept override { ++ended_calls; }
    std::atomic<int> enqueued_calls{0};
    std::atomic<int> dropped_calls{0};
    std::atomic<int> started_calls{0};
    std::atomic<int> ended_calls{0};
};

class held_call {
public:
    void operator()() {
        started.advance();
        release.wait_for();
    }
    progress started;
    progress release;
};
task<int> load_page(thread_pool& pool) { co_return co_await ferry::to_thread(pool, seven); }
}  // namespace

TEST_CASE("an observer is told of each call, by its name, before the awaiting task goes on",
          "[bridge][pool_observer]") {
    const ferry_test::frame_count frames;
    witness seen;
    thread_pool pool(thread_pool_options().name("db").size(1).observer(seen));
    CHECK(ferry::run(load_page(pool)) == 7);
    CHECK(seen.told() == strings{"enqueued load_page db", "started load_page db db/0", "ended load_page db db/0"});
    const auto named = ferry::sync_to_async(seven).on(pool).named("count_rows");
    CHECK(ferry::run(named()) == 7);
    CHECK(seen.told().back() == "ended count_rows db db/0");
    const auto fails = [] { throw std::runtime_error("in the call"); };
    REQUIRE_THROWS_AS(ferry::run(ferry::to_thread(pool, fails)), std::runtime_error);
    CHECK(seen.told().size() == 9);
    CHECK(seen.told().back().starts_with("ended "));
}

TEST_CASE("an observer is told how long a call was queued, and how long it ran", "[bridge][pool_observer][order]") {
    const ferry_test::frame_count frames;
    witness seen;
    event_loop loop;
    held_call first;
    held_call second;
    thread_pool pool(thread_pool_options().size(1).observer(seen));
    auto one = ferry::spawn(loop, ferry::to_thread(pool, std::ref(first)));
    auto two = ferry::spawn(loop, ferry::to_thread(pool, std::ref(second)));
    loop.run_once();
    first.started.wait_for();
    const auto both_there = std::chrono::steady_clock::now();
    until([&] { return std::chrono::steady_clock::now() - both_there >= 2ms; });  // that long at least
    first.release.advance();
    loop.run(std::move(one));
    const std::chrono::nanoseconds first_run = seen.last().run_time;
    CHECK(first_run >= 2ms);
    second.started.wait_for();
    second.release.advance();
    loop.run(std::move(two));
    CHECK(seen.last().queue_time >= 2ms);

    const pool_metrics metrics = pool.metrics();
    CHECK(metrics.calls == 2);
    CHECK(metrics.max_queue_time == seen.last().queue_time);
    CHECK(metrics.queue_time >= metrics.max_queue_time);
    CHECK(metrics.max_run_time >= 2ms);
    CHECK(metrics.run_time == first_run + seen.last().run_time);
}

TEST_CASE("what will not run is dropped: refused, withdrawn, or closed", "[bridge][pool_observer][order]") {
    const ferry_test::frame_count frames;
    witness seen;
    event_loop loop;
    held_call held;
    thread_pool pool(thread_pool_options().name("p").size(1).queue_limit(1).observer(seen));
    const auto call = ferry::sync_to_async(seven).on(pool);
    const auto body = [&](ferry::task_group& group) -> task<> {
        group.start(ferry::to_thread(pool, std::ref(held)));
        co_await ferry::yield_now();
        held.started.wait_for();
        const auto waits = [&](ferry::task_group& inner) -> task<> {
            inner.start(call.named("withdrawn")());
            co_await ferry::yield_now();
            bool full = false;
            try {
                co_await call.named("refused")();
            } catch (const ferry::queue_full&) {
                full = true;
            }
            CHECK(full);
            inner.cancel();
        };
        co_await ferry::with_task_group(waits);
        auto queued = ferry::spawn(call.named("closed")());
        co_await ferry::yield_now();
        pool.close();
        bool closed = false;
        try {
            co_await std::move(queued);
        } catch (const ferry::closed_error&) {
            closed = true;
        }
        CHECK(closed);
        try {
            co_await call.named("late")();
        } catch (const ferry::closed_error&) {
            closed = false;
        }
        CHECK(!closed);
        held.release.advance();
    };
    loop.run(ferry::with_task_group(body));
    strings dropped;
    for (const std::string& text : seen.told()) {
        if (text.starts_with("dropped ")) dropped.push_back(text);
    }
    CHECK(dropped == strings{"dropped refused p", "dropped withdrawn p", "dropped closed p", "dropped late p"});
    CHECK(pool.metrics().calls == 1);
}

TEST_CASE("for an observer each call is enqueued, and then dropped, or started and ended",
          "[bridge][pool_observer][mt]") {
    counting_witness seen;
    std::atomic<int> run{0};
    {
        thread_pool pool(thread_pool_options().size(2).idle_end(0ms).queue_limit(4).observer(seen));
        const auto count = [&run] { run.fetch_add(1, std::memory_order_relaxed); };
        const auto call = [&]() -> task<> {
            try {
                co_await ferry::to_thread(pool, count);
            } catch (const ferry::queue_full&) {}
        };
        const auto crowd = [&](ferry::task_group& group) -> task<> {
            for (int i = 0; i < 300; ++i) {
                group.start(call);
                if (i % 7 == 0) co_await ferry::yield_now();
            }
            group.cancel();
        };
        std::vector<std::thread> threads;
        for (int id = 0; id < 2; ++id) threads.emplace_back([&] { ferry::run(ferry::with_task_group(crowd)); });
        for (std::thread& thread : threads) thread.join();
        ferry::run(ferry::to_thread(pool, count));  // one at least runs
    }
    CHECK(seen.started_calls == run);
    CHECK(seen.ended_calls == run);
    CHECK(seen.enqueued_calls == seen.dropped_calls + run);
    CHECK(run > 0);
}

TEST_CASE("metrics count the calls and threads of a pool at one moment", "[bridge][pool_observer][order]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    held_call held;
    ferry::promise<int> awaited;
    ferry::future<int> result = awaited.get_future();
    progress about_to_block;
    thread_pool pool(thread_pool_options().size(2).queue_limit(1).when_full(ferry::full_queue::wait).max_spare(1));
    const pool_metrics unused = pool.metrics();
    CHECK(unused.threads + unused.calls + unused.running + unused.queued + unused.idle == 0);

    std::vector<ferry::future<void>> calls;
    calls.push_back(ferry::spawn(loop, ferry::to_thread(pool, std::ref(held))));
    const auto blocks = [&result] { static_cast<void>(result.get()); };
    calls.push_back(ferry::spawn(loop, ferry::to_thread(pool, blocks)));
    loop.run_once();
    held.started.wait_for();
    until([&] { return pool.metrics().blocked == 1; });
    for (int i = 0; i < 3; ++i) calls.push_back(ferry::spawn(loop, ferry::to_thread(pool, std::ref(held))));
    loop.run_once();
    held.started.wait_for(2);  // the second one on a spare thread; two threads run calls now
    const pool_metrics busy = pool.metrics();
    CHECK(busy.threads == 3);
    CHECK(busy.spares == 1);
    CHECK(busy.running == 3);
    CHECK(busy.blocked == 1);
    CHECK(busy.idle == 0);
    CHECK(busy.queued == 1);
    CHECK(busy.waiting == 1);
    CHECK(busy.calls == 0);
    awaited.set_value(0);
    held.release.advance();
    for (ferry::future<void>& call : calls) loop.run(std::move(call));
    until([&] { return pool.metrics().idle == 3; });
    const pool_metrics done = pool.metrics();
    CHECK(done.calls == 5);
    CHECK(done.running + done.blocked + done.queued + done.waiting == 0);
    CHECK(done.run_time == 0ns);  // it does not measure
    CHECK(done.max_queue_time == 0ns);
}

TEST_CASE("a measured pool sums up times without an observer", "[bridge][pool_observer]") {
    thread_pool pool(thread_pool_options().size(1).idle_end(0ms).measured());
    const auto takes_a_while = [] {
        const auto began = std::chrono::steady_clock::now();
        until([&] { return std::chrono::steady_clock::now() - began >= 1ms; });
    };
    for (int i = 0; i < 3; ++i) ferry::run(ferry::to_thread(pool, takes_a_while));
    until([&] { return pool.threads() == 0; });  // the sums outlive the threads
    const pool_metrics metrics = pool.metrics();
    CHECK(metrics.calls == 3);
    CHECK(metrics.run_time >= 3ms);
    CHECK(metrics.max_run_time >= 1ms);
    CHECK(metrics.max_run_time <= metrics.run_time);
    CHECK(metrics.queue_time > 0ns);
}
