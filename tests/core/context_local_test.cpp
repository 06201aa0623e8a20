// tests/core/context_local_test.cpp - variables that follow the call
// SPDX-License-Identifier: BSL-1.0
#include "support/catch.hpp"

#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/context_local.hpp>
#include <ferry/core/shield.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/on.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <deque>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {
ferry::context_local<std::string> request;
ferry::context_local<int> depth(7);
ferry::thread_context_local<int> handle(0);

int set_depth(int value) {
    const int before = depth.get();
    depth.set(value);
    return before;
}
int set_depth_and_fail(int value) {
    depth.set(value);
    throw std::runtime_error("after setting it");
}
ferry::task<int> set_depth_async(int value) {
    co_await ferry::yield_now();
    co_return set_depth(value);
}
ferry::task<> set_depth_async_and_fail(int value) {
    co_await ferry::yield_now();
    depth.set(value);
    throw std::runtime_error("after setting it");
}
ferry::task<int> read_depth() {
    co_await ferry::yield_now();
    co_return depth.get();
}
ferry::task<std::string> read_at(ferry::context_local<std::string>& variable) {
    co_await ferry::yield_now();
    co_return variable.get();
}
int block_on_set_depth(int value) { return ferry::block_on(set_depth_async(value)); }

// Every test leaves the thread's own context as it found it.
class clean_context {
public:
    ~clean_context() {
        request.reset();
        depth.reset();
        handle.reset();
    }
};
}  // namespace

TEST_CASE("L01: a context variable has no value, then the one that was set, then none again", "[core][context_local]") {
    const clean_context after;
    CHECK(request.find() == nullptr);
    CHECK_THROWS_AS(request.get(), std::logic_error);
    request.set("42");
    CHECK(request.get() == "42");
    request.reset();
    CHECK(request.find() == nullptr);
    CHECK(depth.get() == 7);
}

TEST_CASE("a context is a value: what changes later does not change the copy", "[core][context_local]") {
    const clean_context after;
    depth.set(1);
    const ferry::context before = ferry::detail::current_context();
    depth.set(2);
    request.set("x");
    const ferry::context now = ferry::detail::exchange_current_context(before);
    CHECK(depth.get() == 1);
    CHECK(request.find() == nullptr);
    ferry::detail::exchange_current_context(now);
    CHECK(depth.get() == 2);
    CHECK(request.get() == "x");
}

TEST_CASE("run shares its caller's context, there and back", "[core][context_local]") {
    const clean_context after;
    depth.set(1);
    CHECK(ferry::run(set_depth_async(2)) == 1);
    CHECK(depth.get() == 2);
}

TEST_CASE("X01, X02: a call of to_thread sees the task's variables, and the task sees what it changed",
          "[core][context_local][mt]") {
    const clean_context after;
    int seen = 0;
    int now = 0;
    ferry::event_loop loop;
    loop.run([](int& saw, int& is) -> ferry::task<> {
        depth.set(3);
        saw = co_await ferry::to_thread(set_depth, 4);
        is = depth.get();
    }(seen, now));
    CHECK(seen == 3);
    CHECK(now == 4);
}

TEST_CASE("X03: what a call of to_thread changed flows back although it throws", "[core][context_local][mt]") {
    const clean_context after;
    int now = 0;
    ferry::run([](int& is) -> ferry::task<> {
        try {
            co_await ferry::to_thread(set_depth_and_fail, 5);
        } catch (const std::runtime_error&) {
            is = depth.get();
        }
    }(now));
    CHECK(now == 5);
}

