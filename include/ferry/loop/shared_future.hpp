// ferry/loop/shared_future.hpp - one result for many who wait, on any threads
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/result.hpp>
#include <ferry/core/stop_token.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/deadlock/wait_options.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/loop_control.hpp>
#include <ferry/loop/timer_queue.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <source_location>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// One who waits for a shared_future: a task (its node and its loop) or a thread (its parker).
class shared_waiter : public list_hook<shared_waiter> {
public:
    void wait_as_task(loop_reference home, ready_node& node) noexcept {
        home_ = std::move(home);
        node_ = &node;
    }
    void wait_as_thread(thread_parker& parker) noexcept { parker_ = &parker; }
    void wake() noexcept {
        if (parker_ != nullptr) return parker_->unpark();
        const loop_reference home = home_;
        [[maybe_unused]] const bool taken = home->push(*node_);  // a loop is not sealed before its tasks have ended
    }

private:
    loop_reference home_;
    ready_node* node_ = nullptr;
    thread_parker* parker_ = nullptr;
};

/// Those who wait for one shared result.
///
/// Everyone is in the list, under the mutex, until on_ready() takes them out one by one and wakes them, all of it under
/// the mutex; a waiter that wants to leave early takes itself out under it, and if it is out already, its wake-up is on
/// the way. A thread that has been woken asks again under the mutex before it goes, so its waiter is not touched after
/// it has gone. The relay in the future holds a reference of its own until on_ready() is over.
class shared_waiters : public future_relay {
public:
    void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }
    shared_waiters() = default;
    shared_waiters(const shared_waiters&) = delete;
    shared_waiters& operator=(const shared_waiters&) = delete;
    virtual ~shared_waiters() = default;

    [[nodiscard]] bool ready() const noexcept { return ready_.load(std::memory_order_acquire); }
    /// False when the result is there.
    [[nodiscard]] bool join(shared_waiter& waiter) noexcept {
        const std::lock_guard lock(mutex_);
        if (ready()) return false;
        waiters_.push_back(waiter);
        return true;
    }
    /// False when the waiter is being woken.
    [[nodiscard]] bool leave(shared_waiter& waiter) noexcept {
        const std::lock_guard lock(mutex_);
        if (ready()) return false;
        waiters_.erase(waiter);
        return true;
    }
    /// False when the deadline passed, or a stop was requested, first.
    bool wait_until(std::chrono::steady_clock::time_point deadline, const char* operation, const char* subject,
                    const future_state& source, const wait_options& how, const stop_token& stop) {
        if (ready()) return true;
        check_wait_for_task(operation, subject, source.producer());
        shared_waiter self;
        self.wait_as_thread(thread_parker::of_this_thread());
        if (!join(self)) return true;
        thread_wait here(operation, subject, source.whom(), how);
        if (stop.stop_possible()) here.stoppable();
        const stop_callback<unparking> on_stop(stop, unparking(thread_parker::of_this_thread()));
        try {
            detail::wait_until(
                here, [&] { return ready() || stop.stop_requested(); }, deadline);
            if (!ready() && leave(self)) return false;
        } catch (...) {
            if (leave(self)) throw;
        }
        const std::lock_guard until_it_has_let_go(mutex_);
        return true;
    }

protected:
    void on_ready() noexcept override {
        {
            const std::lock_guard lock(mutex_);
            ready_.store(true, std::memory_order_release);
            while (shared_waiter* const waiter = waiters_.pop_front()) waiter->wake();
        }
        release();
    }

private:
    std::atomic<std::uint32_t> references_{1};
    std::atomic<bool> ready_{false};
    std::mutex mutex_;  // guards waiters_
    intrusive_list<shared_waiter> waiters_;
};
}  // namespace detail

