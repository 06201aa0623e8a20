// ferry/loop/detail/one_loop.hpp - what tells a task that waits on the wrong loop
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/loop/event_loop.hpp>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// The one loop whose tasks may wait for something; of another loop's, two threads would change the ready queue.
class one_loop {
public:
    explicit one_loop(const event_loop& loop) noexcept : loop_(&loop) {}
    /// Asked where a task begins to wait.
    void check(const logical_task& waiting) const noexcept {
        FERRY_ASSERT(&waiting.owner() == loop_,
                     "a task waits for what belongs to another loop: use on(loop, task), a future or a thread_channel");
    }

private:
    const executor* loop_;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
