// ferry/deadlock/park.hpp - the one place where a thread blocks, and the check before it
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/executor.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/core/wait_node.hpp>
#include <ferry/deadlock/allowance.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/deadlock/thread_parker.hpp>
#include <ferry/deadlock/thread_wait.hpp>

#include <algorithm>
#include <exception>
#include <string>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// A loop that a wait can drive from a frame of its own.
class drivable {
public:
    /// A turn that does not sleep; false when there was nothing to do.
    virtual bool turn() noexcept = 0;
    /// Sleeps until there is something to do, the parker has a token, or the deadline has passed (false).
    virtual bool sleep_until(thread_parker& parker, thread_parker::clock::time_point deadline) noexcept = 0;
    /// Looks for something to do, or a token, for a moment. False when it is time to sleep.
    virtual bool spin(const thread_parker& parker) noexcept = 0;
    /// It in the wait graph; no other loop has the same node.
    [[nodiscard]] virtual const wait_node& loop_record() const noexcept = 0;

protected:
    ~drivable() = default;
};

/// Told by a thread that it blocks: its pool, which may let another thread work meanwhile. Waits nest, where a thread serves
/// during one; each of them tells.
class blocking_observer {
public:
    virtual void blocks() noexcept = 0;
    /// Once for each blocks().
    virtual void goes_on() noexcept = 0;

protected:
    ~blocking_observer() = default;
};

/// From begin() to its end the thread counts as blocked. A wait begins before it sleeps, or serves: what it serves may block,
/// too, or turn on and on, and wait for what needs another thread. One that is answered while it spins never does.
class blocked_part {
public:
    blocked_part() noexcept = default;
    ~blocked_part() {
        if (told_ != nullptr) told_->goes_on();
    }
    blocked_part(const blocked_part&) = delete;
    blocked_part& operator=(const blocked_part&) = delete;
    /// Once more does nothing.
    void begin() noexcept {
        if (told_ != nullptr) return;
        told_ = this_thread().blocking;
        if (told_ != nullptr) told_->blocks();
    }

private:
    blocking_observer* told_ = nullptr;
};

