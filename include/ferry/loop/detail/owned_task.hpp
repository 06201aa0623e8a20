// ferry/loop/detail/owned_task.hpp - the tasks that a loop owns, and their names when they do not end
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/cancellation.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/wait_node.hpp>
#include <ferry/deadlock/report.hpp>

#include <cstddef>
#include <string>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// A logical task that a loop owns: made by spawn.
class owned_task : public list_hook<owned_task> {
public:
    virtual void cancel() noexcept = 0;
    /// It never started and the loop is closing: its observer gets closed_error.
    virtual void refuse() noexcept = 0;
    /// For reports, once it has started.
    [[nodiscard]] virtual const logical_task& root_task() const noexcept = 0;

protected:
    ~owned_task() = default;
};

/// Lines of text, one for each task, children below their parents. On the thread of the tasks' loop.
class task_tree {
public:
    static constexpr std::size_t most_lines = 20;

    void add(const logical_task& root) {
        const cancel_scope& top = root.root_scope();
        for (const cancel_scope* scope = &top; scope != nullptr; scope = scope->next_in_tree(top)) {
            const logical_task& task = scope->task();
            if (scope != &task.root_scope()) continue;  // a scope inside a task
            if (++tasks_ > most_lines) continue;
            text_.append(2 * (1 + depth(task, root)), ' ').append("task ").append(short_name(task.name()));
            const char* const waits_in = task.record().waits_in();
            text_.append(waits_in == nullptr ? " goes on running" : " waits in ");
            text_.append(waits_in == nullptr ? "" : waits_in).append("\n");
        }
    }
    [[nodiscard]] std::string text() const {
        if (tasks_ <= most_lines) return text_;
        return text_ + "  and " + std::to_string(tasks_ - most_lines) + " more\n";
    }

private:
    /// How many tasks are between it and the root.
    static std::size_t depth(const logical_task& task, const logical_task& root) noexcept {
        std::size_t count = 0;
        for (const cancel_scope* scope = &task.root_scope(); scope != &root.root_scope();) {
            scope = &scope->parent()->task().root_scope();
            ++count;
        }
        return count;
    }

    std::string text_;
    std::size_t tasks_ = 0;
};

/// Of the tasks that are owned, and those below them, one that waits for a call of a thread; null for none.
inline const wait_node* who_waits_for_a_call(const intrusive_list<owned_task>& owned) noexcept {
    for (const owned_task* each = owned.front(); each != nullptr; each = owned.next(*each)) {
        const cancel_scope& top = each->root_task().root_scope();
        for (const cancel_scope* scope = &top; scope != nullptr; scope = scope->next_in_tree(top)) {
            const wait_node& task = scope->task().record();
            const wait_node* const whom = task.needs();
            if (whom != nullptr && whom->what() == wait_node::kind::call) return &task;
        }
    }
    return nullptr;
}

/// What a loop that closes waits for, and the way out.
inline std::string who_is_left(const intrusive_list<owned_task>& owned) {
    if (owned.empty()) return "  no task is left, only callbacks that are posted again and again: stop posting them";
    task_tree tree;
    for (const owned_task* task = owned.front(); task != nullptr; task = owned.next(*task)) tree.add(task->root_task());
    return tree.text() +
           "  they were cancelled and have not ended: let `cancelled` pass, put a timeout inside a shield, and make a "
           "foreign awaitable, a thread's call or work on another loop come to its end";
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
