// ferry/loop/detail/turn_end_node.hpp - work that a loop does at the end of its turn
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/executor.hpp>

#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Done once, after the ready batch and before the loop polls or sleeps: flushing.
struct turn_end_node : ready_node {
    bool linked = false;
};

/// What is to be done at the end of this turn.
class turn_end_list {
public:
    [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
    /// Adding it again before it has run does nothing.
    void add(turn_end_node& node) noexcept {
        if (std::exchange(node.linked, true)) return;
        node.next = std::exchange(first_, &node);
    }
    void remove(turn_end_node& node) noexcept {
        if (!std::exchange(node.linked, false)) return;
        ready_node** link = &first_;
        while (*link != &node) link = &(*link)->next;
        *link = node.next;
    }
    void run_all() noexcept {
        while (first_ != nullptr) {  // one by one: a node that runs may make the loop forget any other
            turn_end_node& due = static_cast<turn_end_node&>(*first_);
            first_ = due.next;
            due.linked = false;
            due.run(due);
        }
    }

private:
    ready_node* first_ = nullptr;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
