// ferry/bridge/detail/pool_state.hpp - a pool's queue and its threads: who runs a call, and when threads start and end
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/bridge/detail/call_queue.hpp>
#include <ferry/bridge/detail/pool_worker.hpp>
#include <ferry/bridge/os_thread.hpp>
#include <ferry/bridge/pool_observer.hpp>
#include <ferry/bridge/thread_pool_options.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/process.hpp>
#include <ferry/deadlock/park.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>

#include <pthread.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// What a pool and its threads share. It outlives the pool object until the last thread has left, and the last call has let
/// go of it.
///
/// A thread is active while it has a call or looks for one. The mutex guards the list of idle threads and all counts, and this
/// holds whenever it is released, of the calls that the queue has received: a thread looks for each of them, or as many threads
/// as the pool's size are active, or none is idle and no more may be started. Each event that could break it makes one more
/// thread look (attend): a call is queued that nobody would look at, one that looked has taken a call or sleeps, an active
/// thread blocks, a thread leaves. A thread that wants a call while more than the size are active, since blocked ones came
/// back, becomes idle instead.
///
/// Thread-safety  Every member, on any thread, but what the workers call. Its mutex is a leaf: nothing of the user's, and
///                no other lock of ferry's, is entered under it.
class pool_state {
public:
    using clock = std::chrono::steady_clock;
    enum class submission : unsigned char { accepted, closed, full, left_behind, no_thread };

    explicit pool_state(const thread_pool_options& options) : options_(options) {
        process::begin();
        record_.set_name(options_.name_);
        update_record();
    }
    pool_state(const pool_state&) = delete;
    pool_state& operator=(const pool_state&) = delete;

    /// Queues the call. When it is not accepted, it is the caller's again. The call, and with it the pool, is there until this
    /// returns, though it may have run by then: its task goes on on this very thread, or not before a limit's mutex is released
    /// which the caller holds (call_limit).
    submission submit(call& made) noexcept;
    /// True when the call was still queued: it will not run, and is the caller's again.
    bool withdraw(call& made) noexcept;
    /// Refuses calls from now on, and those that are queued.
    void close() noexcept;

    /// Was the pool made before a fork? Its threads are not in this process, and its mutex may be locked for ever.
    [[nodiscard]] bool left_behind() const noexcept { return generation_ != process::generation(); }
    [[nodiscard]] const thread_pool_options& options() const noexcept { return options_; }
    [[nodiscard]] const char* name() const noexcept { return options_.name_; }
    [[nodiscard]] std::size_t size() const noexcept { return options_.size_; }
    [[nodiscard]] pool_metrics metrics() const noexcept;
    void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }

    // The pool's end, once it is closed; see pool_end.hpp.
    friend class pool_end;

