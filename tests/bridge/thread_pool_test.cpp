// tests/bridge/thread_pool_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>

#include "bridge/progress.hpp"
#include "bridge/reports.hpp"
#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <pthread.h>

using ferry::event_loop;
using ferry::task;
using ferry::thread_pool;
using ferry_test::progress;
using namespace std::chrono_literals;

namespace {
std::string thread_name() {
    char name[16] = {};
    ::pthread_getname_np(::pthread_self(), name, sizeof name);
    return name;
}

/// Calls that say when they have started and end when they are told to.
class held_calls {
public:
    int operator()(int value) {
        started.advance();
        release.wait_for();
        ended_.fetch_add(1);
        return value;
    }
    [[nodiscard]] int ended() const noexcept { return ended_.load(); }
    progress started;
    progress release;

private:
    std::atomic<int> ended_{0};
};

ferry::future<int> call_held(event_loop& loop, thread_pool& pool, held_calls& calls, int value) {
    return ferry::spawn(loop, ferry::to_thread(pool, std::ref(calls), value));
}
int same(int value) { return value; }
}  // namespace

TEST_CASE("a pool starts threads on demand, and never more than its maximum", "[bridge][thread_pool]") {
    const ferry_test::frame_count frames;
    held_calls calls;
    event_loop loop;
    thread_pool pool(3, "busy");
    CHECK(pool.threads() == 0);
    CHECK(pool.max_threads() == 3);
    std::vector<ferry::future<int>> results;
    for (int id = 0; id < 5; ++id) {
        results.push_back(call_held(loop, pool, calls, id));
        loop.run_once();
        CHECK(pool.threads() == static_cast<std::size_t>(std::min(id + 1, 3)));
    }
    calls.started.wait_for(3);
    CHECK(pool.queued() == 2);
    calls.release.advance();
    loop.run_until_idle();
    CHECK(pool.threads() == 3);
    CHECK(pool.queued() == 0);
    for (int id = 0; id < 5; ++id) CHECK(results[static_cast<std::size_t>(id)].get() == id);
}

TEST_CASE("a pool has at least one thread, and a name", "[bridge][thread_pool]") {
    thread_pool pool(0, "least");
    CHECK(pool.max_threads() == 1);
    CHECK(std::string(pool.name()) == "least");
    CHECK(thread_pool::default_size() >= 5);
    CHECK(thread_pool::default_size() <= 32);
    CHECK(thread_pool::default_pool().max_threads() == thread_pool::default_size());
    CHECK(ferry::run(ferry::to_thread(pool, thread_name)) == "least/0");
}

TEST_CASE("the threads of a pool are told apart by their names", "[bridge][thread_pool]") {
    event_loop loop;
    thread_pool pool(2, "db");
    progress both;
    const auto meet = [&both] {
        both.advance();
        both.wait_for(2);
        return thread_name();
    };
    auto first = ferry::spawn(loop, ferry::to_thread(pool, meet));
    auto second = ferry::spawn(loop, ferry::to_thread(pool, meet));
    loop.run_until_idle();
    std::vector<std::string> names{first.get(), second.get()};
    std::sort(names.begin(), names.end());
    CHECK(names == std::vector<std::string>{"db/0", "db/1"});
}

