// tests/bridge/deadlock_threads_test.cpp - promises, homes and leases in circles of waits, and near misses
// SPDX-License-Identifier: BSL-1.0
#include "bridge/scenario.hpp"

#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_sensitive.hpp>
#include <ferry/core/error.hpp>
#include <ferry/deadlock/allowance.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/shared_future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::task;
using ferry::thread_sensitive;
using ferry::to_thread;
using ferry_test::await_blocked_threads;
using ferry_test::progress;
using ferry_test::strict;
using ferry_test::verdicts;
using namespace std::chrono_literals;

namespace {
task<int> answer(int value) { co_return value; }
int seven() { return 7; }

/// Two threads that have promised each other a result, and wait for it; `declared`: and have said so.
void promised(bool declared, verdicts& refused, int& of_first) {
    ferry::promise<int> first;
    ferry::promise<int> second;
    ferry::future<int> first_result = first.get_future();
    ferry::future<int> second_result = second.get_future();
    progress begun;
    std::thread other([&] {
        if (declared) second.produced_by_this_thread();
        begun.advance();
        int got = 0;
        refused.refuses([&] { return got = first_result.get(); });
        second.set_value(got + 1);
    });
    begun.wait_for();
    if (declared) first.produced_by_this_thread();
    await_blocked_threads(1);
    if (!declared) first.set_value(1);
    refused.refuses([&] { return of_first = second_result.get(); });
    if (declared) first.set_value(1);
    other.join();
}
}  // namespace

DEADLOCK_SCENARIO(two_promises, "two threads that have promised each other a result: the second to wait is refused") {
    verdicts refused;
    int got = 0;
    promised(true, refused, got);
    CHECK(refused.kind() == "wait-cycle");
    CHECK(refused.names("the main thread"));
    CHECK(refused.names("has promised"));
    CHECK(got == 0);
}

DEADLOCK_SCENARIO(kept_promise, "near miss: one of them keeps its promise first") {
    verdicts refused;
    int got = 0;
    promised(false, refused, got);
    CHECK(refused.count() == 0);
    CHECK(got == 2);
}

DEADLOCK_SCENARIO(declared_late, "the same when the producer is declared while the other thread waits already") {
    ferry::promise<int> first;
    ferry::promise<int> second;
    ferry::future<int> first_result = first.get_future();
    ferry::future<int> second_result = second.get_future();
    verdicts refused;
    std::thread other([&] {
        second.produced_by_this_thread();
        second.set_value(first_result.get());
    });
    await_blocked_threads(1);
    first.produced_by_this_thread();
    refused.refuses([&] { return second_result.get(); });
    first.set_value(4);
    other.join();
    CHECK(refused.kind() == "wait-cycle");
    CHECK(second_result.get() == 4);  // the refused wait has taken nothing
}

DEADLOCK_SCENARIO(shared_promise, "a circle through a shared_future that several threads wait for") {
    ferry::promise<int> promise;
    const ferry::shared_future<int> shared = promise.get_future().share();
    ferry::promise<void> go;
    ferry::future<void> gone = go.get_future();
    verdicts refused;
    std::atomic<int> sum{0};
    promise.produced_by_this_thread();
    const auto waits = [&] { refused.refuses([&] { return sum += shared.get(); }); };
    std::thread first(waits);
    std::thread second([&] {
        go.produced_by_this_thread();
        await_blocked_threads(1);
        waits();
        go.set_value();
    });
    await_blocked_threads(2);
    refused.refuses([&] {
        gone.get();
        return 0;
    });
    promise.set_value(3);
    first.join();
    second.join();
    CHECK(refused.kind() == "wait-cycle");
    CHECK(sum == 6);
}

