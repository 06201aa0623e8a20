// ferry/bridge/detail/homes.hpp - the queues of the threads that thread-sensitive calls come back to
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/core/home.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/process.hpp>
#include <ferry/deadlock/park.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// The thread-sensitive calls of one thread, first in, first out, whichever of its homes they came to.
class sensitive_queue {
public:
    /// Is it worth a look? Whoever queues a call later wakes the thread.
    [[nodiscard]] bool has_calls() const noexcept { return count_.load(std::memory_order_acquire) != 0; }

private:
    friend class homes;
    std::atomic<std::size_t> count_{0};
    // Guarded by the mutex of homes.
    intrusive_list<call> calls_;
    thread_parker* owner_ = nullptr;    // of the thread that serves it; null while none does
    const wait_node* place_ = nullptr;  // that thread in the wait graph, or the pool from which one will come
};

/// A home whose calls go to a queue, until it is retired.
class queue_home : public home {
public:
    queue_home(sensitive_queue& queue, home* outer) noexcept : home(outer), queue_(queue) {}
    static void* operator new(std::size_t size) { return frame_allocator::allocate(size); }
    static void operator delete(void* block, std::size_t size) noexcept { frame_allocator::deallocate(block, size); }

    [[nodiscard]] sensitive_queue& queue() const noexcept { return queue_; }
    /// Was it made before a fork, by the parent of this process? Then nobody here serves it.
    [[nodiscard]] bool made_before_fork() const noexcept { return generation_ != process::generation(); }
    /// Is it no place for calls any more? Once true, always; false may be out of date without the mutex of homes.
    [[nodiscard]] bool has_gone() const noexcept {
        return retired_.load(std::memory_order_acquire) || made_before_fork();
    }

protected:
    /// A call has come and no thread serves the queue yet. With the mutex of homes held; returns whom to wake, or null.
    virtual thread_parker* find_thread() noexcept { return nullptr; }
    /// Is it served by a thread of ferry's, which serves nothing else?
    [[nodiscard]] virtual bool has_own_thread() const noexcept { return false; }

private:
    friend class homes;
    sensitive_queue& queue_;
    std::atomic<bool> retired_{false};  // written with the mutex of homes held
    const std::uint32_t generation_ = process::generation();
};

/// Where a call runs for which there is no home, or none any more: the one sensitive thread of the process.
[[nodiscard]] queue_home& last_resort();

/// Sends thread-sensitive calls to their homes.
///
/// One mutex guards every queue and the end of every home, so that a call is at any time in exactly one queue, or with
/// whoever took it out under the mutex: the thread that runs it, or the task that withdrew it. A home is retired before
/// the queue goes away that it stands for.
///
/// Thread-safety  Every member, on any thread; take(), attach() and detach() by the thread that serves the queue.
class homes {
public:
    /// Queues the call at the innermost home that is still there. Null when it is on its way, else why it is not.
    [[nodiscard]] static std::exception_ptr submit(call& made) noexcept;
    /// True when the call was still queued: it will not run, and is the caller's again.
    [[nodiscard]] static bool withdraw(call& made) noexcept;
    /// The oldest call; null when there is none. Tells of it, with the mutex held.
    template <class Fn>
    [[nodiscard]] static call* take(sensitive_queue& queue, Fn tell) noexcept;
    /// The process ends: its one sensitive thread and the leased ones run no more calls.
    static void end_own_threads() noexcept { own_threads_end().store(true, std::memory_order_seq_cst); }
    [[nodiscard]] static std::exception_ptr refusal_at_exit() {
        return std::make_exception_ptr(closed_error("to_thread(thread_sensitive): the process ends"));
    }
    [[nodiscard]] static bool own_threads_have_ended() noexcept {
        return own_threads_end().load(std::memory_order_relaxed);
    }

    /// From now on the thread of that parker serves the queue.
    static void attach(sensitive_queue& queue, thread_parker& owner) noexcept;
    /// The thread leaves the queue of a home that is retired. False when there are still calls in it.
    [[nodiscard]] static bool detach(sensitive_queue& queue) noexcept;
    /// The home is not there any more: the calls that came to it and have not begun go to the next one out, in order;
    /// where that has the same thread, they keep their places in its queue.
    static void retire(queue_home& place) noexcept;
    /// The innermost home from that one outwards that is still there; null for none. What has gone never comes back, so
    /// whoever makes a home begins here: a stack of homes is then no deeper than that of the frames that are there.
    [[nodiscard]] static queue_home* still_there(home* innermost) noexcept {
        queue_home* place = static_cast<queue_home*>(innermost);
        while (place != nullptr && place->has_gone()) place = static_cast<queue_home*>(place->outer());
        return place;
    }

