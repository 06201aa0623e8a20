// ferry/core/logical_task.hpp - a chain of coroutines joined by co_await, as one schedulable thing
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/cancellation.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/context.hpp>
#include <ferry/core/executor.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/core/wait_node.hpp>

#include <coroutine>
#include <exception>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// One leaf suspension: it sits in the suspended frame, linked into the list of whatever will end the wait.
class waiter : public list_hook<waiter> {
public:
    /// Takes the waiter out of whatever it waits in and wakes its task. If the end of the wait is already under way
    /// from another thread, it does nothing: what completed before the cancellation is delivered.
    using withdraw_function = void (*)(waiter& self) noexcept;

    explicit waiter(withdraw_function withdraw) noexcept : withdraw_(withdraw) {}

    [[nodiscard]] logical_task& task() const noexcept { return *task_; }

protected:
    ~waiter() = default;
    waiter(const waiter&) = default;
    waiter& operator=(const waiter&) = delete;
    void bind(logical_task& task) noexcept { task_ = &task; }

private:
    friend class logical_task;
    logical_task* task_ = nullptr;
    withdraw_function withdraw_;
};

/// What runs: made by run, block_on, spawn and for each child of when_all, when_any and a task group.
///
/// It is the entry in the ready queue, the target of a cancellation and the owner of the wait-graph record; a frame
/// only points to it. At any time it is in exactly one state: not started, running (current() of its loop), ready
/// (linked in the ready queue, the run-next list or the loop's inbox), waiting (wait() is set), or finished.
///
/// Ownership      Lives where its maker keeps its result: a stack frame, an awaiter, a spawned state. Its maker destroys
///                it after `finished` was called; that call is the last thing the executor does with it.
/// Thread-safety  None, but for one thing: another thread that has won the right to end the wait may push this node
///                to the loop's inbox, once, and touches nothing afterwards.
class logical_task : public ready_node {
public:
    using finished_function = void (*)(logical_task& self) noexcept;

    /// `parent` is the scope whose cancellation reaches this task, null for a root. `finished` is called on the loop's
    /// thread, outside of every frame of this task. The task starts with the context of the code that makes it.
    /// `record` is given where somebody waits for the task already.
    logical_task(executor& owner, cancel_scope* parent, finished_function finished, wait_node* record = nullptr);
    ~logical_task() { record_->release(); }
    logical_task(const logical_task&) = delete;
    logical_task& operator=(const logical_task&) = delete;

    /// The coroutine at which the chain begins; scheduling the task then starts it.
    void begin_at(std::coroutine_handle<> root, const char* name) noexcept {
        resume_point_ = root;
        record_->set_name(name);
    }

    void rename(const char* name) noexcept { record_->set_name(name); }

    [[nodiscard]] executor& owner() const noexcept { return *owner_; }
    [[nodiscard]] const char* name() const noexcept { return record_->name(); }
    [[nodiscard]] const wait_node& record() const noexcept { return *record_; }
    [[nodiscard]] wait_node& record() noexcept { return *record_; }
    [[nodiscard]] const waiter* wait() const noexcept { return wait_; }

    /// Where its thread-sensitive calls run: a task starts with what its maker has.
    [[nodiscard]] home_reference& home() noexcept { return record_->home; }
    /// Its context variables.
    [[nodiscard]] ferry::context& context() noexcept { return context_; }

    // Cancellation. scope() is the innermost one; scopes nest like the frames that hold them.
    [[nodiscard]] cancel_scope& scope() const noexcept { return *scope_; }
    [[nodiscard]] cancel_scope& root_scope() noexcept { return root_scope_; }
    [[nodiscard]] const cancel_scope& root_scope() const noexcept { return root_scope_; }
    void enter(cancel_scope& inner) noexcept { scope_ = &inner; }
    void leave(cancel_scope& inner) noexcept { scope_ = inner.parent(); }

