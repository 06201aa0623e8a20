// tests/bridge/deadlock_locks_test.cpp - mutexes and semaphores in circles of waits, and near misses
// SPDX-License-Identifier: BSL-1.0
#include "bridge/lock_tasks.hpp"
#include "bridge/scenario.hpp"

#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/loop/async_mutex.hpp>
#include <ferry/loop/async_shared_mutex.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/semaphore.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <thread>
#include <utility>

using ferry::async_mutex;
using ferry::event_loop;
using ferry::task;
using ferry::to_thread;
using ferry_test::await_blocked_threads;
using ferry_test::hold_until;
using ferry_test::judged;
using ferry_test::lock_and_go;
using ferry_test::strict;
using ferry_test::verdicts;
using ferry_test::works;
using namespace std::chrono_literals;

DEADLOCK_SCENARIO(mutex_over_call, "S08, D06: a task holds a mutex over a call that blocks for a task that wants it") {
    event_loop loop;
    async_mutex mutex(loop);
    ferry::thread_pool pool(strict(1, "db"));
    verdicts refused;
    const auto job = [&] { ferry::block_on(lock_and_go(mutex).named("save_row")); };
    const auto holds = [&]() -> task<> {
        const async_mutex::guard held = co_await mutex.lock();
        co_await to_thread(pool, job);
    };
    loop.run(judged(refused, holds()).named("import"));
    CHECK(refused.kind() == "async-mutex");
    for (const char* party : {"task save_row", "task import", "thread db/0"}) CHECK(refused.names(party));
    CHECK(refused.names("that task import has held since "));
    CHECK(refused.names("deadlock_locks_test.cpp:"));
    CHECK(refused.report().find("\n  held      : the async_mutex that task import has held since ") !=
          std::string::npos);
    CHECK(loop.run(works(mutex)));
}

DEADLOCK_SCENARIO(mutex_over_free_call, "S08, near miss: the mutex is given back before the call") {
    event_loop loop;
    async_mutex mutex(loop);
    ferry::thread_pool pool(strict(1, "db"));
    const auto job = [&] { ferry::block_on(lock_and_go(mutex)); };
    const auto holds = [&]() -> task<> {
        async_mutex::guard held = co_await mutex.lock();
        held.unlock();
        co_await to_thread(pool, job);
    };
    loop.run(holds());
    CHECK(loop.run(works(mutex)));
}

DEADLOCK_SCENARIO(mutex_of_another, "S08, near miss: somebody else holds the mutex, and gives it back") {
    event_loop loop;
    async_mutex mutex(loop);
    ferry::event end(loop);
    ferry::thread_pool pool(strict(1, "db"));
    const auto job = [&] { ferry::block_on(lock_and_go(mutex)); };
    auto holder = ferry::spawn(loop, hold_until(mutex, end));
    auto caller = ferry::spawn(loop, to_thread(pool, job));
    std::thread other([&] {
        await_blocked_threads(1);
        loop.post([&] { end.set(); });
    });
    const auto both = [&]() -> task<> {
        co_await std::move(caller);
        co_await std::move(holder);
    };
    loop.run(both());
    other.join();
}

namespace {
task<> one_then_other(async_mutex& first, async_mutex& second, ferry::event& mine, ferry::event& theirs) {
    const async_mutex::guard outer = co_await first.lock();
    mine.set();
    co_await theirs.wait();
    const async_mutex::guard inner = co_await second.lock();
}
}  // namespace

DEADLOCK_SCENARIO(two_mutexes, "S09: tasks that take two mutexes in opposite orders, and meet; one of them goes on") {
    event_loop loop;
    async_mutex a(loop);
    async_mutex b(loop);
    ferry::event has_a(loop);
    ferry::event has_b(loop);
    verdicts refused;
    auto first = ferry::spawn(loop, judged(refused, one_then_other(a, b, has_a, has_b)).named("transfer"));
    auto second = ferry::spawn(loop, judged(refused, one_then_other(b, a, has_b, has_a)).named("audit"));
    const auto both = [&]() -> task<> {
        co_await std::move(first);
        co_await std::move(second);
    };
    loop.run(both());
    CHECK(refused.kind() == "async-mutex-cycle");
    CHECK(refused.names("task transfer"));
    CHECK(refused.names("task audit"));
    CHECK(refused.lines() == 2);
    CHECK(loop.run(works(a)));
    CHECK(loop.run(works(b)));
}

DEADLOCK_SCENARIO(orders_apart, "S10: opposite orders at different times: no error and no report") {
    event_loop loop;
    async_mutex a(loop);
    async_mutex b(loop);
    ferry::event now(loop);
    now.set();
    loop.run(one_then_other(a, b, now, now));
    loop.run(one_then_other(b, a, now, now));
}

DEADLOCK_SCENARIO(mutex_twice, "a task that locks a mutex twice is refused, and holds it still") {
    event_loop loop;
    async_mutex mutex(loop);
    verdicts refused;
    const auto twice = [&]() -> task<> {
        const async_mutex::guard held = co_await mutex.lock();
        co_await judged(refused, lock_and_go(mutex));
        CHECK(mutex.locked());
    };
    loop.run(twice().named("recursive"));
    CHECK(refused.kind() == "async-mutex-cycle");
    CHECK(refused.names("task recursive"));
    CHECK(refused.lines() == 1);
    CHECK(loop.run(works(mutex)));
}