    // With the mutex held.
    /// The thread that serves it, or null.
    [[nodiscard]] static thread_parker* owner_of(const sensitive_queue& queue) noexcept { return queue.owner_; }
    static void set_owner(sensitive_queue& queue, thread_parker& owner, const wait_node& record) noexcept {
        queue.owner_ = &owner;
        set_place(queue, record);
    }
    /// Who waits in the queue waits for that thread or pool.
    static void set_place(sensitive_queue& queue, const wait_node& record) noexcept {
        queue.place_ = &record;
        for (call* each = queue.calls_.front(); each != nullptr; each = intrusive_list<call>::next(*each)) {
            each->waits_for(&record);
        }
    }

    [[nodiscard]] static std::mutex& mutex() noexcept { return process_wide<homes>::get().mutex_; }

private:
    // With the mutex held.
    [[nodiscard]] static queue_home& destination_from(home* innermost) noexcept {
        queue_home* const place = still_there(innermost);
        return place != nullptr ? *place : last_resort();
    }
    static thread_parker* queue_at(queue_home& place, call& made) noexcept;
    static std::atomic<bool>& own_threads_end() noexcept { return process_wide<homes>::get().own_threads_end_; }
    static void take_out(call& made) noexcept {
        made.queue->calls_.erase(made);
        made.queue->count_.fetch_sub(1, std::memory_order_relaxed);
        made.queued = false;
    }

    std::mutex mutex_;
    std::atomic<bool> own_threads_end_{false};
};

// ---- implementation ----------------------------------------------------------------------------------------------
/// Returns whom to wake, or null.
inline thread_parker* homes::queue_at(queue_home& place, call& made) noexcept {
    sensitive_queue& queue = place.queue_;
    made.queue = &queue;
    made.queued_at = &place;
    made.queued = true;
    queue.calls_.push_back(made);
    made.waits_for(queue.place_);
    queue.count_.fetch_add(1, std::memory_order_release);
    return queue.owner_ != nullptr ? queue.owner_ : place.find_thread();
}

inline std::exception_ptr homes::submit(call& made) noexcept {
    thread_parker* sleeper = nullptr;
    {
        const std::lock_guard lock(mutex());
        queue_home& place = destination_from(made.made_at());
        if (own_threads_have_ended() && place.has_own_thread()) return refusal_at_exit();
        sleeper = queue_at(place, made);
    }
    if (sleeper != nullptr) sleeper->unpark();  // a parker is never freed
    return nullptr;
}

inline bool homes::withdraw(call& made) noexcept {
    const std::lock_guard lock(mutex());
    if (!made.queued) return false;
    take_out(made);
    return true;
}

template <class Fn>
call* homes::take(sensitive_queue& queue, Fn tell) noexcept {
    if (!queue.has_calls()) return nullptr;
    const std::lock_guard lock(mutex());
    call* const oldest = queue.calls_.front();
    if (oldest == nullptr) return nullptr;
    take_out(*oldest);
    tell(*oldest);
    return oldest;
}

inline void homes::attach(sensitive_queue& queue, thread_parker& owner) noexcept {
    const std::lock_guard lock(mutex());
    set_owner(queue, owner, record_of_this_thread());
}

inline bool homes::detach(sensitive_queue& queue) noexcept {
    const std::lock_guard lock(mutex());
    if (!queue.calls_.empty()) return false;
    queue.owner_ = nullptr;
    queue.place_ = nullptr;
    return true;
}

inline void homes::retire(queue_home& place) noexcept {
    // What only its maker knows no call can come to. What a forked child has left behind may be locked for ever.
    if (place.is_unshared() || place.made_before_fork()) return;
    const std::lock_guard lock(mutex());
    place.retired_.store(true, std::memory_order_release);
    for (call* each = place.queue_.calls_.front(); each != nullptr;) {
        call& made = *each;
        each = intrusive_list<call>::next(made);
        if (made.queued_at != &place) continue;
        queue_home& next = destination_from(place.outer());
        if (&next.queue_ == &place.queue_) {
            made.queued_at = &next;
            continue;
        }
        take_out(made);
        if (thread_parker* const sleeper = queue_at(next, made)) sleeper->unpark();
    }
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
