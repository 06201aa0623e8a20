// ferry/bridge/detail/call.hpp - a blocking call on its way to a thread, and what that thread knows of it
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/home.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/stop_token.hpp>
#include <ferry/core/task.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/loop/loop_control.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
class sensitive_queue;

/// Whether one call was asked to stop. The state that its tokens share is made when the call asks for the first one.
///
/// One word: the state, if any, tagged once a stop was requested. The loop of the awaiting task requests, the calling
/// thread asks for tokens, each without waiting for the other; the state belongs to this object, whose owner destroys it
/// after the call has ended.
class call_stop {
public:
    call_stop() noexcept = default;
    ~call_stop() {
        stop_state* const state = state_of(word_.load(std::memory_order_acquire));
        if (state == nullptr) return;
        state->drop_source();
        state->release();
    }
    call_stop(const call_stop&) = delete;
    call_stop& operator=(const call_stop&) = delete;

    /// Runs, here, what hangs on the tokens. Asking again does nothing.
    void request() noexcept {
        const std::uintptr_t before = word_.fetch_or(requested, std::memory_order_acq_rel);
        if (stop_state* const state = state_of(before)) state->request_stop();
    }
    [[nodiscard]] stop_token token() {
        std::uintptr_t word = word_.load(std::memory_order_acquire);
        if (state_of(word) == nullptr) {
            // Only the calling thread adds a state, so between two tries the word can only become requested.
            stop_state* const fresh = new stop_state;
            while (!word_.compare_exchange_weak(word, reinterpret_cast<std::uintptr_t>(fresh) | word,
                                                std::memory_order_acq_rel)) {}
            if ((word & requested) != 0) fresh->request_stop();
            return stop_token(*fresh);
        }
        return stop_token(*state_of(word));
    }

private:
    static constexpr std::uintptr_t requested = 1;
    static stop_state* state_of(std::uintptr_t word) noexcept {
        return reinterpret_cast<stop_state*>(word & ~requested);
    }
    std::atomic<std::uintptr_t> word_{0};
};

/// A call that waits for a thread, or runs on one. It lives in the awaiting frame, or in a block of its own, until it has
/// run, was refused, or was withdrawn.
class call : public list_hook<call> {
public:
    call() = default;
    call(const call&) = delete;
    call& operator=(const call&) = delete;
    /// On the thread: runs the function and keeps what comes of it.
    virtual void run() noexcept = 0;
    /// Instead of that: this is what comes of it.
    virtual void fail(std::exception_ptr error) noexcept = 0;
    /// After one of them: hands over what was kept. The call may be gone when it returns.
    virtual void deliver() noexcept = 0;
    /// The loop that made it, to which block_on inside it comes back; none once the call is left behind.
    [[nodiscard]] virtual loop_reference loop() const noexcept = 0;
    /// The innermost home where it was made.
    [[nodiscard]] virtual home* made_at() const noexcept = 0;
    [[nodiscard]] virtual call_stop& stop() noexcept = 0;

    /// While it lives, this thread is in the call: it sees what a call made where this one was made sees. Whoever gives it
    /// the thread says runs_on() before.
    class inside;
    /// Runs it on this thread.
    void run_here() noexcept;
    /// The call in the wait graph.
    [[nodiscard]] wait_node* record() const noexcept { return record_; }
    /// Whom it waits for: the pool, or the thread that serves its queue. Under the lock of the place where it is queued.
    void waits_for(const wait_node* place) noexcept { record_->wait_for(node_reference(place), flags_); }
    /// That thread has it, and nobody can take it back any more. By the thread, or by whoever hands it over.
    void runs_on(const wait_node& thread) noexcept {
        record_->wait_for(node_reference(&thread), static_cast<wait_node::flags>(flags_ | wait_node::begun));
    }

protected:
    /// With wait_node::cancellable it is abandonable, and waited for only until the task is cancelled; patient, it may take as
    /// long as it likes.
    explicit call(wait_node::flags how) noexcept : flags_(how) {}
    [[nodiscard]] wait_node::flags how() const noexcept { return flags_; }
    ~call() {
        if (record_ != nullptr) record_->release();
    }
    /// Before it is submitted: the task waits for it from now on.
    void is_awaited_by(logical_task& waiting) {
        record_ = &wait_node::acquire(wait_node::kind::call);
        record_->set_name(name);
        record_->set_scope(waiting.record().scope());  // through it a cancellation reaches what block_on runs beneath
        waiting.needs(node_reference(record_), wait_node::cancellable);
    }
    /// It is left behind, and what block_on runs beneath it will hear that it is cancelled.
    void has_been_abandoned() noexcept { record_->set_scope(&cancelled_scope()); }
    /// It has an outcome: whatever its thread does next has nothing to do with it.
    void is_over() noexcept { record_->wait_is_over(); }

private:
    // First what every thread that takes the call looks at: a cache line, or two.
    wait_node* record_ = nullptr;
    const wait_node::flags flags_ = 0;

public:
    bool queued = false;                                // guarded by the mutex of whoever has it queued
    call* pushed_before = nullptr;                      // while it is in a pool's inbox
    const char* name = nullptr;                         // in reports
    std::chrono::steady_clock::time_point submitted{};  // where a pool measures
    // Guarded by the homes' mutex.
    sensitive_queue* queue = nullptr;
    home* queued_at = nullptr;
};

class call::inside {
public:
    explicit inside(call& entered) noexcept
        : self_(this_thread()),
          outer_home_(std::exchange(self_.home, entered.made_at())),
          outer_call_(std::exchange(self_.running_call, &entered)) {}
    ~inside() {  // the call may be gone
        self_.running_call = outer_call_;
        self_.home = outer_home_;
    }
    inside(const inside&) = delete;
    inside& operator=(const inside&) = delete;

private:
    thread_state& self_;
    home* outer_home_;
    call* outer_call_;
};

inline void call::run_here() noexcept {
    runs_on(record_of_this_thread());
    const inside here(*this);
    run();
    deliver();
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
