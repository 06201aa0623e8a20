// ferry/loop/future.hpp - promise and future: one result, across threads
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/result.hpp>
#include <ferry/core/stop_token.hpp>
#include <ferry/deadlock/wait_options.hpp>
#include <ferry/loop/detail/future_state.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/timer_queue.hpp>

#include <chrono>
#include <exception>
#include <source_location>
#include <string>
#include <utility>

namespace ferry::inline FERRY_ABI {
template <class T>
class future;
template <class T>
class promise;
template <class T>
class shared_future;

/// The receiving end: awaited by one task, or waited for by one thread.
///
/// Ownership      Shares the result with its promise. Dropping it stops nothing; an exception that then nobody receives
///                goes to the unhandled-exception handler.
/// Thread-safety  One thread at a time. The promise may be used on another.
/// Errors         get() and co_await throw what the promise was given; broken_promise if it was given nothing; inside
///                a loop's turn get(), wait() and wait_for() throw blocking_error or deadlock_error.
template <class T>
class future {
    static_assert(!detail::borrowed_result<T>,
                  "borrowed bytes live until the next co_await and cannot be kept in a future");

public:
    using native_awaitable = void;
    using value_type = T;

    future() noexcept = default;
    future(future&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    future& operator=(future&& other) noexcept {
        std::swap(state_, other.state_);
        return *this;
    }
    ~future() {
        if (state_ != nullptr) state_->release();
    }

    [[nodiscard]] bool valid() const noexcept { return state_ != nullptr; }
    /// Would get() return at once?
    [[nodiscard]] bool is_ready() const noexcept { return state().ready(); }

    /// Blocks until there is a result, and moves it out; the future is empty afterwards.
    T get(wait_options how = std::source_location::current());
    void wait(wait_options how = std::source_location::current()) const {
        state().wait_until(std::chrono::steady_clock::time_point::max(), "future::wait", state_->name(), how);
    }
    /// False when a stop was requested before there was a result.
    [[nodiscard]] bool wait(const stop_token& stop, wait_options how = std::source_location::current()) const {
        return state().wait_until(std::chrono::steady_clock::time_point::max(), "future::wait", state_->name(), how,
                                  stop);
    }
    /// False when there was no result in time.
    template <class Rep, class Period>
    [[nodiscard]] bool wait_for(std::chrono::duration<Rep, Period> limit,
                                wait_options how = std::source_location::current()) const {
        return state().wait_until(
            detail::deadline_after(std::chrono::steady_clock::now(), detail::to_nanoseconds(limit)), "future::wait_for",
            state_->name(), how);
    }

    /// For many who wait: shared_future, in loop/shared_future.hpp.
    shared_future<T> share() &&;

    class awaiter;
    /// The result, here; a checkpoint. Cancelling the wait leaves the producer alone.
    awaiter operator co_await() &&;

private:
    friend class promise<T>;
    friend class shared_future<T>;
    explicit future(detail::shared_result<T>* state) noexcept : state_(state) {}
    [[nodiscard]] detail::shared_result<T>& state() const noexcept {
        FERRY_ASSERT(state_ != nullptr, "an empty future is used: its result was taken, or it was moved from");
        return *state_;
    }
    detail::shared_result<T>* state_ = nullptr;
};

/// The producing end: sets a value or an exception, once, on any thread.
///
/// Errors  A second set is a caller's bug (asserted). Destroyed without a result, the future gets broken_promise.
template <class T>
class promise {
public:
    promise() : state_(new detail::shared_result<T>) {}
    promise(promise&& other) noexcept
        : state_(std::exchange(other.state_, nullptr)), future_taken_(other.future_taken_) {}
    promise& operator=(promise&& other) noexcept {
        std::swap(state_, other.state_);
        std::swap(future_taken_, other.future_taken_);
        return *this;
    }
    ~promise();

    /// The one future of this promise.
    [[nodiscard]] future<T> get_future() {
        FERRY_ASSERT(!std::exchange(future_taken_, true), "a promise has one future");
        state().retain();
        return future<T>(state_);
    }
    template <class... Args>
    void set_value(Args&&... args) {
        outcome().set_value(std::forward<Args>(args)...);
        state_->complete();
    }
    void set_exception(std::exception_ptr error) noexcept {
        outcome().set_exception(std::move(error));
        state_->complete();
    }

    /// Says that this thread will keep the promise: a wait for it, while this thread itself waits for the one who waits, is
    /// then known to be hopeless, and refused (deadlock_error). Call it on that thread, or not at all.
    void produced_by_this_thread() noexcept { state_->produced_by_this_thread(); }

    /// For ferry: an answer instead of a result (closed, broken). It is no task's failure: if nobody receives it, it is
    /// not reported.
    void refuse(std::exception_ptr answer) noexcept {
        state().excuse();
        set_exception(std::move(answer));
    }
    /// For ferry: the producer is that task of that loop.
    promise(const detail::executor& producer, const detail::wait_node& task)
        : state_(new detail::shared_result<T>(producer, task)) {}

private:
    [[nodiscard]] detail::shared_result<T>& state() const noexcept {
        FERRY_ASSERT(state_ != nullptr, "a promise is used that was moved from");
        return *state_;
    }
    detail::result<T>& outcome() noexcept {
        FERRY_ASSERT(state().outcome().empty(), "a promise was set twice");
        return state_->outcome();
    }

    detail::shared_result<T>* state_;
    bool future_taken_ = false;
};

// ---- implementation ----------------------------------------------------------------------------------------------
template <class T>
class future<T>::awaiter : public detail::leaf_awaiter<awaiter>, private detail::future_waiter {
public:
    static constexpr const char* what = "future";
    static constexpr bool may_close_a_circle = true;
    explicit awaiter(future&& source) noexcept : source_(std::move(source)) {}

    bool try_complete() noexcept { return source_.state_->ready(); }
    void link() noexcept {
        this->wake_on(event_loop::of(this->task()), this->task());
        this->task().needs(source_.state_->whom(), detail::wait_node::cancellable);
        if (!source_.state_->link(*this)) this->task().wake();
    }
    static void withdraw(detail::waiter& self) noexcept {
        awaiter& waiting = static_cast<awaiter&>(self);
        if (waiting.source_.state_->unlink(waiting)) waiting.task().wake_interrupted();
    }
    T finish() { return source_.state_->take(); }

private:
    future source_;
};

template <class T>
auto future<T>::operator co_await() && -> awaiter {
    FERRY_ASSERT(state_ != nullptr, "co_await of an empty future");
    return awaiter(std::move(*this));
}

template <class T>
T future<T>::get(wait_options how) {
    state().wait_until(std::chrono::steady_clock::time_point::max(), "future::get", state_->name(), how);
    const future done = std::move(*this);
    return done.state_->take();
}

template <class T>
promise<T>::~promise() {
    if (state_ == nullptr) return;
    if (state_->outcome().empty()) {
        refuse(std::make_exception_ptr(broken_promise("a promise was destroyed without a result")));
    }
    state_->release();
}
}  // namespace ferry::inline FERRY_ABI
