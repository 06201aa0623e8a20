// ferry/loop/async_mutex.hpp - mutual exclusion of the tasks of one loop, across their co_awaits
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/loop/detail/lock_record.hpp>
#include <ferry/loop/detail/one_loop.hpp>
#include <ferry/loop/detail/queued_wait.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/timer_queue.hpp>

#include <chrono>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// One task at a time holds it. Code between two co_awaits needs no mutex; code around one may.
///
///     ferry::async_mutex::guard held = co_await mutex.lock();
///     co_await write(record);
///
/// It is handed on in the order of the requests: to the task that has waited longest, which holds it from then on, even
/// if it is cancelled before it resumes.
///
/// Ownership      Held by a guard, which cannot be copied, moved, or returned through a task. Destroying the mutex while
///                it is held, or a task waits for it, is a bug (asserted).
/// Thread-safety  None. Call every member on the loop's own thread.
/// Cost           O(1); no allocation.
class async_mutex {
public:
    class guard;
    class awaiter;

    explicit async_mutex(event_loop& loop) noexcept : loop_(loop) {}
    ~async_mutex() { FERRY_ASSERT(!locked_ && waiters_.empty(), "async_mutex destroyed while it is held"); }
    async_mutex(const async_mutex&) = delete;
    async_mutex& operator=(const async_mutex&) = delete;

    [[nodiscard]] bool locked() const noexcept { return locked_; }
    /// Waits until it is this task's. A checkpoint.
    [[nodiscard]] awaiter lock() noexcept;
    /// A guard that tests false when somebody holds it.
    [[nodiscard]] guard try_lock() noexcept;
    /// Waits at most `limit`; then the guard tests false. A checkpoint.
    template <class Rep, class Period>
    [[nodiscard]] awaiter try_lock_for(std::chrono::duration<Rep, Period> limit) noexcept;
    /// For the holder of a detached guard; else the guard does it.
    void unlock() noexcept;

private:
    bool take() noexcept { return !std::exchange(locked_, true); }
    void hand_on() noexcept;

    detail::one_loop loop_;
    detail::intrusive_list<detail::waiter> waiters_;  // only while it is locked
    bool locked_ = false;
    detail::lock_record record_{"async_mutex"};
};

/// Holds the mutex until its end.
class [[nodiscard]] async_mutex::guard {
public:
    ~guard() {
        if (held_ != nullptr) unlock();
    }
    guard(const guard&) = delete;
    guard& operator=(const guard&) = delete;

    [[nodiscard]] explicit operator bool() const noexcept { return held_ != nullptr; }
    /// Gives it back before the guard's end.
    void unlock() noexcept {
        FERRY_ASSERT(held_ != nullptr, "unlock() of a guard that holds nothing");
        record_.end();
        std::exchange(held_, nullptr)->hand_on();
    }
    /// The mutex stays locked until somebody, on the loop's thread, calls its unlock().
    void detach() noexcept {
        if (held_ == nullptr) return;
        record_.end();
        std::exchange(held_, nullptr)->record_.add_unknown_holder();
    }

private:
    friend class async_mutex;
    explicit guard(async_mutex* held, detail::holding record) noexcept : held_(held), record_(std::move(record)) {}
    async_mutex* held_;
    detail::holding record_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
class [[nodiscard]] async_mutex::awaiter : public detail::queued_wait<awaiter> {
public:
    static constexpr const char* what = "async_mutex::lock";
    awaiter(async_mutex& owner, std::chrono::nanoseconds limit) noexcept : queued_wait(limit), owner_(owner) {}
    bool try_take() noexcept {
        if (!owner_.take()) return false;
        this->held() = owner_.record_.held_by(&this->task(), 1);
        return true;
    }
    [[nodiscard]] const detail::one_loop& loop() const noexcept { return owner_.loop_; }
    detail::intrusive_list<detail::waiter>& queue() noexcept { return owner_.waiters_; }
    void left_queue() noexcept {}  // whoever holds it hands it on
    detail::lock_record& record() noexcept { return owner_.record_; }
    void queue_changed() noexcept { owner_.record_.set_first(owner_.waiters_.front(), 0); }
    [[nodiscard]] std::size_t wants() const noexcept { return 1; }
    guard finish() noexcept { return guard(granted() ? &owner_ : nullptr, std::move(this->held())); }

private:
    friend class async_mutex;
    async_mutex& owner_;
};

inline async_mutex::awaiter async_mutex::lock() noexcept { return awaiter(*this, awaiter::no_limit); }

template <class Rep, class Period>
async_mutex::awaiter async_mutex::try_lock_for(std::chrono::duration<Rep, Period> limit) noexcept {
    return awaiter(*this, detail::to_nanoseconds(limit));
}

inline async_mutex::guard async_mutex::try_lock() noexcept {
    if (!take()) return guard(nullptr, {});
    return guard(this, record_.held_by(detail::running_task(), 1));
}

inline void async_mutex::unlock() noexcept {
    FERRY_ASSERT(locked_, "unlock() of an async_mutex that nobody holds");
    hand_on();
    record_.remove_unknown_holder();  // only now: other threads must not find the lock held by nobody
}

inline void async_mutex::hand_on() noexcept {
    detail::waiter* const next = waiters_.pop_front();
    if (next == nullptr) {
        locked_ = false;
        return;
    }
    awaiter& first = *static_cast<awaiter*>(next);
    first.grant(record_.held_by(&first.task(), 1));
    first.queue_changed();
}
}  // namespace ferry::inline FERRY_ABI
