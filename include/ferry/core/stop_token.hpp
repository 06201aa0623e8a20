// ferry/core/stop_token.hpp - a request to stop, from any thread to any thread
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/core/intrusive_list.hpp>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <type_traits>
#include <utility>

#include <pthread.h>
#include <sched.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
class stop_callback_base : public list_hook<stop_callback_base> {
public:
    using function = void (*)(stop_callback_base& self) noexcept;
    explicit stop_callback_base(function call) noexcept : call_(call) {}

private:
    friend class stop_state;
    function call_;
    bool linked_ = false;
    bool* destroyed_ = nullptr;  // of the request that runs it on this very thread
};

/// Shared by a source and its tokens.
///
/// A callback is in the list, or running, or over. Under the mutex, request_stop() takes one out and notes that it runs;
/// it calls it without the mutex. remove() takes it out under the mutex if it is still there; if it runs on another
/// thread, remove() waits until it is over; on the same thread it tells request_stop() that the object is gone. So a
/// callback is never called, or touched, after its destructor has returned: the store that ends remove()'s wait
/// (release, acquire) is the last thing that request_stop() does about it. request_stop() holds a reference of its own,
/// since a callback may drop the last source.
class stop_state {
public:
    static void* operator new(std::size_t size) { return frame_allocator::allocate(size); }
    static void operator delete(void* block, std::size_t size) noexcept { frame_allocator::deallocate(block, size); }

    void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }
    void add_source() noexcept { sources_.fetch_add(1, std::memory_order_relaxed); }
    void drop_source() noexcept { sources_.fetch_sub(1, std::memory_order_release); }

    /// Synchronises with request_stop(): what was written before it is seen after this is true.
    [[nodiscard]] bool requested() const noexcept { return requested_.load(std::memory_order_acquire); }
    [[nodiscard]] bool possible() const noexcept {
        return requested() || sources_.load(std::memory_order_acquire) != 0;
    }
    bool request_stop() noexcept;
    /// False, and the callback was not added, when stop was requested already.
    [[nodiscard]] bool add(stop_callback_base& callback) noexcept {
        const std::lock_guard lock(mutex_);
        if (requested()) return false;
        callbacks_.push_back(callback);
        callback.linked_ = true;
        return true;
    }
    void remove(stop_callback_base& callback) noexcept;

private:
    std::atomic<std::uint32_t> references_{1};
    std::atomic<std::uint32_t> sources_{1};
    std::atomic<bool> requested_{false};
    std::mutex mutex_;  // guards what follows
    intrusive_list<stop_callback_base> callbacks_;
    std::atomic<stop_callback_base*> running_{nullptr};  // written under the mutex
    pthread_t requester_{};
};
}  // namespace detail

template <class Fn>
class stop_callback;

/// Asks whether a stop was requested; what blocking code polls and callbacks hang on. A default one never stops.
///
/// Ownership      Shares the state with its source, its copies and their callbacks.
/// Thread-safety  Distinct objects on any threads.
class stop_token {
public:
    stop_token() noexcept = default;
    stop_token(const stop_token& other) noexcept : state_(other.state_) {
        if (state_ != nullptr) state_->retain();
    }
    stop_token(stop_token&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    stop_token& operator=(stop_token other) noexcept {
        std::swap(state_, other.state_);
        return *this;
    }
    ~stop_token() {
        if (state_ != nullptr) state_->release();
    }
    /// For ferry.
    explicit stop_token(detail::stop_state& state) noexcept : state_(&state) { state_->retain(); }

    [[nodiscard]] bool stop_requested() const noexcept { return state_ != nullptr && state_->requested(); }
    /// Was a stop requested, or is there still a source that may request one?
    [[nodiscard]] bool stop_possible() const noexcept { return state_ != nullptr && state_->possible(); }
    friend bool operator==(const stop_token& a, const stop_token& b) noexcept { return a.state_ == b.state_; }

private:
    template <class Fn>
    friend class stop_callback;
    detail::stop_state* state_ = nullptr;
};

/// Requests the stop that its tokens see.
class stop_source {
public:
    stop_source() : state_(new detail::stop_state) {}
    stop_source(const stop_source& other) noexcept : state_(other.state_) {
        state_->retain();
        state_->add_source();
    }
    stop_source& operator=(const stop_source& other) noexcept {
        stop_source copy(other);
        std::swap(state_, copy.state_);
        return *this;
    }
    ~stop_source() {
        state_->drop_source();
        state_->release();
    }

    [[nodiscard]] stop_token get_token() const noexcept { return stop_token(*state_); }
    [[nodiscard]] bool stop_requested() const noexcept { return state_->requested(); }
    /// Runs the callbacks on this thread, one after another, before it returns. True for the first request.
    bool request_stop() noexcept { return state_->request_stop(); }

private:
    detail::stop_state* state_;
};

/// Calls fn once when a stop is requested: on the thread that requests it, or at once, here, if that has happened.
///
/// Its destructor waits for a call that is under way on another thread, so what fn refers to may go away after it. fn
/// must not throw.
template <class Fn>
class [[nodiscard]] stop_callback : private detail::stop_callback_base {
public:
    template <class F>
    requires std::constructible_from<Fn, F> stop_callback(const stop_token& token, F&& fn)
        : stop_callback_base(&call), fn_(std::forward<F>(fn)), state_(token.state_) {
        if (state_ == nullptr) return;
        state_->retain();
        if (state_->add(*this)) return;
        state_->release();
        state_ = nullptr;
        fn_();
    }
    [[gnu::noinline]] ~stop_callback() {  // or GCC 12 takes the one in an empty optional for uninitialized
        if (state_ == nullptr) return;
        state_->remove(*this);
        state_->release();
    }
    stop_callback(const stop_callback&) = delete;
    stop_callback& operator=(const stop_callback&) = delete;

private:
    static void call(stop_callback_base& self) noexcept { static_cast<stop_callback&>(self).fn_(); }
    Fn fn_;
    detail::stop_state* state_;
};

template <class Fn>
stop_callback(stop_token, Fn) -> stop_callback<Fn>;

// ---- implementation ----------------------------------------------------------------------------------------------
namespace detail {
inline bool stop_state::request_stop() noexcept {
    retain();  // a callback may drop the last source
    std::unique_lock lock(mutex_);
    const bool first = !requested_.exchange(true, std::memory_order_acq_rel);
    if (first) {
        requester_ = ::pthread_self();
        while (stop_callback_base* const callback = callbacks_.pop_front()) {
            bool destroyed = false;
            callback->linked_ = false;
            callback->destroyed_ = &destroyed;
            running_.store(callback, std::memory_order_relaxed);
            lock.unlock();
            callback->call_(*callback);
            lock.lock();
            if (!destroyed) callback->destroyed_ = nullptr;
            running_.store(nullptr, std::memory_order_release);
        }
    }
    lock.unlock();
    release();
    return first;
}

inline void stop_state::remove(stop_callback_base& callback) noexcept {
    {
        const std::lock_guard lock(mutex_);
        if (callback.linked_) return callbacks_.erase(callback);
        if (running_.load(std::memory_order_relaxed) != &callback) return;
        if (::pthread_equal(requester_, ::pthread_self()) != 0) {
            *callback.destroyed_ = true;
            return;
        }
    }
    while (running_.load(std::memory_order_acquire) == &callback) ::sched_yield();
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
