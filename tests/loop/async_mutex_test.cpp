// tests/loop/async_mutex_test.cpp - one task at a time
// SPDX-License-Identifier: BSL-1.0
#include "core/frame_count.hpp"
#include "net/aborts.hpp"
#include "support/catch.hpp"

#include <ferry/core/error.hpp>
#include <ferry/loop/async_mutex.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace {
ferry::task<> hold(ferry::async_mutex& mutex, std::vector<int>& order, int id, std::chrono::milliseconds time) {
    const ferry::async_mutex::guard held = co_await mutex.lock();
    order.push_back(id);
    co_await ferry::sleep_for(time);
}
ferry::task<bool> try_for(ferry::async_mutex& mutex, std::chrono::milliseconds limit) {
    const ferry::async_mutex::guard held = co_await mutex.try_lock_for(limit);
    co_return static_cast<bool>(held);
}
ferry::task<> hold_and_fail(ferry::async_mutex& mutex) {
    const ferry::async_mutex::guard held = co_await mutex.lock();
    co_await ferry::yield_now();
    throw std::runtime_error("failed");
}
}  // namespace

TEST_CASE("an async_mutex is handed on in the order of the requests", "[loop][async_mutex][order]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::async_mutex mutex(loop);
    std::vector<int> order;
    std::vector<ferry::future<void>> ends;
    for (int id : {1, 2, 3}) ends.push_back(loop.spawn(hold(mutex, order, id, 2ms)));
    loop.run_until_idle();
    CHECK(order == std::vector<int>{1});
    CHECK_FALSE(mutex.try_lock());
    loop.run(ferry::sleep_for(10ms));
    CHECK(order == std::vector<int>{1, 2, 3});
    CHECK_FALSE(mutex.locked());
}

TEST_CASE("a wait for an async_mutex that is cancelled, first, middle or last, is not served",
          "[loop][async_mutex][order]") {
    const ferry_test::frame_count frames;
    for (int gone : {2, 3, 4}) {
        ferry::virtual_clock clock;
        ferry::event_loop loop(clock);
        ferry::async_mutex mutex(loop);
        std::vector<int> order;
        std::vector<ferry::future<bool>> ends;
        for (int id : {1, 2, 3, 4}) {
            ends.push_back(loop.spawn(ferry::try_timeout(id == gone ? 1ms : 100ms, hold(mutex, order, id, 5ms))));
        }
        loop.run(ferry::sleep_for(50ms));
        std::vector<int> expected{1, 2, 3, 4};
        expected.erase(expected.begin() + gone - 1);
        CHECK(order == expected);
        for (int id : {1, 2, 3, 4}) CHECK(ends[static_cast<std::size_t>(id - 1)].get() == (id != gone));
        CHECK_FALSE(mutex.locked());
    }
}

TEST_CASE("a task that is cancelled between the hand-over and its resumption holds the mutex, and gives it back",
          "[loop][async_mutex]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::async_mutex mutex(loop);
    std::vector<int> order;
    mutex.try_lock().detach();
    auto waiting = loop.spawn(ferry::try_timeout(1ms, hold(mutex, order, 1, 5ms)));
    loop.run_until_idle();
    mutex.unlock();
    clock.advance(2ms);
    loop.run_until_idle();
    CHECK(order == std::vector<int>{1});  // the lock was delivered; the sleep after it was cancelled
    CHECK_FALSE(waiting.get());
    CHECK_FALSE(mutex.locked());
}

TEST_CASE("a cancelled task takes no async_mutex, even a free one", "[loop][async_mutex]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::async_mutex mutex(loop);
    std::vector<int> order;
    loop.run(ferry::try_timeout(1ms, [](ferry::async_mutex& m, std::vector<int>& out) -> ferry::task<> {
        try {
            co_await ferry::sleep_for(1h);
        } catch (const ferry::cancelled&) {}
        co_await hold(m, out, 1, 0ms);
    }(mutex, order)));
    CHECK(order.empty());
}

