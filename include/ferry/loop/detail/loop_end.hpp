// ferry/loop/detail/loop_end.hpp - how a loop brings its tasks to an end
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/wait_node.hpp>
#include <ferry/deadlock/hang.hpp>
#include <ferry/deadlock/wait_options.hpp>
#include <ferry/loop/detail/loop_wait.hpp>
#include <ferry/loop/detail/owned_task.hpp>

#include <new>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// The part of an event_loop (the only Loop) that cancels what it owns, and turns until all of it has ended. The wait is in the
/// wait graph, whoever's thread it is: a loop is closed by its thread, and who joins that thread waits for it.
template <class Loop>
class loop_end {
public:
    loop_end(Loop& loop, const char* operation, const wait_options& how) noexcept
        : loop_(loop), watch_(operation, loop.now()), here_(operation, "its tasks", how) {
        here_.always_in_graph();
    }

    /// Tasks that are spawned meanwhile are cancelled too, so this ends unless a task refuses to.
    void end_tasks() noexcept {
        for (;;) {
            for (owned_task* task = owned().front(); task != nullptr; task = owned().next(*task)) task->cancel();
            loop_.work_in_turn();
            if (!loop_.has_work()) return watch_.ended(loop_.now());
            const owned_task* const first = owned().front();
            here_.rests_for(first == nullptr ? nullptr : &first->root_task().record());
            // A clock that jumps would jump from report to report: it waits for what really happens after the first one.
            const bool jumps = watch_.reported() && loop_.poller_->is_virtual();
            loop_.rest(jumps ? Loop::time_point::max() : watch_.next_report(), here_);
            if (watch_.is_due(loop_.now()) && loop_.has_work()) report();
        }
    }

private:
    [[nodiscard]] intrusive_list<owned_task>& owned() noexcept { return loop_.owned_; }
    void report() noexcept {
        try {
            watch_.report(loop_.now(), who_is_left(owned()));
        } catch (const std::bad_alloc&) {  // for the words: the next report may have more luck
            watch_.put_off(loop_.now());
        }
    }

    Loop& loop_;
    hang_watch watch_;
    loop_wait here_;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
