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
#include <utility>

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
    thread_parker* next_ = nullptr;
    thread_exit_hook exit_hook_;
};

/// A loop that a wait can drive from a frame of its own.
class drivable {
public:
    /// A turn that does not sleep; false when there was nothing to do.
    virtual bool turn() noexcept = 0;
    /// Sleeps until there is something to do, the parker has a token, or the deadline has passed (false).
    virtual bool sleep_until(thread_parker& parker, thread_parker::clock::time_point deadline) noexcept = 0;
    /// Where other threads wake it; no other loop has the same.
    [[nodiscard]] virtual const wakeable& inbox() const noexcept = 0;

protected:
    ~drivable() = default;
};

/// What a thread does while it waits, where others depend on it: it runs the thread-sensitive calls that come home to it,
/// and drives the loop that a frame beneath turns. A token for the thread's parker says that there is something to do.
class wait_service {
public:
    /// Runs one call; false when there is none.
    virtual bool serve_call() noexcept = 0;
    /// A call or a turn. Each goes first every other time, so that neither keeps the other from its share.
    bool serve() noexcept {
        calls_first_ = !calls_first_;
        return calls_first_ ? serve_call() || turn() : turn() || serve_call();
    }
    bool sleep_until(thread_parker& parker, thread_parker::clock::time_point deadline) noexcept {
        return driven_ == nullptr ? parker.park_until(deadline) : driven_->loop_.sleep_until(parker, deadline);
    }

    /// While it lives, the thread's waits drive this loop, whatever they drove before.
    class driving {
    public:
        driving(wait_service& service, drivable& loop) noexcept
            : service_(service), loop_(loop), outer_(std::exchange(service.driven_, this)) {}
        ~driving() { service_.driven_ = outer_; }
        driving(const driving&) = delete;
        driving& operator=(const driving&) = delete;

    private:
        friend class wait_service;
        wait_service& service_;
        drivable& loop_;
        driving* const outer_;
    };
    /// The loop with that inbox, if a frame of this thread drives it, or has driven it up to the frames above; else null.
    [[nodiscard]] drivable* find_driven(const wakeable& inbox) const noexcept {
        const driving* each = driven_;
        while (each != nullptr && &each->loop_.inbox() != &inbox) each = each->outer_;
        return each == nullptr ? nullptr : &each->loop_;
    }
    /// Do frames of this thread drive more than one?
    [[nodiscard]] bool drives_several() const noexcept { return driven_ != nullptr && driven_->outer_ != nullptr; }

protected:
    ~wait_service() = default;

private:
    bool turn() noexcept { return driven_ != nullptr && driven_->loop_.turn(); }

    driving* driven_ = nullptr;  // the innermost
    bool calls_first_ = false;
};
/// What this thread does during a wait that begins here: nothing inside a turn, which must not be entered again.
[[nodiscard]] inline wait_service* service_of_this_wait() noexcept {
    const thread_state& self = this_thread();
    return self.turn == nullptr ? self.service : nullptr;
}

/// Blocks this thread until done() is true, or the deadline has passed: then it returns whether done() is true after all.
/// Whoever makes it true unparks the thread afterwards. What done() throws ends the wait.
template <class Done>
bool wait_until(Done&& done, thread_parker::clock::time_point deadline = thread_parker::clock::time_point::max());

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

template <class Done>
bool wait_until(Done&& done, thread_parker::clock::time_point deadline) {
    if (done()) return true;
    thread_parker& parker = thread_parker::of_this_thread();
    wait_service* const service = service_of_this_wait();
    do {
        if (service == nullptr) {
            if (!parker.park_until(deadline)) return done();
        } else if (service->serve()) {
            if (deadline != thread_parker::clock::time_point::max() && thread_parker::clock::now() >= deadline) {
                return done();
            }
        } else if (!service->sleep_until(parker, deadline)) {
            return done();
        }
    } while (!done());
    return true;
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
