// ferry/loop/detail/owned_task.hpp - what a loop keeps of the tasks and the work that it owns
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/executor.hpp>
#include <ferry/core/intrusive_list.hpp>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// A logical task that a loop owns: made by spawn.
class owned_task : public list_hook<owned_task> {
public:
    virtual void cancel() noexcept = 0;
    /// It never started and the loop is closing: its observer gets closed_error.
    virtual void refuse() noexcept = 0;

protected:
    ~owned_task() = default;
};

/// Work of a loop's turn that is done once, after the ready batch and before the loop polls or sleeps: flushing.
struct turn_end_node : ready_node {
    bool linked = false;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