TEST_CASE("try_lock_for gives up after its time without an exception, and leaves no timer behind",
          "[loop][async_mutex]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::async_mutex mutex(loop);
    std::vector<int> order;
    auto holder = loop.spawn(hold(mutex, order, 1, 10ms));
    loop.run_until_idle();
    auto early = loop.spawn(try_for(mutex, 5ms));
    auto late = loop.spawn(try_for(mutex, 20ms));
    auto at_once = loop.spawn(try_for(mutex, 0ms));
    loop.run_until_idle();
    CHECK_FALSE(at_once.get());
    loop.run(ferry::sleep_for(11ms));
    CHECK_FALSE(early.get());
    CHECK(late.get());
    CHECK(holder.is_ready());
    CHECK(loop.next_deadline() == ferry::event_loop::time_point::max());
    CHECK_FALSE(mutex.locked());
}

TEST_CASE("where the unlock and the time limit come in the same turn, one of them counts", "[loop][async_mutex]") {
    for (const bool unlock_first : {true, false}) {
        ferry::virtual_clock clock;
        ferry::event_loop loop(clock);
        ferry::async_mutex mutex(loop);
        mutex.try_lock().detach();
        auto waiting = loop.spawn(try_for(mutex, 5ms));
        loop.run_until_idle();
        if (unlock_first) mutex.unlock();
        clock.advance(5ms);
        loop.run_until_idle();
        if (!unlock_first) mutex.unlock();
        CHECK(waiting.get() == unlock_first);
        CHECK_FALSE(mutex.locked());
    }
}

TEST_CASE("an exception gives the mutex back", "[loop][async_mutex]") {
    ferry::event_loop loop;
    ferry::async_mutex mutex(loop);
    CHECK_THROWS_WITH(loop.run(hold_and_fail(mutex)), "failed");
    CHECK_FALSE(mutex.locked());
}

TEST_CASE("a guard can give the mutex back early", "[loop][async_mutex]") {
    ferry::event_loop loop;
    ferry::async_mutex mutex(loop);
    ferry::async_mutex::guard held = mutex.try_lock();
    CHECK(held);
    held.unlock();
    CHECK_FALSE(held);
    CHECK(mutex.try_lock());
}

TEST_CASE("closing the loop ends every wait for an async_mutex", "[loop][async_mutex]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::async_mutex mutex(loop);
    std::vector<int> order;
    std::vector<ferry::future<void>> ends;
    for (int id : {1, 2, 3}) ends.push_back(loop.spawn(hold(mutex, order, id, 1h)));
    loop.run_until_idle();
    loop.close();
    for (ferry::future<void>& end : ends) CHECK_THROWS_AS(end.get(), ferry::closed_error);
    CHECK_FALSE(mutex.locked());
}

TEST_CASE("a thousand tasks with random limits and cancellations are never in the mutex together",
          "[loop][async_mutex]") {
    const ferry_test::frame_count frames;
    for (unsigned seed = 0; seed < 5; ++seed) {
        INFO("seed " << seed);
        ferry::virtual_clock clock;
        ferry::event_loop loop(clock);
        ferry::async_mutex mutex(loop);
        std::mt19937 random(seed);
        int inside = 0;
        int most = 0;
        int entered = 0;
        const auto work = [&](int limit, int time) -> ferry::task<> {
            const ferry::async_mutex::guard held = co_await mutex.try_lock_for(std::chrono::milliseconds(limit));
            if (!held) co_return;
            ++entered;
            most = std::max(most, ++inside);
            const auto slept = co_await ferry::as_result(ferry::sleep_for(std::chrono::milliseconds(time)));
            --inside;
        };
        std::vector<ferry::future<bool>> ends;
        for (int id = 0; id < 1000; ++id) {
            const int limit = static_cast<int>(random() % 800);
            const int time = static_cast<int>(random() % 3);
            ends.push_back(
                loop.spawn(ferry::try_timeout(std::chrono::milliseconds(random() % 800), work(limit, time))));
        }
        loop.run(ferry::sleep_for(1h));
        CHECK(most == 1);
        CHECK(entered > 100);
        CHECK_FALSE(mutex.locked());
        for (ferry::future<bool>& end : ends) CHECK(end.is_ready());
    }
}

TEST_CASE("a guard of an async_mutex that is unlocked twice is an assertion", "[loop][async_mutex]") {
    ferry::event_loop loop;
    const auto twice = [&loop] {
        ferry::async_mutex mutex(loop);
        auto held = mutex.try_lock();
        held.unlock();
        held.unlock();
    };
    CHECK(ferry_test::aborts(twice));
}
