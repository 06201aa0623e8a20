// tests/core/cancellation_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/cancellation.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/loop/bounded_queue.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

using ferry::cancelled;
using ferry::task;
using ferry::detail::cancel_scope;
using ferry::detail::current_task;
using ferry::detail::logical_task;
using namespace std::chrono_literals;

namespace {
/// A cancel scope around what follows in a coroutine.
class entered_scope : public cancel_scope {
public:
    explicit entered_scope(logical_task& task, bool shielded = false)
        : cancel_scope(task, &task.scope(), shielded), task_(task) {
        task.enter(*this);
    }
    ~entered_scope() { task_.leave(*this); }

private:
    logical_task& task_;
};

/// Did the awaitable end in `cancelled`?
template <class Awaitable>
task<bool> ends_cancelled(Awaitable what) {
    try {
        co_await std::move(what);
    } catch (const cancelled&) {
        co_return true;
    }
    co_return false;
}

task<int> plain(int value) { co_return value; }
}  // namespace

TEST_CASE("every primitive is a checkpoint on entry, before it takes anything", "[core][cancellation]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    ferry::event set(loop);
    set.set();
    ferry::bounded_queue<int> queue(loop, 2);
    CHECK(queue.try_push(1));
    ferry::promise<int> promise;
    ferry::future<int> ready = promise.get_future();
    promise.set_value(2);
    int cancelled_ones = 0;
    const auto body = [&]() -> task<> {
        entered_scope scope(co_await current_task());
        scope.cancel();
        cancelled_ones += co_await ends_cancelled(set.wait());
        cancelled_ones += co_await ends_cancelled(queue.pop());
        cancelled_ones += co_await ends_cancelled(queue.push(2));
        cancelled_ones += co_await ends_cancelled(std::move(ready));
        cancelled_ones += co_await ends_cancelled(ferry::sleep_for(0s));
        cancelled_ones += co_await ends_cancelled(ferry::sleep_until(loop.now()));
        cancelled_ones += co_await ends_cancelled(ferry::yield_now());
    };
    loop.run(body());
    CHECK(cancelled_ones == 7);
    CHECK(queue.size() == 1);
    CHECK(queue.try_pop() == 1);
}

TEST_CASE("co_await of a task is no checkpoint, nor is a group or when_all", "[core][cancellation]") {
    ferry::event_loop loop;
    std::vector<int> reached;
    const auto child = [&](ferry::task_group& group) -> task<> {
        group.start(plain(0));
        reached.push_back(2);
        co_return;
    };
    const auto body = [&]() -> task<> {
        entered_scope scope(co_await current_task());
        scope.cancel();
        reached.push_back(co_await plain(1));
        co_await ferry::with_task_group(child);
        const auto values = co_await ferry::when_all(plain(3), plain(4));
        reached.push_back(std::get<0>(values));
        const bool stopped = co_await ends_cancelled(ferry::yield_now());
        if (stopped) reached.push_back(4);
    };
    loop.run(body());
    CHECK(reached == std::vector<int>{1, 2, 3, 4});
}

TEST_CASE("a task that catches its cancellation meets it again at the next checkpoint", "[core][cancellation]") {
    ferry::event_loop loop;
    ferry::event never(loop);
    int caught = 0;
    bool after_the_scope = false;
    const auto body = [&]() -> task<> {
        logical_task& self = co_await current_task();
        {
            entered_scope scope(self);
            loop.post([&scope] { scope.cancel(); });
            for (int i = 0; i < 3; ++i) caught += co_await ends_cancelled(never.wait());
        }
        co_await ferry::yield_now();  // outside of the scope nothing is cancelled
        after_the_scope = true;
    };
    loop.run(body());
    CHECK(caught == 3);
    CHECK(after_the_scope);
}

TEST_CASE("what completed before the cancellation is delivered, and the next checkpoint throws",
          "[core][cancellation][order]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::event go(loop);
    ferry::bounded_queue<int> queue(loop, 1);
    ferry::promise<int> promise;
    std::optional<ferry::future<int>> result = promise.get_future();
    cancel_scope* scope = nullptr;
    int delivered = 0;
    bool next_throws = false;
    const auto body = [&](int which) -> task<> {
        entered_scope mine(co_await current_task());
        scope = &mine;
        if (which == 0) {
            co_await go.wait();
            delivered = 7;
        }
        if (which == 1) delivered = co_await queue.pop();
        if (which == 2) delivered = co_await std::move(*result);
        if (which == 3) {
            co_await ferry::sleep_for(1s);
            delivered = 7;
        }
        next_throws = co_await ends_cancelled(ferry::yield_now());
    };
    for (int which = 0; which < 4; ++which) {
        delivered = 0;
        next_throws = false;
        auto done = ferry::spawn(loop, body(which));
        loop.run_until_idle();
        if (which == 0) go.set();
        if (which == 1) CHECK(queue.try_push(7));
        if (which == 2) promise.set_value(7);
        if (which == 3) {
            ferry::event_loop* const same = &loop;
            loop.post([&, same] {  // the timer fires in this turn, before the post that cancels
                clock.advance(1s);
                same->post([&scope] { scope->cancel(); });
            });
        } else {
            scope->cancel();
        }
        loop.run_until_idle();
        CHECK(done.is_ready());
        CHECK(delivered == 7);
        CHECK(next_throws);
    }
}

TEST_CASE("a cancellation that a task swallows leaves its await's value and stays pending", "[core][cancellation]") {
    ferry::event_loop loop;  // K04: the await returns 7, the next checkpoint throws
    ferry::event never(loop);
    int value = 0;
    bool next_throws = false;
    const auto swallows = [&]() -> task<int> {
        const bool caught = co_await ends_cancelled(never.wait());
        co_return caught ? 7 : 0;
    };
    const auto body = [&]() -> task<> {
        entered_scope scope(co_await current_task());
        loop.post([&scope] { scope.cancel(); });
        value = co_await swallows();
        next_throws = co_await ends_cancelled(ferry::yield_now());
    };
    loop.run(body());
    CHECK(value == 7);
    CHECK(next_throws);
}

TEST_CASE("catch (std::exception) does not swallow a cancellation", "[core][cancellation]") {
    static_assert(!std::is_base_of_v<std::exception, cancelled>);
    ferry::event_loop loop;
    ferry::event never(loop);
    bool swallowed = false;
    const auto legacy = [&]() -> task<> {
        try {
            co_await never.wait();
        } catch (const std::exception&) {
            swallowed = true;
        }
    };
    auto done = ferry::spawn(loop, legacy());
    loop.run_until_idle();
    loop.cancel_tasks();
    CHECK(!swallowed);
    REQUIRE_THROWS_AS(done.get(), cancelled);
}

TEST_CASE("a primitive that yields for fairness does so before it takes anything", "[core][cancellation][order]") {
    ferry::event_loop loop;
    ferry::bounded_queue<int> queue(loop, 200);
    for (int i = 0; i < 200; ++i) CHECK(queue.try_push(int(i)));
    int popped = 0;
    const auto cancel = [](cancel_scope& scope) -> task<> {
        scope.cancel();
        co_return;
    };
    const auto body = [&]() -> task<> {
        entered_scope scope(co_await current_task());
        const auto other = ferry::spawn(cancel(scope));
        for (;;) {
            const int item = co_await queue.pop();
            CHECK(item == popped);
            ++popped;
        }
    };
    const bool stopped = loop.run(ends_cancelled(body()));
    CHECK(stopped);
    CHECK(popped == 64);  // the 65th had not been taken when the cancellation came
    CHECK(queue.size() == 136);
}
