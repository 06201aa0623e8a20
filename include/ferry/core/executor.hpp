// ferry/core/executor.hpp - where logical tasks resume: a ready queue and the run-next list
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <cstddef>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
class logical_task;

/// One entry of a ready queue, a run-next list or a loop's inbox: it is linked in one of them at most.
struct ready_node {
    ready_node* next = nullptr;
    void (*run)(ready_node& self) noexcept = nullptr;
};

/// The part of a loop that coroutines see: what is ready runs in order, what must go on at once goes on first.
///
/// run_next() takes what belongs to the step that is running: the continuation of a coroutine that has just ended, a
/// child too deep for the native stack. That list is emptied (last in, first out) before any other node runs, so
/// nobody can observe the state between a coroutine's end and its awaiter's resumption.
///
/// Thread-safety  None: every member is called on the thread that runs the turn.
class executor {
public:
    executor(const executor&) = delete;
    executor& operator=(const executor&) = delete;

    /// Runs after everything that is ready already. The node is not touched again before it runs.
    void schedule(ready_node& node) noexcept {
        node.next = nullptr;
        (last_ == nullptr ? first_ : last_->next) = &node;
        last_ = &node;
    }
    /// Runs before everything that is ready.
    void run_next(ready_node& node) noexcept { node.next = std::exchange(run_next_, &node); }

    [[nodiscard]] bool has_ready() const noexcept { return first_ != nullptr; }
    /// Whose turn this thread is in beneath this executor's own, where allow_blocking let one loop run another.
    [[nodiscard]] const executor* beneath() const noexcept { return beneath_; }
    /// The logical task that runs now, null inside a plain callback.
    [[nodiscard]] logical_task* current() const noexcept { return current_; }

    /// How many resumptions are stacked on the native stack; beyond max_depth they go to run_next().
    static constexpr unsigned max_depth = 64;
    [[nodiscard]] bool too_deep() const noexcept { return depth_ >= max_depth; }

    /// Marks one resumption on the native stack, and which task it belongs to.
    class resumption {
    public:
        resumption(executor& owner, logical_task& task) noexcept
            : owner_(owner), outer_(std::exchange(owner.current_, &task)) {
            ++owner_.depth_;
        }
        ~resumption() {
            --owner_.depth_;
            owner_.current_ = outer_;
        }
        resumption(const resumption&) = delete;
        resumption& operator=(const resumption&) = delete;

    private:
        executor& owner_;
        logical_task* outer_;
    };

protected:
    executor() = default;
    ~executor() = default;
    void set_beneath(const executor* outer) noexcept { beneath_ = outer; }

    /// Runs at most `limit` ready nodes, each with all that it puts on the run-next list. Returns how many it ran.
    std::size_t run_ready(std::size_t limit) noexcept {
        std::size_t count = 0;
        for (; count < limit && first_ != nullptr; ++count) {
            ready_node& node = *first_;
            first_ = node.next;
            if (first_ == nullptr) last_ = nullptr;
            node.run(node);
            while (ready_node* next = run_next_) {
                run_next_ = next->next;
                next->run(*next);
            }
        }
        return count;
    }

private:
    ready_node* first_ = nullptr;
    ready_node* last_ = nullptr;
    ready_node* run_next_ = nullptr;
    logical_task* current_ = nullptr;
    const executor* beneath_ = nullptr;
    unsigned depth_ = 0;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
