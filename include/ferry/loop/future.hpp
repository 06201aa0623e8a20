// ferry/loop/future.hpp - promise and future: one result, across threads
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/exception_handlers.hpp>
#include <ferry/core/process.hpp>
#include <ferry/core/result.hpp>
#include <ferry/core/stop_token.hpp>
#include <ferry/deadlock/judge.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/loop_control.hpp>
#include <ferry/loop/timer_queue.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <utility>

namespace ferry::inline FERRY_ABI {
template <class T>
class future;
template <class T>
class promise;
template <class T>
class shared_future;

namespace detail {
/// A task that waits for a future: what its producer needs to wake it from any thread.
class future_waiter {
public:
    /// The task's node goes to its loop's inbox; nothing of this object is touched afterwards.
    void wake() noexcept {
        const loop_reference home = home_;  // keeps the inbox alive while the loop may already end
        // A loop does not close before its tasks have ended, so it takes the node.
        [[maybe_unused]] const bool taken = home->push(*node_);
    }

protected:
    void wake_on(event_loop& loop, logical_task& task) noexcept {
        home_ = loop_reference(loop.control());
        node_ = &task;
    }

private:
    loop_reference home_;
    ready_node* node_ = nullptr;
};

/// Many who wait for one future: they are told through it.
class future_relay {
public:
    /// On the producer's thread, once, when the result is there.
    virtual void on_ready() noexcept = 0;

protected:
    ~future_relay() = default;
};

/// The part of a promise and a future that does not depend on the type.
///
/// One word says it all: empty; ready; the awaiter of a waiting task; the parker of a blocked thread (tagged); or a
/// relay to many of them (tagged). The producer stores the result, then exchanges the word for `ready` (release); whoever
/// finds `ready` (acquire) sees the result. Whoever was in the word is woken by the producer and by nobody else: a waiter
/// that wants to leave must first take itself out by compare-and-swap, and if that fails its result is on the way and
/// will be delivered.
///
/// What the producer touches after the exchange: of a waiting task, what wake() reads before its push, without which the
/// task does not resume and its awaiter does not go away; of a thread, its parker, which is never freed, so that waking
/// one whose thread has gone on is harmless; a relay, which keeps itself until it was told. This object is kept by the
/// promise's own reference until complete() has returned.
class future_state {
public:
    /// The result of that task, of that executor.
    future_state(const executor& producer, const wait_node& task) noexcept : producer_(&producer), whom_(&task) {}
    /// Of a promise that anybody may keep.
    future_state() : promise_(&wait_node::acquire(wait_node::kind::promise)), whom_(promise_) {}
    future_state(const future_state&) = delete;
    future_state& operator=(const future_state&) = delete;
    ~future_state() {
        if (promise_ != nullptr) promise_->release();
    }

    /// Who is waited for, in the wait graph.
    [[nodiscard]] const node_reference& whom() const noexcept { return whom_; }
    /// This thread and no other will produce the result.
    void produced_by_this_thread() noexcept {
        if (promise_ == nullptr) return;
        promise_->wait_for(node_reference(&record_of_this_thread()));
        inspect_waits(*promise_, nullptr);
    }

    [[nodiscard]] const executor* producer() const noexcept { return producer_; }
    /// Is it to come from a loop that a forked child has left behind?
    [[nodiscard]] bool left_behind() const noexcept {
        return producer_ != nullptr && generation_ != process::generation();
    }
    [[nodiscard]] bool ready() const noexcept { return word_.load(std::memory_order_acquire) == ready_word; }
    void complete() noexcept {
        if (promise_ != nullptr) promise_->wait_is_over();
        const std::uintptr_t before = word_.exchange(ready_word, std::memory_order_acq_rel);
        if (before == empty_word) return;
        if ((before & thread_tag) != 0) {
            reinterpret_cast<thread_parker*>(before & ~thread_tag)->unpark();
        } else if ((before & relay_tag) != 0) {
            reinterpret_cast<future_relay*>(before & ~relay_tag)->on_ready();
        } else {
            reinterpret_cast<future_waiter*>(before)->wake();
        }
    }
    /// False when the result is there already, and nobody will be woken.
    [[nodiscard]] bool link(future_waiter& waiter) noexcept { return enter(reinterpret_cast<std::uintptr_t>(&waiter)); }
    /// The relay stays until it was told. False when the result is there already.
    [[nodiscard]] bool link(future_relay& relay) noexcept {
        return enter(reinterpret_cast<std::uintptr_t>(&relay) | relay_tag);
    }
    /// True when the waiter is out; false when it is being woken.
    [[nodiscard]] bool unlink(future_waiter& waiter) noexcept {
        std::uintptr_t expected = reinterpret_cast<std::uintptr_t>(&waiter);
        return word_.compare_exchange_strong(expected, empty_word, std::memory_order_acq_rel);
    }
    /// Throws closed_error where nobody will ever produce the result.
    void refuse_if_left_behind(const char* operation, const char* subject) const {
        if (!left_behind() || ready()) return;
        throw closed_error(std::string(operation) + "(" + short_name(subject) +
                           "): its loop belongs to the process that forked this one");
    }
    /// Blocks the calling thread. False when the deadline passed, or a stop was requested, first.
    bool wait_until(std::chrono::steady_clock::time_point deadline, const char* operation, const char* subject,
                    const stop_token& stop = {});

