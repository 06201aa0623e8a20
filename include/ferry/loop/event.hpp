// ferry/loop/event.hpp - a flag that tasks can wait for
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/loop/detail/one_loop.hpp>
#include <ferry/loop/event_loop.hpp>

#include <utility>

namespace ferry::inline FERRY_ABI {
/// A flag that starts unset, is set once, and then wakes every task waiting for it.
///
/// It is never unset again: a task that arrives late does not wait, so no wake-up is lost whether set() runs before or
/// after wait().
///
/// Ownership      Owns nothing; the list of waiters runs through their coroutine frames.
/// Thread-safety  None. Call every member on the loop's own thread.
/// Errors         wait() throws cancelled. Destroying it while a task waits is a bug (asserted).
/// Cost           wait() O(1), set() O(waiters); neither allocates.
class event {
public:
    class awaiter;
    explicit event(event_loop& loop) noexcept : loop_(loop) {}
    ~event() { FERRY_ASSERT(waiters_.empty(), "event destroyed while a task waits for it"); }
    event(const event&) = delete;
    event& operator=(const event&) = delete;

    [[nodiscard]] bool is_set() const noexcept { return set_; }
    /// Suspends until set() is called; does not suspend if it already was. A checkpoint.
    [[nodiscard]] awaiter wait() noexcept;

    /// Sets the flag and schedules the waiting tasks in the order they began to wait.
    /// They resume from the loop, never inside this call. Calling it again does nothing.
    void set() noexcept;

private:
    detail::one_loop loop_;
    detail::intrusive_list<detail::waiter> waiters_;  // oldest first; the nodes live in the waiting frames
    bool set_ = false;
};

// ---- implementation ----------------------------------------------------------------------------------------------
class event::awaiter : public detail::leaf_awaiter<awaiter> {
public:
    static constexpr const char* what = "event";
    explicit awaiter(event& owner) noexcept : owner_(owner) {}
    bool try_complete() noexcept { return owner_.set_; }
    void link() noexcept {
        owner_.loop_.check(task());
        owner_.waiters_.push_back(*this);
    }
    static void withdraw(detail::waiter& self) noexcept {
        static_cast<awaiter&>(self).owner_.waiters_.erase(self);
        self.task().wake_interrupted();
    }
    void finish() noexcept {}

private:
    event& owner_;
};

inline event::awaiter event::wait() noexcept { return awaiter(*this); }

inline void event::set() noexcept {
    set_ = true;
    // wake() only links the task into the ready queue, so its frame is still alive here.
    while (detail::waiter* waiting = waiters_.pop_front()) waiting->task().wake();
}
}  // namespace ferry::inline FERRY_ABI