TEST_CASE("X04: block_on lends the caller's variables and takes them back, also from a coroutine that throws",
          "[core][context_local][mt]") {
    const clean_context after;
    SECTION("on the thread's own loop") {
        depth.set(1);
        CHECK(ferry::block_on(set_depth_async(2)) == 1);
        CHECK(depth.get() == 2);
        CHECK_THROWS_AS(ferry::block_on(set_depth_async_and_fail(3)), std::runtime_error);
        CHECK(depth.get() == 3);
    }
    SECTION("on another thread's loop") {
        ferry::loop_thread elsewhere;
        depth.set(1);
        CHECK(ferry::block_on(elsewhere.loop(), set_depth_async(2)) == 1);
        CHECK(depth.get() == 2);
        CHECK_THROWS_AS(ferry::block_on(elsewhere.loop(), set_depth_async_and_fail(3)), std::runtime_error);
        CHECK(depth.get() == 3);
        CHECK(ferry::block_on(elsewhere.loop(), read_depth()) == 3);
    }
}

TEST_CASE("X05: a variable that the coroutine resets is reset for the caller of block_on", "[core][context_local]") {
    const clean_context after;
    request.set("42");
    ferry::block_on([]() -> ferry::task<> {
        request.reset();
        co_return;
    }());
    CHECK(request.find() == nullptr);
}

TEST_CASE("L03: a variable travels through to_thread, block_on and back", "[core][context_local][mt]") {
    const clean_context after;
    depth.set(1);
    int seen = 0;
    ferry::run([](int& saw) -> ferry::task<> { saw = co_await ferry::to_thread(block_on_set_depth, 2); }(seen));
    CHECK(seen == 1);
    CHECK(depth.get() == 2);
}

TEST_CASE("L02: another thread does not see a variable", "[core][context_local][mt]") {
    const clean_context after;
    depth.set(1);
    int there = 0;
    std::thread([&there] {
        there = depth.get();
        depth.set(2);
    }).join();
    CHECK(there == 7);
    CHECK(depth.get() == 1);
}

TEST_CASE("L04, L05: a child starts with its maker's variables and keeps its changes to itself",
          "[core][context_local]") {
    const clean_context after;
    std::vector<int> seen;
    int here = 0;
    ferry::run([](std::vector<int>& saw, int& is) -> ferry::task<> {
        depth.set(1);
        saw.push_back(co_await ferry::spawn(set_depth_async(2)));
        auto both = co_await ferry::when_all(set_depth_async(3), read_depth());
        saw.push_back(std::get<0>(both));
        saw.push_back(std::get<1>(both));
        auto first = co_await ferry::when_any(set_depth_async(4));
        saw.push_back(*first.get<0>());
        saw.push_back(co_await ferry::shield(set_depth_async(5)));
        co_await ferry::with_task_group([&saw](ferry::task_group& group) -> ferry::task<> {
            group.start([&saw]() -> ferry::task<> { saw.push_back(co_await set_depth_async(6)); });
            co_return;
        });
        is = depth.get();
    }(seen, here));
    CHECK(seen == std::vector<int>{1, 1, 1, 1, 1, 1});
    CHECK(here == 1);
}

TEST_CASE("a timeout shares the variables of its task", "[core][context_local]") {
    const clean_context after;
    int before = 0;
    int here = 0;
    ferry::run([](int& was, int& is) -> ferry::task<> {
        depth.set(1);
        was = co_await ferry::timeout(std::chrono::hours(1), set_depth_async(2));
        is = depth.get();
    }(before, here));
    CHECK(before == 1);
    CHECK(here == 2);
}

TEST_CASE("work sent to another loop starts with the task's variables and does not write back",
          "[core][context_local][mt]") {
    const clean_context after;
    ferry::loop_thread elsewhere;
    depth.set(1);
    CHECK(ferry::run(ferry::on(elsewhere.loop(), set_depth_async(2))) == 1);
    CHECK(depth.get() == 1);
}

TEST_CASE("L06, L07: a thread_context_local does not cross to another thread", "[core][context_local][mt]") {
    const clean_context after;
    handle.set(1);
    int worker = -1;
    int coroutine = -1;
    ferry::run([](int& on_worker, int& in_task) -> ferry::task<> {
        in_task = handle.get();
        handle.set(2);
        on_worker = co_await ferry::to_thread([]() { return handle.get(); });
    }(worker, coroutine));
    CHECK(coroutine == 0);
    CHECK(worker == 0);
    CHECK(handle.get() == 1);
}