    // Suspension, called by awaiters.
    /// Where the chain goes on; called before every suspension.
    void suspend_at(std::coroutine_handle<> leaf) noexcept { resume_point_ = leaf; }
    /// The task waits from now on in `leaf`, known as `what` (a literal).
    void wait_in(waiter& leaf, const char* what) noexcept {
        wait_ = &leaf;
        record_->set_waits_in(what);
    }
    /// The same for a wait that only somebody known can end: called after wait_in(), before anybody may end it.
    void needs(const node_reference& whom, wait_node::flags how) noexcept;  // defined in core/task.hpp
    /// Notes in that node where the task waits, or has just waited: the innermost frame that is not one of ferry's own. The
    /// task is suspended, or about to be.
    void note_place(wait_node& in) const noexcept;  // defined in core/task.hpp
    /// Ends the wait: the task is scheduled. The waiter must be unlinked already.
    void wake() noexcept {
        end_wait();
        owner_->schedule(*this);
    }
    /// As wake(), but the wait ends in `cancelled`.
    void wake_interrupted() noexcept {
        interrupted_ = true;
        wake();
    }
    /// The task is not waiting any more, whoever linked its node.
    void end_wait() noexcept {
        wait_ = nullptr;
        record_->set_waits_in(nullptr);
        record_->wait_is_over();
    }
    /// The waiter is unlinked but its wait goes on: `again` runs in the task's place on its next turn. A cancellation
    /// meanwhile is met there.
    void schedule_retry(void (*again)(ready_node&) noexcept) noexcept {
        retrying_ = true;
        run = again;
        owner_->schedule(*this);
    }
    /// Called first by `again`: the task is running once more, and this is the waiter it waited in.
    waiter& end_retry() noexcept {
        waiter& leaf = *wait_;
        retrying_ = false;
        run = &resume;
        end_wait();
        return leaf;
    }
    /// Was the wait, or the entry into it, ended by a cancellation or refused? Asked once, by await_resume.
    [[nodiscard]] bool take_interrupted() noexcept { return std::exchange(interrupted_, false); }
    void interrupt() noexcept { interrupted_ = true; }
    /// Ends the wait with that error, if it can be ended like a cancelled one. False if it goes on.
    bool refuse_wait(const std::exception_ptr& error) noexcept {
        if (wait_ == nullptr || retrying_) return false;
        wait_->withdraw_(*wait_);
        if (!interrupted_) return false;
        record_->refusal = error;
        return true;
    }
    /// Why an interrupted wait was refused; null when it was cancelled.
    [[nodiscard]] std::exception_ptr take_refusal() noexcept { return std::exchange(record_->refusal, nullptr); }

    /// Called by a scope of this task when it becomes cancelled.
    void on_cancelled(const cancel_scope& scope) noexcept {
        if (&scope == scope_ && wait_ != nullptr && !retrying_) wait_->withdraw_(*wait_);
    }

    /// The root coroutine has ended; the executor calls `finished` when the native stack has left the frame.
    void mark_finished() noexcept { finished_ = true; }

    /// The ready node's function: the executor, with no task on the stack, resumes the chain where it was suspended.
    static void resume(ready_node& node) noexcept {
        logical_task& self = static_cast<logical_task&>(node);
        if (self.wait_ != nullptr) self.end_wait();  // another thread has linked the node
        {
            const executor::outermost_resumption on_stack(*self.owner_, self);
            self.resume_point_.resume();
        }
        if (self.finished_) self.finished_function_(self);
    }
    /// Starts it in the middle of another task of the same executor, beneath that many resumptions.
    void start_inside(unsigned nesting) noexcept;  // defined in core/task.hpp

private:
    // With the node, the first 64 bytes hold all that a switch touches: up to the root scope's flags.
    executor* owner_;
    std::coroutine_handle<> resume_point_;
    waiter* wait_ = nullptr;
    cancel_scope* scope_;
    bool retrying_ = false;
    bool interrupted_ = false;
    bool finished_ = false;
    cancel_scope root_scope_;
    wait_node* record_;
    finished_function finished_function_;
    ferry::context context_;
};
static_assert(sizeof(logical_task) <= 128);

/// A cancel scope around what a task does between this object's construction and its destruction.
class entered_scope : public cancel_scope {
public:
    explicit entered_scope(logical_task& task) noexcept : cancel_scope(task, &task.scope()), task_(task) {
        task_.enter(*this);
    }
    ~entered_scope() { task_.leave(*this); }

    /// Does the cancellation inside come from this scope, and from nothing around it?
    [[nodiscard]] bool cancelled_here() const noexcept { return requested() && !cancelled_from_outside(); }

private:
    logical_task& task_;
};

/// The context variables of a thread's code outside of tasks.
class thread_contexts {
public:
    ferry::context lent;  // follows the call: what a task lent to this thread, or the thread's own
    ferry::context own;   // stays with the thread

    /// Made on first use, gone with the thread.
    [[nodiscard]] static thread_contexts& of_this_thread();

private:
    static void release() noexcept { delete std::exchange(this_thread().contexts, nullptr); }
    thread_exit_hook hook_;
};

