// ferry/loop/async_shared_mutex.hpp - one writer or many readers, of the tasks of one loop
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
#include <cstddef>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// Held by one task exclusively or by any number of them together, in the order of the requests: a reader that comes
/// after a waiting writer waits behind it, so neither side starves.
///
/// Ownership      Held by guards, which cannot be copied, moved, or returned through a task. Destroying it while it is
///                held, or a task waits for it, is a bug (asserted).
/// Thread-safety  None. Call every member on the loop's own thread.
/// Cost           O(1), but for handing it to many readers; no allocation.
class async_shared_mutex {
public:
    class guard;
    class awaiter;

    explicit async_shared_mutex(event_loop& loop) noexcept : loop_(loop) {}
    ~async_shared_mutex() {
        FERRY_ASSERT(!written_ && readers_ == 0 && waiters_.empty(), "async_shared_mutex destroyed while it is held");
    }
    async_shared_mutex(const async_shared_mutex&) = delete;
    async_shared_mutex& operator=(const async_shared_mutex&) = delete;

    /// Waits until it is this task's alone. A checkpoint.
    [[nodiscard]] awaiter lock() noexcept;
    /// Waits until it is this task's and other readers'. A checkpoint.
    [[nodiscard]] awaiter lock_shared() noexcept;
    /// A guard that tests false when it would have to wait.
    [[nodiscard]] guard try_lock() noexcept;
    [[nodiscard]] guard try_lock_shared() noexcept;
    /// Waits at most `limit`; then the guard tests false. A checkpoint.
    template <class Rep, class Period>
    [[nodiscard]] awaiter try_lock_for(std::chrono::duration<Rep, Period> limit) noexcept;
    template <class Rep, class Period>
    [[nodiscard]] awaiter try_lock_shared_for(std::chrono::duration<Rep, Period> limit) noexcept;

    // For holders of detached guards; else the guard does it.
    void unlock() noexcept;
    void unlock_shared() noexcept;

private:
    enum class mode : bool { exclusive, shared };

    /// Is it free for that mode, whoever waits?
    [[nodiscard]] bool admits(mode how) const noexcept { return !written_ && (how == mode::shared || readers_ == 0); }
    void enter(mode how) noexcept {
        if (how == mode::shared) {
            ++readers_;
        } else {
            written_ = true;
        }
    }
    bool take(mode how) noexcept {
        if (!waiters_.empty() || !admits(how)) return false;
        enter(how);
        return true;
    }
    void leave(mode how) noexcept {
        if (how == mode::shared) {
            --readers_;
        } else {
            written_ = false;
        }
        serve();
        queue_changed();
    }
    void serve() noexcept;
    /// In the wait graph it is like a semaphore of which a writer takes all and a reader one.
    static constexpr std::size_t all = std::size_t{1} << 30;
    [[nodiscard]] static constexpr std::size_t share_of(mode how) noexcept { return how == mode::shared ? 1 : all; }
    void queue_changed() noexcept { record_.set_first(waiters_.front(), written_ ? 0 : all - readers_); }

    detail::one_loop loop_;
    detail::intrusive_list<detail::waiter> waiters_;
    std::size_t readers_ = 0;
    bool written_ = false;
    detail::lock_record record_{"async_shared_mutex"};
};

/// Holds the mutex, alone or with other readers, until its end.
class [[nodiscard]] async_shared_mutex::guard {
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
        std::exchange(held_, nullptr)->leave(how_);
    }
    /// It stays held until somebody, on the loop's thread, calls its unlock() or unlock_shared().
    void detach() noexcept {
        if (held_ == nullptr) return;
        record_.end();
        std::exchange(held_, nullptr)->record_.add_unknown_holder();
    }

private:
    friend class async_shared_mutex;
    guard(async_shared_mutex* held, mode how, detail::holding record) noexcept
        : held_(held), how_(how), record_(std::move(record)) {}
    async_shared_mutex* held_;
    mode how_;
    detail::holding record_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
class [[nodiscard]] async_shared_mutex::awaiter : public detail::queued_wait<awaiter> {
public:
    static constexpr const char* what = "async_shared_mutex::lock";
    awaiter(async_shared_mutex& owner, mode how, std::chrono::nanoseconds limit) noexcept
        : queued_wait(limit), owner_(owner), how_(how) {}
    bool try_take() noexcept {
        if (!owner_.take(how_)) return false;
        this->held() = owner_.record_.held_by(&this->task(), share_of(how_));
        return true;
    }
    [[nodiscard]] const detail::one_loop& loop() const noexcept { return owner_.loop_; }
    detail::intrusive_list<detail::waiter>& queue() noexcept { return owner_.waiters_; }
    void left_queue() noexcept { owner_.serve(); }
    detail::lock_record& record() noexcept { return owner_.record_; }
    void queue_changed() noexcept { owner_.queue_changed(); }
    [[nodiscard]] std::size_t wants() const noexcept { return share_of(how_); }
    guard finish() noexcept { return guard(granted() ? &owner_ : nullptr, how_, std::move(this->held())); }

private:
    friend class async_shared_mutex;
    async_shared_mutex& owner_;
    mode how_;
};

inline async_shared_mutex::awaiter async_shared_mutex::lock() noexcept {
    return awaiter(*this, mode::exclusive, awaiter::no_limit);
}
inline async_shared_mutex::awaiter async_shared_mutex::lock_shared() noexcept {
    return awaiter(*this, mode::shared, awaiter::no_limit);
}
template <class Rep, class Period>
async_shared_mutex::awaiter async_shared_mutex::try_lock_for(std::chrono::duration<Rep, Period> limit) noexcept {
    return awaiter(*this, mode::exclusive, detail::to_nanoseconds(limit));
}
template <class Rep, class Period>
async_shared_mutex::awaiter async_shared_mutex::try_lock_shared_for(std::chrono::duration<Rep, Period> limit) noexcept {
    return awaiter(*this, mode::shared, detail::to_nanoseconds(limit));
}
inline async_shared_mutex::guard async_shared_mutex::try_lock() noexcept {
    if (!take(mode::exclusive)) return guard(nullptr, mode::exclusive, {});
    return guard(this, mode::exclusive, record_.held_by(detail::running_task(), share_of(mode::exclusive)));
}
inline async_shared_mutex::guard async_shared_mutex::try_lock_shared() noexcept {
    if (!take(mode::shared)) return guard(nullptr, mode::shared, {});
    return guard(this, mode::shared, record_.held_by(detail::running_task(), share_of(mode::shared)));
}

inline void async_shared_mutex::unlock() noexcept {
    FERRY_ASSERT(written_, "unlock() of an async_shared_mutex that no writer holds");
    leave(mode::exclusive);
    record_.remove_unknown_holder();  // only now: other threads must not find the lock held by nobody
}
inline void async_shared_mutex::unlock_shared() noexcept {
    FERRY_ASSERT(readers_ > 0, "unlock_shared() of an async_shared_mutex that no reader holds");
    leave(mode::shared);
    record_.remove_unknown_holder();
}

inline void async_shared_mutex::serve() noexcept {
    while (detail::waiter* const first = waiters_.front()) {
        awaiter& next = *static_cast<awaiter*>(first);
        if (!admits(next.how_)) return;
        enter(next.how_);
        waiters_.erase(next);
        next.grant(record_.held_by(&next.task(), share_of(next.how_)));
    }
}
}  // namespace ferry::inline FERRY_ABI