DEADLOCK_SCENARIO(home_in_turn, "a thread-sensitive call whose home waits inside a turn, and cannot serve it") {
    ferry::loop_thread there("there");
    verdicts refused;
    const auto calls_home = []() -> task<int> { co_return co_await to_thread(thread_sensitive, seven); };
    const auto body = [&]() -> task<int> {
        auto begun = co_await to_thread(thread_sensitive, seven);  // its home is this very thread
        const ferry::allow_blocking ok("a test");
        refused.refuses([&] { return ferry::block_on(there.loop(), calls_home().named("calls_home")); });
        co_return begun;
    };
    CHECK(ferry::block_on(ferry::on_private_loop, body().named("at_home")) == 7);
    CHECK(refused.kind() == "thread-sensitive");
    CHECK(refused.names("task calls_home"));
    CHECK(refused.names("the main thread"));
    CHECK(ferry::block_on(there.loop(), answer(3)) == 3);
}

DEADLOCK_SCENARIO(home_out_of_turn, "near miss: the home waits outside of a turn, and serves the call") {
    ferry::loop_thread there("there");
    const auto calls_home = []() -> task<int> { co_return co_await to_thread(thread_sensitive, seven); };
    CHECK(ferry::block_on(there.loop(), calls_home()) == 7);
    const auto nested = [&] { return ferry::block_on(there.loop(), calls_home()); };
    const auto body = [&]() -> task<int> { co_return co_await to_thread(thread_sensitive, nested); };
    CHECK(ferry::block_on(ferry::on_private_loop, body()) == 7);
}

namespace {
task<int> sensitive_in_scope() {
    const ferry::thread_sensitive_scope one_thread;
    co_return co_await to_thread(thread_sensitive, seven);
}
}  // namespace

DEADLOCK_SCENARIO(leases, "a scope that waits for a second scope, with one thread to lease") {
    round.threads_stay();
    ferry::thread_sensitive_scope::set_max_leases(1);
    event_loop loop;
    verdicts refused;
    const auto outer = [&]() -> task<int> {
        const ferry::thread_sensitive_scope one_thread;
        const int mine = co_await to_thread(thread_sensitive, seven);
        auto other = ferry::spawn(sensitive_in_scope().named("inner_request"));
        try {
            co_return co_await std::move(other);
        } catch (const ferry::deadlock_error&) {
            refused.keep(std::current_exception());
        }
        co_return mine;
    };
    // What is spawned in a scope has its home there: a scope inside would be none. So the other one is spawned outside.
    const auto inner = ferry::spawn(loop, answer(1));
    CHECK(loop.run(outer().named("outer_request")) == 7);
    CHECK(refused.count() == 0);

    ferry::event has_thread(loop);
    std::optional<ferry::future<int>> second;
    const auto holds = [&]() -> task<int> {
        const ferry::thread_sensitive_scope one_thread;
        static_cast<void>(co_await to_thread(thread_sensitive, seven));
        has_thread.set();
        try {
            co_return co_await std::move(*second);
        } catch (const ferry::deadlock_error&) {
            refused.keep(std::current_exception());
        }
        co_return 0;
    };
    const auto wants = [&]() -> task<int> {
        co_await has_thread.wait();
        co_return co_await sensitive_in_scope();
    };
    auto first = ferry::spawn(loop, holds().named("first_request"));
    second = ferry::spawn(loop, wants().named("second_request"));
    CHECK(loop.run(std::move(first)) == 0);
    CHECK(refused.kind() == "pool-exhaustion");
    CHECK(refused.names("task first_request"));
    CHECK(refused.names("task second_request"));
    CHECK(loop.run(sensitive_in_scope()) == 7);
    ferry::thread_sensitive_scope::set_max_leases(32);
}