TEST_CASE("calls start in the order they arrive", "[bridge][thread_pool][order]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    thread_pool pool(1);
    std::vector<int> order;
    const auto note = [&order](int id) { order.push_back(id); };
    const auto hundred = [&](ferry::task_group& group) -> task<> {
        for (int id = 0; id < 100; ++id) group.start(ferry::to_thread(pool, note, id));
        co_return;
    };
    loop.run(ferry::with_task_group(hundred));
    REQUIRE(order.size() == 100);
    CHECK(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("a pool takes a thousand calls in flight", "[bridge][thread_pool]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    thread_pool pool(4);
    std::atomic<int> called{0};
    int total = 0;
    const auto twice = [&called](int value) {
        called.fetch_add(1);
        return 2 * value;
    };
    const auto add = [&](int value) -> task<> { total += co_await ferry::to_thread(pool, twice, value); };
    const auto thousand = [&](ferry::task_group& group) -> task<> {
        for (int value = 0; value < 1000; ++value) group.start(add, value);
        co_return;
    };
    loop.run(ferry::with_task_group(thousand));
    CHECK(called == 1000);
    CHECK(total == 999'000);
}

TEST_CASE("a call beyond the queue's limit gets queue_full", "[bridge][thread_pool][order]") {
    const ferry_test::frame_count frames;
    held_calls calls;
    event_loop loop;
    thread_pool pool(1, "small", 2);
    auto running = call_held(loop, pool, calls, 1);
    loop.run_once();
    calls.started.wait_for();
    auto queued = call_held(loop, pool, calls, 2);
    auto last = call_held(loop, pool, calls, 3);
    const auto one_too_many = [&]() -> task<std::string> {
        try {
            co_await ferry::to_thread(pool, std::ref(calls), 4);
        } catch (const ferry::queue_full& caught) {
            co_return caught.what();
        }
        co_return "";
    };
    const std::string refusal = loop.run(one_too_many());
    CHECK(refusal.find("\"small\"") != std::string::npos);
    CHECK(pool.queued() == 2);
    calls.release.advance();
    loop.run_until_idle();
    CHECK(running.get() + queued.get() + last.get() == 6);
    CHECK(loop.run(ferry::to_thread(pool, std::ref(calls), 5)) == 5);  // there is room again
    CHECK(calls.ended() == 4);
}

TEST_CASE("a call that a thread without one is about to take leaves room in the queue", "[bridge][thread_pool]") {
    event_loop loop;
    thread_pool pool(1, "small", 1);
    const auto two_at_once = [&]() -> task<int> {
        auto [first, second] =
            co_await ferry::when_all(ferry::to_thread(pool, same, 1), ferry::to_thread(pool, same, 2));
        co_return first + second;
    };
    for (int round = 0; round < 200; ++round) {
        CHECK(loop.run(two_at_once()) == 3);
        while (pool.metrics().idle == 0) std::this_thread::yield();
    }
}

TEST_CASE(
    "calls that come at once each have a thread of their own, whether it sleeps, looks for calls or is not there yet",
    "[bridge][thread_pool][mt]") {
    constexpr int count = 4;
    event_loop loop;
    thread_pool pool(count);
    progress met;
    const auto meet = [&met](int so_many) {
        met.advance();
        met.wait_for(so_many);
    };
    for (int round = 1; round <= 300; ++round) {
        const auto all = [&](ferry::task_group& group) -> task<> {
            for (int i = 0; i < count; ++i) group.start(ferry::to_thread(pool, meet, round * count));
            co_return;
        };
        loop.run(ferry::with_task_group(all));
        if (round % 3 == 0) std::this_thread::yield();
    }
    CHECK(pool.threads() == count);
}

TEST_CASE("close() refuses what is queued and what comes, and lets finish what runs", "[bridge][thread_pool][order]") {
    const ferry_test::frame_count frames;
    held_calls calls;
    event_loop loop;
    thread_pool pool(1, "closing");
    auto running = call_held(loop, pool, calls, 1);
    auto queued = call_held(loop, pool, calls, 2);
    loop.run_once();
    calls.started.wait_for();
    pool.close();
    pool.close();  // again does nothing
    const auto late = [&]() -> task<std::string> {
        try {
            co_await ferry::to_thread(pool, std::ref(calls), 3);
        } catch (const ferry::closed_error& caught) {
            co_return caught.what();
        }
        co_return "";
    };
    const std::string refusal = loop.run(late());
    CHECK(refusal.find("\"closing\"") != std::string::npos);
    CHECK(!running.is_ready());
    calls.release.advance();
    loop.run_until_idle();
    CHECK(running.get() == 1);
    REQUIRE_THROWS_AS(queued.get(), ferry::closed_error);
    CHECK(calls.ended() == 1);
}

TEST_CASE("destroying a pool joins its threads", "[bridge][thread_pool]") {
    const ferry_test::frame_count frames;
    held_calls calls;
    event_loop loop;
    auto pool = std::make_optional<thread_pool>(1u);
    auto running = call_held(loop, *pool, calls, 1);
    loop.run_once();
    calls.started.wait_for();
    std::thread later([&calls] { calls.release.advance(); });
    pool.reset();
    CHECK(calls.ended() == 1);
    later.join();
    loop.run_until_idle();
    CHECK(running.get() == 1);
}

TEST_CASE("a pool that its own call destroys lets that call finish", "[bridge][thread_pool]") {
    event_loop loop;
    auto pool = std::make_optional<thread_pool>(2u);
    const auto destroy = [&pool](int value) {
        pool.reset();
        return value;
    };
    CHECK(loop.run(ferry::to_thread(*pool, destroy, 7)) == 7);
    CHECK(!pool.has_value());
}

TEST_CASE("a pool destroyed inside a turn ends in the background, and one report says so",
          "[bridge][thread_pool][order]") {
    const ferry_test::reports reports;
    held_calls calls;
    event_loop loop;
    std::vector<ferry::future<int>> running;
    std::vector<ferry::future<int>> queued;
    for (int round = 0; round < 2; ++round) {
        auto pool = std::make_optional<thread_pool>(1u);
        running.push_back(call_held(loop, *pool, calls, round));
        queued.push_back(call_held(loop, *pool, calls, 10));
        loop.run_once();
        calls.started.wait_for(round + 1);
        loop.post([&pool] { pool.reset(); });
        loop.run_once();
        CHECK(!pool.has_value());
        CHECK(!running.back().is_ready());
    }
    CHECK(reports.count() == 1);
    CHECK(reports.mention("thread_pool"));
    calls.release.advance();
    loop.run_until_idle();
    for (int round = 0; round < 2; ++round) {
        CHECK(running[static_cast<std::size_t>(round)].get() == round);
        REQUIRE_THROWS_AS(queued[static_cast<std::size_t>(round)].get(), ferry::closed_error);
    }
}

TEST_CASE("a call may be cancelled when its pool is gone already", "[bridge][thread_pool][order]") {
    const ferry_test::reports reports;
    held_calls calls;
    event_loop loop;
    auto pool = std::make_unique<thread_pool>(1u);
    bool delivered = false;
    const auto wait = [&]() -> task<> {
        const int value = co_await ferry::to_thread(*pool, std::ref(calls), 1);
        delivered = value == 1;
    };
    const auto destroy_then_cancel = [&](ferry::task_group& group) -> task<> {
        group.start(wait);
        group.start(wait);
        co_await ferry::yield_now();
        co_await ferry::yield_now();
        calls.started.wait_for();
        pool.reset();
        group.cancel();
        calls.release.advance();
    };
    REQUIRE_THROWS_AS(loop.run(ferry::with_task_group(destroy_then_cancel)), ferry::closed_error);
    CHECK(delivered);
}

TEST_CASE("pools close while loops on many threads call them: a call has run, or was refused",
          "[bridge][thread_pool][mt]") {
    constexpr int callers = 3;
    for (int round = 0; round < 30; ++round) {
        std::atomic<int> run{0};
        progress begun;
        std::vector<int> values(callers);
        std::vector<int> refused(callers);
        std::vector<std::thread> threads;
        auto pool = std::make_unique<thread_pool>(2u);
        for (std::size_t id = 0; id < callers; ++id) {
            threads.emplace_back([&, id] {
                const auto count = [&run] { run.fetch_add(1, std::memory_order_relaxed); };
                const auto call = [&]() -> task<> {
                    try {
                        co_await ferry::to_thread(*pool, count);
                        ++values[id];
                    } catch (const ferry::closed_error&) {
                        ++refused[id];
                    }
                };
                const auto until_closed = [&](ferry::task_group& group) -> task<> {
                    while (refused[id] == 0) {
                        for (int i = 0; i < 8; ++i) group.start(call);
                        co_await call();
                        begun.advance();
                    }
                };
                ferry::run(ferry::with_task_group(until_closed));
            });
        }
        begun.wait_for(1 + round);
        pool->close();
        for (std::thread& thread : threads) thread.join();
        int delivered = 0;
        for (int count : values) delivered += count;
        CHECK(delivered == run);
        for (int count : refused) CHECK(count > 0);
    }
}
