// tests/loop/lifetime_test.cpp - the rules of DESIGN 2 on lifetime and close, sentence by sentence, where other files
// have not: close_test, spawn_test, task_test, hang_test, embedding_test
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/shield.hpp>
#include <ferry/loop/callback.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/on.hpp>
#include <ferry/loop/shared_future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>

#include "core/frame_count.hpp"
#include "loop/unhandled_exceptions.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::task;
using namespace std::chrono_literals;

namespace {
task<int> seven() { co_return 7; }
task<> hour() { co_await ferry::sleep_for(1h); }

/// Ends only when it is told to, whoever cancels it.
task<int> ends_when_told(ferry::future<void> told) {
    co_await ferry::shield(std::move(told));
    co_return 5;
}

/// True when fn throws closed_error.
template <class Fn>
bool is_closed(Fn fn) {
    try {
        fn();
    } catch (const ferry::closed_error&) {
        return true;
    }
    return false;
}

void wait_until_something_was_pushed_to(const event_loop& loop) {
    while (!loop.control().has_mail()) std::this_thread::yield();
}
}  // namespace

TEST_CASE("close() tells those who wait for what has not started at once, before it waits for what has",
          "[loop][lifetime][mt]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    ferry::promise<void> told;
    auto stubborn = ferry::spawn(loop, ends_when_told(told.get_future()));
    loop.run_until_idle();
    bool closed = false;
    std::thread waiting;
    SECTION("the future of a spawned task") {
        auto never = ferry::spawn(loop, seven());
        waiting = std::thread([&, never = std::move(never)]() mutable {
            closed = is_closed([&] { never.get(); });
            told.set_value();
        });
    }
    SECTION("a shared one") {
        auto never = ferry::spawn(loop, seven()).share();
        waiting = std::thread([&, never] {
            closed = is_closed([&] { static_cast<void>(never.get()); });
            told.set_value();
        });
    }
    SECTION("block_on") {
        waiting = std::thread([&] {
            closed = is_closed([&] { ferry::block_on(loop, seven()); });
            told.set_value();
        });
        wait_until_something_was_pushed_to(loop);
    }
    SECTION("on, from another loop") {
        waiting = std::thread([&] {
            event_loop home;
            closed = is_closed([&] { home.run(ferry::on(loop, seven())); });
            told.set_value();
        });
        wait_until_something_was_pushed_to(loop);
    }
    loop.close();
    waiting.join();
    CHECK(closed);
    CHECK(stubborn.get() == 5);
}

TEST_CASE("each foreign waiter is woken when its own task ends, while the loop still waits for others",
          "[loop][lifetime][mt]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    ferry::promise<void> one_heard;
    ferry::promise<void> two_heard;
    ferry::promise<void> three_heard;
    // Each of them ends only after the waiter of the one before has gone on: a close that woke all of them at its end
    // would never end.
    const auto fails = [](ferry::future<void> told) -> task<int> {
        co_await ferry::shield(std::move(told));
        throw std::out_of_range("its own");
    };
    auto cancelled = ferry::spawn(loop, hour());
    auto value = ferry::spawn(loop, ends_when_told(one_heard.get_future()));
    auto error = ferry::spawn(loop, fails(two_heard.get_future()));
    auto last = ferry::spawn(loop, ends_when_told(three_heard.get_future()));
    loop.run_until_idle();
    std::string heard;
    std::thread first([&] {
        if (is_closed([&] { cancelled.get(); })) heard += "closed ";
        one_heard.set_value();
    });
    std::thread second([&] {
        if (value.get() == 5) heard += "value ";
        two_heard.set_value();
    });
    std::thread third([&] {
        try {
            error.get();
        } catch (const std::out_of_range&) {
            heard += "error";
        }
        three_heard.set_value();
    });
    loop.close();
    first.join();
    second.join();
    third.join();
    CHECK(heard == "closed value error");
    CHECK(last.get() == 5);
}