DEADLOCK_SCENARIO(scope_in_circle,
                  "a scope whose end needs a second scope: the leased thread has a line without a place") {
    round.threads_stay();
    ferry::thread_sensitive_scope::set_max_leases(1);
    event_loop loop;
    ferry::event has_thread(loop);
    verdicts refused;
    std::optional<ferry::future<int>> second;
    const auto holds = [&]() -> task<int> {
        const ferry::thread_sensitive_scope one_thread;
        static_cast<void>(co_await to_thread(thread_sensitive, seven));
        has_thread.set();
        try {
            co_return co_await std::move(*second);
        } catch (const ferry::deadlock_error&) {
            refused.keep(std::current_exception());
        }
        co_return 0;
    };
    const auto wants = [&]() -> task<int> {
        co_await has_thread.wait();
        co_return co_await sensitive_in_scope();
    };
    auto first = ferry::spawn(loop, holds().named("first_request"));
    second = ferry::spawn(loop, wants().named("second_request"));
    CHECK(loop.run(std::move(first)) == 0);
    CHECK(refused.kind() == "pool-exhaustion");
    CHECK(refused.names("thread ferry-lease waits in thread_sensitive_scope for its end"));
    ferry::thread_sensitive_scope::set_max_leases(32);
}

DEADLOCK_SCENARIO(blocked_in_scope, "a call in a scope that blocks for a second scope, with one thread to lease") {
    round.threads_stay();
    ferry::thread_sensitive_scope::set_max_leases(1);
    event_loop loop;
    ferry::event has_thread(loop);
    verdicts refused;
    const auto wants = [&]() -> task<int> {
        co_await has_thread.wait();
        co_return co_await sensitive_in_scope();
    };
    ferry::future<int> second = ferry::spawn(loop, wants().named("second_request"));
    const auto blocks = [&] { return refused.refuses([&] { return second.get(); }); };
    const auto first = [&]() -> task<bool> {
        const ferry::thread_sensitive_scope one_thread;
        static_cast<void>(co_await to_thread(thread_sensitive, seven));
        has_thread.set();
        co_return co_await to_thread(thread_sensitive, blocks);
    };
    auto refused_there = ferry::spawn(loop, first().named("first_request"));
    CHECK(loop.run(std::move(refused_there)));
    CHECK(refused.kind() == "pool-exhaustion");
    CHECK(refused.names("thread ferry-lease waits in future::get ("));
    CHECK(refused.names("task second_request waits in to_thread ("));
    ferry::thread_sensitive_scope::set_max_leases(32);
}

DEADLOCK_SCENARIO(surplus_leases, "threads that are no longer leased hide no circle among those that are") {
    round.threads_stay();
    event_loop loop;
    const auto four_at_once = [&]() -> task<> {
        co_await ferry::when_all(sensitive_in_scope(), sensitive_in_scope(), sensitive_in_scope(),
                                 sensitive_in_scope());
    };
    ferry::thread_sensitive_scope::set_max_leases(4);
    loop.run(four_at_once());
    leases(round);  // where all but one of them are told to end
}

DEADLOCK_SCENARIO(enough_leases,
                  "near miss: the same with two threads to lease, and one scope after the other with one") {
    round.threads_stay();
    ferry::thread_sensitive_scope::set_max_leases(2);
    event_loop loop;
    ferry::event has_thread(loop);
    std::optional<ferry::future<int>> second;
    const auto holds = [&]() -> task<int> {
        const ferry::thread_sensitive_scope one_thread;
        static_cast<void>(co_await to_thread(thread_sensitive, seven));
        has_thread.set();
        co_return co_await std::move(*second);
    };
    const auto wants = [&]() -> task<int> {
        co_await has_thread.wait();
        co_return co_await sensitive_in_scope();
    };
    auto first = ferry::spawn(loop, holds());
    second = ferry::spawn(loop, wants());
    CHECK(loop.run(std::move(first)) == 7);
    ferry::thread_sensitive_scope::set_max_leases(1);
    auto one = ferry::spawn(loop, sensitive_in_scope());
    auto two = ferry::spawn(loop, sensitive_in_scope());
    CHECK(loop.run(std::move(one)) == 7);
    CHECK(loop.run(std::move(two)) == 7);
    ferry::thread_sensitive_scope::set_max_leases(32);
}

