// tests/bridge/deadlock_run_test.cpp - loops that are run inside a call, a turn or a wait: in the wait graph, and for spares
// SPDX-License-Identifier: BSL-1.0
#include "bridge/scenario.hpp"

#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/limiter.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/deadlock/allowance.hpp>
#include <ferry/deadlock/hang.hpp>
#include <ferry/deadlock/wait_options.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/shared_future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>

using ferry::event_loop;
using ferry::task;
using ferry::to_thread;
using ferry_test::await_blocked_threads;
using ferry_test::progress;
using ferry_test::strict;
using ferry_test::verdicts;
using namespace std::chrono_literals;

namespace {
int seven() { return 7; }
ferry::thread_pool_options with_spares(std::size_t threads, std::size_t spares) {
    return ferry::thread_pool_options().size(threads).name("db").max_spare(spares);
}
}  // namespace

DEADLOCK_SCENARIO(spare_for_run, "L3: a pool starts a spare thread for a call that runs a loop") {
    ferry::thread_pool pool(with_spares(1, 1));
    const auto runs = [&] { return ferry::run(to_thread(pool, seven)); };
    CHECK(ferry::run(to_thread(pool, runs)) == 7);
    CHECK(pool.metrics().blocked == 0);
}

DEADLOCK_SCENARIO(spare_for_idle, "L3: and for one that runs a loop until it is idle") {
    ferry::thread_pool pool(with_spares(1, 1));
    const auto runs = [&] {
        event_loop loop;
        ferry::future<int> called = ferry::spawn(loop, to_thread(pool, seven));
        loop.run_until_idle();
        return called.get();
    };
    CHECK(ferry::run(to_thread(pool, runs)) == 7);
}

DEADLOCK_SCENARIO(spare_for_stop, "L3: and for one that runs a loop until somebody stops it") {
    ferry::thread_pool pool(with_spares(1, 1));
    const auto runs = [&] {
        event_loop loop;
        const auto body = [&]() -> task<> {
            co_await to_thread(pool, seven);
            loop.stop();
        };
        ferry::future<void> called = ferry::spawn(loop, body());
        loop.run();
        called.get();
        return 7;
    };
    CHECK(ferry::run(to_thread(pool, runs)) == 7);
}

DEADLOCK_SCENARIO(run_in_call, "D02 with run(): a call that runs what needs its only thread is refused there") {
    ferry::thread_pool pool(strict(1, "db"));
    verdicts refused;
    int line = 0;
    const auto runs = [&] {
        line = __LINE__ + 1;
        return refused.refuses([&] { return ferry::run(to_thread(pool, seven)); });
    };
    CHECK(ferry::run(to_thread(pool, runs)));
    CHECK(refused.kind() == "pool-exhaustion");
    CHECK(refused.names("thread db/0 waits in event_loop::run (" + std::string(__FILE__) + ":" + std::to_string(line) +
                        ") for task "));
    CHECK(ferry::run(to_thread(pool, seven)) == 7);
}

DEADLOCK_SCENARIO(idle_in_call, "and so is one that turns a loop until it is idle") {
    ferry::thread_pool pool(strict(1, "db"));
    verdicts refused;
    const auto runs = [&] {
        event_loop loop;
        ferry::future<int> called = ferry::spawn(loop, to_thread(pool, seven));
        loop.run_until_idle();
        return refused.refuses([&] { return called.get(); });
    };
    CHECK(ferry::run(to_thread(pool, runs)));
    CHECK(refused.kind() == "pool-exhaustion");
    CHECK(refused.names("thread db/0 waits in event_loop::run_until_idle ("));
}

DEADLOCK_SCENARIO(run_in_call_with_room, "near miss: a second thread is free") {
    ferry::thread_pool pool(strict(2, "db"));
    const auto runs = [&] { return ferry::run(to_thread(pool, seven)); };
    CHECK(ferry::run(to_thread(pool, runs)) == 7);
}

DEADLOCK_SCENARIO(run_in_turn,
                  "a loop that is run inside another one's turn cannot wait for that: its task is refused") {
    event_loop outer;
    event_loop inner;
    verdicts refused;
    const auto nothing = []() -> task<> { co_return; };
    outer.post([&] {
        const ferry::allow_blocking ok("the test wants it");
        ferry::future<void> later = ferry::spawn(outer, nothing().named("later"));
        const auto waits = [&]() -> task<> { co_await std::move(later); };
        CHECK(refused.refuses([&] { inner.run(waits().named("waits")); }));
    });
    outer.run_until_idle();
    CHECK(refused.count() == 1);
    CHECK(refused.names("task waits waits in future ("));
    CHECK(refused.names("task later is on the loop of the main thread, which does not come to it"));
}

DEADLOCK_SCENARIO(run_in_turn_for_others, "near miss: for what another thread does it can") {
    event_loop outer;
    event_loop inner;
    ferry::thread_pool pool(strict(1, "db"));
    int got = 0;
    outer.post([&] {
        const ferry::allow_blocking ok("the test wants it");
        got = inner.run(to_thread(pool, seven));
    });
    outer.run_until_idle();
    CHECK(got == 7);
}