TEST_CASE("a task that ends while its loop closes can start children, but nothing that would outlive it",
          "[loop][lifetime]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    int children = 0;
    int refused = 0;
    const auto child = [&children]() -> task<> {
        ++children;
        co_return;
    };
    const auto cleans_up = [&]() -> task<> {
        try {
            co_await ferry::sleep_for(1h);
        } catch (const ferry::cancelled&) {}
        const auto body = [&](ferry::task_group& group) -> task<> {
            group.start(child());
            co_return;
        };
        co_await ferry::with_task_group(body);
        co_await ferry::shield(child());
        refused += static_cast<int>(is_closed([] { ferry::spawn(seven()); }));
        refused += static_cast<int>(is_closed([&] { loop.post([] {}); }));
    };
    auto done = ferry::spawn(loop, cleans_up());
    loop.run_until_idle();
    loop.close();
    done.get();
    CHECK(children == 2);
    CHECK(refused == 2);
}

TEST_CASE("an error that a dropped task ends in while its loop closes goes to the handler, its cancellation to nobody",
          "[loop][lifetime]") {
    const ferry_test::frame_count frames;
    const ferry_test::unhandled_exceptions unhandled;
    {
        event_loop loop;
        const auto fails = []() -> task<> {
            try {
                co_await ferry::sleep_for(1h);
            } catch (const ferry::cancelled&) {}
            throw std::runtime_error("in its cleanup");
        };
        { auto dropped = ferry::spawn(loop, fails().named("careless")); }
        { auto cancelled = ferry::spawn(loop, hour()); }
        loop.run_until_idle();
        { auto never_started = ferry::spawn(loop, seven()); }
        loop.post([] { throw std::runtime_error("posted"); });
    }
    CHECK(unhandled.all().size() == 2);
    for (const std::string& each : unhandled.all()) {
        CHECK((each == "careless: in its cleanup" || each == "a posted callback: posted"));
    }
}

TEST_CASE("a result that comes after the loop of its waiter is gone is nobody's, and harms nobody",
          "[loop][lifetime]") {
    const ferry_test::frame_count frames;
    ferry::promise<int> late;
    ferry::promise<int> late_for_many;
    std::optional<ferry::completion<int>> late_call;
    ferry::shared_future<int> shared = late_for_many.get_future().share();
    {
        event_loop loop;
        const auto starts = [&late_call](ferry::completion<int> done) { late_call = done; };
        { auto one = ferry::spawn(loop, late.get_future()); }
        { auto many = ferry::spawn(loop, shared.operator co_await()); }
        { auto call = ferry::spawn(loop, ferry::callback_to_awaitable<int>(starts)); }
        loop.run_until_idle();
    }
    late.set_value(1);
    late_for_many.set_value(2);
    CHECK((*late_call)(3));
    CHECK(shared.get() == 2);
}

TEST_CASE("what is handed to a loop is destroyed with it, run or not", "[loop][lifetime]") {
    const ferry_test::frame_count frames;
    const auto counted = std::make_shared<int>(0);
    {
        event_loop loop;
        loop.post([counted] { ++*counted; });
        loop.post([counted] { ++*counted; });
        loop.run_until_idle();
        CHECK(counted.use_count() == 1);
        loop.post([counted] { ++*counted; });
        loop.close();
        CHECK(counted.use_count() == 1);
        CHECK(is_closed([&] { loop.post([counted] { ++*counted; }); }));
    }
    CHECK(*counted == 3);
    CHECK(counted.use_count() == 1);
}

TEST_CASE("a loop that is closed by one thread may be destroyed by another", "[loop][lifetime][mt]") {
    const ferry_test::frame_count frames;
    auto loop = std::make_unique<event_loop>();
    std::thread runner([&] {
        { auto sleeping = ferry::spawn(*loop, hour()); }
        loop->run_once();
        loop->close();
    });
    runner.join();
    loop.reset();
}

TEST_CASE("an open loop that nobody runs keeps its work for whoever runs it next", "[loop][lifetime][mt]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    auto result = ferry::spawn(loop, seven());
    CHECK(!result.wait_for(1us));
    std::thread([&] { loop.run_until_idle(); }).join();
    CHECK(result.get() == 7);
    auto next = ferry::spawn(loop, seven());
    loop.run_until_idle();
    CHECK(next.get() == 7);
}
