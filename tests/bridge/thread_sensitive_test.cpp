// tests/bridge/thread_sensitive_test.cpp - scopes and the threads they lease (cases C)
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/bridge/thread_sensitive.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/context_local.hpp>
#include <ferry/core/error.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>

#include "bridge/progress.hpp"
#include "support/catch.hpp"
#include "support/race.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <new>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::task;
using ferry::thread_sensitive;
using ferry::thread_sensitive_scope;
using ferry::to_thread;
using ferry_test::dice;
using ferry_test::progress;
using namespace std::chrono_literals;
using id = std::thread::id;

namespace {
id here() { return std::this_thread::get_id(); }
task<id> sensitive() { co_return co_await to_thread(thread_sensitive, here); }
id last_resort() { return ferry::run(sensitive()); }
task<id> where() {
    co_await ferry::yield_now();
    co_return here();
}
ferry::context_local<int> counter{0};
}  // namespace

TEST_CASE("C01: calls in one scope run on one thread, also from tasks beside each other",
          "[bridge][thread_sensitive][mt]") {
    const id elsewhere = last_resort();
    const auto body = [&]() -> task<> {
        const thread_sensitive_scope one_thread;
        const id first = co_await sensitive();
        auto spawned = ferry::spawn(sensitive());
        const auto both = co_await ferry::when_all(sensitive(), sensitive());
        const id second = co_await std::move(spawned);
        CHECK(first == second);
        CHECK(std::get<0>(both) == first);
        CHECK(std::get<1>(both) == first);
        CHECK(first != here());
        CHECK(first != elsewhere);
    };
    ferry::run(body());
}

TEST_CASE("C02: two scopes have two threads, which run at the same time", "[bridge][thread_sensitive][mt]") {
    progress met;
    const auto meet = [&] {
        met.advance();
        met.wait_for(2);
        return here();
    };
    const auto scoped = [&]() -> task<id> {
        const thread_sensitive_scope one_thread;
        co_return co_await to_thread(thread_sensitive, meet);
    };
    const auto body = [&]() -> task<> {
        const auto both = co_await ferry::when_all(scoped(), scoped());
        CHECK(std::get<0>(both) != std::get<1>(both));
    };
    ferry::run(body());
}

TEST_CASE("C03: a scope inside another one is the outer one", "[bridge][thread_sensitive][mt]") {
    const auto body = []() -> task<> {
        const thread_sensitive_scope outer;
        const id before = co_await sensitive();
        {
            const thread_sensitive_scope inner;
            const id inside = co_await sensitive();
            CHECK(inside == before);
        }
        const id after = co_await sensitive();
        CHECK(after == before);
    };
    ferry::run(body());
}

TEST_CASE("C04: a scope without calls leases no thread", "[bridge][thread_sensitive]") {
    const std::size_t before = thread_sensitive_scope::threads();
    const auto body = []() -> task<> {
        const thread_sensitive_scope one_thread;
        co_await ferry::yield_now();
        co_await to_thread(here);
    };
    for (int i = 0; i < 100; ++i) ferry::run(body());
    CHECK(thread_sensitive_scope::threads() == before);
}

TEST_CASE("C05, D07: a scope may end while its thread is blocked on this loop", "[bridge][thread_sensitive][mt]") {
    // The call is left behind by its cancelled task; its thread waits for a coroutine that this loop has still to run.
    progress called;
    progress over;
    event_loop loop;
    ferry::event open(loop);
    const auto waits = [&]() -> task<> { co_await open.wait(); };
    const auto blocks = [&] {
        called.advance();
        ferry::block_on(waits());
        over.advance();
    };
    std::optional<ferry::future<void>> running;
    const auto keeps_the_thread = [&]() -> task<> {
        const thread_sensitive_scope one_thread;
        running = ferry::spawn(to_thread(thread_sensitive, blocks));
        co_await ferry::yield_now();
    };
    loop.run(keeps_the_thread());  // the scope has ended, and its thread was not waited for
    called.wait_for();
    const auto goes_on = [&]() -> task<> {
        for (int i = 0; i < 100; ++i) co_await ferry::yield_now();
        CHECK(!running->is_ready());
        open.set();
        co_await std::move(*running);
    };
    loop.run(goes_on());
    over.wait_for();
}

TEST_CASE("C06: many scopes end at once, with one thread in the pool and one to lease",
          "[bridge][thread_sensitive][mt]") {
    thread_sensitive_scope::set_max_leases(1);
    ferry::thread_pool one(1);
    std::atomic<int> calls{0};
    const auto count = [&] { calls.fetch_add(1); };
    const auto scoped = [&]() -> task<> {
        const thread_sensitive_scope one_thread;
        co_await to_thread(thread_sensitive, count);
        co_await to_thread(one, count);
    };
    const auto body = [&]() -> task<> {
        co_await ferry::with_task_group([&](ferry::task_group& group) -> task<> {
            for (int i = 0; i < 200; ++i) group.start(scoped());
            co_return;
        });
    };
    ferry::run(body());
    thread_sensitive_scope::set_max_leases(32);
    CHECK(calls == 400);
}