/// What a thread does while it waits, where others depend on it: it runs the thread-sensitive calls that come home to it,
/// and drives the loop that a frame beneath turns. A token for the thread's parker says that there is something to do.
class wait_service {
public:
    [[nodiscard]] virtual bool has_call() const noexcept = 0;
    /// Runs one call; false when there is none.
    virtual bool serve_call() noexcept = 0;
    /// A call or a turn. Each goes first every other time, so that neither keeps the other from its share.
    bool serve(blocked_part& blocked) noexcept {
        calls_first_ = !calls_first_;
        return calls_first_ ? next_call(blocked) || next_turn(blocked) : next_turn(blocked) || next_call(blocked);
    }
    bool spin(thread_parker& parker) noexcept {
        if (driven_ == nullptr) return parker.spin();
        const bool answered = driven_->loop_.spin(parker);
        if (answered) parker.take_token();  // or it would answer for ever, and the thread never sleep
        return answered;
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
    /// That loop, if a frame of this thread drives it, or has driven it up to the frames above; else null.
    [[nodiscard]] drivable* find_driven(const node_reference& loop) const noexcept {
        if (loop.node()->generation() != loop.generation()) return nullptr;
        const driving* each = driven_;
        while (each != nullptr && &each->loop_.loop_record() != loop.node()) each = each->outer_;
        return each == nullptr ? nullptr : &each->loop_;
    }
    /// The loop that a wait would drive now, in the wait graph; null for none.
    [[nodiscard]] const wait_node* driven_record() const noexcept {
        return driven_ == nullptr ? nullptr : &driven_->loop_.loop_record();
    }
    /// Do frames of this thread drive more than one?
    [[nodiscard]] bool drives_several() const noexcept { return driven_ != nullptr && driven_->outer_ != nullptr; }

protected:
    ~wait_service() = default;

private:
    bool next_call(blocked_part& blocked) noexcept {
        if (!has_call()) return false;
        blocked.begin();
        return serve_call();
    }
    bool next_turn(blocked_part& blocked) noexcept {
        if (driven_ == nullptr) return false;
        blocked.begin();
        return driven_->loop_.turn();
    }

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
///
/// With a thread_wait, the wait is in the wait graph whenever the thread sleeps: throws deadlock_error when it can never
/// end. A wait without one may last for ever: an idle worker's.
template <class Done>
bool wait_until(thread_wait& what, Done&& done,
                thread_parker::clock::time_point deadline = thread_parker::clock::time_point::max());
template <class Done>
bool wait_until(Done&& done, thread_parker::clock::time_point deadline = thread_parker::clock::time_point::max());

/// Throws when this thread is inside a loop's turn and the wait must not be: deadlock_error when `target` is that loop,
/// else blocking_error, unless an allow_blocking scope is open. `operation` is the call, `subject` what it waits for.
void check_own_wait(const char* operation, const char* subject, const executor* target);
/// The same for a wait for one of target's tasks: it also throws deadlock_error when only this thread runs that loop.
void check_wait_for_task(const char* operation, const char* subject, const executor* target);

// ---- implementation ----------------------------------------------------------------------------------------------
/// What happens between two looks at done(): the thread serves, or sleeps. False when the deadline has passed.
inline bool serve_or_sleep(wait_service* service, thread_parker& parker, thread_wait* what, blocked_part& blocked,
                           thread_parker::clock::time_point deadline) {
    using clock = thread_parker::clock;
    if (service != nullptr) {
        if (what != nullptr) what->leave();
        if (service->serve(blocked)) return deadline == clock::time_point::max() || clock::now() < deadline;
    }
    if (service == nullptr ? parker.spin() : service->spin(parker)) return true;
    blocked.begin();
    const thread_wait::asleep in_graph(what, service != nullptr ? service->driven_record() : nullptr, deadline);
    const clock::time_point until = in_graph.wakes_at();
    const bool in_time = service == nullptr ? parker.park_until(until) : service->sleep_until(parker, until);
    return in_time || until < deadline;
}

template <class Done>
bool wait_until(thread_wait& what, Done&& done, thread_parker::clock::time_point deadline) {
    if (done()) return true;
    thread_parker& parker = thread_parker::of_this_thread();
    wait_service* const service = service_of_this_wait();
    blocked_part blocked;
    do {
        if (!serve_or_sleep(service, parker, &what, blocked, deadline)) break;
        if (!done()) what.look();
    } while (!done());
    what.leave();
    return done();
}

template <class Done>
bool wait_until(Done&& done, thread_parker::clock::time_point deadline) {
    if (done()) return true;
    thread_parker& parker = thread_parker::of_this_thread();
    wait_service* const service = service_of_this_wait();
    blocked_part blocked;
    do {
        if (!serve_or_sleep(service, parker, nullptr, blocked, deadline)) return done();
    } while (!done());
    return true;
}

inline void check_own_wait(const char* operation, const char* subject, const executor* target) {
    const thread_state& self = this_thread();
    bool own = false;
    for (const executor* turn = self.turn; turn != nullptr; turn = turn->beneath()) own = own || turn == target;
    if (!own && may_block_here()) return;
    const std::string call = std::string(operation) + "(" + short_name(subject) + ")";
    if (!own) throw_blocking_error(call);
    const deadlock_error error = own_wait_error(call, "the loop that is waiting for it",
                                                who_runs_here() + " runs in a turn of that loop and calls " + operation,
                                                "co_await " + short_name(subject) + " instead of blocking");
    // A destructor that runs because of another exception: this one ends the program.
    if (std::uncaught_exceptions() > 0) report(error.report().text());
    throw error;
}

inline void check_wait_for_task(const char* operation, const char* subject, const executor* target) {
    check_own_wait(operation, subject, target);
    if (!executor::is_bound_to_this_thread(target)) return;
    throw own_wait_error(std::string(operation) + "(" + short_name(subject) + ")", "a loop that only this thread runs",
                         "this thread called bind_to_this_thread() on that loop and would be blocked",
                         "turn the loop with run_once() until the task has ended, or run the loop on another thread");
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
