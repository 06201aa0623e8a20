// ferry/deadlock/judge.hpp - asks the wait graph, and ends a wait that never could
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/executor.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/wait_node.hpp>
#include <ferry/deadlock/circle.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/deadlock/thread_parker.hpp>
#include <ferry/deadlock/wait_graph.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <new>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Threads whose links are in the graph. While there are none, tasks can wait only for tasks and what they hold. A forked
/// child begins with none.
inline std::atomic<std::size_t>& blocked_threads() noexcept { return wait_graph::instance().blocked_threads; }

inline constexpr const char* no_memory_for_walk = "ferry: no memory is left to look whether a wait can end: it goes on";

/// Can a task's wait be ended at once, by an error as by a cancellation?
[[nodiscard]] inline bool can_be_refused(const wait_node& task) noexcept {
    const wait_node* const whom = task.needs();
    return whom != nullptr && cancel_ends_wait(task, *whom);
}

/// A thread's? Not where it waits for a task that has started, on a loop that does not come to cancel it.
[[nodiscard]] inline bool can_be_refused(const wait_graph& graph, const wait_node& thread) noexcept {
    const wait_node* const loop = thread.scope();
    return thread.has(wait_node::refusable) && (loop == nullptr || !graph.is_closed(*loop, wait_graph::role::goes_on));
}

/// Somebody of the circle is told that it cannot be: a thread whose wait ends at once, else a task, on its own loop, else a
/// thread whose task has to be cancelled first, which may not end that. With the graph's lock held, after a hopeless
/// question. False when nobody can be told.
bool refuse_somebody(const wait_graph& graph);

/// Is it plain that whoever is waited for can go on, while no thread waits? Without the lock: for tasks of this thread's
/// loop, and those of others, which look for this wait before they stop.
[[nodiscard]] inline bool goes_on_plainly(const wait_node& whom) noexcept {
    using kind = wait_node::kind;
    if (whom.what() == kind::call) return true;
    if (whom.what() != kind::lock) return whom.needs() == nullptr;
    for (const wait_node* each = whom.first_member(); each != nullptr; each = each->next_member()) {
        if (each->needs() != nullptr && each->needs()->needs() != nullptr) return false;
    }
    return true;
}

/// For executors: `changed` waits for somebody from now on, or is what waits have relied on. `waiting` is the task whose
/// wait this is, if the error may go to it.
void inspect_waits(const wait_node& changed, logical_task* waiting) noexcept;

// ---- implementation ----------------------------------------------------------------------------------------------
/// On its way to the loop of a task whose wait is to be refused.
class refusal_on_its_way final : public ready_node {
public:
    refusal_on_its_way(const wait_node& task, std::exception_ptr error) noexcept
        : task_(&task), version_(task.version()), error_(std::move(error)) {
        run = [](ready_node& arrived) noexcept {
            const refusal_on_its_way& self = static_cast<refusal_on_its_way&>(arrived);
            const wait_node& waiting = *self.task_.node();
            // Whatever it does meanwhile, a task that goes on changes one of these.
            const bool still_waits = waiting.generation() == self.task_.generation() &&
                                     waiting.version() == self.version_ && can_be_refused(waiting);
            if (still_waits && !waiting.task->refuse_wait(self.error_)) waiting.forget_refusal();
            delete &self;
        };
    }

private:
    node_reference task_;
    std::uint32_t version_;
    std::exception_ptr error_;
};

inline bool refuse_somebody(const wait_graph& graph) {
    const circle found(graph);
    wait_node* thread = nullptr;
    const wait_node* task = nullptr;
    found.for_each_node([&](wait_graph::role, const wait_node& node) {
        if (node.what() == wait_node::kind::thread && can_be_refused(graph, node)) {
            if (thread == nullptr || node.scope() == nullptr) thread = const_cast<wait_node*>(&node);
        }
        const bool is_task = node.what() == wait_node::kind::task && can_be_refused(node);
        if (is_task && !graph.is_closed(*node.within(), wait_graph::role::goes_on)) task = &node;
    });
    if (thread != nullptr && (task == nullptr || thread->scope() == nullptr)) {
        thread->refuse(refusal_of(found, *thread));
        thread->parker->unpark();
        return true;
    }
    if (task == nullptr) return false;
    auto* const node = new refusal_on_its_way(*task, refusal_of(found, *task));
    task->note_refusal();  // before it can have arrived
    if (task->within()->inbox->push(*node)) return true;
    task->forget_refusal();
    delete node;
    return false;
}

inline void inspect_waits(const wait_node& changed, logical_task* waiting) noexcept {
    // The links were written before: of two who close a circle at a time, one finds those of the other after its fence.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (changed.what() == wait_node::kind::task && blocked_threads().load(std::memory_order_relaxed) == 0) {
        const wait_node* const whom = changed.needs();
        if (whom == nullptr || goes_on_plainly(*whom)) return;
    }
    std::exception_ptr refusal;
    try {
        const std::lock_guard lock(wait_graph::mutex());
        wait_graph& graph = wait_graph::instance();
        static_cast<void>(refusal_without_words());
        const bool is_family = changed.what() == wait_node::kind::family;
        if (is_family) changed.rely_on(false);
        if (!graph.is_hopeless(changed, is_family ? wait_graph::role::all_end : wait_graph::role::goes_on)) return;
        if (waiting != nullptr && can_be_refused(changed)) {
            refusal = refusal_of(graph, changed);
            changed.note_refusal();  // for those who ask before it has left
        } else {
            refuse_somebody(graph);
        }
    } catch (const std::bad_alloc&) {  // for the walk: the wait ends, or nobody knows whether it ever would
        if (waiting == nullptr || !can_be_refused(changed)) return report(no_memory_for_walk);
        refusal = std::current_exception();
    }
    if (refusal != nullptr && !waiting->refuse_wait(refusal)) changed.forget_refusal();
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