    void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    /// True for the last one.
    [[nodiscard]] bool drop() noexcept { return references_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

private:
    static constexpr std::uintptr_t empty_word = 0;
    static constexpr std::uintptr_t ready_word = 1;
    static constexpr std::uintptr_t thread_tag = 2;
    static constexpr std::uintptr_t relay_tag = 4;

    bool enter(std::uintptr_t waiter) noexcept {
        std::uintptr_t expected = empty_word;
        if (word_.compare_exchange_strong(expected, waiter, std::memory_order_acq_rel)) return true;
        FERRY_ASSERT(expected == ready_word, "two wait for one future: use shared_future");
        return false;
    }

    std::atomic<std::uintptr_t> word_{empty_word};
    std::atomic<std::uint32_t> references_{1};
    const std::uint32_t generation_ = process::generation();
    const executor* producer_ = nullptr;  // the loop that will produce the result, if known
    wait_node* promise_ = nullptr;        // of a promise, which has no task
    node_reference whom_;
};

template <class T>
class shared_result : public future_state {
public:
    shared_result() : name_("promise") {}
    shared_result(const executor& producer, const wait_node& task) noexcept
        : future_state(producer, task), name_(task.name()) {}
    static void* operator new(std::size_t size) { return frame_allocator::allocate(size); }
    static void operator delete(void* block, std::size_t size) noexcept { frame_allocator::deallocate(block, size); }

    [[nodiscard]] result<T>& outcome() noexcept { return outcome_; }
    T take() {
        received_ = true;
        return outcome_.take();
    }
    /// The outcome may go unreceived without a report.
    void excuse() noexcept { received_ = true; }
    [[nodiscard]] const char* name() const noexcept { return name_; }
    void release() noexcept {
        if (!drop()) return;
        if (outcome_.has_exception() && !received_) report_unless_cancelled();
        delete this;
    }

private:
    void report_unless_cancelled() noexcept {
        try {
            std::rethrow_exception(outcome_.exception());
        } catch (const cancelled&) {  // nobody waits for a task that was cancelled
        } catch (...) {
            report_unhandled(outcome_.exception(), name_);
        }
    }

    result<T> outcome_;
    const char* name_;
    bool received_ = false;
};
}  // namespace detail

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
    T get();
    void wait() const {
        state().wait_until(std::chrono::steady_clock::time_point::max(), "future::wait", state_->name());
    }
    /// False when a stop was requested before there was a result.
    [[nodiscard]] bool wait(const stop_token& stop) const {
        return state().wait_until(std::chrono::steady_clock::time_point::max(), "future::wait", state_->name(), stop);
    }
    /// False when there was no result in time.
    template <class Rep, class Period>
    [[nodiscard]] bool wait_for(std::chrono::duration<Rep, Period> limit) const {
        return state().wait_until(
            detail::deadline_after(std::chrono::steady_clock::now(), detail::to_nanoseconds(limit)), "future::wait_for",
            state_->name());
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
namespace detail {
/// Unparks a thread.
class unparking {
public:
    explicit unparking(thread_parker& sleeper) noexcept : sleeper_(&sleeper) {}
    void operator()() const noexcept { sleeper_->unpark(); }

private:
    thread_parker* sleeper_;
};

inline bool future_state::wait_until(std::chrono::steady_clock::time_point deadline, const char* operation,
                                     const char* subject, const stop_token& stop) {
    if (ready()) return true;
    refuse_if_left_behind(operation, subject);
    check_wait_for_task(operation, subject, producer_);
    thread_parker& parker = thread_parker::of_this_thread();
    const std::uintptr_t mine = reinterpret_cast<std::uintptr_t>(&parker) | thread_tag;
    if (!enter(mine)) return true;
    const auto leave = [&] {
        std::uintptr_t expected = mine;
        return word_.compare_exchange_strong(expected, empty_word, std::memory_order_acq_rel);
    };
    thread_wait here(operation, subject, whom_);
    std::optional<stop_callback<unparking>> on_stop;
    if (stop.stop_possible()) {
        here.stoppable();
        on_stop.emplace(stop, unparking(parker));
    }
    try {
        detail::wait_until(
            here, [&] { return ready() || stop.stop_requested(); }, deadline);
        if (ready()) return true;
    } catch (...) {
        if (leave()) throw;
        return true;  // it has come after all
    }
    return !leave();
}
}  // namespace detail

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
T future<T>::get() {
    state().wait_until(std::chrono::steady_clock::time_point::max(), "future::get", state_->name());
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
