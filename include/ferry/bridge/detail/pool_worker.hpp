// ferry/bridge/detail/pool_worker.hpp - one thread of a pool
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/deadlock/spin.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include <pthread.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
class pool_state;

/// Calls and their times, in sum.
class call_sums {
public:
    using nanoseconds = std::chrono::nanoseconds;
    std::uint64_t calls = 0;
    nanoseconds queue_time{0};
    nanoseconds max_queue_time{0};
    nanoseconds run_time{0};
    nanoseconds max_run_time{0};
};

/// The sums of one thread: that one adds, any thread reads.
class shared_sums {
public:
    using nanoseconds = std::chrono::nanoseconds;

    void add() noexcept { add(calls_, 1); }
    void add(nanoseconds queued, nanoseconds ran) noexcept {
        add(queue_time_, queued.count());
        raise(max_queue_time_, queued.count());
        add(run_time_, ran.count());
        raise(max_run_time_, ran.count());
    }
    void add_to(call_sums& sums) const noexcept {
        sums.calls += static_cast<std::uint64_t>(read(calls_));
        sums.queue_time += nanoseconds(read(queue_time_));
        sums.max_queue_time = std::max(sums.max_queue_time, nanoseconds(read(max_queue_time_)));
        sums.run_time += nanoseconds(read(run_time_));
        sums.max_run_time = std::max(sums.max_run_time, nanoseconds(read(max_run_time_)));
    }

private:
    using sum = std::atomic<std::int64_t>;  // written by one thread, so load and store will do
    static std::int64_t read(const sum& from) noexcept { return from.load(std::memory_order_relaxed); }
    static void add(sum& to, std::int64_t more) noexcept { to.store(read(to) + more, std::memory_order_relaxed); }
    static void raise(sum& to, std::int64_t value) noexcept {
        if (value > read(to)) to.store(value, std::memory_order_relaxed);
    }
    sum calls_{0};
    sum queue_time_{0};
    sum max_queue_time_{0};
    sum run_time_{0};
    sum max_run_time_{0};
};

/// Made by the pool, destroyed by its thread when that leaves the pool.
///
/// Where it is, the pool's counts say: idle (on the list), active (has a call, or looks for one), blocked (its call is in a
/// wait of ferry's), or leaving.
class pool_worker final : public blocking_observer, public list_hook<pool_worker> {
public:
    pool_worker(pool_state& of, std::size_t as_number, std::string with_name)
        : pool(of), number(as_number), name(std::move(with_name)) {}

    void blocks() noexcept override;
    void goes_on() noexcept override;

    pool_state& pool;
    const std::size_t number;
    const std::string name;
    shared_sums sums;
    std::atomic<const char*> job{nullptr};  // the name of the call that runs; for reports, on any thread
    std::atomic<bool> blocked{false};       // the same

    // Guarded by the mutex.
    bool idle = false;
    bool looks = true;  // it is active, and will take a call if there is one: so it begins
    pool_worker* next_idle = nullptr;
    thread_parker* parker = nullptr;  // the thread's, looked at by others while it is idle
    pthread_t thread{};
    // The thread's own.
    wait_node* record = nullptr;
    spinner spins;
    bool prepared = false;  // the hook for its start has run
    bool leaving = false;

private:
    std::size_t waits_ = 0;  // one inside of the other
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
