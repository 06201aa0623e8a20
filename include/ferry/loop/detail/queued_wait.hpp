// ferry/loop/detail/queued_wait.hpp - a place in a queue that is granted, cancelled or runs out of time
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/loop/detail/lock_record.hpp>
#include <ferry/loop/detail/one_loop.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/timer_queue.hpp>

#include <chrono>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Base of the awaiters of mutexes and semaphores.
///
/// Derived offers
///     bool try_take() noexcept                 take it now, if nobody waits for it: held() is set then
///     const one_loop& loop() const noexcept
///     intrusive_list<waiter>& queue() noexcept
///     void left_queue() noexcept               this one has left the queue with nothing: serve those behind it
///     const lock_record& record() noexcept     the mutex or semaphore in the wait graph
///     void queue_changed() noexcept            tell the record who is first
///     std::size_t wants() const noexcept       how much of it
///
/// One of three ends the wait: grant(), by whoever gives the thing away and has unlinked this awaiter; the cancellation;
/// the time limit. Each unlinks it and disarms the timer before it wakes the task, so the others cannot follow.
template <class Derived>
class queued_wait : public leaf_awaiter<Derived>, private timer_node {
public:
    static constexpr std::chrono::nanoseconds no_limit = std::chrono::nanoseconds::max();

    explicit queued_wait(std::chrono::nanoseconds limit) noexcept : timer_node(&expire), limit_(limit) {}

    bool try_complete() noexcept {
        granted_ = self().try_take();
        if (granted_) held_.note_place(this->task());
        return granted_ || limit_.count() <= 0;
    }
    static constexpr bool may_close_a_circle = true;
    void link() noexcept {
        self().loop().check(this->task());
        self().queue().push_back(*this);
        self().queue_changed();
        constexpr wait_node::flags ends = wait_node::cancellable;
        this->task().record().set_amount(self().wants());
        this->task().needs(self().record().reference(), limit_ == no_limit ? ends : ends | wait_node::timed);
        if (limit_ != no_limit) timers().arm(*this, deadline_after(event_loop::of(this->task()).now(), limit_));
    }
    static void withdraw(waiter& waiting) noexcept {
        queued_wait& wait = static_cast<Derived&>(waiting);
        wait.leave();
        wait.task().wake_interrupted();
        wait.ask_for_the_next();
    }
    void grant(holding held) noexcept {
        granted_ = true;
        held_ = std::move(held);
        held_.note_place(this->task());
        timers().disarm(*this);
        this->task().wake();
    }

protected:
    [[nodiscard]] bool granted() const noexcept { return granted_; }
    [[nodiscard]] holding& held() noexcept { return held_; }

private:
    Derived& self() noexcept { return static_cast<Derived&>(*this); }
    timer_queue& timers() noexcept { return event_loop::of(this->task()).timers(); }
    void leave() noexcept {
        self().queue().erase(*this);
        timers().disarm(*this);
        self().left_queue();
        self().queue_changed();
    }
    static void expire(timer_node& node) noexcept {
        queued_wait& wait = static_cast<queued_wait&>(node);
        wait.leave();
        wait.task().wake();
        wait.ask_for_the_next();
    }
    /// Those behind this one were let wait since it would go: now the next one waits for the holders alone.
    void ask_for_the_next() noexcept {
        const waiter* const next = self().queue().front();
        if (next != nullptr) this->task().owner().inspect(next->task().record(), nullptr);
    }

    std::chrono::nanoseconds limit_;
    holding held_;
    bool granted_ = false;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
