// ferry/bridge/detail/home_thread.hpp - a thread that serves its thread-sensitive calls whenever it waits
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/bridge/detail/homes.hpp>
#include <ferry/bridge/detail/sensitive_end.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/home.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/deadlock/park.hpp>

#include <cstddef>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Whatever the thread waits for outside of a turn, meanwhile it runs the oldest call of its queue, or a turn of the loop
/// that a frame of it drives, one at a time and never one inside the other: a call that blocks again serves the same queue
/// and drives the same loop from its own frame.
///
/// Thread-safety  None: its own thread's. Other threads reach the queue through homes.
class home_thread final : public wait_service {
public:
    [[nodiscard]] static home_thread& of_this_thread();

    home_thread() { homes::attach(own_, thread_parker::of_this_thread()); }
    home_thread(const home_thread&) = delete;
    home_thread& operator=(const home_thread&) = delete;

    /// Where calls for this thread go now.
    [[nodiscard]] sensitive_queue& queue() const noexcept { return *queue_; }

    /// While it lives, the thread serves during its waits. Nests.
    class serving;
    /// While it lives, calls for this thread go to a queue that was lent to it.
    class lent_queue;

    [[nodiscard]] bool has_call() const noexcept override { return queue_->has_calls(); }
    bool serve_call() noexcept override {
        const char* around = nullptr;
        call* const oldest = homes::take(*queue_, [&](const call& taken) {
            if (job_ != nullptr) around = job_->begins(taken);
        });
        if (oldest == nullptr) return false;
        run(*oldest);
        if (job_ != nullptr) job_->ends(around);
        return true;
    }
    /// While it lives, the thread is one of ferry's own, for such calls and nothing else, and named with the one that it runs.
    class own_thread {
    public:
        own_thread(home_thread& thread, const char* name) : thread_(thread), job_(name) { thread.job_ = &job_; }
        ~own_thread() { thread_.job_ = nullptr; }
        own_thread(const own_thread&) = delete;
        own_thread& operator=(const own_thread&) = delete;

    private:
        home_thread& thread_;
        sensitive_end::running_job job_;
    };

private:
    /// What a call waits for is often on the loop that made it: where a frame of this thread drives that loop beneath the
    /// frame of another one (a call has run a loop of its own, say), the call's waits drive it.
    void run(call& taken) noexcept {
        if (job_ != nullptr && homes::own_threads_have_ended()) {
            taken.fail(homes::refusal_at_exit());
            return taken.deliver();
        }
        const loop_reference made_by = drives_several() ? taken.loop() : loop_reference();
        drivable* const loop = made_by ? find_driven(made_by->record()) : nullptr;
        if (loop == nullptr) return taken.run_here();
        const driving it(*this, *loop);
        taken.run_here();
    }

    sensitive_queue own_;
    sensitive_queue* queue_ = &own_;
    std::size_t depth_ = 0;  // of serving
    sensitive_end::running_job* job_ = nullptr;
    thread_exit_hook exit_hook_;
};

class home_thread::serving {
public:
    explicit serving(home_thread& self) noexcept : self_(self) {
        if (self_.depth_++ == 0) this_thread().service = &self_;
    }
    ~serving() {
        if (--self_.depth_ == 0) this_thread().service = nullptr;
    }
    serving(const serving&) = delete;
    serving& operator=(const serving&) = delete;

private:
    home_thread& self_;
};

class home_thread::lent_queue {
public:
    lent_queue(home_thread& self, sensitive_queue& lent) noexcept
        : self_(self), outer_(std::exchange(self.queue_, &lent)) {}
    ~lent_queue() { self_.queue_ = outer_; }
    lent_queue(const lent_queue&) = delete;
    lent_queue& operator=(const lent_queue&) = delete;

private:
    home_thread& self_;
    sensitive_queue* outer_;
};

/// A block_on outside of turns: while it lives, its thread is the innermost home of what it calls, and serves.
class home_frame {
public:
    home_frame()
        : thread_(home_thread::of_this_thread()),
          serving_(thread_),
          state_(this_thread()),
          home_(new queue_home(thread_.queue(), homes::still_there(state_.home))),
          outer_(std::exchange(state_.home, home_)) {}
    ~home_frame() {
        state_.home = outer_;
        homes::retire(*home_);
        home_->release();
    }
    home_frame(const home_frame&) = delete;
    home_frame& operator=(const home_frame&) = delete;

    [[nodiscard]] home_thread& thread() const noexcept { return thread_; }
    [[nodiscard]] home& place() const noexcept { return *home_; }

private:
    home_thread& thread_;
    home_thread::serving serving_;
    thread_state& state_;
    queue_home* home_;
    home* outer_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline home_thread& home_thread::of_this_thread() {
    thread_state& self = this_thread();
    if (self.home_thread == nullptr) {
        self.home_thread = new home_thread;
        if (!self.ended) {
            self.home_thread->exit_hook_.run = []() noexcept {
                this_thread().service = nullptr;  // exit() in a call: the frames that serve stay for ever
                delete std::exchange(this_thread().home_thread, nullptr);
            };
            at_thread_exit(self.home_thread->exit_hook_);
        }
    }
    return *self.home_thread;
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