private:
    friend class pool_worker;
    static constexpr std::size_t no_limit = static_cast<std::size_t>(-1);
    ~pool_state() { record_.release(); }

    // With the mutex held.
    /// In the wait graph: a call that is queued can run as long as one of the threads can go on, or may yet be there.
    void update_record() noexcept {
        const bool another = !closed_ && (threads_ < most_threads() || in_graph_ < threads_);
        record_.set_flags(another ? wait_node::open : wait_node::flags{0});
    }
    void enter_graph(pool_worker& self) noexcept;
    submission submit_locked(call& made, bool queued) noexcept;
    [[nodiscard]] thread_parker* attend() noexcept;
    [[nodiscard]] thread_parker& activate_idle() noexcept;
    [[nodiscard]] bool one_more_could_look() const noexcept {
        return active_ < options_.size_ && (idle_ != nullptr || threads_ < most_threads());
    }
    void say_who_looks() noexcept { queue_.set_lookers(looking_, one_more_could_look()); }
    bool start_worker() noexcept;
    [[nodiscard]] std::size_t free_number() const noexcept;
    [[nodiscard]] std::size_t most_threads() const noexcept { return options_.size_ + options_.max_spare_; }

    // The workers'; see pool_threads.hpp.
    static void work(void* worker) noexcept;
    call* next(pool_worker& self) noexcept;
    call* take(pool_worker& self, std::unique_lock<std::mutex>& lock) noexcept;
    bool spin(pool_worker& self, std::unique_lock<std::mutex>& lock) noexcept;
    bool sleep(pool_worker& self, std::unique_lock<std::mutex>& lock) noexcept;
    void forget_idle(pool_worker& self) noexcept;
    void run(pool_worker& self, call& taken) noexcept;
    [[nodiscard]] std::exception_ptr prepare(pool_worker& self) noexcept;
    [[nodiscard]] bool leave(pool_worker& self) noexcept;
    void one_blocks() noexcept;
    void one_goes_on() noexcept;

    [[nodiscard]] pool_call describe(const call& made) const noexcept {
        pool_call told;
        told.name = made.name;
        told.pool = options_.name_;
        return told;
    }
    void tell_dropped(const call& made) const noexcept {
        if (options_.observer_ != nullptr) options_.observer_->dropped(describe(made));
    }

    // Apart, on cache lines of their own: what all read, what the loops count, what they push to, and what is the threads'.
    const thread_pool_options options_;
    const std::uint32_t generation_ = process::generation();
    wait_node& record_ = wait_node::acquire(wait_node::kind::pool);
    alignas(64) std::atomic<std::size_t> references_{1};
    call_queue queue_;  // those beyond the limit wait for room

    alignas(64) mutable std::mutex mutex_;  // guards everything below, and the record's links
    pool_worker* idle_ = nullptr;           // the most recently active first: its caches are warm
    std::size_t threads_ = 0;
    std::size_t active_ = 0;
    std::size_t looking_ = 0;   // of the active ones
    std::size_t in_graph_ = 0;  // of the threads, those that have begun
    std::size_t blocked_ = 0;
    intrusive_list<pool_worker> workers_;
    call_sums of_the_gone_;  // threads that have left
    bool closed_ = false;
    bool joins_itself_ = false;  // nobody will join: the last thread is to detach itself
    bool has_left_ = false;      // a thread has left and is not joined yet: this one
    pthread_t left_{};
    thread_parker* watcher_ = nullptr;  // of the thread that waits until the workers have left
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline pool_state::submission pool_state::submit(call& made) noexcept {
    if (left_behind()) return submission::left_behind;
    if (options_.measured_) {
        made.submitted = clock::now();
        if (options_.observer_ != nullptr) options_.observer_->enqueued(describe(made));
    }
    made.waits_for(&record_);
    const bool refuses = options_.when_full_ == full_queue::refuse;
    submission answer = submission::accepted;
    switch (queue_.push(made, refuses ? options_.queue_limit_ : no_limit)) {
        case call_queue::answer::attended:
            break;
        case call_queue::answer::unattended:
            answer = submit_locked(made, true);
            break;
        case call_queue::answer::crowded:
            answer = submit_locked(made, false);
            break;
        case call_queue::answer::closed:
            answer = submission::closed;
            break;
    }
    if (answer != submission::accepted) tell_dropped(made);
    return answer;
}

/// What cannot be said without the mutex: who is to look at the call, and whether there is room for it beside those that a
/// thread is about to take.
inline pool_state::submission pool_state::submit_locked(call& made, bool queued) noexcept {
    thread_parker* sleeper = nullptr;
    submission answer = submission::accepted;
    {
        const std::lock_guard lock(mutex_);
        if (!queued) {
            if (queue_.length() >= options_.queue_limit_ + looking_) return submission::full;
            if (queue_.push(made, no_limit) == call_queue::answer::closed) return submission::closed;
        }
        sleeper = attend();
        if (threads_ == 0 && made.queued) {  // no thread could be started, which is no error while there is another one
            queue_.take_out(made);
            answer = submission::no_thread;
        }
    }
    if (sleeper != nullptr) sleeper->unpark();  // a parker is never freed
    return answer;
}

