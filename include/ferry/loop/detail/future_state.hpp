// ferry/loop/detail/future_state.hpp - what a promise and its future share, and how a thread waits for it
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/exception_handlers.hpp>
#include <ferry/core/executor.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/process.hpp>
#include <ferry/core/result.hpp>
#include <ferry/core/stop_token.hpp>
#include <ferry/core/wait_node.hpp>
#include <ferry/deadlock/judge.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/deadlock/thread_parker.hpp>
#include <ferry/deadlock/wait_options.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/loop_control.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>

namespace ferry::inline FERRY_ABI {
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
        ++this_thread().promised;
        inspect_waits(*promise_, nullptr);
    }

    [[nodiscard]] const executor* producer() const noexcept { return producer_; }
    /// Is it to come from a loop that a forked child has left behind?
    [[nodiscard]] bool left_behind() const noexcept {
        return producer_ != nullptr && generation_ != process::generation();
    }
    [[nodiscard]] bool ready() const noexcept { return word_.load(std::memory_order_acquire) == ready_word; }
    void complete() noexcept {
        if (promise_ != nullptr && promise_->needs() != nullptr) is_kept();
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
                    const wait_options& how, const stop_token& stop = {});

    void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    /// True for the last one.
    [[nodiscard]] bool drop() noexcept { return references_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

private:
    static constexpr std::uintptr_t empty_word = 0;
    static constexpr std::uintptr_t ready_word = 1;
    static constexpr std::uintptr_t thread_tag = 2;
    static constexpr std::uintptr_t relay_tag = 4;

    void is_kept() noexcept {
        thread_state& self = this_thread();
        const bool is_mine =
            promise_->needs() == self.record && self.record->generation() == promise_->needs_generation();
        if (is_mine) --self.promised;
        promise_->wait_is_over();
    }
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

// ---- implementation ----------------------------------------------------------------------------------------------
inline bool future_state::wait_until(std::chrono::steady_clock::time_point deadline, const char* operation,
                                     const char* subject, const wait_options& how, const stop_token& stop) {
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
    thread_wait here(operation, subject, whom_, how);
    if (stop.stop_possible()) here.stoppable();
    const stop_callback<unparking> on_stop(stop, unparking(parker));
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
}  // namespace ferry::inline FERRY_ABI