/// The receiving end of a promise, for any number of tasks and threads: all of them see the same value, by reference.
///
///     ferry::shared_future<config> loaded = ferry::spawn(loop, load()).share();
///     const config& c = co_await loaded;
///
/// Ownership      Copies share the result, which lives as long as one of them.
/// Thread-safety  Distinct copies on any threads; the value is shared as const.
/// Errors         As future: co_await and get() throw what the promise was given, each of them.
/// Cost           One allocation when it is made; a wait allocates nothing.
template <class T>
class shared_future {
public:
    shared_future() noexcept = default;
    explicit shared_future(future<T> source) : state_(new state(std::move(source))) { state_->start(); }
    shared_future(const shared_future& other) noexcept : state_(other.state_) {
        if (state_ != nullptr) state_->retain();
    }
    shared_future(shared_future&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    shared_future& operator=(shared_future other) noexcept {
        std::swap(state_, other.state_);
        return *this;
    }
    ~shared_future() {
        if (state_ != nullptr) state_->release();
    }

    [[nodiscard]] bool valid() const noexcept { return state_ != nullptr; }
    [[nodiscard]] bool is_ready() const noexcept {
        FERRY_ASSERT(state_ != nullptr, "an empty shared_future is asked");
        return state_->ready();
    }

    /// Blocks until there is a result. The reference is valid while a copy of this future lives.
    decltype(auto) get(wait_options how = std::source_location::current()) const {
        wait_until(std::chrono::steady_clock::time_point::max(), "shared_future::get", how);
        return state_->view();
    }
    void wait(wait_options how = std::source_location::current()) const {
        wait_until(std::chrono::steady_clock::time_point::max(), "shared_future::wait", how);
    }
    /// False when a stop was requested before there was a result.
    [[nodiscard]] bool wait(const stop_token& stop, wait_options how = std::source_location::current()) const {
        return wait_until(std::chrono::steady_clock::time_point::max(), "shared_future::wait", how, stop);
    }
    /// False when there was no result in time.
    template <class Rep, class Period>
    [[nodiscard]] bool wait_for(std::chrono::duration<Rep, Period> limit,
                                wait_options how = std::source_location::current()) const {
        return wait_until(detail::deadline_after(std::chrono::steady_clock::now(), detail::to_nanoseconds(limit)),
                          "shared_future::wait_for", how);
    }

    using native_awaitable = void;
    class awaiter;
    /// The result, by reference; a checkpoint. Cancelling the wait leaves the producer alone.
    awaiter operator co_await() const;

private:
    class state final : public detail::shared_waiters {
    public:
        explicit state(future<T> source) noexcept : source_(std::move(source)) {}
        ~state() override {
            if (received_.load(std::memory_order_relaxed)) source_.state_->excuse();
        }
        void start() noexcept {
            retain();  // the relay's
            if (!source_.state().link(static_cast<detail::future_relay&>(*this))) on_ready();
        }
        decltype(auto) view() {
            received_.store(true, std::memory_order_relaxed);
            return source_.state_->outcome().view();
        }
        [[nodiscard]] const char* name() const noexcept { return source_.state_->name(); }
        [[nodiscard]] const detail::future_state& source() const noexcept { return *source_.state_; }
        void refuse_if_left_behind(const char* operation) const {
            source_.state_->refuse_if_left_behind(operation, name());
        }

    private:
        future<T> source_;
        std::atomic<bool> received_{false};
    };

    bool wait_until(std::chrono::steady_clock::time_point deadline, const char* operation, const wait_options& how,
                    const stop_token& stop = {}) const {
        FERRY_ASSERT(state_ != nullptr, "an empty shared_future is waited for");
        state_->refuse_if_left_behind(operation);
        return state_->wait_until(deadline, operation, state_->name(), state_->source(), how, stop);
    }

    state* state_ = nullptr;
};

// ---- implementation ----------------------------------------------------------------------------------------------
template <class T>
class [[nodiscard]] shared_future<T>::awaiter : public detail::leaf_awaiter<awaiter> {
public:
    static constexpr const char* what = "shared_future";
    static constexpr bool may_close_a_circle = true;
    explicit awaiter(const shared_future& source) noexcept : source_(source) {}

    bool try_complete() noexcept { return source_.state_->ready(); }
    void link() noexcept {
        waiter_.wait_as_task(detail::loop_reference(event_loop::of(this->task()).control()), this->task());
        this->task().needs(source_.state_->source().whom(), detail::wait_node::cancellable);
        if (!source_.state_->join(waiter_)) this->task().wake();
    }
    static void withdraw(detail::waiter& self) noexcept {
        awaiter& waiting = static_cast<awaiter&>(self);
        if (waiting.source_.state_->leave(waiting.waiter_)) waiting.task().wake_interrupted();
    }
    decltype(auto) finish() { return source_.state_->view(); }

private:
    shared_future source_;
    detail::shared_waiter waiter_;
};

template <class T>
auto shared_future<T>::operator co_await() const -> awaiter {
    FERRY_ASSERT(state_ != nullptr, "co_await of an empty shared_future");
    return awaiter(*this);
}

template <class T>
shared_future<T> future<T>::share() && {
    return shared_future<T>(std::move(*this));
}
}  // namespace ferry::inline FERRY_ABI
