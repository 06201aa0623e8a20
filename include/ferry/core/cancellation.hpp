// ferry/core/cancellation.hpp - cancel scopes: a tree that a cancellation runs down
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

namespace ferry::inline FERRY_ABI {
namespace detail {
class logical_task;

/// A region of a logical task that can be cancelled as one: the task itself, a timeout, the inside of a task group.
///
/// Cancellation is level-triggered. From cancel() on, every checkpoint inside the scope, and inside the scopes below
/// it, throws `cancelled`, until control leaves the scope; a task that catches it meets it again at its next
/// checkpoint. A shielded scope does not hear of its parent's cancellation.
///
/// Ownership      A scope lives in a frame or a logical task and outlives the scopes below it.
/// Thread-safety  None: one tree, one loop.
/// Cost           cancelled() is one load; cancel() visits each scope below once and allocates nothing.
class cancel_scope {
public:
    /// Below `parent`, or a root when it is null. `task` is whose waits it ends.
    cancel_scope(logical_task& task, cancel_scope* parent, bool shielded = false) noexcept;
    ~cancel_scope();
    cancel_scope(const cancel_scope&) = delete;
    cancel_scope& operator=(const cancel_scope&) = delete;

    /// Cancels the scope. The wait that a task is suspended in ends as soon as its loop comes to it; nothing is resumed
    /// inside this call. Calling it again does nothing.
    void cancel() noexcept;

    /// Was this scope itself cancelled?
    [[nodiscard]] bool requested() const noexcept { return requested_; }
    /// Is this scope or one around it cancelled?
    [[nodiscard]] bool cancelled() const noexcept { return cancelled_; }
    /// Does a cancellation come from outside this scope?
    [[nodiscard]] bool cancelled_from_outside() const noexcept {
        return parent_ != nullptr && !shielded_ && parent_->cancelled_;
    }
    [[nodiscard]] cancel_scope* parent() const noexcept { return parent_; }
    [[nodiscard]] const logical_task& task() const noexcept { return task_; }
    /// The scopes below `root` in turn, each before those below it, which are left out unless `descend`; then null.
    [[nodiscard]] cancel_scope* next_in_tree(const cancel_scope& root, bool descend = true) const noexcept;

private:
    bool shielded_;
    bool requested_ = false;
    bool cancelled_;
    logical_task& task_;
    cancel_scope* parent_;
    cancel_scope* first_child_ = nullptr;
    cancel_scope* previous_ = nullptr;  // siblings
    cancel_scope* next_ = nullptr;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
