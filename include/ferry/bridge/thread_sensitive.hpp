// ferry/bridge/thread_sensitive.hpp - one thread for the thread-sensitive calls of one request
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/homes.hpp>
#include <ferry/bridge/detail/sensitive_threads.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/home.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/this_thread.hpp>

#include <cstddef>

namespace ferry::inline FERRY_ABI {
/// While it lives, the thread-sensitive calls of the task that made it, and of what that task awaits and starts, run on one
/// leased thread, one after another; other scopes have other threads.
///
///     ferry::task<> handle(request r) {
///         ferry::thread_sensitive_scope one_thread;
///         co_await ferry::to_thread(ferry::thread_sensitive, begin_transaction);
///         co_await ferry::to_thread(ferry::thread_sensitive, save, r);        // on the same thread
///     }
///
/// The thread is leased by the first such call and given back by itself after the end: a scope without such calls costs
/// nothing, and leaving never waits. Calls that come after the end run on the one sensitive thread of the process. A scope
/// inside another one, or beneath a thread that is blocked in block_on, adds nothing: there is a home already (C03, N16).
///
/// Ownership      A local variable of a coroutine, or of plain code for the block_on and run in it.
/// Thread-safety  None: it ends where it began, on its task's loop.
/// Cost           One recycled block; no thread is started while one is idle.
class thread_sensitive_scope {
public:
    thread_sensitive_scope()
        : made_(detail::homes::still_there(detail::current_home()) == nullptr ? new detail::scope_home(opener())
                                                                              : nullptr) {
        if (made_ != nullptr) place(made_);
    }
    ~thread_sensitive_scope() {
        if (made_ == nullptr) return;
        place(nullptr);
        detail::leased_threads::instance().end(*made_);
    }
    thread_sensitive_scope(const thread_sensitive_scope&) = delete;
    thread_sensitive_scope& operator=(const thread_sensitive_scope&) = delete;

    /// At most so many threads are leased at a time, 32 at first; further scopes wait with their first call, in its order.
    static void set_max_leases(std::size_t threads) noexcept { detail::leased_threads::instance().set_most(threads); }
    /// How many there are now, leased or idle.
    [[nodiscard]] static std::size_t threads() noexcept { return detail::leased_threads::instance().running(); }

private:
    static detail::node_reference opener() noexcept {
        detail::logical_task* const task = detail::running_task();
        return detail::node_reference(task != nullptr ? &task->record() : &detail::record_of_this_thread());
    }
    void place(detail::home* here) noexcept {
        if (task_ == nullptr && here != nullptr) task_ = detail::running_task();
        if (task_ != nullptr) {
            task_->home() = detail::home_reference(here);
        } else {
            detail::this_thread().home = here;
        }
    }

    detail::scope_home* made_;
    detail::logical_task* task_ = nullptr;
};
}  // namespace ferry::inline FERRY_ABI
