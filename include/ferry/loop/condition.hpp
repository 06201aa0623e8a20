// ferry/loop/condition.hpp - waiting until something about shared state is true, on one loop
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/executor.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/temporaries.hpp>
#include <ferry/loop/detail/one_loop.hpp>
#include <ferry/loop/event_loop.hpp>

#include <exception>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// Where tasks wait for a predicate over state that other tasks change and then notify about. No mutex belongs to it:
/// nothing runs between the last check of the predicate and the task that waited.
///
///     co_await changed.wait([&] { return queue.size() < limit; });     // one task
///     queue.pop_front(); changed.notify_one();                          // another
///
/// A predicate sees the waiting task's context variables, whoever notifies.
///
/// notify_one() wakes the task that has waited longest of those whose predicate is true. If that one is cancelled before
/// it resumes, or finds its predicate false again, the notification goes on to the next, so none is lost.
///
/// Ownership      Keeps the predicates in the waiting frames. Destroying it while a task waits is a bug (asserted).
/// Thread-safety  None. Call every member on the loop's own thread.
/// Errors         wait() throws what its predicate throws, and cancelled.
/// Cost           notify: one call of the predicate for each waiting task that is asked; no allocation.
class condition {
public:
    template <class Predicate>
    class awaiter;

    explicit condition(event_loop& loop) noexcept : loop_(loop) {}
    ~condition() { FERRY_ASSERT(waiters_.empty(), "condition destroyed while a task waits for it"); }
    condition(const condition&) = delete;
    condition& operator=(const condition&) = delete;

    /// Returns once predicate() is true: at once, or after a notification. A checkpoint.
    template <class Predicate>
    [[nodiscard]] auto wait(Predicate&& predicate);
    void notify_one() noexcept { notify(1); }
    void notify_all() noexcept { notify(static_cast<unsigned>(-1)); }

private:
    class party : public detail::list_hook<party> {
    public:
        /// True when its predicate is, or throws: then the task shall see the exception.
        [[nodiscard]] virtual bool wants_to_run() noexcept = 0;
        virtual void run_again() noexcept = 0;

    protected:
        ~party() = default;
    };
    void notify(unsigned most) noexcept;

    detail::one_loop loop_;
    detail::intrusive_list<party> waiters_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
template <class Predicate>
class [[nodiscard]] condition::awaiter : public detail::leaf_awaiter<awaiter<Predicate>>, private party {
public:
    static constexpr const char* what = "condition::wait";
    template <class P>
    awaiter(condition& owner, P&& predicate) : owner_(&owner), predicate_(std::forward<P>(predicate)) {}
    awaiter(awaiter&&) = default;
    /// A notification that it did not use goes on: a cancellation came first.
    ~awaiter() {
        if (notified_) owner_->notify_one();
    }

    bool try_complete() noexcept {
        const bool done = is_true();
        if (std::exchange(notified_, false) && !done) owner_->notify_one();
        return done;
    }
    void link() noexcept {
        owner_->loop_.check(this->task());
        owner_->waiters_.push_back(*this);
    }
    static void withdraw(detail::waiter& self) noexcept {
        awaiter& waiting = static_cast<awaiter&>(self);
        waiting.owner_->waiters_.erase(waiting);
        waiting.task().wake_interrupted();
    }
    void finish() const {
        if (error_ != nullptr) std::rethrow_exception(error_);
    }

private:
    friend class condition;
    bool is_true() noexcept {
        const detail::executor::inner_resumption as_the_waiter(this->task().owner(), this->task());
        error_ = nullptr;
        try {
            return static_cast<bool>(predicate_());
        } catch (...) {
            error_ = std::current_exception();
            return true;
        }
    }
    bool wants_to_run() noexcept override { return is_true(); }
    void run_again() noexcept override {
        notified_ = true;
        this->retry();
    }

    condition* owner_;
    Predicate predicate_;
    std::exception_ptr error_;
    bool notified_ = false;
};

template <class Predicate>
auto condition::wait(Predicate&& predicate) {
    detail::refuse_unsafe_temporaries<Predicate&&>();
    return awaiter<detail::stored_type<Predicate>>(*this, std::forward<Predicate>(predicate));
}

inline void condition::notify(unsigned most) noexcept {
    for (party* each = waiters_.front(); each != nullptr && most > 0;) {
        party& asked = *each;
        each = detail::intrusive_list<party>::next(asked);
        if (!asked.wants_to_run()) continue;
        waiters_.erase(asked);
        asked.run_again();  // it runs in a later step, so the list does not change here
        --most;
    }
}
}  // namespace ferry::inline FERRY_ABI
