// ferry/loop/main_task.hpp - the task that a loop runs for the sake of which it turns
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/core/rooted_task.hpp>
#include <ferry/loop/loop_control.hpp>

#include <cstddef>
#include <memory>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Made by event_loop::run(awaitable), which turns until it has ended.
template <class T>
class main_task final : public rooted_task<T> {
public:
    main_task(executor& owner, loop_control& control, task<T> body)
        : rooted_task<T>(owner, nullptr, &finished, std::move(body)), control_(control) {}
    static void* operator new(std::size_t size) { return frame_allocator::allocate(size); }
    static void operator delete(void* block, std::size_t size) noexcept { frame_allocator::deallocate(block, size); }

    [[nodiscard]] bool ended() const noexcept { return ended_; }

    /// A forked child that comes back into its parent's loop leaves the task there as it is, in the middle of its way.
    class deleter {
    public:
        void operator()(main_task* task) const noexcept {
            if (task->ended_ || !task->control_.left_behind()) delete task;
        }
    };
    using pointer = std::unique_ptr<main_task, deleter>;

private:
    static void finished(logical_task& self) noexcept { static_cast<main_task&>(self).ended_ = true; }

    loop_control& control_;
    bool ended_ = false;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