inline bool pool_state::withdraw(call& made) noexcept {
    if (left_behind()) return false;
    {
        const std::lock_guard lock(mutex_);
        queue_.receive();
        if (!made.queued) return false;
        queue_.take_out(made);
    }
    tell_dropped(made);
    return true;
}

inline void pool_state::close() noexcept {
    if (left_behind()) return;
    intrusive_list<call> refused;
    {
        const std::lock_guard lock(mutex_);
        if (std::exchange(closed_, true)) return;
        update_record();
        queue_.close();
        while (call* const made = queue_.pop()) refused.push_back(*made);
        // Under the mutex: once awake they leave, and are gone.
        while (idle_ != nullptr) activate_idle().unpark();
    }
    while (call* const made = refused.pop_front()) {
        tell_dropped(*made);
        made->fail(
            std::make_exception_ptr(closed_error("to_thread: pool \"" + std::string(options_.name_) + "\" is closed")));
        made->deliver();
    }
}

inline pool_metrics pool_state::metrics() const noexcept {
    pool_metrics now;
    if (left_behind()) return now;
    const std::lock_guard lock(mutex_);
    const std::size_t length = queue_.length();
    now.queued = std::min(length, options_.queue_limit_);
    now.waiting = length - now.queued;
    now.blocked = blocked_;
    now.idle = looking_;
    for (const pool_worker* each = idle_; each != nullptr; each = each->next_idle) ++now.idle;
    now.threads = threads_;
    now.spares = threads_ - std::min(threads_, options_.size_);
    call_sums sums = of_the_gone_;
    for (const pool_worker* each = workers_.front(); each != nullptr; each = intrusive_list<pool_worker>::next(*each)) {
        each->sums.add_to(sums);
        if (each->job.load(std::memory_order_acquire) != nullptr) ++now.running;
    }
    now.calls = sums.calls;
    now.queue_time = sums.queue_time;
    now.max_queue_time = sums.max_queue_time;
    now.run_time = sums.run_time;
    now.max_run_time = sums.max_run_time;
    return now;
}

/// Has one more thread look for calls, where there are more than threads that look, and it may work: an idle one, which is to
/// be woken if it is returned, or a new one.
inline thread_parker* pool_state::attend() noexcept {
    say_who_looks();
    queue_.receive();
    if (queue_.received() <= looking_ || !one_more_could_look()) return nullptr;
    thread_parker* sleeper = nullptr;
    if (idle_ != nullptr) {
        sleeper = &activate_idle();
    } else if (start_worker()) {
        ++active_;
        ++looking_;
    }
    say_who_looks();
    return sleeper;
}

/// The one that was active last looks for calls again, once it is woken.
inline thread_parker& pool_state::activate_idle() noexcept {
    pool_worker& chosen = *std::exchange(idle_, idle_->next_idle);
    chosen.idle = false;
    chosen.looks = true;
    ++active_;
    ++looking_;
    return *chosen.parker;
}

inline std::size_t pool_state::free_number() const noexcept {
    for (std::size_t number = 0;; ++number) {
        const pool_worker* each = workers_.front();
        while (each != nullptr && each->number != number) each = intrusive_list<pool_worker>::next(*each);
        if (each == nullptr) return number;
    }
}

inline bool pool_state::start_worker() noexcept {
    try {
        const std::size_t number = free_number();
        const std::string suffix = "/" + std::to_string(number);
        pool_worker* const made = new pool_worker(*this, number, options_.name_ + suffix);
        try {
            // The kernel keeps 15 letters: the number is among them.
            std::string shown = options_.name_;
            shown.resize(std::min(shown.size(), 15 - std::min<std::size_t>(suffix.size(), 15)));
            made->thread = start_thread(&work, made, shown + suffix);
        } catch (...) {
            delete made;
            throw;
        }
        retain();
        workers_.push_back(*made);
        ++threads_;
        update_record();
        return true;
    } catch (const std::exception&) {
        return false;
    }
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
