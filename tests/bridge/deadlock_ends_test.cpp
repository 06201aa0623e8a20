// tests/bridge/deadlock_ends_test.cpp - destructors that wait for threads: in the wait graph, and in reports
// SPDX-License-Identifier: BSL-1.0
#include "bridge/scenario.hpp"
#include "support/hang_limit.hpp"

#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/core/shield.hpp>
#include <ferry/deadlock/hang.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/spawn.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>

using ferry::event_loop;
using ferry::task;
using ferry::thread_pool;
using ferry::to_thread;
using ferry_test::await_blocked_threads;
using ferry_test::hang_limit;
using ferry_test::progress;
using ferry_test::strict;
using namespace std::chrono_literals;

namespace {
void until(const std::atomic<bool>& flag) {
    while (!flag) std::this_thread::yield();
}
void until_reported(const ferry_test::reports& told, const std::string& words) {
    while (!told.mention(words)) std::this_thread::yield();
}
int seven() { return 7; }
}  // namespace

DEADLOCK_SCENARIO(
    end_each_other,
    "two calls that destroy each other's pools: the second one's threads end in the background, reported") {
    auto left = std::make_optional<thread_pool>(strict(1, "left"));
    auto right = std::make_optional<thread_pool>(strict(1, "right"));
    event_loop loop;
    std::atomic<bool> both_begun{false};
    const auto end_left = [&] {
        until(both_begun);
        left.reset();
    };
    const auto end_right = [&] {
        both_begun = true;
        await_blocked_threads(1);
        right.reset();
    };
    ferry::future<void> one = ferry::spawn(loop, ferry::sync_to_async(std::ref(end_left)).on(*right)());
    ferry::future<void> two = ferry::spawn(loop, ferry::sync_to_async(std::ref(end_right)).on(*left)());
    const auto both = [&]() -> task<> {
        co_await std::move(one);
        co_await std::move(two);
    };
    loop.run(both());
    CHECK(round.told.count() == 1);
    CHECK(round.told.mention("ferry: DEADLOCK prevented  kind=join"));
    CHECK(round.told.mention("thread left/0 waits in thread_pool::~thread_pool for the threads of pool \"right\""));
    CHECK(round.told.mention("thread right/0 waits in thread_pool::~thread_pool for the threads of pool \"left\""));
    round.told.clear();
}

DEADLOCK_SCENARIO(ends_a_pool_in_a_row, "near miss: a call destroys a pool whose call ends") {
    thread_pool left(strict(1, "left"));
    auto right = std::make_optional<thread_pool>(strict(1, "right"));
    event_loop loop;
    std::atomic<bool> begun{false};
    const auto waits = [&] {
        begun = true;
        await_blocked_threads(1);
    };
    const auto ends = [&] {
        until(begun);
        right.reset();
    };
    ferry::future<void> one = ferry::spawn(loop, to_thread(*right, std::ref(waits)));
    loop.run(to_thread(left, std::ref(ends)));
    loop.run(std::move(one));
}

DEADLOCK_SCENARIO(own_loop_needed,
                  "a pool that is destroyed by the only thread that runs a loop for which its call waits") {
    auto pool = std::make_optional<thread_pool>(strict(2, "db"));
    event_loop loop;
    loop.bind_to_this_thread();
    std::atomic<bool> ended{false};
    const auto nothing = []() -> task<> { co_return; };
    const auto blocks = [&] {
        ferry::block_on(nothing().named("save"));
        ended = true;
    };
    ferry::future<void> called = ferry::spawn(loop, to_thread(*pool, std::ref(blocks)));
    std::atomic<bool> other_ran{false};
    const auto other_call = [&] { other_ran = true; };
    ferry::future<void> other = ferry::spawn(loop, to_thread(*pool, std::ref(other_call)));  // on a second thread
    loop.run_once();
    until(other_ran);
    await_blocked_threads(1);
    pool.reset();
    CHECK(round.told.count() == 1);
    CHECK(round.told.mention("kind=join"));
    CHECK(round.told.mention("the main thread waits in thread_pool::~thread_pool for the threads of pool \"db\""));
    CHECK(round.told.mention("thread db/"));
    CHECK(round.told.mention(" waits in block_on ("));
    CHECK(round.told.mention("task save is on the loop of the main thread, which does not come to it"));
    CHECK(!ended);
    loop.run(std::move(called));
    CHECK(ended);
    loop.run(std::move(other));
    round.told.clear();
}

