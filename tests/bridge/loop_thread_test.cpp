// tests/bridge/loop_thread_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include "bridge/progress.hpp"
#include "bridge/reports.hpp"
#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <pthread.h>

using ferry::event_loop;
using ferry::loop_thread;
using ferry::task;
using ferry_test::progress;
using namespace std::chrono_literals;

namespace {
task<std::thread::id> where() {
    co_await ferry::yield_now();
    co_return std::this_thread::get_id();
}
task<event_loop*> which_loop() { co_return event_loop::current(); }
task<std::string> thread_name() {
    char name[16] = {};
    ::pthread_getname_np(::pthread_self(), name, sizeof name);
    co_return name;
}
task<> hour() { co_await ferry::sleep_for(1h); }
task<int> plus_one(int& counter) {
    co_await ferry::yield_now();
    co_return ++counter;
}
}  // namespace

TEST_CASE("a loop_thread runs its loop on one thread of its own", "[bridge][loop_thread]") {
    const ferry_test::frame_count frames;
    loop_thread background("background-loop-thread");
    const std::thread::id first = ferry::block_on(background.loop(), where());
    CHECK(first != std::this_thread::get_id());
    CHECK(ferry::block_on(background.loop(), where()) == first);
    CHECK(ferry::block_on(background.loop(), which_loop()) == &background.loop());
    CHECK(ferry::block_on(background.loop(), thread_name()) == "background-loop");  // 15 letters are the system's limit
}

TEST_CASE("what lives on a loop_thread survives between calls", "[bridge][loop_thread]") {
    const ferry_test::frame_count frames;
    loop_thread background;
    std::optional<ferry::promise<int>> promise(std::in_place);
    auto future = promise->get_future();
    const auto wait = [&future]() -> task<int> { co_return co_await std::move(future); };
    auto waiting = ferry::spawn(background.loop(), wait());
    int counter = 0;
    for (int call = 1; call <= 3; ++call) CHECK(ferry::block_on(background.loop(), plus_one(counter)) == call);
    CHECK(!waiting.is_ready());
    promise->set_value(5);
    CHECK(waiting.get() == 5);
}

TEST_CASE("destroying a loop_thread cancels what runs on it, awaits it, and joins", "[bridge][loop_thread]") {
    const ferry_test::frame_count frames;
    progress sleeping;
    bool cleaned = false;
    std::optional<ferry::future<void>> observed;
    {
        loop_thread background;
        const auto sleep = [&]() -> task<> {
            try {
                sleeping.advance();
                co_await ferry::sleep_for(1h);
            } catch (const ferry::cancelled&) {
                cleaned = true;
                throw;
            }
        };
        observed = ferry::spawn(background.loop(), sleep);
        sleeping.wait_for();
    }
    CHECK(cleaned);
    REQUIRE_THROWS_AS(observed->get(), ferry::closed_error);
}

TEST_CASE("a loop_thread that nobody used starts and ends", "[bridge][loop_thread]") {
    for (int round = 0; round < 20; ++round) const loop_thread background;
}

TEST_CASE("stop() does not end a loop_thread: its owner does", "[bridge][loop_thread]") {
    const ferry_test::frame_count frames;
    loop_thread background;
    event_loop* const loop = &background.loop();
    loop->post([loop] { loop->stop(); });
    const std::thread::id first = ferry::block_on(*loop, where());
    loop->stop();
    CHECK(ferry::block_on(*loop, where()) == first);
    CHECK(&background.loop() == loop);
}

TEST_CASE("the default loop is where block_on of plain threads runs", "[bridge][loop_thread]") {
    const ferry_test::frame_count frames;
    const std::thread::id here = std::this_thread::get_id();
    CHECK(ferry::block_on(where()) == here);
    auto first = std::make_optional<loop_thread>();
    CHECK(ferry::block_on(where()) == here);  // it has to be asked for
    first->make_default();
    CHECK(ferry::block_on(which_loop()) == &first->loop());
    SECTION("until it is destroyed") {
        first.reset();
        CHECK(ferry::block_on(where()) == here);
    }
    SECTION("until another takes its place") {
        loop_thread second;
        second.make_default();
        CHECK(ferry::block_on(which_loop()) == &second.loop());
        first.reset();
        CHECK(ferry::block_on(which_loop()) == &second.loop());
        const std::thread::id there = ferry::block_on(second.loop(), where());
        std::thread::id from_another_thread;
        std::thread([&] { from_another_thread = ferry::block_on(where()); }).join();
        CHECK(from_another_thread == there);
    }
}

TEST_CASE("a loop_thread destroyed inside a turn ends in the background, and one report says so",
          "[bridge][loop_thread]") {
    const ferry_test::reports reports;
    event_loop loop;
    std::vector<ferry::future<void>> sleeping;
    for (int round = 0; round < 2; ++round) {
        auto background = std::make_unique<loop_thread>();
        sleeping.push_back(ferry::spawn(background->loop(), hour()));
        loop.post([&background] { background.reset(); });
        loop.run_until_idle();
        CHECK(background == nullptr);
    }
    CHECK(reports.count() == 1);
    CHECK(reports.mention("loop_thread"));
    for (auto& future : sleeping) REQUIRE_THROWS_AS(future.get(), ferry::closed_error);
}

TEST_CASE("a loop_thread may be destroyed by a task on its own loop", "[bridge][loop_thread]") {
    const ferry_test::reports reports;
    auto background = std::make_unique<loop_thread>();
    const auto destroy = [&background]() -> task<int> {
        background.reset();
        try {
            co_await ferry::sleep_for(1h);
        } catch (const ferry::cancelled&) {}
        co_return 5;
    };
    CHECK(ferry::spawn(background->loop(), destroy).get() == 5);
    CHECK(background == nullptr);
}

TEST_CASE("loop_threads start and end while threads send them work: it is done, or refused",
          "[bridge][loop_thread][mt]") {
    constexpr int senders = 2;
    for (int round = 0; round < 100; ++round) {
        auto background = std::make_unique<loop_thread>();
        background->make_default();
        std::atomic<int> run{0};
        progress begun;
        std::vector<int> done(senders);
        std::vector<int> refused(senders);
        std::vector<std::thread> threads;
        const auto count = [&run]() -> task<> {
            run.fetch_add(1, std::memory_order_relaxed);
            co_await ferry::yield_now();
        };
        for (std::size_t id = 0; id < senders; ++id) {
            threads.emplace_back([&, id] {
                for (int call = 0; call < 50; ++call) {
                    try {
                        ferry::block_on(count());  // on the default loop, or when that is gone on a private one
                        ++done[id];
                    } catch (const ferry::closed_error&) {
                        ++refused[id];
                    }
                    begun.advance();
                }
            });
        }
        begun.wait_for(round);
        background.reset();
        for (std::thread& thread : threads) thread.join();
        CHECK(done[0] + refused[0] == 50);
        CHECK(done[1] + refused[1] == 50);
        CHECK(run >= done[0] + done[1]);
    }
}
