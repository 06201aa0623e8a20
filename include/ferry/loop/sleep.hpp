// ferry/loop/sleep.hpp - waiting for time, and giving way
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/timer_queue.hpp>

#include <chrono>
#include <coroutine>

namespace ferry::inline FERRY_ABI {
/// Awaited by sleep_for and sleep_until.
class sleep_awaiter : public detail::leaf_awaiter<sleep_awaiter>, private detail::timer_node {
public:
    static constexpr const char* what = "sleep";
    explicit sleep_awaiter(std::chrono::nanoseconds duration) noexcept
        : timer_node(&fire), duration_(duration), from_now_(true) {}
    explicit sleep_awaiter(event_loop::time_point until) noexcept : timer_node(&fire), until_(until) {}

    bool try_complete() noexcept { return false; }
    void link() noexcept {
        event_loop& loop = event_loop::of(task());
        loop.timers().arm(*this, from_now_ ? detail::deadline_after(loop.now(), duration_) : until_);
    }
    static void withdraw(detail::waiter& self) noexcept {
        sleep_awaiter& sleeping = static_cast<sleep_awaiter&>(self);
        event_loop::of(sleeping.task()).timers().disarm(sleeping);
        sleeping.task().wake_interrupted();
    }
    void finish() noexcept {}

private:
    static void fire(timer_node& node) noexcept { static_cast<sleep_awaiter&>(node).task().wake(); }

    std::chrono::nanoseconds duration_{0};
    event_loop::time_point until_;
    bool from_now_ = false;
};

/// Awaited by yield_now. The task is ready all the time and waits in nothing: a cancellation finds nothing to withdraw,
/// and is met on the way out.
class yield_awaiter {
public:
    using native_awaitable = void;
    static constexpr const char* what = "yield_now";
    yield_awaiter() noexcept {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        static_assert(detail::ferry_promise<Promise>, "yield_now can be awaited only in a ferry coroutine (task<T>)");
        detail::logical_task& task = frame.promise().task();
        task_ = &task;
        if (task.scope().cancelled()) return false;
        task.suspend_at(frame);
        task.owner().schedule(task);
        return true;
    }
    void await_resume() const {
        if (task_->scope().cancelled()) throw cancelled();
    }

private:
    detail::logical_task* task_;  // set by await_suspend, which always comes first
};

/// Suspends for at least this long. A checkpoint; zero or less still lets everything run that is ready.
/// Cost: one entry in the loop's timer heap; no allocation and no syscall of its own.
template <class Rep, class Period>
[[nodiscard]] sleep_awaiter sleep_for(std::chrono::duration<Rep, Period> duration) noexcept {
    return sleep_awaiter(detail::to_nanoseconds(duration));
}
/// Suspends until that time of the loop's clock, event_loop::now().
[[nodiscard]] inline sleep_awaiter sleep_until(event_loop::time_point until) noexcept { return sleep_awaiter(until); }

/// Lets every other ready task run first. A checkpoint.
[[nodiscard]] inline yield_awaiter yield_now() noexcept { return yield_awaiter(); }
}  // namespace ferry::inline FERRY_ABI
