// ferry/websocket/control_rate.hpp - how many pings and pongs a peer may send
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <chrono>
#include <cstddef>

namespace ferry::inline FERRY_ABI::websocket {
/// Counts the control frames of one peer, each of which costs an answer or a look, and says when to leave the rest of them
/// to the kernel: a flood then waits where it comes from. Like keep_alive it has no clock.
///
///     case ping: case pong: if (!rate.count(now)) { session.keep_input(); wait_until(rate.resumes_at()); }
class control_rate {
public:
    using time_point = std::chrono::steady_clock::time_point;

    /// 0 is no limit.
    explicit control_rate(std::size_t frames_per_second) noexcept : most_(frames_per_second) {}

    /// One more was read. False if no more should be read before resumes_at(); whoever goes on earlier all the same is
    /// stopped again after as many.
    [[nodiscard]] bool count(time_point now) noexcept {
        if (now >= second_ends_ || counted_ == most_) {
            second_ends_ = now + std::chrono::seconds(1);
            counted_ = 0;
        }
        if (most_ != 0) ++counted_;
        return most_ == 0 || counted_ != most_;
    }
    /// In the past unless the last count() was false.
    [[nodiscard]] time_point resumes_at() const noexcept {
        return most_ != 0 && counted_ == most_ ? second_ends_ : time_point::min();
    }

private:
    std::size_t most_;
    std::size_t counted_ = 0;  // in the second that ends then
    time_point second_ends_;
};
}  // namespace ferry::inline FERRY_ABI::websocket