DEADLOCK_SCENARIO(
    loop_thread_by_its_call,
    "a loop_thread that is destroyed by a call which its own task awaits ends in the background, reported") {
    round.threads_stay();
    thread_pool pool(strict(1, "db"));
    auto background = std::make_optional<ferry::loop_thread>("background");
    progress ended;
    const auto ends = [&] { background.reset(); };
    const auto body = [&]() -> task<> {
        co_await to_thread(pool, std::ref(ends));
        ended.advance();
    };
    auto observed = ferry::spawn(background->loop(), body().named("suicide"));
    ended.wait_for();
    observed.wait();
    CHECK(round.told.count() == 1);
    CHECK(round.told.mention("kind=join"));
    CHECK(round.told.mention("thread db/0 waits in loop_thread::~loop_thread for thread background"));
    CHECK(round.told.mention("thread background waits in event_loop::close for "));
    CHECK(round.told.mention("for its call, which thread db/0 runs"));
    round.told.clear();
}

DEADLOCK_SCENARIO(loop_thread_by_another_call, "near miss: by a call of somebody else") {
    thread_pool pool(strict(1, "db"));
    auto background = std::make_optional<ferry::loop_thread>("background");
    const auto body = [&]() -> task<> { co_await to_thread(pool, seven); };
    ferry::block_on(background->loop(), body());
    const auto ends = [&] { background.reset(); };
    ferry::run(to_thread(pool, std::ref(ends)));
}

DEADLOCK_SCENARIO(
    loop_thread_hangs,
    "L6: a loop_thread's destructor that waits long is reported with the thread and the task it waits for") {
    const hang_limit soon(5ms);
    auto background = std::make_optional<ferry::loop_thread>("background");
    ferry::promise<void> promise;
    const auto waits = [](ferry::future<void> from) -> task<> { co_await std::move(from); };
    const auto stubborn = [&](ferry::future<void> from) -> task<> {
        co_await ferry::shield(waits(std::move(from)).named("upload"));
    };
    auto observed = ferry::spawn(background->loop(), stubborn(promise.get_future()).named("stubborn"));
    std::thread keeps([&] {
        // Each report of either thread may find the other on its way from one sleep to the next.
        until_reported(
            round.told,
            "the main thread waits in loop_thread::~loop_thread for background\n  thread background waits in "
            "event_loop::close for ");
        until_reported(round.told, " for task stubborn\n  task stubborn waits in shield (");
        promise.set_value();
    });
    background.reset();
    keeps.join();
    CHECK(round.told.mention("hang: loop_thread::~loop_thread has waited for 0."));
    CHECK(round.told.mention("\n  task upload waits in future ("));
    CHECK(round.told.mention("hang: loop_thread::~loop_thread has ended after all"));
    round.told.clear();
}

DEADLOCK_SCENARIO(pool_hangs, "L6: a pool's destructor that waits long is reported with the wait of each thread") {
    const hang_limit soon(5ms);
    auto pool = std::make_optional<thread_pool>(strict(1, "db"));
    ferry::promise<void> promise;
    ferry::future<void> result = promise.get_future();
    int line = 0;
    const auto waits = [&] {
        line = __LINE__ + 1;
        result.get(ferry::wait_options().patient());
    };
    event_loop loop;
    auto called = ferry::spawn(loop, ferry::sync_to_async(std::ref(waits)).named("load").on(*pool)());
    loop.run_once();
    await_blocked_threads(1);
    std::thread keeps([&] {
        until_reported(round.told, "hang: ");
        promise.set_value();
    });
    pool.reset();
    keeps.join();
    loop.run(std::move(called));
    CHECK(round.told.mention("hang: thread_pool::~thread_pool has waited for 0."));
    CHECK(
        round.told.mention("\n  the main thread waits in "
                           "thread_pool::~thread_pool for db\n  thread db/0 runs load, blocked in a wait of ferry's\n"
                           "  thread db/0 waits in future::get (" +
                           std::string(__FILE__) + ":" + std::to_string(line) + ")"));
    round.told.clear();
}

DEADLOCK_SCENARIO(serves_while_it_joins,
                  "L3: a thread that is home serves its calls while it waits for a loop_thread") {
    round.threads_stay();
    int ran = 0;
    progress begun;
    const auto call = [&] { ++ran; };
    const auto body_there = [&]() -> task<> {
        begun.advance();
        co_await ferry::shield(to_thread(ferry::thread_sensitive, std::ref(call)));
    };
    const auto ends = [&] {
        ferry::loop_thread background("background");
        static_cast<void>(ferry::spawn(background.loop(), body_there()));
        begun.wait_for();
    };
    const auto body = [&]() -> task<> { co_await to_thread(ferry::thread_sensitive, std::ref(ends)); };
    ferry::block_on(ferry::on_private_loop, body());
    CHECK(ran == 1);
}