TEST_CASE("C07: cancelling a task in a scope ends the scope without waiting", "[bridge][thread_sensitive][mt]") {
    progress runs;
    progress go_on;
    const auto hold = [&] {
        runs.advance();
        go_on.wait_for();
    };
    std::optional<ferry::future<void>> running;
    const auto scoped = [&]() -> task<> {
        const thread_sensitive_scope one_thread;
        running = ferry::spawn(to_thread(thread_sensitive, hold));
        co_await ferry::sleep_for(1h);
    };
    const auto body = [&]() -> task<> {
        const auto ended = co_await ferry::try_timeout(1ms, scoped());
        CHECK(!ended);
    };
    event_loop loop;
    loop.run(body());  // the call goes on
    runs.wait_for();
    CHECK(!running->is_ready());
    go_on.advance();
    loop.run(std::move(*running));
}

TEST_CASE("C08: a scope that ends by an exception gives its thread back", "[bridge][thread_sensitive][mt]") {
    thread_sensitive_scope::set_max_leases(1);
    const auto failing = []() -> task<> {
        const thread_sensitive_scope one_thread;
        co_await sensitive();
        throw 7;
    };
    std::set<id> threads;
    const auto scoped = [&]() -> task<> {
        const thread_sensitive_scope one_thread;
        const id there = co_await sensitive();
        threads.insert(there);
    };
    for (int i = 0; i < 10; ++i) {
        CHECK_THROWS_AS(ferry::run(failing()), int);
        ferry::run(scoped());
    }
    CHECK(threads.size() == 1);
    thread_sensitive_scope::set_max_leases(32);
}

TEST_CASE("C09, C10, C11: a default loop takes the calls of plain threads, all on its one thread",
          "[bridge][thread_sensitive][mt]") {
    ferry::loop_thread background;  // C11: nothing is called, nothing happens
    background.make_default();
    const id first = ferry::block_on(where());
    CHECK(first != here());
    CHECK(ferry::block_on(where()) == first);
    CHECK(ferry::block_on(background.loop(), where()) == first);
    const auto nested = [&]() -> task<id> {
        const auto call = [] { return ferry::block_on(where()); };
        co_return co_await to_thread(call);
    };
    CHECK(ferry::block_on(nested()) == first);  // C10
}

TEST_CASE("C12: two calls to a default loop change one context variable, and the caller sees both changes",
          "[bridge][thread_sensitive][mt]") {
    ferry::loop_thread background;
    background.make_default();
    const auto increase = []() -> task<> {
        counter.set(counter.get() + 1);
        co_return;
    };
    counter.reset();
    ferry::block_on(increase());
    ferry::block_on(increase());
    CHECK(counter.get() == 2);
    counter.reset();
}

TEST_CASE("C13: the loop that made a call goes before the default loop", "[bridge][thread_sensitive][mt]") {
    ferry::loop_thread background;
    background.make_default();
    const auto call = [] { return ferry::block_on(where()); };
    CHECK(ferry::run(to_thread(call)) == here());
}

TEST_CASE("in steady state scopes start no thread", "[bridge][thread_sensitive][mt]") {
    const auto scoped = []() -> task<> {
        const thread_sensitive_scope one_thread;
        co_await sensitive();
        co_await sensitive();
    };
    thread_sensitive_scope::set_max_leases(2);
    std::set<id> threads;
    const auto body = [&]() -> task<> {
        const thread_sensitive_scope one_thread;
        const id there = co_await sensitive();
        threads.insert(there);
        co_await scoped();
    };
    for (int i = 0; i < 300; ++i) ferry::run(body());
    CHECK(threads.size() <= 2);
    CHECK(thread_sensitive_scope::threads() <= 2);
    thread_sensitive_scope::set_max_leases(32);
}

namespace {
/// A value of a leased thread, whose destructor needs a thread-sensitive call of its own.
class calls_at_its_end {
public:
    ~calls_at_its_end() {
        if (!is_used) return;
        static_cast<void>(ferry::block_on(ferry::on_private_loop, sensitive()));
        ended.advance();
    }
    bool is_used = false;
    static inline progress ended;  // the last one of them ends after the test
};
thread_local calls_at_its_end at_thread_end;
}  // namespace