/// The logical task that runs on that thread, the calling one; null in plain code and in callbacks.
[[nodiscard]] inline logical_task* running_task_of(const thread_state& self) noexcept {
    return self.turn == nullptr ? nullptr : self.turn->current();
}
[[nodiscard]] inline logical_task* running_task() noexcept { return running_task_of(this_thread()); }

/// Where thread-sensitive calls run that are made here; null where there is no home.
[[nodiscard]] inline home* current_home() noexcept {
    const thread_state& self = this_thread();
    logical_task* const task = running_task_of(self);
    return task != nullptr ? task->home().get() : self.home;
}

/// A copy of the context of what runs on this thread: the task's, else the thread's.
[[nodiscard]] inline ferry::context current_context() noexcept {
    const thread_state& self = this_thread();
    if (logical_task* const task = running_task_of(self)) return task->context();
    const thread_contexts* const contexts = self.contexts;
    return contexts == nullptr ? ferry::context() : contexts->lent;
}
/// Puts another in its place, and returns the one before.
inline ferry::context exchange_current_context(ferry::context fresh) {
    const thread_state& self = this_thread();
    logical_task* const task = running_task_of(self);
    if (task == nullptr && self.contexts == nullptr && fresh.empty()) return fresh;
    return std::exchange(task != nullptr ? task->context() : thread_contexts::of_this_thread().lent, std::move(fresh));
}

/// While it lives, this thread runs with a context that somebody lent; then that somebody has it back, as it is by then.
class lent_context {
public:
    explicit lent_context(ferry::context& owner)
        : owner_(owner), outer_(exchange_current_context(std::exchange(owner, {}))) {}
    ~lent_context() { owner_ = exchange_current_context(std::move(outer_)); }
    lent_context(const lent_context&) = delete;
    lent_context& operator=(const lent_context&) = delete;

private:
    ferry::context& owner_;
    ferry::context outer_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline logical_task::logical_task(executor& owner, cancel_scope* parent, finished_function finished, wait_node* record)
    : owner_(&owner),
      scope_(&root_scope_),
      root_scope_(*this, parent),
      record_(record != nullptr ? record : &wait_node::acquire(wait_node::kind::task)),
      finished_function_(finished),
      context_(current_context()) {
    run = &resume;
    record_->set_within(&owner.record());
    record_->task = this;
    if (detail::home* const here = current_home()) record_->home = home_reference(here);
}

inline thread_contexts& thread_contexts::of_this_thread() {
    thread_state& self = this_thread();
    if (self.contexts == nullptr) {
        self.contexts = new thread_contexts;
        if (!self.ended) {  // a thread that is past its end keeps it
            self.contexts->hook_.run = &release;
            at_thread_exit(self.contexts->hook_);
        }
    }
    return *self.contexts;
}

// ---- implementation of cancel_scope, which needs the task --------------------------------------------------------
inline cancel_scope::cancel_scope(logical_task& task, cancel_scope* parent, bool shielded) noexcept
    : shielded_(shielded),
      cancelled_(parent != nullptr && !shielded && parent->cancelled_),
      task_(task),
      parent_(parent) {
    if (parent_ == nullptr) return;
    next_ = std::exchange(parent_->first_child_, this);
    if (next_ != nullptr) next_->previous_ = this;
}

inline cancel_scope::~cancel_scope() {
    FERRY_ASSERT(first_child_ == nullptr, "a cancel scope ended before a scope inside it");
    if (parent_ == nullptr) return;
    (previous_ == nullptr ? parent_->first_child_ : previous_->next_) = next_;
    if (next_ != nullptr) next_->previous_ = previous_;
}

inline void cancel_scope::cancel() noexcept {
    if (std::exchange(requested_, true) || cancelled_) return;
    // Depth first, without recursion: groups nest as deep as the user likes. Waking only links ready nodes, so the
    // tree does not change under the walk.
    for (cancel_scope* scope = this; scope != nullptr;) {
        const bool reached = scope == this || (!scope->shielded_ && !scope->cancelled_);
        if (reached) {
            scope->cancelled_ = true;
            scope->task_.on_cancelled(*scope);
        }
        scope = scope->next_in_tree(*this, reached);
    }
}

inline cancel_scope* cancel_scope::next_in_tree(const cancel_scope& root, bool descend) const noexcept {
    if (descend && first_child_ != nullptr) return first_child_;
    const cancel_scope* scope = this;
    while (scope != &root) {
        if (scope->next_ != nullptr) return scope->next_;
        scope = scope->parent_;
    }
    return nullptr;
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
