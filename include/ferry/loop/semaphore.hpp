// ferry/loop/semaphore.hpp - at most so many at a time, of the tasks of one loop
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
/// A number of permits, handed out in the order of the requests: a request for many is not overtaken by later ones for
/// few.
///
///     ferry::semaphore::permit one = co_await connections.acquire();
///
/// Ownership      Permits cannot be copied, moved, or returned through a task; they end before the semaphore. Destroying
///                it while a task waits for it is a bug (asserted).
/// Thread-safety  None. Call every member on the loop's own thread.
/// Cost           O(1), release() O(those it serves); no allocation.
class semaphore {
public:
    class permit;
    class awaiter;

    semaphore(event_loop& loop, std::size_t permits) noexcept : loop_(loop), available_(permits) {}
    ~semaphore() { FERRY_ASSERT(waiters_.empty(), "semaphore destroyed while a task waits for it"); }
    semaphore(const semaphore&) = delete;
    semaphore& operator=(const semaphore&) = delete;

    [[nodiscard]] std::size_t available() const noexcept { return available_; }
    /// Waits until `count` permits are this task's. A checkpoint.
    [[nodiscard]] awaiter acquire(std::size_t count = 1) noexcept;
    /// A permit that tests false when there are not enough, or somebody waits.
    [[nodiscard]] permit try_acquire(std::size_t count = 1) noexcept;
    /// Waits at most `limit`; then the permit tests false. A checkpoint.
    template <class Rep, class Period>
    [[nodiscard]] awaiter try_acquire_for(std::chrono::duration<Rep, Period> limit, std::size_t count = 1) noexcept;
    /// Adds permits: for the holder of a detached one, or to make more of them. A permit does it at its end.
    void release(std::size_t count = 1) noexcept;

private:
    bool take(std::size_t count) noexcept;
    void serve() noexcept;

    void give_back(std::size_t count) noexcept;
    void queue_changed() noexcept;

    detail::one_loop loop_;
    detail::intrusive_list<detail::waiter> waiters_;
    std::size_t available_;
    detail::lock_record record_{"semaphore"};
};

/// Holds its share until its end.
class [[nodiscard]] semaphore::permit {
public:
    ~permit() {
        if (owner_ != nullptr) release();
    }
    permit(const permit&) = delete;
    permit& operator=(const permit&) = delete;

    [[nodiscard]] explicit operator bool() const noexcept { return owner_ != nullptr; }
    /// Gives it back before its end.
    void release() noexcept {
        FERRY_ASSERT(owner_ != nullptr, "release() of a permit that holds nothing");
        record_.end();
        std::exchange(owner_, nullptr)->give_back(count_);
    }
    /// Its end gives nothing back: somebody, on the loop's thread, calls release() instead, or nobody does.
    void detach() noexcept {
        if (owner_ == nullptr) return;
        record_.end();
        std::exchange(owner_, nullptr)->record_.add_unknown_holder();
    }

private:
    friend class semaphore;
    permit(semaphore* owner, std::size_t count, detail::holding record) noexcept
        : owner_(owner), count_(count), record_(std::move(record)) {}
    semaphore* owner_;
    std::size_t count_;
    detail::holding record_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
class [[nodiscard]] semaphore::awaiter : public detail::queued_wait<awaiter> {
public:
    static constexpr const char* what = "semaphore::acquire";
    awaiter(semaphore& owner, std::size_t count, std::chrono::nanoseconds limit) noexcept
        : queued_wait(limit), owner_(owner), count_(count) {}
    bool try_take() noexcept {
        if (!owner_.take(count_)) return false;
        this->held() = owner_.record_.held_by(&this->task(), count_);
        return true;
    }
    [[nodiscard]] const detail::one_loop& loop() const noexcept { return owner_.loop_; }
    detail::intrusive_list<detail::waiter>& queue() noexcept { return owner_.waiters_; }
    void left_queue() noexcept { owner_.serve(); }
    detail::lock_record& record() noexcept { return owner_.record_; }
    void queue_changed() noexcept { owner_.queue_changed(); }
    [[nodiscard]] std::size_t wants() const noexcept { return count_; }
    permit finish() noexcept { return permit(granted() ? &owner_ : nullptr, count_, std::move(this->held())); }

private:
    friend class semaphore;
    semaphore& owner_;
    std::size_t count_;
};

inline semaphore::awaiter semaphore::acquire(std::size_t count) noexcept {
    return awaiter(*this, count, awaiter::no_limit);
}
template <class Rep, class Period>
semaphore::awaiter semaphore::try_acquire_for(std::chrono::duration<Rep, Period> limit, std::size_t count) noexcept {
    return awaiter(*this, count, detail::to_nanoseconds(limit));
}
inline semaphore::permit semaphore::try_acquire(std::size_t count) noexcept {
    if (!take(count)) return permit(nullptr, count, {});
    return permit(this, count, record_.held_by(detail::running_task(), count));
}

/// Who has released once without a permit may do so again: from now on nobody's wait is hopeless.
inline void semaphore::release(std::size_t count) noexcept {
    record_.add_unknown_holder();
    give_back(count);
}

inline void semaphore::give_back(std::size_t count) noexcept {
    available_ += count;
    serve();
    queue_changed();
}

inline void semaphore::queue_changed() noexcept { record_.set_first(waiters_.front(), available_); }

inline bool semaphore::take(std::size_t count) noexcept {
    if (!waiters_.empty() || available_ < count) return false;
    available_ -= count;
    return true;
}

inline void semaphore::serve() noexcept {
    while (detail::waiter* const first = waiters_.front()) {
        awaiter& next = *static_cast<awaiter*>(first);
        if (next.count_ > available_) return;
        available_ -= next.count_;
        waiters_.erase(next);
        next.grant(record_.held_by(&next.task(), next.count_));
    }
}
}  // namespace ferry::inline FERRY_ABI
