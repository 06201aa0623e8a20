// ferry/bridge/detail/pool_end.hpp - waiting until the threads of a closed pool have left, and naming those that do not
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/pool_state.hpp>
#include <ferry/bridge/detail/pool_worker.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/deadlock/thread_wait.hpp>

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <source_location>
#include <string>
#include <utility>

#include <pthread.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// The end of a pool that is closed. One at a time for each pool.
class pool_end final : public wait_words {
public:
    using time_point = pool_state::clock::time_point;

    explicit pool_end(pool_state& closed) noexcept : pool_(closed) {}

    /// Blocks until all threads have left and are joined; the wait is a ferry wait, and serves as such. One that takes
    /// long is reported, with those who keep it. One that could never end is reported at once: then the threads end by themselves.
    void join(const char* operation) {
        thread_wait here(operation, pool_.name(), node_reference(&pool_.record_), std::source_location());
        try {
            wait_for(&here, time_point::max());
        } catch (const deadlock_error& hopeless) {
            let_go();
            return report(hopeless.report().text());
        }
        join_last();
    }
    /// The threads end by themselves, whenever they have done their work.
    void let_go() noexcept {
        const std::lock_guard lock(pool_.mutex_);
        if (std::exchange(pool_.has_left_, false)) ::pthread_detach(pool_.left_);
        pool_.joins_itself_ = true;
    }
    /// Once all have left.
    void join_last() noexcept {
        pthread_t last{};
        {
            const std::lock_guard lock(pool_.mutex_);
            if (!std::exchange(pool_.has_left_, false)) return;
            last = pool_.left_;
        }
        ::pthread_join(last, nullptr);
    }
    /// False when the deadline has passed and there are still threads; the calling one, if it is the pool's, does not count.
    [[nodiscard]] bool wait(time_point deadline) { return wait_for(nullptr, deadline); }
    /// Is the calling thread one of the pool's?
    [[nodiscard]] bool is_own_thread() const noexcept {
        const blocking_observer* const mine = this_thread().blocking;
        if (mine == nullptr) return false;
        const std::lock_guard lock(pool_.mutex_);
        const pool_worker* each = pool_.workers_.front();
        while (each != nullptr && each != mine) each = intrusive_list<pool_worker>::next(*each);
        return each != nullptr;
    }
    /// The threads that have not left, but the calling one, in lines of their own.
    [[nodiscard]] std::string who() const override {
        std::string text;
        const std::lock_guard lock(pool_.mutex_);
        for (const pool_worker* each = pool_.workers_.front(); each != nullptr;
             each = intrusive_list<pool_worker>::next(*each)) {
            if (each == this_thread().blocking) continue;
            const char* const job = each->job.load(std::memory_order_acquire);
            text.append("  thread ").append(each->name);
            text += job == nullptr ? std::string(" is at its end") : " runs " + short_name(job);
            text += each->blocked.load(std::memory_order_relaxed) ? ", blocked in a wait of ferry's\n" : "\n";
        }
        return text;
    }

private:
    bool wait_for(thread_wait* what, time_point deadline) {
        const std::size_t own = is_own_thread() ? 1 : 0;
        thread_parker& mine = thread_parker::of_this_thread();
        const watching here(pool_, &mine);
        const auto all_have_left = [&] {
            // The graph is asked anew after each thread that leaves: it may have been the one that was still on its way.
            if (what != nullptr) what->leave();
            const std::lock_guard lock(pool_.mutex_);
            return pool_.threads_ <= own;
        };
        if (what == nullptr) return wait_until(all_have_left, deadline);
        return wait_until(what->for_all_members().in_destructor().tells(*this), all_have_left, deadline);
    }
    /// While it lives, each thread that leaves wakes the watcher.
    class watching {
    public:
        watching(pool_state& pool, thread_parker* watcher) noexcept : pool_(pool) { set(watcher); }
        ~watching() { set(nullptr); }
        watching(const watching&) = delete;
        watching& operator=(const watching&) = delete;

    private:
        void set(thread_parker* watcher) noexcept {
            const std::lock_guard lock(pool_.mutex_);
            pool_.watcher_ = watcher;
        }
        pool_state& pool_;
    };

    pool_state& pool_;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
