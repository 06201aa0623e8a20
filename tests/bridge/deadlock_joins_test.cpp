// tests/bridge/deadlock_joins_test.cpp - joins, deadlines and other loops in circles of waits, and near misses
// SPDX-License-Identifier: BSL-1.0
#include "bridge/lock_tasks.hpp"
#include "bridge/scenario.hpp"

#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/shield.hpp>
#include <ferry/loop/async_mutex.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/on.hpp>
#include <ferry/loop/shared_future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <chrono>
#include <exception>
#include <optional>
#include <stdexcept>
#include <utility>

using ferry::async_mutex;
using ferry::event_loop;
using ferry::task;
using ferry::to_thread;
using ferry_test::judged;
using ferry_test::lock_and_go;
using ferry_test::progress;
using ferry_test::strict;
using ferry_test::verdicts;
using ferry_test::works;
using namespace std::chrono_literals;

DEADLOCK_SCENARIO(self_await, "S13: a task that awaits its own result is refused at the await") {
    event_loop loop;
    verdicts refused;
    std::optional<ferry::shared_future<void>> own;
    const auto body = [&]() -> task<> {
        const ferry::shared_future<void> self = *own;
        try {
            co_await self;
        } catch (const ferry::deadlock_error&) {
            refused.keep(std::current_exception());
        }
    };
    own = ferry::spawn(loop, body().named("narcissus")).share();
    loop.run_until_idle();
    own->get();
    CHECK(refused.kind() == "self-await");
    CHECK(refused.names("task narcissus"));
}

DEADLOCK_SCENARIO(await_each_other,
                  "S14: of two tasks that await each other the second is refused, and the first gets on") {
    event_loop loop;
    verdicts refused;
    std::optional<ferry::shared_future<void>> one;
    std::optional<ferry::shared_future<void>> two;
    const auto awaits = [&](std::optional<ferry::shared_future<void>>& other) -> task<> {
        const ferry::shared_future<void> result = *other;
        co_await result;
    };
    one = ferry::spawn(loop, judged(refused, awaits(two)).named("egg")).share();
    two = ferry::spawn(loop, judged(refused, awaits(one)).named("hen")).share();
    loop.run_until_idle();
    one->get();
    two->get();
    CHECK(refused.kind() == "await-cycle");
    CHECK(refused.names("task egg"));
    CHECK(refused.names("task hen"));
}

DEADLOCK_SCENARIO(await_in_a_row, "S13, S14, near miss: tasks that await one another in a row") {
    event_loop loop;
    ferry::event go(loop);
    const auto last = [&]() -> task<int> {
        co_await go.wait();
        co_return 3;
    };
    const auto awaits = [](ferry::future<int> other) -> task<int> { co_return co_await std::move(other); };
    auto third = ferry::spawn(loop, last());
    auto second = ferry::spawn(loop, awaits(std::move(third)));
    auto first = ferry::spawn(loop, awaits(std::move(second)));
    loop.run_until_idle();
    go.set();
    loop.run_until_idle();
    CHECK(first.get() == 3);
}

DEADLOCK_SCENARIO(group_join,
                  "a group whose child wants what its parent holds: the child is told, and the group ends") {
    event_loop loop;
    async_mutex mutex(loop);
    verdicts refused;
    const auto parent = [&]() -> task<> {
        const async_mutex::guard held = co_await mutex.lock();
        co_await ferry::with_task_group([&](ferry::task_group& group) -> task<> {
            group.start(lock_and_go(mutex).named("child"));
            co_return;
        });
    };
    loop.run(judged(refused, parent()).named("parent"));
    CHECK(refused.kind() == "async-mutex-cycle");
    CHECK(refused.names("task parent"));
    CHECK(refused.names("task child"));
    CHECK(loop.run(works(mutex)));
}

DEADLOCK_SCENARIO(group_join_later, "the same when the child has begun to wait before its parent does") {
    event_loop loop;
    async_mutex mutex(loop);
    verdicts refused;
    const auto parent = [&]() -> task<> {
        const async_mutex::guard held = co_await mutex.lock();
        co_await ferry::with_task_group([&](ferry::task_group& group) -> task<> {
            group.start(lock_and_go(mutex).named("child"));
            for (int i = 0; i < 3; ++i) co_await ferry::yield_now();
        });
    };
    loop.run(judged(refused, parent()).named("parent"));
    CHECK(refused.kind() == "async-mutex-cycle");
    CHECK(loop.run(works(mutex)));
}

DEADLOCK_SCENARIO(when_all_join, "when_all of what wants the mutex that its awaiter holds") {
    event_loop loop;
    async_mutex mutex(loop);
    verdicts refused;
    const auto parent = [&]() -> task<> {
        const async_mutex::guard held = co_await mutex.lock();
        co_await ferry::when_all(lock_and_go(mutex), lock_and_go(mutex));
    };
    loop.run(judged(refused, parent()).named("parent"));
    CHECK(refused.kind() == "async-mutex-cycle");
    CHECK(refused.names("task parent"));
    CHECK(loop.run(works(mutex)));
}

