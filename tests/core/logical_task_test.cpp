// tests/core/logical_task_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/logical_task.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

using ferry::task;
using ferry::detail::current_task;
using ferry::detail::logical_task;

namespace {
/// Yields the promise of the frame that awaits it, for a look at what the frame records.
class promise_of_this_frame {
public:
    using native_awaitable = void;
    promise_of_this_frame() noexcept {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        promise_ = &frame.promise();
        return false;
    }
    [[nodiscard]] const ferry::detail::promise_base& await_resume() const noexcept { return *promise_; }

private:
    const ferry::detail::promise_base* promise_ = nullptr;
};

struct seen {
    logical_task* task = nullptr;
    const ferry::detail::promise_base* frame = nullptr;
    unsigned line = 0;
};

task<> wait_for(ferry::event& ready, seen& mine) {
    mine.task = &co_await current_task();
    mine.frame = &co_await promise_of_this_frame();
    mine.line = std::source_location::current().line() + 1;
    co_await ready.wait();
}

task<> call_wait_for(ferry::event& ready, seen& mine) { co_await wait_for(ready, mine); }

task<logical_task*> whose() { co_return &co_await current_task(); }
std::string text(const char* name) { return name == nullptr ? "" : name; }
}  // namespace

TEST_CASE("a logical task has the name of its root coroutine", "[core][logical_task]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    ferry::event ready(loop);
    seen mine;
    SECTION("which is its function's") {
        auto done = ferry::spawn(loop, call_wait_for(ready, mine));
        loop.run_until_idle();
        CHECK(text(mine.task->name()).find("call_wait_for") != std::string::npos);
        CHECK(text(mine.frame->name()).find("wait_for") != std::string::npos);
        CHECK(text(mine.frame->name()).find("call_wait_for") == std::string::npos);
        CHECK(text(mine.frame->parent()->name()) == text(mine.task->name()));
        CHECK(mine.frame->parent()->parent() == nullptr);
    }
    SECTION("or the one that was given") {
        auto done = ferry::spawn(loop, call_wait_for(ready, mine).named("patience"));
        loop.run_until_idle();
        CHECK(text(mine.task->name()) == "patience");
        CHECK(text(mine.task->record().name()) == "patience");
    }
    SECTION("or that of the function that spawn was given") {
        auto done = ferry::spawn(loop, call_wait_for, std::ref(ready), std::ref(mine));
        loop.run_until_idle();
        CHECK(text(mine.task->name()).find("call_wait_for") != std::string::npos);
    }
    ready.set();
    loop.run_until_idle();
}

TEST_CASE("a suspended task's record says which primitive it waits in", "[core][logical_task]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::event ready(loop);
    seen mine;
    const auto body = [&]() -> task<> {
        co_await call_wait_for(ready, mine);
        CHECK(mine.task->record().waits_in() == nullptr);  // it runs
        co_await ferry::sleep_for(std::chrono::seconds(1));
    };
    auto done = ferry::spawn(loop, body());
    loop.run_until_idle();
    CHECK(text(mine.task->record().waits_in()) == "event");
    CHECK(mine.task->wait() != nullptr);
    ready.set();
    CHECK(mine.task->record().waits_in() == nullptr);  // it is ready
    CHECK(mine.task->wait() == nullptr);
    loop.run_until_idle();
    CHECK(text(mine.task->record().waits_in()) == "sleep");
    clock.advance(std::chrono::seconds(1));
    loop.run_until_idle();
    CHECK(done.is_ready());
}

TEST_CASE("a suspended frame records the line of its co_await", "[core][logical_task]") {
    ferry::event_loop loop;
    ferry::event ready(loop);
    seen mine;
    auto done = ferry::spawn(loop, call_wait_for(ready, mine));
    loop.run_until_idle();
    CHECK(mine.frame->awaiting_line() == mine.line);
    CHECK(text(mine.frame->file()).find("logical_task_test.cpp") != std::string::npos);
    ready.set();
    loop.run_until_idle();
}

TEST_CASE("co_await of a task stays inside the logical task, spawn makes a new one", "[core][logical_task]") {
    ferry::event_loop loop;
    const auto body = [&]() -> task<> {
        logical_task* const self = &co_await current_task();
        CHECK(loop.current() == &loop);
        CHECK(static_cast<ferry::detail::executor&>(loop).current() == self);
        CHECK(&ferry::event_loop::of(*self) == &loop);
        logical_task* const called = co_await whose();
        CHECK(called == self);
        logical_task* const spawned = co_await ferry::spawn(whose());
        CHECK(spawned != self);
    };
    loop.run(body());
    CHECK(ferry::event_loop::current() == nullptr);
}

TEST_CASE("the record of an ended task has another generation", "[core][logical_task]") {
    ferry::event_loop loop;
    const ferry::detail::wait_node* record = nullptr;
    std::uint32_t generation = 0;
    const auto body = [&]() -> task<> {
        logical_task& self = co_await current_task();
        record = &self.record();
        generation = record->generation();
    };
    loop.run(body());
    CHECK(generation % 2 == 1);
    CHECK(record->generation() != generation);
    CHECK(record->name() == nullptr);
}

TEST_CASE("after 64 inline completions a primitive lets another ready task run", "[core][logical_task][order]") {
    ferry::event_loop loop;
    ferry::event set(loop);
    set.set();
    int completed = 0;
    int seen_by_other = -1;
    const auto greedy = [&]() -> task<> {
        for (; completed < 200; ++completed) co_await set.wait();
    };
    const auto other = [&]() -> task<> {
        seen_by_other = completed;
        co_return;
    };
    auto first = ferry::spawn(loop, greedy());
    auto second = ferry::spawn(loop, other());
    loop.run_until_idle();
    CHECK(seen_by_other == 64);
    CHECK(completed == 200);
}