DEADLOCK_SCENARIO(sensitive_pair, "D02: a thread-sensitive call that blocks for what another such call leads to") {
    round.threads_stay();
    event_loop loop;
    ferry::event set(loop);
    const auto waits = [&]() -> task<int> {
        co_await set.wait();
        co_return 1;
    };
    const auto blocks = [&] { return ferry::block_on(waits()); };
    const auto a = [&]() -> task<int> { co_return co_await to_thread(thread_sensitive, blocks); };
    const auto b = [&]() -> task<int> {
        const int mine = co_await to_thread(thread_sensitive, seven);  // on the thread that a's call blocks
        set.set();
        co_return mine;
    };
    auto first = ferry::spawn(loop, a());
    auto second = ferry::spawn(loop, b());
    CHECK(loop.run(std::move(second)) == 7);
    CHECK(loop.run(std::move(first)) == 1);
}

DEADLOCK_SCENARIO(sensitive_future,
                  "D03: a thread-sensitive call that waits for a promise that another such call keeps") {
    round.threads_stay();
    event_loop loop;
    ferry::promise<int> promise;
    ferry::future<int> result = promise.get_future();
    const auto waits = [&] { return result.get(); };
    const auto keeps = [&] {
        promise.set_value(5);
        return 7;
    };
    const auto calls = [](auto& what) -> task<int> { co_return co_await to_thread(thread_sensitive, std::ref(what)); };
    auto first = ferry::spawn(loop, calls(waits));
    auto second = ferry::spawn(loop, calls(keeps));
    CHECK(loop.run(std::move(first)) == 5);
    CHECK(loop.run(std::move(second)) == 7);
}

DEADLOCK_SCENARIO(left_running, "N20: what a view left running calls a thread after the view has returned") {
    round.threads_stay();
    event_loop loop;
    ferry::event view_is_over(loop);
    std::optional<ferry::future<int>> background;
    const auto later = [&]() -> task<int> {
        co_await view_is_over.wait();
        const int any = co_await to_thread(seven);
        co_return any + co_await to_thread(thread_sensitive, seven);
    };
    const auto view = [&]() -> task<> {
        background = ferry::spawn(later());
        co_return;
    };
    const auto blocking_view = [&] { ferry::block_on(view()); };
    const auto main = [&]() -> task<int> {
        co_await to_thread(blocking_view);
        view_is_over.set();
        co_return co_await std::move(*background);
    };
    CHECK(loop.run(main()) == 14);
}

DEADLOCK_SCENARIO(random_waits,
                  "S32: thousands of tasks that await older ones at random, and threads that block for them") {
    constexpr int threads = 4;
    constexpr int per_thread = 100;
    ferry::loop_thread one("one");
    ferry::loop_thread two("two");
    ferry::thread_pool pool(ferry::thread_pool_options().size(3).name("pool"));
    std::atomic<int> finished{0};
    const auto works = [&](unsigned seed) {
        std::minstd_rand random(seed);
        std::vector<ferry::shared_future<int>> older;
        older.push_back(ferry::spawn(one.loop(), answer(1)).share());
        const auto older_one = [&] { return older[random() % older.size()]; };
        for (int i = 0; i < per_thread; ++i) {
            event_loop& loop = random() % 2 == 0 ? one.loop() : two.loop();
            const auto what = random() % 4;
            const auto body = [&pool](unsigned long kind, ferry::shared_future<int> a,
                                      ferry::shared_future<int> b) -> task<int> {
                const auto blocks = [&] { return a.get() + b.get(); };
                if (kind == 0) co_return co_await to_thread(pool, blocks);
                const int first = co_await a;
                if (kind == 1) co_await ferry::yield_now();
                const int second = co_await b;
                co_return (first + second) % 1000;
            };
            older.push_back(ferry::spawn(loop, body, what, older_one(), older_one()).share());
            if (what == 2) static_cast<void>(older_one().get());
            if (what == 3) static_cast<void>(ferry::block_on(loop, answer(2)));
        }
        for (const ferry::shared_future<int>& each : older) {
            each.wait();
            ++finished;
        }
    };
    std::vector<std::thread> all;
    for (unsigned i = 0; i < threads; ++i) all.emplace_back(works, i + 1);
    for (std::thread& each : all) each.join();
    CHECK(finished == threads * (per_thread + 1));
}
