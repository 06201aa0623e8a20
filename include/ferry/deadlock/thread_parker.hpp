// ferry/deadlock/thread_parker.hpp - where a thread sleeps
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/process.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/deadlock/spin.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <mutex>

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Where a thread can sleep besides its parker: a loop.
class wakeable {
public:
    virtual void wake() noexcept = 0;

protected:
    ~wakeable() = default;
};

/// Where one thread sleeps. A token: unpark() before park() makes that park() return at once.
///
/// Ownership      Lent to a thread on its first wait, given back when it ends, never deleted: a waker may hold on to it
///                after the wait it ends is over. Such a late token is a spurious wake-up for the next wait, so every
///                wait checks its condition in a loop.
/// Thread-safety  park() by its thread, unpark() by every thread. What was written before unpark() is seen after the
///                park() that takes its token (release, acquire on state_).
class thread_parker {
public:
    using clock = std::chrono::steady_clock;

    [[nodiscard]] static thread_parker& of_this_thread();

    /// Looks for a token for a moment, as long as that pays. True if it has taken one; else park.
    bool spin() noexcept {
        return spinner_.spin([this] { return has_token(); }) && take_token();
    }
    /// Before the thread looks for what the token has announced. True if there was one.
    bool take_token() noexcept { return state_.exchange(empty, std::memory_order_acquire) == token; }
    void park() noexcept { park_until(clock::time_point::max()); }
    /// The thread is about to sleep elsewhere, in a poller, and a token shall wake it there. False when there is one.
    [[nodiscard]] bool begin_sleep_in(wakeable& elsewhere) noexcept;
    [[nodiscard]] bool has_token() const noexcept { return state_.load(std::memory_order_relaxed) == token; }
    /// It has come back. `elsewhere` is not touched any more, and the token, if one came, is taken.
    void end_sleep_in() noexcept;
    /// False when the deadline passed without a token.
    bool park_until(clock::time_point deadline) noexcept;
    void unpark() noexcept;

private:
    enum state : std::uint32_t { empty, token, sleeping, sleeping_elsewhere };
    struct free_list {
        std::mutex mutex;  // guards head
        thread_parker* head = nullptr;
    };
    static free_list& spare() { return process_wide<free_list>::get(); }
    long futex(int operation, std::uint32_t value, const std::timespec* deadline) noexcept {
        return ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&state_), operation | FUTEX_PRIVATE_FLAG, value,
                         deadline, nullptr, FUTEX_BITSET_MATCH_ANY);
    }
    static void give_back() noexcept;

    std::atomic<std::uint32_t> state_{empty};
    std::atomic<bool> woken_{false};  // whoever found it sleeping elsewhere has woken it there
    wakeable* elsewhere_ = nullptr;   // published by state_
    spinner spinner_;
    thread_parker* next_ = nullptr;
    thread_exit_hook exit_hook_;
};

/// Unparks a thread: what hangs on a stop token.
class unparking {
public:
    explicit unparking(thread_parker& sleeper) noexcept : sleeper_(&sleeper) {}
    void operator()() const noexcept { sleeper_->unpark(); }

private:
    thread_parker* sleeper_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline thread_parker& thread_parker::of_this_thread() {
    thread_state& self = this_thread();
    if (self.parker == nullptr) {
        {
            const std::lock_guard lock(spare().mutex);
            self.parker = spare().head;
            if (self.parker != nullptr) spare().head = self.parker->next_;
        }
        if (self.parker == nullptr) self.parker = new thread_parker;
        if (!self.ended) {
            self.parker->exit_hook_.run = &give_back;
            at_thread_exit(self.parker->exit_hook_);
        }
    }
    return *self.parker;
}

inline void thread_parker::give_back() noexcept {
    thread_parker* const mine = this_thread().parker;
    this_thread().parker = nullptr;
    const std::lock_guard lock(spare().mutex);
    mine->next_ = spare().head;
    spare().head = mine;
}

inline bool thread_parker::park_until(clock::time_point deadline) noexcept {
    std::uint32_t expected = empty;
    if (!state_.compare_exchange_strong(expected, sleeping, std::memory_order_acquire)) {
        state_.exchange(empty, std::memory_order_acquire);  // there is a token: take it
        return true;
    }
    std::timespec at{};
    if (deadline != clock::time_point::max()) {  // steady_clock is CLOCK_MONOTONIC, the clock of FUTEX_WAIT_BITSET
        const std::int64_t since =               // the kernel refuses a time before the clock's beginning
            std::max<std::int64_t>(0, std::chrono::nanoseconds(deadline.time_since_epoch()).count());
        at.tv_sec = static_cast<std::time_t>(since / 1'000'000'000);
        at.tv_nsec = static_cast<long>(since % 1'000'000'000);
    }
    for (;;) {
        const long woken = futex(FUTEX_WAIT_BITSET, sleeping, deadline == clock::time_point::max() ? nullptr : &at);
        if (state_.load(std::memory_order_acquire) == token) break;
        if (woken == -1 && errno == ETIMEDOUT) {
            std::uint32_t still = sleeping;
            if (state_.compare_exchange_strong(still, empty, std::memory_order_acquire)) return false;
            break;
        }
    }
    state_.exchange(empty, std::memory_order_acquire);
    return true;
}

/// Of those who unpark it while it sleeps elsewhere exactly one, the first, finds that state and wakes it there; the
/// thread waits for that one's woken_ before it goes on, so `elsewhere` lives as long as it is needed.
inline void thread_parker::unpark() noexcept {
    const std::uint32_t before = state_.exchange(token, std::memory_order_acq_rel);
    if (before == sleeping) futex(FUTEX_WAKE, 1, nullptr);
    if (before != sleeping_elsewhere) return;
    elsewhere_->wake();
    woken_.store(true, std::memory_order_release);
}

inline bool thread_parker::begin_sleep_in(wakeable& elsewhere) noexcept {
    elsewhere_ = &elsewhere;
    std::uint32_t expected = empty;
    if (state_.compare_exchange_strong(expected, sleeping_elsewhere, std::memory_order_release)) return true;
    state_.exchange(empty, std::memory_order_acquire);
    return false;
}

inline void thread_parker::end_sleep_in() noexcept {
    if (state_.exchange(empty, std::memory_order_acquire) == sleeping_elsewhere) return;
    while (!woken_.exchange(false, std::memory_order_acquire)) ::sched_yield();
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