DEADLOCK_SCENARIO(kept_later_by_the_loop,
                  "near miss: the promise is kept by a task of the loop that it runs, by and by") {
    ferry::promise<int> promise;
    ferry::future<int> promised = promise.get_future();
    ferry::thread_pool pool(strict(1, "db"));
    event_loop loop;
    promise.produced_by_this_thread();
    const auto keeps = [](ferry::promise<int>& later) -> task<> {
        co_await ferry::sleep_for(10ms);
        later.set_value(9);
    };
    auto kept = loop.spawn(keeps(promise));
    const auto wants = [&] { return promised.get(); };
    CHECK(loop.run(to_thread(pool, wants)) == 9);
    loop.run(std::move(kept));
}

DEADLOCK_SCENARIO(kept_by_the_loop, "near miss: the promise is kept by a callback of the loop that it runs") {
    ferry::promise<int> promise;
    ferry::future<int> promised = promise.get_future();
    ferry::thread_pool pool(strict(1, "db"));
    event_loop loop;
    promise.produced_by_this_thread();
    const auto wants = [&] { return promised.get(); };
    loop.post([&] { promise.set_value(8); });
    CHECK(loop.run(to_thread(pool, wants)) == 8);
}

DEADLOCK_SCENARIO(buried_ring,
                  "a circle through a loop beneath the one that a call runs is found when that call waits again") {
    ferry::promise<int> promise;
    ferry::future<int> promised = promise.get_future();
    ferry::promise<int> unknown;
    ferry::future<int> of_unknown = unknown.get_future();
    std::optional<ferry::future<int>> buried;
    std::atomic<bool> over{false};
    progress begun;
    progress declared;
    verdicts refused;
    std::thread other([&] {
        promise.produced_by_this_thread();
        declared.advance();
        begun.wait_for();
        refused.refuses([&] { return buried->get(); });
        over = true;
        promise.set_value(1);
    });
    std::thread keeps([&] {
        await_blocked_threads(
            2);  // the other one, and the main thread, in the call that it serves while it runs a loop
        unknown.set_value(2);
    });
    const auto waits_for_unknown = [&] {
        begun.advance();
        return of_unknown.get();
    };
    const auto on_the_loop_above = [&]() -> task<int> {
        const int served = co_await to_thread(ferry::thread_sensitive, waits_for_unknown);
        co_return served + co_await std::move(promised);
    };
    const auto runs = [&] { return ferry::run(on_the_loop_above().named("above")); };
    const auto beneath = [&]() -> task<int> {
        while (!over) co_await ferry::yield_now();
        co_return 4;
    };
    const auto body = [&]() -> task<int> {
        buried = ferry::spawn(beneath().named("beneath"));
        co_return co_await to_thread(ferry::thread_sensitive, runs);
    };
    declared.wait_for();
    CHECK(ferry::block_on(ferry::on_private_loop, body()) == 3);
    other.join();
    keeps.join();
    CHECK(refused.kind() == "wait-cycle");
    CHECK(refused.names("task above"));
    CHECK(refused.names("task beneath is on the loop of the main thread, which does not come to it"));
}

DEADLOCK_SCENARIO(
    driven_again,
    "near miss: the loop beneath the one that a call runs is turned by a call of its own that comes later") {
    ferry::limiter one_at_a_time(1);
    ferry::thread_pool pool(strict(1, "db"));
    std::optional<ferry::shared_future<int>> buried;
    std::atomic<bool> released{false};
    std::atomic<bool> turned{false};
    verdicts refused;
    std::thread releases([&] {
        while (ferry::detail::blocked_threads() == 0 && refused.count() == 0) std::this_thread::yield();
        const std::lock_guard until_it_has_asked(ferry::detail::wait_graph::mutex());
        released = true;
    });
    const auto until_released = [&] {
        while (!released) std::this_thread::yield();
        return 1;
    };
    const auto turns_it = [&] {
        turned = true;
        return buried->get();
    };
    const auto above = [&]() -> task<int> { co_return co_await *buried; };
    const auto runs = [&] {
        int got = 0;
        refused.refuses([&] { return got = ferry::run(above().named("above")); });
        return got;
    };
    const auto beneath = [&]() -> task<int> {
        while (!turned) co_await ferry::yield_now();
        co_return 4;
    };
    const auto holds = ferry::sync_to_async(until_released).on(pool).limited(one_at_a_time);
    const auto turns = ferry::sync_to_async(turns_it).sensitive().limited(one_at_a_time);
    const auto body = [&]() -> task<int> {
        buried = ferry::spawn(beneath().named("beneath")).share();
        const auto all = co_await ferry::when_all(holds(), turns(), to_thread(ferry::thread_sensitive, runs));
        co_return std::get<0>(all) + std::get<1>(all) + std::get<2>(all);
    };
    CHECK(ferry::block_on(ferry::on_private_loop, body()) == 9);
    releases.join();
    CHECK(refused.count() == 0);
}

DEADLOCK_SCENARIO(idle_run, "L6: a call that runs an idle loop is a wait, but none that is reported") {
    const auto before = ferry::set_hang_after(1ms);
    ferry::thread_pool pool(strict(1, "db"));
    event_loop inside;
    progress running;
    const auto runs = [&] {
        inside.post([&] { running.advance(); });
        inside.run();
    };
    std::thread stops([&] {
        running.wait_for();
        const auto until = std::chrono::steady_clock::now() + 10ms;
        while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
        inside.stop();
    });
    ferry::run(to_thread(pool, runs));
    stops.join();
    ferry::set_hang_after(before);
}
