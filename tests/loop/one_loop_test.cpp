// tests/loop/one_loop_test.cpp - tasks that wait on the wrong loop
// SPDX-License-Identifier: BSL-1.0
#include <ferry/loop/async_mutex.hpp>
#include <ferry/loop/async_shared_mutex.hpp>
#include <ferry/loop/bounded_queue.hpp>
#include <ferry/loop/condition.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/every.hpp>
#include <ferry/loop/latch.hpp>
#include <ferry/loop/semaphore.hpp>
#include <ferry/loop/signals.hpp>

#include "net/aborts.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <csignal>

using ferry::task;
using namespace std::chrono_literals;

TEST_CASE("a task that waits for what belongs to another loop is an assertion", "[loop][one_loop]") {
    const auto elsewhere = [](auto waits) {
        return ferry_test::aborts([&] {
            ferry::event_loop here;
            ferry::event_loop there;
            here.run(waits(there));
        });
    };
    const auto event = [](ferry::event_loop& loop) -> task<> {
        ferry::event never(loop);
        co_await never.wait();
    };
    const auto latch = [](ferry::event_loop& loop) -> task<> {
        ferry::latch closed(loop, 1);
        co_await closed.wait();
    };
    const auto condition = [](ferry::event_loop& loop) -> task<> {
        ferry::condition changed(loop);
        co_await changed.wait([] { return false; });
    };
    const auto push = [](ferry::event_loop& loop) -> task<> {
        ferry::bounded_queue<int> queue(loop, 1);
        co_await queue.push(1);
        co_await queue.push(2);
    };
    const auto pop = [](ferry::event_loop& loop) -> task<> {
        ferry::bounded_queue<int> queue(loop, 1);
        co_await queue.pop();
    };
    const auto semaphore = [](ferry::event_loop& loop) -> task<> {
        ferry::semaphore none(loop, 0);
        const auto permit = co_await none.acquire();
    };
    const auto mutex = [](ferry::event_loop& loop) -> task<> {
        ferry::async_mutex mine(loop);
        const auto first = co_await mine.lock();
        const auto second = co_await mine.lock();
    };
    const auto shared_mutex = [](ferry::event_loop& loop) -> task<> {
        ferry::async_shared_mutex mine(loop);
        const auto first = co_await mine.lock_shared();
        const auto second = co_await mine.lock();
    };
    const auto beat = [](ferry::event_loop& loop) -> task<> {
        ferry::interval hourly(loop, 1h);
        co_await hourly.next();
    };
    const auto signal = [](ferry::event_loop& loop) -> task<> {
        ferry::signals raised(loop, {SIGUSR1});
        co_await raised.wait();
    };
    CHECK(elsewhere(event));
    CHECK(elsewhere(latch));
    CHECK(elsewhere(condition));
    CHECK(elsewhere(push));
    CHECK(elsewhere(pop));
    CHECK(elsewhere(semaphore));
    CHECK(elsewhere(mutex));
    CHECK(elsewhere(shared_mutex));
    CHECK(elsewhere(beat));
    CHECK(elsewhere(signal));
}
