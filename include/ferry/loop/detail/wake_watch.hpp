// ferry/loop/detail/wake_watch.hpp - the descriptor by which other threads wake a loop, as its poller sees it
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/loop/loop_control.hpp>
#include <ferry/loop/poller.hpp>

namespace ferry::inline FERRY_ABI {
namespace detail {
class wake_watch final : public io_watch {
public:
    wake_watch(loop_control& control, const poller& told_by)
        : io_watch(control.wake_descriptor()), control_(control), poller_(told_by) {}
    void on_ready(bool, bool) noexcept override {
        if (!poller_.edge_triggered()) control_.clear_signal();
    }
    [[nodiscard]] bool wants_readable() const noexcept override { return true; }
    [[nodiscard]] bool wants_writable() const noexcept override { return false; }

private:
    loop_control& control_;
    const poller& poller_;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