TEST_CASE("L09: on a loop's thread each task has its own thread_context_local", "[core][context_local][order]") {
    const clean_context after;
    std::vector<int> seen;
    ferry::event_loop loop;
    for (int id : {1, 2}) {
        loop.spawn([&seen, id]() -> ferry::task<> {
            handle.set(id);
            co_await ferry::yield_now();
            seen.push_back(handle.get());
        });
    }
    loop.run_until_idle();
    CHECK(seen == std::vector<int>{1, 2});
    CHECK(handle.get() == 0);
}

TEST_CASE("a call of to_thread that is cancelled in the queue gives the task its variables back",
          "[core][context_local][mt][order]") {
    const clean_context after;
    ferry::thread_pool pool(ferry::thread_pool_options().size(1).max_spare(0));  // it stays blocked
    ferry::event_loop loop;
    ferry::promise<void> release;
    ferry::future<void> released = release.get_future();
    auto hold = loop.spawn([&]() -> ferry::task<> { co_await ferry::to_thread(pool, [&] { released.wait(); }); });
    int seen = 0;
    auto queued = loop.spawn([&]() -> ferry::task<> {
        depth.set(3);
        try {
            co_await ferry::timeout(std::chrono::milliseconds(1), ferry::to_thread(pool, set_depth, 4));
        } catch (const ferry::timeout_error&) {
            seen = depth.get();
        }
        release.set_value();
    });
    loop.run_until_idle();
    while (!queued.is_ready() || !hold.is_ready()) loop.run_once(std::chrono::milliseconds(10));
    CHECK(seen == 3);
}

TEST_CASE("L10: a new variable has no value, though one that has gone had one at the same address",
          "[core][context_local]") {
    const clean_context after;
    alignas(ferry::context_local<std::string>) alignas(ferry::context_local<int>)
        std::byte place[std::max(sizeof(ferry::context_local<std::string>), sizeof(ferry::context_local<int>))];
    auto* const first = new (place) ferry::context_local<int>(1);
    first->set(2);
    CHECK(first->get() == 2);
    first->~context_local();
    auto* const same_type = new (place) ferry::context_local<int>;
    CHECK(same_type->find() == nullptr);
    same_type->set(3);
    CHECK(same_type->get() == 3);
    same_type->~context_local();
    auto* const other_type = new (place) ferry::context_local<std::string>("initial");
    CHECK(other_type->get() == "initial");
    CHECK(ferry::run(read_at(*other_type)) == "initial");
    other_type->set("its own");
    CHECK(ferry::run(read_at(*other_type)) == "its own");
    other_type->reset();
    CHECK(other_type->get() == "initial");
    other_type->~context_local();
}

TEST_CASE("X08: a crossing costs the same with thousands of variables as with one", "[core][context_local]") {
    const clean_context after;
    const auto seven = [] { return 7; };
    const auto crossings =
        [&] {  // block_on lends the context and takes it back, to_thread in it swaps it there and back
            const auto body = [&]() -> ferry::task<> { co_await ferry::to_thread(ferry::thread_sensitive, seven); };
            double least = 1e9;
            for (int attempt = 0; attempt < 5; ++attempt) {
                const std::clock_t began = std::clock();  // time of the processor, not of the clock on the wall
                for (int i = 0; i < 2'000; ++i) ferry::block_on(body());
                least = std::min(least, static_cast<double>(std::clock() - began));
            }
            return least;
        };
    depth.set(1);
    const double with_one = crossings();
    std::deque<ferry::context_local<int>> many(3'000);
    for (ferry::context_local<int>& each : many) each.set(1);
    const double with_many = crossings();
    CAPTURE(with_one, with_many);
    CHECK(with_many < 3 * with_one);
    for (ferry::context_local<int>& each : many) each.reset();
}
