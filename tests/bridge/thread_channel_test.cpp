// tests/bridge/thread_channel_test.cpp - between blocking threads and loops
// SPDX-License-Identifier: BSL-1.0
#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <ferry/bridge/thread_channel.hpp>
#include <ferry/core/error.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace {
ferry::task<> push_all(ferry::thread_channel<int>& to, std::vector<int> items) {
    for (int item : items) co_await to.async_push(item);
}
ferry::task<> pop_all(ferry::thread_channel<int>& from, std::vector<int>& seen) {
    try {
        for (;;) seen.push_back(co_await from.async_pop());
    } catch (const ferry::closed_error&) {}
}
}  // namespace

TEST_CASE("items come out in the order they went in, between tasks", "[bridge][thread_channel]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    ferry::thread_channel<int> channel(2);
    std::vector<int> seen;
    auto pushing = loop.spawn(push_all(channel, {1, 2, 3, 4, 5}));
    loop.run_until_idle();
    CHECK_FALSE(pushing.is_ready());
    CHECK(channel.size() == 2);
    auto popping = loop.spawn(pop_all(channel, seen));
    loop.run_until_idle();
    CHECK(pushing.is_ready());
    CHECK_FALSE(popping.is_ready());
    channel.close();
    loop.run_until_idle();
    CHECK(popping.is_ready());
    CHECK(seen == std::vector<int>{1, 2, 3, 4, 5});
}

TEST_CASE("the members that do not wait say whether they could", "[bridge][thread_channel]") {
    ferry::thread_channel<std::unique_ptr<int>> channel(1);
    CHECK_FALSE(channel.try_pop().has_value());
    CHECK(channel.try_push(std::make_unique<int>(1)));
    auto second = std::make_unique<int>(2);
    CHECK_FALSE(channel.try_push(std::move(second)));
    CHECK(second != nullptr);
    CHECK_FALSE(channel.push_for(1us, std::move(second)));
    CHECK(second != nullptr);
    CHECK(**channel.try_pop() == 1);
    CHECK_FALSE(channel.pop_for(1us).has_value());
}

TEST_CASE("after close what is queued can be popped, and nothing pushed", "[bridge][thread_channel]") {
    ferry::event_loop loop;
    ferry::thread_channel<int> channel(3);
    channel.push(1);
    channel.push(2);
    channel.close();
    CHECK(channel.closed());
    CHECK_THROWS_AS(channel.push(3), ferry::closed_error);
    CHECK_THROWS_AS(loop.run(channel.async_push(3)), ferry::closed_error);
    int kept = 3;
    CHECK_FALSE(channel.try_push(std::move(kept)));
    CHECK(channel.pop() == 1);
    CHECK(loop.run(channel.async_pop()) == 2);
    CHECK_THROWS_AS(channel.pop(), ferry::closed_error);
    CHECK_THROWS_AS(loop.run(channel.async_pop()), ferry::closed_error);
}

TEST_CASE("close wakes everyone who waits", "[bridge][thread_channel][mt]") {
    ferry::thread_channel<int> full(1);
    ferry::thread_channel<int> empty(1);
    full.push(0);
    int closed = 0;
    std::thread pusher([&] {
        try {
            full.push(1);
        } catch (const ferry::closed_error&) {
            ++closed;
        }
    });
    ferry::event_loop loop;
    auto waiting = loop.spawn(empty.async_pop());
    loop.run_until_idle();
    full.close();
    empty.close();
    loop.run_until_idle();
    pusher.join();
    CHECK(closed == 1);
    CHECK_THROWS_AS(waiting.get(), ferry::closed_error);
}

TEST_CASE("blocking on a channel inside a turn is refused", "[bridge][thread_channel]") {
    ferry::event_loop loop;
    ferry::thread_channel<int> channel(1);
    int refused = 0;
    loop.post([&] {
        try {
            static_cast<void>(channel.pop());
        } catch (const ferry::blocking_error&) {
            ++refused;
        }
        try {
            channel.push(1);
        } catch (const ferry::blocking_error&) {
            ++refused;
        }
    });
    loop.run_until_idle();
    CHECK(refused == 2);
    CHECK(channel.size() == 0);
}

TEST_CASE("a cancelled push appends nothing, and a cancelled pop takes nothing", "[bridge][thread_channel]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::thread_channel<int> channel(1);
    auto pop = loop.spawn(ferry::try_timeout(1ms, channel.async_pop()));
    loop.run(ferry::sleep_for(2ms));
    CHECK_FALSE(pop.get().has_value());
    channel.push(1);
    auto push = loop.spawn(ferry::try_timeout(1ms, channel.async_push(2)));
    loop.run(ferry::sleep_for(2ms));
    CHECK_FALSE(push.get());
    CHECK(channel.pop() == 1);
    CHECK_FALSE(channel.try_pop().has_value());
}

TEST_CASE("an item handed to a task that is cancelled before it resumes is delivered", "[bridge][thread_channel]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::thread_channel<int> channel(1);
    auto pop = loop.spawn(ferry::try_timeout(1ms, channel.async_pop()));
    loop.run_until_idle();
    channel.push(7);
    clock.advance(2ms);
    loop.run_until_idle();
    CHECK(pop.get() == std::optional<int>(7));
}

TEST_CASE("threads and tasks of two loops push and pop under time limits, and nothing is lost or doubled",
          "[bridge][thread_channel][mt]") {
    ferry::thread_channel<int> channel(3);
    constexpr int each = 4000;
    std::vector<std::thread> producers;
    for (int id = 0; id < 2; ++id) {
        producers.emplace_back([&channel, id] {
            for (int count = 0; count < each; ++count) {
                int item = id * each + count;
                while (!channel.push_for(std::chrono::microseconds(count % 3), std::move(item))) {}
            }
        });
    }
    producers.emplace_back([&channel] {
        ferry::run([](ferry::thread_channel<int>& to) -> ferry::task<> {
            for (int count = 0; count < each; ++count) {
                const int item = 2 * each + count;
                while (!co_await ferry::try_timeout(std::chrono::microseconds(count % 3), to.async_push(item))) {}
            }
        }(channel));
    });
    std::vector<std::vector<int>> seen(3);
    std::vector<std::thread> consumers;
    consumers.emplace_back([&channel, &out = seen[0]] {
        try {
            for (;;) {
                if (const std::optional<int> item = channel.pop_for(1us)) out.push_back(*item);
            }
        } catch (const ferry::closed_error&) {}
    });
    for (std::size_t id : {1u, 2u}) {
        consumers.emplace_back([&channel, &out = seen[id]] {
            ferry::run([](ferry::thread_channel<int>& from, std::vector<int>& to) -> ferry::task<> {
                try {
                    for (;;) {
                        const std::optional<int> item = co_await ferry::try_timeout(1us, from.async_pop());
                        if (item.has_value()) to.push_back(*item);
                    }
                } catch (const ferry::closed_error&) {}
            }(channel, out));
        });
    }
    for (std::thread& thread : producers) thread.join();
    while (channel.size() > 0) std::this_thread::yield();
    channel.close();
    for (std::thread& thread : consumers) thread.join();
    std::vector<int> times(3 * each, 0);
    for (const std::vector<int>& of : seen) {
        for (int item : of) ++times[static_cast<std::size_t>(item)];
    }
    CHECK(times == std::vector<int>(3 * each, 1));
}
