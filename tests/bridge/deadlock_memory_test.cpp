// tests/bridge/deadlock_memory_test.cpp - waits that can never end where there is no memory to find out, or to say so
// SPDX-License-Identifier: BSL-1.0
#include "bridge/scenario.hpp"

#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/loop/async_mutex.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>
#include <thread>
#include <utility>

#ifdef __has_feature
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define FERRY_TEST_CANNOT_REPLACE_NEW  // clang's sanitizers have done so
#endif
#endif

#ifndef FERRY_TEST_CANNOT_REPLACE_NEW
namespace {
constexpr int no_limit = std::numeric_limits<int>::max();
/// How many allocations this thread may make; no more after that.
thread_local int allowed = no_limit;
thread_local bool has_failed = false;
}  // namespace

// Not inlined: GCC 12 would see free() called with what operator new has returned, and say so.
[[gnu::noinline]] void* operator new(std::size_t size) {
    if (allowed != no_limit && allowed-- <= 0) {
        allowed = 0;
        has_failed = true;
        throw std::bad_alloc();
    }
    if (void* const block = std::malloc(size == 0 ? 1 : size)) return block;
    throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    try {
        return operator new(size);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept { std::free(block); }

using ferry::event_loop;
using ferry::task;
using ferry::thread_sensitive;
using ferry::to_thread;
using ferry_test::await_blocked_threads;
using ferry_test::progress;
using ferry_test::scenario_round;
using ferry_test::strict;

namespace {
int seven() { return 7; }

/// Who gets which error where the wait comes that is to be refused.
class outcome {
public:
    /// Runs fn, which may allocate `budget` times from here on, or from limit() on.
    template <class Fn>
    void of(int budget, bool at_once, Fn fn) {
        budget_ = budget;
        has_failed = false;
        if (at_once) limit();
        try {
            fn();
        } catch (const ferry::deadlock_error&) {
            is_refused = true;
        } catch (const std::bad_alloc&) {
            is_refused = true;
        }
        end();
    }
    void limit() noexcept { allowed = budget_; }
    void end() noexcept {
        allowed = no_limit;
        ran_out = has_failed;
    }
    bool is_refused = false;
    bool ran_out = false;

private:
    int budget_ = 0;
};

/// With room for no allocation, for one, and so on, until there is enough. `play(budget)` returns the outcome.
template <class Play>
void with_ever_more_memory(Play play) {
    int budget = 0;
    outcome last;
    do {
        last = play(budget++);
        CHECK(last.is_refused);
    } while (last.ran_out && budget < 1000);
    CHECK(!last.ran_out);
    CHECK(budget > 3);  // it is not the same place each time
}

void thread_without_memory(scenario_round& round) {
    with_ever_more_memory([](int budget) {
        ferry::promise<int> first;
        ferry::promise<int> second;
        ferry::future<int> first_result = first.get_future();
        ferry::future<int> second_result = second.get_future();
        std::thread other([&] {
            second.produced_by_this_thread();
            second.set_value(first_result.get());
        });
        await_blocked_threads(1);
        first.produced_by_this_thread();
        outcome got;
        got.of(budget, true, [&] { second_result.get(); });
        first.set_value(4);
        other.join();
        if (got.is_refused) CHECK(second_result.get() == 4);
        return got;
    });
    round.told.clear();
}

void sent_without_memory(scenario_round& round) {
    ferry::loop_thread there("there");
    with_ever_more_memory([&](int budget) {
        ferry::promise<int> promise;
        ferry::future<int> promised = promise.get_future();
        promise.produced_by_this_thread();
        outcome got;
        progress waits;
        ferry::event main_serves(there.loop());
        // The main thread is awake in this call while the task begins to wait, so its own wait will close the circle.
        const auto is_limited_from_here = [&] {
            there.loop().post([&] { main_serves.set(); });
            waits.wait_for();
            got.limit();
        };
        const auto comes_home = [&]() -> task<> { co_await to_thread(thread_sensitive, is_limited_from_here); };
        const auto whole = [&]() -> task<int> {
            const auto home = ferry::spawn(comes_home());
            co_await main_serves.wait();
            there.loop().post([&] { waits.advance(); });
            co_return co_await std::move(promised);
        };
        got.of(budget, false, [&] { ferry::block_on(there.loop(), whole()); });
        promise.set_value(1);
        return got;
    });
    round.told.clear();
}

void own_loop_without_memory(scenario_round& round) {
    ferry::thread_pool pool(strict(1, "db"));
    event_loop loop;
    with_ever_more_memory([&](int budget) {
        outcome got;
        const auto wants = [&]() -> task<int> {
            got.limit();
            co_return co_await to_thread(pool, seven);
        };
        const auto blocks = [&] { got.of(budget, false, [&] { ferry::block_on(ferry::on_private_loop, wants()); }); };
        const auto body = [&]() -> task<> { co_await to_thread(pool, blocks); };
        loop.run(body());
        return got;
    });
    CHECK(loop.run(to_thread(pool, seven)) == 7);
    round.told.clear();
}

void task_without_memory(scenario_round& round) {
    event_loop loop;
    with_ever_more_memory([&](int budget) {
        ferry::async_mutex a(loop);
        ferry::async_mutex b(loop);
        outcome got;
        const auto first = [&]() -> task<> {
            const auto has_a = co_await a.lock();
            co_await ferry::yield_now();
            const auto has_b = co_await b.lock();
        };
        const auto second = [&]() -> task<> {
            const auto has_b = co_await b.lock();
            co_await ferry::yield_now();
            co_await ferry::yield_now();
            has_failed = false;
            allowed = budget;
            try {
                const auto has_a = co_await a.lock();
            } catch (const ferry::deadlock_error&) {
                got.is_refused = true;
            } catch (const std::bad_alloc&) {
                got.is_refused = true;
            }
            got.end();
        };
        ferry::future<void> one = ferry::spawn(loop, first());
        loop.run(second());
        loop.run(std::move(one));
        return got;
    });
    round.told.clear();
}
}  // namespace

TEST_CASE("a thread whose wait closes a circle is refused, whatever memory is left", "[bridge][deadlock][mt]") {
    scenario_round::play(&thread_without_memory);
}
TEST_CASE("a block_on whose task runs on another loop ends with that task, whatever memory is left to refuse it",
          "[bridge][deadlock][mt]") {
    scenario_round::play(&sent_without_memory);
}
TEST_CASE("a block_on whose task runs on the thread's own loop ends with that task, whatever memory is left",
          "[bridge][deadlock][mt]") {
    scenario_round::play(&own_loop_without_memory);
}
TEST_CASE("a task whose wait closes a circle is refused, whatever memory is left", "[bridge][deadlock][order]") {
    scenario_round::play(&task_without_memory);
}
#endif