DEADLOCK_SCENARIO(detached_guard,
                  "near miss: a task waits for a mutex whose guard was detached, and anybody may unlock it") {
    event_loop loop;
    async_mutex mutex(loop);
    const auto twice = [&]() -> task<> {
        async_mutex::guard held = co_await mutex.lock();
        held.detach();
        loop.post([&] { mutex.unlock(); });
        co_await lock_and_go(mutex);
    };
    loop.run(twice());
}

DEADLOCK_SCENARIO(limited_lock, "near miss: a task waits for its own mutex with a time limit, or inside a timeout") {
    ferry::virtual_clock clock;
    event_loop loop(clock);
    async_mutex mutex(loop);
    const auto twice = [&]() -> task<> {
        const async_mutex::guard held = co_await mutex.lock();
        const async_mutex::guard none = co_await mutex.try_lock_for(1s);
        CHECK(!none);
        const bool in_time = co_await ferry::try_timeout(1s, lock_and_go(mutex));
        CHECK(!in_time);
    };
    loop.run(twice());
}

namespace {
/// Takes `before` permits, says so, waits for the others, then wants `then` more.
task<> take_more(ferry::semaphore& from, std::size_t before, std::size_t then, ferry::event& mine,
                 ferry::event& theirs) {
    const ferry::semaphore::permit some = co_await from.acquire(before);
    mine.set();
    co_await theirs.wait();
    const ferry::semaphore::permit more = co_await from.acquire(then);
}
}  // namespace

DEADLOCK_SCENARIO(semaphore_counts, "two tasks that hold two and one of three permits and want two more each") {
    event_loop loop;
    ferry::semaphore permits(loop, 3);
    ferry::event one(loop);
    ferry::event two(loop);
    verdicts refused;
    auto first = ferry::spawn(loop, judged(refused, take_more(permits, 2, 2, one, two)).named("big"));
    auto second = ferry::spawn(loop, judged(refused, take_more(permits, 1, 2, two, one)).named("small"));
    const auto both = [&]() -> task<> {
        co_await std::move(first);
        co_await std::move(second);
    };
    loop.run(both());
    CHECK(refused.kind() == "async-mutex-cycle");
    CHECK(refused.names("task big"));
    CHECK(refused.names("task small"));
    CHECK(permits.available() == 3);
}

DEADLOCK_SCENARIO(enough_permits, "near miss: the same with a third holder, who gives one back") {
    event_loop loop;
    ferry::semaphore permits(loop, 4);
    ferry::event one(loop);
    ferry::event two(loop);
    ferry::event end(loop);
    const auto third = [&]() -> task<> {
        const ferry::semaphore::permit kept = co_await permits.acquire();
        co_await end.wait();
    };
    auto holder = ferry::spawn(loop, third());
    auto first = ferry::spawn(loop, take_more(permits, 2, 1, one, two));
    auto second = ferry::spawn(loop, take_more(permits, 1, 1, two, one));
    const auto all = [&]() -> task<> {
        while (!one.is_set() || !two.is_set()) co_await ferry::yield_now();
        co_await ferry::yield_now();
        end.set();
        co_await std::move(first);
        co_await std::move(second);
        co_await std::move(holder);
    };
    loop.run(all());
    CHECK(permits.available() == 4);
}

DEADLOCK_SCENARIO(released_without_permit,
                  "near miss: somebody has released a semaphore without a permit, and may again") {
    event_loop loop;
    ferry::semaphore permits(loop, 0);
    permits.release();
    const auto body = [&]() -> task<> {
        const ferry::semaphore::permit held = co_await permits.acquire();
        loop.post([&] { permits.release(); });
        const ferry::semaphore::permit more = co_await permits.acquire();
    };
    loop.run(body());
}

DEADLOCK_SCENARIO(upgrade, "two readers of an async_shared_mutex that both want to write") {
    event_loop loop;
    ferry::async_shared_mutex mutex(loop);
    ferry::event one(loop);
    ferry::event two(loop);
    verdicts refused;
    const auto upgrades = [&](ferry::event& mine, ferry::event& theirs) -> task<> {
        const auto read = co_await mutex.lock_shared();
        mine.set();
        co_await theirs.wait();
        const auto write = co_await mutex.lock();
    };
    auto first = ferry::spawn(loop, judged(refused, upgrades(one, two)).named("reader_1"));
    auto second = ferry::spawn(loop, judged(refused, upgrades(two, one)).named("reader_2"));
    const auto both = [&]() -> task<> {
        co_await std::move(first);
        co_await std::move(second);
    };
    loop.run(both());
    // The first waits for the second, which may yet go; the second would wait for both. Once it has gone, the first waits for
    // nobody but itself, and is told, too.
    CHECK(refused.count() >= 1);
    CHECK(refused.all_are("async-mutex-cycle"));
    CHECK(refused.names("task reader_1"));
    const auto write = [&]() -> task<> { const auto held = co_await mutex.lock(); };
    loop.run(write());
}

DEADLOCK_SCENARIO(readers, "near miss: readers beside each other, and a writer that waits for them") {
    event_loop loop;
    ferry::async_shared_mutex mutex(loop);
    ferry::event end(loop);
    const auto reads = [&]() -> task<> {
        const auto read = co_await mutex.lock_shared();
        co_await end.wait();
    };
    const auto writes = [&]() -> task<> { const auto write = co_await mutex.lock(); };
    auto first = ferry::spawn(loop, reads());
    auto second = ferry::spawn(loop, reads());
    auto writer = ferry::spawn(loop, writes());
    const auto all = [&]() -> task<> {
        co_await ferry::yield_now();
        end.set();
        co_await std::move(first);
        co_await std::move(second);
        co_await std::move(writer);
    };
    loop.run(all());
}
