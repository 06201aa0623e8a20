// ferry/deadlock/park.hpp - the one place where a thread blocks, and the check before it
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/executor.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/process.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/deadlock/allowance.hpp>
#include <ferry/deadlock/report.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <mutex>
#include <string>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
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

    void park() noexcept { park_until(clock::time_point::max()); }
    /// False when the deadline passed without a token.
    bool park_until(clock::time_point deadline) noexcept;
    void unpark() noexcept;

private:
    enum state : std::uint32_t { empty, token, sleeping };
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
    thread_parker* next_ = nullptr;
    thread_exit_hook exit_hook_;
};

/// Throws when this thread is inside a loop's turn and the wait must not be: deadlock_error when `target` is that loop,
/// else blocking_error, unless an allow_blocking scope is open. `operation` is the call, `subject` what it waits for.
void check_own_wait(const char* operation, const char* subject, const executor* target);
/// The same for a wait for one of target's tasks: it also throws deadlock_error when only this thread runs that loop.
void check_wait_for_task(const char* operation, const char* subject, const executor* target);

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

inline void thread_parker::unpark() noexcept {
    if (state_.exchange(token, std::memory_order_release) == sleeping) futex(FUTEX_WAKE, 1, nullptr);
}

inline void check_own_wait(const char* operation, const char* subject, const executor* target) {
    const thread_state& self = this_thread();
    if (self.turn == nullptr) return;
    bool own = false;
    for (const executor* turn = self.turn; turn != nullptr; turn = turn->beneath()) own = own || turn == target;
    if (!own && self.allowance != nullptr) return;
    const logical_task* const running = self.turn->current();
    const std::string who = running == nullptr ? "a callback" : "task " + short_name(running->name());
    const std::string call = std::string(operation) + "(" + short_name(subject) + ")";
    if (own) {
        throw deadlock_error("deadlock: " + call + " would wait for the loop that is waiting for it\n  " + who +
                             " runs in a turn of that loop and calls " + operation + "\n  co_await " +
                             short_name(subject) + " instead of blocking");
    }
    throw blocking_error(
        "blocking: " + call + " would block a loop\n  " + who +
        " runs in a turn of a loop, which serves nobody while it is blocked\n  co_await it, move the call "
        "to to_thread, or open allow_blocking(\"reason\") if it has to be");
}

inline void check_wait_for_task(const char* operation, const char* subject, const executor* target) {
    check_own_wait(operation, subject, target);
    if (!executor::is_bound_to_this_thread(target)) return;
    throw deadlock_error("deadlock: " + std::string(operation) + "(" + short_name(subject) +
                         ") would wait for a loop that only this thread runs\n  this thread called "
                         "bind_to_this_thread() on that loop and would be blocked\n  turn the loop with run_once() "
                         "until the task has ended, or run the loop on another thread");
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