TEST_CASE("the destructor of a leased thread's thread_local may make thread-sensitive calls",
          "[bridge][thread_sensitive][mt]") {
    progress inside;
    const auto leaves_a_value = [&] {
        at_thread_end.is_used = true;
        inside.advance();
        inside.wait_for(2);
    };
    const auto in_a_scope = [&]() -> task<> {
        const thread_sensitive_scope one_thread;
        co_await to_thread(thread_sensitive, leaves_a_value);
    };
    const auto two_at_once = [&]() -> task<> { co_await ferry::when_all(in_a_scope(), in_a_scope()); };
    ferry::run(two_at_once());
    thread_sensitive_scope::set_max_leases(1);  // all idle ones but one end
    calls_at_its_end::ended.wait_for();
    thread_sensitive_scope::set_max_leases(32);
}

TEST_CASE("a thread of ferry's own whose work has ended touches nothing that lay on its stack",
          "[bridge][thread_sensitive]") {
    using own_thread = ferry::detail::home_thread::own_thread;
    constexpr std::byte gone{0xa5};
    bool touched = false;
    std::thread ends([&] {
        alignas(own_thread) std::byte stack[sizeof(own_thread)];
        (new (stack) own_thread(ferry::detail::home_thread::of_this_thread(), "leased"))->~own_thread();
        std::fill(std::begin(stack), std::end(stack), gone);
        const auto looks = [&] {
            return std::any_of(std::begin(stack), std::end(stack), [&](std::byte each) { return each != gone; });
        };
        const auto calls = [&]() -> task<bool> { co_return co_await to_thread(thread_sensitive, looks); };
        touched = ferry::block_on(ferry::on_private_loop, calls());
    });
    ends.join();
    CHECK(!touched);
}

TEST_CASE("10,000 scopes at once over 32 threads all go on, each with its calls on one thread and in order",
          "[bridge][thread_sensitive][mt]") {
    constexpr int scopes = 10000;
    std::atomic<int> calls{0};
    int wrong = 0;
    const auto number = [&] {
        calls.fetch_add(1, std::memory_order_relaxed);
        return here();
    };
    const auto scoped = [&]() -> task<> {
        const thread_sensitive_scope one_thread;
        const id first = co_await to_thread(thread_sensitive, number);
        const id second = co_await to_thread(thread_sensitive, number);
        wrong += first != second;
    };
    const auto body = [&]() -> task<> {
        co_await ferry::with_task_group([&](ferry::task_group& group) -> task<> {
            for (int i = 0; i < scopes; ++i) group.start(scoped());
            co_return;
        });
    };
    ferry::run(body());
    CHECK(calls == 2 * scopes);
    CHECK(wrong == 0);
    CHECK(thread_sensitive_scope::threads() <= 32);
}

TEST_CASE("scopes end while their threads start, wait or run: each call has run once, or was withdrawn",
          "[bridge][thread_sensitive][mt]") {
    thread_sensitive_scope::set_max_leases(3);
    std::atomic<int> runs{0};
    std::atomic<int> inside{0};
    int delivered = 0;
    int wrong = 0;
    const auto call = [&](std::atomic<int>* at_a_time) {
        if (at_a_time->fetch_add(1) != 0) inside.fetch_add(1);
        runs.fetch_add(1);
        at_a_time->fetch_sub(1);
        return 1;
    };
    const auto with_limit = [&](std::atomic<int>* at_a_time) -> task<> {
        const auto value = co_await ferry::try_timeout(0ns, to_thread(thread_sensitive, call, at_a_time));
        if (value) ++delivered;
    };
    const auto one_call = [&](std::atomic<int>* at_a_time) -> task<> {
        const int one = co_await to_thread(thread_sensitive, call, at_a_time);
        delivered += one;
    };
    const auto scoped = [&](std::uint64_t seed) -> task<> {
        dice random(seed);
        std::atomic<int> at_a_time{0};
        std::vector<ferry::future<void>> left;
        {
            const thread_sensitive_scope one_thread;
            for (int i = random.roll(4); i > 0; --i) left.push_back(ferry::spawn(one_call(&at_a_time)));
            if (random.roll(2) == 0) co_await with_limit(&at_a_time);
            for (int i = random.roll(3); i > 0; --i) co_await ferry::yield_now();
        }
        for (ferry::future<void>& each : left) co_await std::move(each);
        if (at_a_time != 0) ++wrong;
    };
    const auto body = [&](std::uint64_t seed) -> task<> {
        co_await ferry::with_task_group([&, seed](ferry::task_group& group) -> task<> {
            for (std::uint64_t i = 0; i < 50; ++i) group.start(scoped(seed * 1000 + i));
            co_return;
        });
    };
    for (std::uint64_t seed = 1; seed <= 20; ++seed) ferry::run(body(seed));
    CHECK(runs == delivered);
    CHECK(wrong == 0);
    thread_sensitive_scope::set_max_leases(32);
}
