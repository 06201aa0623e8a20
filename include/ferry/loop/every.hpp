// ferry/loop/every.hpp - a steady beat
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/loop/detail/one_loop.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/timer_queue.hpp>

#include <chrono>
#include <cstddef>
#include <stdexcept>

namespace ferry::inline FERRY_ABI {
/// Beats at fixed distances from its start, however long the work between two beats takes: what every() returns.
///
/// Ownership      Owns nothing; an awaiter refers to it.
/// Thread-safety  None: its loop's thread.
class interval {
public:
    class awaiter;
    interval(event_loop& loop, std::chrono::nanoseconds period)
        : loop_(loop), period_(period), due_(detail::deadline_after(loop.now(), period)) {
        if (period.count() <= 0) throw std::invalid_argument("ferry: every(period) needs a period above zero");
    }

    /// Waits for the next beat and yields how many have come since the last one that was awaited: 1, or more when the
    /// work between took longer than the period. Beats that were missed are not made up for. A checkpoint.
    [[nodiscard]] awaiter next() noexcept;

    [[nodiscard]] std::chrono::nanoseconds period() const noexcept { return period_; }

private:
    event_loop& loop_;
    std::chrono::nanoseconds period_;
    event_loop::time_point due_;
};

/// Starts a beat on the loop whose turn this is:
///
///     for (ferry::interval beat = ferry::every(1s);;) {
///         co_await beat.next();
///         report();
///     }
///
/// Errors  std::invalid_argument for a period that is not above zero.
template <class Rep, class Period>
[[nodiscard]] interval every(std::chrono::duration<Rep, Period> period) {
    FERRY_ASSERT(event_loop::current() != nullptr,
                 "every() outside of a loop's turn: name the loop, interval(loop, d)");
    return interval(*event_loop::current(), detail::to_nanoseconds(period));
}

// ---- implementation ----------------------------------------------------------------------------------------------
class [[nodiscard]] interval::awaiter : public detail::leaf_awaiter<awaiter>, private detail::timer_node {
public:
    static constexpr const char* what = "interval::next";
    explicit awaiter(interval& owner) noexcept : timer_node(&fire), owner_(owner) {}
    bool try_complete() noexcept { return owner_.loop_.now() >= owner_.due_; }
    void link() noexcept {
        detail::one_loop(owner_.loop_).check(task());
        owner_.loop_.timers().arm(*this, owner_.due_);
    }
    static void withdraw(detail::waiter& self) noexcept {
        awaiter& waiting = static_cast<awaiter&>(self);
        waiting.owner_.loop_.timers().disarm(waiting);
        waiting.task().wake_interrupted();
    }
    std::size_t finish() noexcept {
        const auto beats = (owner_.loop_.now() - owner_.due_) / owner_.period_ + 1;
        owner_.due_ += beats * owner_.period_;
        return static_cast<std::size_t>(beats);
    }

private:
    static void fire(timer_node& node) noexcept { static_cast<awaiter&>(node).task().wake(); }
    interval& owner_;
};

inline interval::awaiter interval::next() noexcept { return awaiter(*this); }
}  // namespace ferry::inline FERRY_ABI
