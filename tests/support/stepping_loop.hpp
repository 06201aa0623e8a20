// tests/support/stepping_loop.hpp - a loop that a test drives by hand, one step at a time, in virtual time
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/rooted_task.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <chrono>
#include <utility>

namespace ferry_test {
class clock_before_loop {
protected:
    ferry::virtual_clock clock_;
};

/// Between two steps every task is suspended, so a test can look at the state, or change it, at every such point.
class stepping_loop : private clock_before_loop, public ferry::event_loop {
public:
    stepping_loop() : event_loop(clock_) {}

    /// Runs one ready node with all that belongs to its step, or fires one timer that is due, or takes what descriptors
    /// report. False when there is nothing of it.
    bool step() {
        const inside_turn turn(*this);
        control().receive();
        schedule_all(control().take_received(static_cast<std::size_t>(-1)));
        if (fire_one() || run_ready(1) == 1) return true;
        return polls_ && clock_.wait(time_point::min(), false) > 0;
    }
    /// Moves time to the next deadline and fires one timer. False when none is armed.
    bool step_in_time() {
        if (timers().empty()) return false;
        if (timers().next() > now()) clock_.advance(timers().next() - now());
        const inside_turn turn(*this);
        return fire_one();
    }
    /// Moves time on by that much and fires what is due then.
    void pass(std::chrono::nanoseconds time) {
        clock_.advance(time);
        const inside_turn turn(*this);
        while (fire_one()) {}
    }
    /// A scenario watches descriptors.
    void poll_too() noexcept { polls_ = true; }

    /// A root task of this loop, as run() has one.
    class main_task final : public ferry::detail::rooted_task<void> {
    public:
        main_task(stepping_loop& loop, ferry::task<> body) : rooted_task(loop, nullptr, &finished, std::move(body)) {
            loop.schedule(*this);
        }
        [[nodiscard]] bool ended() const noexcept { return ended_; }

    private:
        static void finished(ferry::detail::logical_task& self) noexcept {
            static_cast<main_task&>(self).ended_ = true;
        }
        bool ended_ = false;
    };

private:
    class inside_turn {
    public:
        explicit inside_turn(stepping_loop& loop) : outer_(std::exchange(ferry::detail::this_thread().turn, &loop)) {}
        ~inside_turn() { ferry::detail::this_thread().turn = outer_; }
        inside_turn(const inside_turn&) = delete;
        inside_turn& operator=(const inside_turn&) = delete;

    private:
        ferry::detail::executor* outer_;
    };
    bool fire_one() { return timers().next() <= now() && timers().fire_due(now(), 1) == 1; }

    bool polls_ = false;
};
}  // namespace ferry_test
