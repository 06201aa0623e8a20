// ferry/bridge/detail/pool_threads.hpp - what the threads of a pool do, from their start until they leave it
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/bridge/detail/pool_state.hpp>
#include <ferry/bridge/detail/pool_worker.hpp>
#include <ferry/bridge/detail/thread_slots.hpp>
#include <ferry/bridge/pool_observer.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/deadlock/wait_graph.hpp>
#include <ferry/loop/timer_queue.hpp>

#include <atomic>
#include <exception>
#include <mutex>
#include <utility>

#include <pthread.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
inline void pool_state::work(void* argument) noexcept {
    pool_worker* const self = static_cast<pool_worker*>(argument);
    pool_state& pool = self->pool;
    thread_state& thread = this_thread();
    self->parker = &thread_parker::of_this_thread();
    do {
        thread.thread_name = self->name.c_str();
        thread.blocking = self;
        pool.enter_graph(*self);
        while (call* const taken = pool.next(*self)) pool.run(*self, *taken);
        if (pool.left_behind()) return report_child_of_a_call();
        thread_slots::clear();
        if (std::exchange(self->prepared, false) && pool.options_.thread_end_) pool.options_.thread_end_();
        thread.blocking = nullptr;
        thread.thread_name = nullptr;
    } while (!pool.leave(*self));
    pool.release();
}

inline void pool_state::enter_graph(pool_worker& self) noexcept {
    self.record = &record_of_this_thread();
    self.record->set_name(self.name.c_str());
    const std::lock_guard lock(mutex_);
    record_.add_member(*self.record);
    ++in_graph_;
    update_record();
}

/// The next call, or null: then the thread does not count as active any more, and is to leave.
inline call* pool_state::next(pool_worker& self) noexcept {
    if (!left_behind()) {  // else a call has forked, and goes on in the child
        std::unique_lock lock(mutex_);
        for (bool may_spin = true;;) {
            if (call* const taken = take(self, lock)) return taken;
            if (std::exchange(may_spin, false) && spin(self, lock)) continue;
            if (!sleep(self, lock)) break;
            may_spin = true;
        }
    }
    self.leaving = true;
    return nullptr;
}

/// The oldest call, if there is one and the thread may work. Then the mutex is not held any more.
inline call* pool_state::take(pool_worker& self, std::unique_lock<std::mutex>& lock) noexcept {
    call* const oldest = active_ <= options_.size_ ? queue_.pop() : nullptr;
    if (oldest == nullptr) return nullptr;
    if (std::exchange(self.looks, false)) --looking_;
    thread_parker* const sleeper = attend();
    lock.unlock();
    if (sleeper != nullptr) sleeper->unpark();
    oldest->runs_on(*self.record);  // not before: the fences above would wait for that cache line
    return oldest;
}

/// Looks for a call for a moment, as long as that pays. True when there was one.
inline bool pool_state::spin(pool_worker& self, std::unique_lock<std::mutex>& lock) noexcept {
    if (closed_ || active_ > options_.size_) return false;
    if (!std::exchange(self.looks, true)) ++looking_;
    say_who_looks();
    lock.unlock();
    // Who does not get the mutex need not wait for it: the call is another one's.
    if (self.spins.spin([&] { return queue_.has_any() && lock.try_lock(); })) return true;
    lock.lock();
    return false;
}

/// Until there is a call for this thread: it is active again then, and looks for it. False when there was none for so long that
/// it ends, or will be none any more.
///
/// A thread puts itself on the idle list, and asks once more whether there are calls, under the mutex under which others take it
/// off the list and make it active. So it is woken once for each time that it is taken off; tokens left from other waits only
/// make it look again.
inline bool pool_state::sleep(pool_worker& self, std::unique_lock<std::mutex>& lock) noexcept {
    if (std::exchange(self.looks, false)) --looking_;
    --active_;
    if (closed_) return false;
    self.idle = true;
    self.next_idle = std::exchange(idle_, &self);
    thread_parker* const sleeper = attend();
    lock.unlock();
    if (sleeper != nullptr) sleeper->unpark();
    const clock::time_point since = clock::now();
    for (;;) {
        lock.lock();
        if (!self.idle) return true;
        const auto patience = threads_ > options_.size_ ? options_.spare_linger_ : options_.idle_end_;
        lock.unlock();
        const bool in_time = self.parker->park_until(deadline_after(since, to_nanoseconds(patience)));
        if (in_time) continue;
        lock.lock();
        if (!self.idle) return true;
        if (threads_ > options_.size_ || patience == options_.idle_end_) {
            forget_idle(self);
            return false;
        }
        lock.unlock();
    }
}

