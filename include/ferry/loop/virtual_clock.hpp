// ferry/loop/virtual_clock.hpp - time that moves only when a loop has nothing else to do, for tests
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/loop/default_poller.hpp>
#include <ferry/loop/poller.hpp>

#include <chrono>
#include <cstddef>
#include <memory>

namespace ferry::inline FERRY_ABI {
/// A poller whose clock jumps to the next deadline instead of waiting for it: a test of an hour takes no time.
///
///     ferry::virtual_clock clock;
///     ferry::event_loop loop(clock);
///     loop.run(an_hour_of_retries());      // returns at once, clock.elapsed() == 1h
///
/// Descriptors work as ever: what is ready is reported before time moves. Time stands still while a job of this loop is
/// queued or runs on a pool.
class virtual_clock final : public poller {
public:
    [[nodiscard]] time_point now() const noexcept override { return time_point() + elapsed_; }
    [[nodiscard]] bool is_virtual() const noexcept override { return true; }
    [[nodiscard]] std::chrono::nanoseconds elapsed() const noexcept { return elapsed_; }
    /// Moves time on; what became due fires on the loop's next turn.
    void advance(std::chrono::nanoseconds by) noexcept { elapsed_ += by; }

    std::size_t wait(time_point deadline, bool work_outside) override {
        if (deadline == time_point::min()) return descriptors_->wait(deadline, work_outside);
        if (!work_outside && deadline != time_point::max()) {
            const std::size_t ready = descriptors_->wait(time_point::min(), false);
            if (ready == 0 && deadline > now()) elapsed_ = deadline - time_point();
            return ready;
        }
        return descriptors_->wait(time_point::max(), work_outside);
    }
    void add(io_watch& watch) override { descriptors_->add(watch); }
    void remove(io_watch& watch) noexcept override { descriptors_->remove(watch); }
    [[nodiscard]] bool edge_triggered() const noexcept override { return descriptors_->edge_triggered(); }
    [[nodiscard]] int native_handle() override { return descriptors_->native_handle(); }

private:
    std::unique_ptr<poller> descriptors_ = detail::make_default_poller();
    std::chrono::nanoseconds elapsed_{0};
};
}  // namespace ferry::inline FERRY_ABI
