// ferry/bridge/pool_observer.hpp - what a pool tells of its calls: to an observer one by one, or in sum
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace ferry::inline FERRY_ABI {
/// One call of a pool, for its observer. The texts are valid for the process's life, but `thread`, which is so as long as
/// the observer is being told.
struct pool_call {
    const char* name = nullptr;    // what sync_to_async(...).named() says, else the coroutine that made the call
    const char* pool = nullptr;    // the pool's name
    const char* thread = nullptr;  // the name of the thread that runs it; null while it is queued
    std::chrono::nanoseconds queue_time{0};  // from its submission to its start
    std::chrono::nanoseconds run_time{0};    // from its start to its end, hooks included
};

/// Told of every call of the pools that were made with it (thread_pool_options::observer).
///
/// A call is enqueued, then either dropped, or started and ended. Each is told before its effect: ended() returns before
/// the awaiting task can go on.
///
/// Ownership      Outlives its pools and their threads.
/// Thread-safety  Called on every thread that makes calls or runs them, at the same time; it must not throw, and should not
///                block: enqueued() and dropped() mostly run inside a loop's turn. It makes no calls of its own, and asks
///                no limiter.
class pool_observer {
public:
    virtual void enqueued(const pool_call&) noexcept {}
    /// It will not run: it was refused, or withdrawn by a cancellation.
    virtual void dropped(const pool_call&) noexcept {}
    virtual void started(const pool_call&) noexcept {}
    virtual void ended(const pool_call&) noexcept {}

protected:
    ~pool_observer() = default;
};

/// A pool at one moment, and since it was made. Times are zero unless the pool is measured().
struct pool_metrics {
    std::size_t queued = 0;   // calls that wait for a thread, within the queue's limit
    std::size_t waiting = 0;  // calls that wait for room in the queue
    std::size_t running = 0;  // calls that run, those that block included
    std::size_t blocked = 0;  // threads whose call is blocked in a wait of ferry's
    std::size_t idle = 0;     // threads without a call
    std::size_t threads = 0;  // all of them
    std::size_t spares = 0;   // those beyond the pool's size

    std::uint64_t calls = 0;  // that have ended
    std::chrono::nanoseconds queue_time{0};
    std::chrono::nanoseconds max_queue_time{0};
    std::chrono::nanoseconds run_time{0};
    std::chrono::nanoseconds max_run_time{0};
};
}  // namespace ferry::inline FERRY_ABI