DEADLOCK_SCENARIO(when_any_join, "near miss: when_any of the same and something that ends") {
    event_loop loop;
    async_mutex mutex(loop);
    const auto parent = [&]() -> task<> {
        const async_mutex::guard held = co_await mutex.lock();
        co_await ferry::when_any(lock_and_go(mutex), ferry::yield_now());
    };
    loop.run(parent());
    CHECK(loop.run(works(mutex)));
}

DEADLOCK_SCENARIO(group_unlocks, "near miss: a group whose body gives back what the child wants") {
    event_loop loop;
    async_mutex mutex(loop);
    const auto parent = [&]() -> task<> {
        async_mutex::guard held = co_await mutex.lock();
        co_await ferry::with_task_group([&](ferry::task_group& group) -> task<> {
            group.start(lock_and_go(mutex));
            co_await ferry::yield_now();
            held.unlock();
        });
    };
    loop.run(parent());
    CHECK(loop.run(works(mutex)));
}

namespace {
enum class join { group, all };

/// A parent holds a mutex and joins a child that wants it, and one that ends in a second: with an error, or without.
void with_a_sibling(join how, bool fails, verdicts& refused) {
    ferry::virtual_clock clock;
    event_loop loop(clock);
    async_mutex mutex(loop);
    const auto sibling = [&]() -> task<> {
        co_await ferry::sleep_for(1s);
        CHECK(refused.count() == 0);
        if (fails) throw std::runtime_error("the sibling failed");
    };
    const auto parent = [&]() -> task<> {
        const async_mutex::guard held = co_await mutex.lock();
        if (how == join::all) {
            co_await ferry::when_all(lock_and_go(mutex).named("child"), sibling());
            co_return;
        }
        co_await ferry::with_task_group([&](ferry::task_group& group) -> task<> {
            group.start(lock_and_go(mutex).named("child"));
            group.start(sibling());
            co_return;
        });
    };
    if (fails) {
        CHECK_THROWS_AS(loop.run(judged(refused, parent())), std::runtime_error);
    } else {
        loop.run(judged(refused, parent()));
    }
    CHECK(clock.elapsed() == 1s);
    CHECK(loop.run(works(mutex)));
}
}  // namespace

DEADLOCK_SCENARIO(sibling_ends, "a circle that only a sibling keeps open is told when the sibling ends") {
    for (const join how : {join::group, join::all}) {
        verdicts refused;
        with_a_sibling(how, false, refused);
        CHECK(refused.kind() == "async-mutex-cycle");
        CHECK(refused.names("task child"));
    }
}

DEADLOCK_SCENARIO(sibling_fails, "near miss: the sibling fails, and cancels what waits in the circle") {
    for (const join how : {join::group, join::all}) {
        verdicts refused;
        with_a_sibling(how, true, refused);
        CHECK(refused.count() == 0);
    }
}

DEADLOCK_SCENARIO(two_children,
                  "a group of which two children want what its parent holds, and keep the error to themselves") {
    event_loop loop;
    async_mutex mutex(loop);
    verdicts refused;
    const auto parent = [&]() -> task<> {
        const async_mutex::guard held = co_await mutex.lock();
        co_await ferry::with_task_group([&](ferry::task_group& group) -> task<> {
            group.start(judged(refused, lock_and_go(mutex)).named("first_child"));
            group.start(judged(refused, lock_and_go(mutex)).named("second_child"));
            co_return;
        });
    };
    loop.run(parent().named("parent"));
    CHECK(refused.count() == 2);
    CHECK(refused.all_are("async-mutex-cycle"));
    CHECK(loop.run(works(mutex)));
}

DEADLOCK_SCENARIO(first_gives_up,
                  "a circle behind a wait in the same queue that has a limit is told when that one gives up") {
    ferry::virtual_clock clock;
    event_loop loop(clock);
    async_mutex mutex(loop);
    verdicts refused;
    const auto patient = [&]() -> task<> {
        const async_mutex::guard none = co_await mutex.try_lock_for(1s);
        CHECK(!none);
        CHECK(refused.count() == 0);
    };
    const auto parent = [&]() -> task<> {
        const async_mutex::guard held = co_await mutex.lock();
        co_await ferry::with_task_group([&](ferry::task_group& group) -> task<> {
            group.start(patient());
            group.start(lock_and_go(mutex).named("child"));
            co_return;
        });
    };
    loop.run(judged(refused, parent()).named("parent"));
    CHECK(refused.kind() == "async-mutex-cycle");
    CHECK(refused.names("task child"));
    CHECK(clock.elapsed() == 1s);
    CHECK(loop.run(works(mutex)));
}