inline void pool_state::forget_idle(pool_worker& self) noexcept {
    pool_worker** link = &idle_;
    while (*link != &self) link = &(*link)->next_idle;
    *link = self.next_idle;
    self.idle = false;
}

inline std::exception_ptr pool_state::prepare(pool_worker& self) noexcept {
    try {
        if (!self.prepared && options_.thread_start_) options_.thread_start_();
        self.prepared = true;
        if (options_.before_call_) options_.before_call_();
        return nullptr;
    } catch (...) {
        return std::current_exception();
    }
}

/// The hooks are part of the call: they see what it sees. All that anyone may look at is up to date before it is delivered.
inline void pool_state::run(pool_worker& self, call& taken) noexcept {
    self.job.store(taken.name == nullptr ? "?" : taken.name, std::memory_order_relaxed);
    const call::inside here(taken);
    pool_call told;
    clock::time_point began;
    if (options_.measured_) {
        told = describe(taken);
        told.thread = self.name.c_str();
        began = clock::now();
        told.queue_time = began - taken.submitted;
        if (options_.observer_ != nullptr) options_.observer_->started(told);
    }
    if (std::exception_ptr error = prepare(self)) {
        taken.fail(std::move(error));
    } else {
        taken.run();
        if (options_.after_call_) options_.after_call_();
    }
    if (options_.measured_) {
        told.run_time = clock::now() - began;
        self.sums.add(told.queue_time, told.run_time);
        if (options_.observer_ != nullptr) options_.observer_->ended(told);
    }
    self.sums.add();
    self.job.store(nullptr, std::memory_order_release);
    taken.deliver();
}

/// Each thread that leaves joins the one that left before it, which has nothing more to do than to end; so there is one to
/// join at most, however often threads start and end. False, and it is to stay and look, where a call is queued that came
/// while it was at its end, and no other thread could be had for that.
inline bool pool_state::leave(pool_worker& self) noexcept {
    {
        const std::lock_guard lock(wait_graph::mutex());  // reports copy the name, which ends here, under it
        self.record->set_name(nullptr);
    }
    bool joins = false;
    pthread_t before{};
    thread_parker* sleeper = nullptr;
    thread_parker* watcher = nullptr;
    {
        const std::lock_guard lock(mutex_);
        workers_.erase(self);
        record_.remove_member(*self.record);
        --in_graph_;
        --threads_;
        update_record();
        const std::size_t looked = looking_;
        sleeper = attend();
        if (looking_ == looked && queue_.received() > looking_ && active_ < options_.size_) {
            workers_.push_back(self);
            ++threads_;
            ++active_;
            ++looking_;
            self.looks = true;
            self.leaving = false;
            say_who_looks();
            return false;
        }
        self.sums.add_to(of_the_gone_);
        joins = std::exchange(has_left_, true);
        before = std::exchange(left_, self.thread);
        if (threads_ == 0 && joins_itself_) {
            has_left_ = false;
            ::pthread_detach(self.thread);
        }
        watcher = watcher_;
    }
    delete &self;
    if (sleeper != nullptr) sleeper->unpark();
    if (watcher != nullptr) watcher->unpark();
    if (joins) ::pthread_join(before, nullptr);
    return true;
}

inline void pool_state::one_blocks() noexcept {
    thread_parker* sleeper = nullptr;
    {
        const std::lock_guard lock(mutex_);
        --active_;
        ++blocked_;
        sleeper = attend();
    }
    if (sleeper != nullptr) sleeper->unpark();
}

inline void pool_state::one_goes_on() noexcept {
    const std::lock_guard lock(mutex_);
    ++active_;
    --blocked_;
    say_who_looks();
}

inline void pool_worker::blocks() noexcept {
    if (waits_++ != 0 || leaving || pool.left_behind()) return;
    blocked.store(true, std::memory_order_relaxed);
    pool.one_blocks();
}

inline void pool_worker::goes_on() noexcept {
    if (--waits_ != 0 || leaving || pool.left_behind()) return;
    blocked.store(false, std::memory_order_relaxed);
    pool.one_goes_on();
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