DEADLOCK_SCENARIO(deadline_ends_it, "near miss: a deadline, as it fires, ends what waited in a circle, at any depth") {
    event_loop loop;
    async_mutex mutex(loop);
    ferry::thread_pool pool(strict(1, "db"));
    const auto job = [&] { ferry::block_on(lock_and_go(mutex)); };
    const auto in_group = [&]() -> task<> {
        co_await ferry::with_task_group([&](ferry::task_group& group) -> task<> {
            group.start(lock_and_go(mutex));
            co_return;
        });
    };
    const auto holds = [&](int what) -> task<> {
        const async_mutex::guard held = co_await mutex.lock();
        if (what == 0) co_await ferry::timeout(1ms, lock_and_go(mutex));
        if (what == 1) co_await ferry::timeout(1ms, in_group());
        if (what == 2) co_await ferry::timeout(1ms, to_thread(pool, job));
    };
    for (int what = 0; what < 3; ++what) CHECK_THROWS_AS(loop.run(holds(what)), ferry::timeout_error);
    CHECK(loop.run(works(mutex)));
}

DEADLOCK_SCENARIO(cancel_through_call,
                  "near miss: a cancellation that is on its way through a call ends what blocks there") {
    event_loop home;
    event_loop there;
    async_mutex mutex(home);
    ferry::thread_pool pool(strict(1, "db"));
    const auto job = [&] { ferry::block_on(lock_and_go(mutex)); };
    const auto holds = [&]() -> task<> {
        const async_mutex::guard held = co_await mutex.lock();
        bool cancelled = false;
        try {
            co_await ferry::with_task_group([&](ferry::task_group& group) -> task<> {
                group.start(to_thread(pool, job));
                while (ferry::detail::blocked_threads().load() == 0) co_await ferry::yield_now();
                throw std::runtime_error("the body failed");
            });
        } catch (const std::runtime_error&) {
            cancelled = true;
        }
        CHECK(cancelled);
    };
    home.run(holds());
    CHECK(home.run(works(mutex)));
}

DEADLOCK_SCENARIO(deadline_fires,
                  "a circle that closes after a deadline has fired, since a shield keeps it out, is told") {
    event_loop loop;
    async_mutex mutex(loop);
    ferry::thread_pool pool(strict(1, "db"));
    verdicts refused;
    const auto stubborn = [&]() -> task<> {
        try {
            co_await ferry::sleep_for(1h);
        } catch (const ferry::cancelled&) {}
        co_await ferry::shield(lock_and_go(mutex));
    };
    const auto job = [&] { ferry::block_on(judged(refused, stubborn()).named("save_row")); };
    const auto holds = [&](std::chrono::milliseconds limit) -> task<> {
        const async_mutex::guard held = co_await mutex.lock();
        co_await ferry::timeout(limit, to_thread(pool, job));
    };
    for (auto limit = 1ms; refused.count() == 0; limit *= 2) {
        try {
            loop.run(holds(limit).named("import"));
        } catch (const ferry::timeout_error&) {  // the call had not begun by then
            CHECK(refused.count() == 0);
        }
    }
    CHECK(refused.kind() == "async-mutex");
    CHECK(loop.run(works(mutex)));
}

namespace {
/// Locks here, then goes to the other loop to lock there.
task<> there_and_lock(async_mutex& here, event_loop& there, async_mutex& theirs, progress& arrived) {
    const async_mutex::guard held = co_await here.lock();
    arrived.advance();
    arrived.wait_for(2);  // blocks the loop for a moment, on purpose
    co_await ferry::on(there, lock_and_go(theirs));
}
}  // namespace

DEADLOCK_SCENARIO(on_both_ways,
                  "two loops, two mutexes: each task holds its own and goes to the other loop for the other") {
    ferry::loop_thread one("one");
    ferry::loop_thread two("two");
    std::optional<async_mutex> first(one.loop());
    std::optional<async_mutex> second(two.loop());
    verdicts refused;
    progress arrived;
    auto a = ferry::spawn(one.loop(), judged(refused, there_and_lock(*first, two.loop(), *second, arrived)).named("a"));
    auto b = ferry::spawn(two.loop(), judged(refused, there_and_lock(*second, one.loop(), *first, arrived)).named("b"));
    a.get();
    b.get();
    CHECK(refused.kind() == "async-mutex-cycle");
    CHECK(refused.names("task a"));
    CHECK(refused.names("task b"));
    CHECK(ferry::block_on(one.loop(), works(*first)));
    CHECK(ferry::block_on(two.loop(), works(*second)));
}

DEADLOCK_SCENARIO(on_one_way, "near miss: both go to the same loop, one after the other") {
    ferry::loop_thread one("one");
    ferry::loop_thread two("two");
    async_mutex first(one.loop());
    async_mutex second(two.loop());
    progress arrived;
    const auto holds_second = [&]() -> task<> {
        const async_mutex::guard held = co_await second.lock();
        arrived.advance();
        arrived.wait_for(2);
    };
    auto a = ferry::spawn(one.loop(), there_and_lock(first, two.loop(), second, arrived));
    auto b = ferry::spawn(two.loop(), holds_second());
    a.get();
    b.get();
}
