// ferry/http/body_pace.hpp - how long a body that comes slowly may be waited for
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace ferry::inline FERRY_ABI::http {
/// A body has to come at a rate, and may be late. It has no clock: whoever reads the body says how long each wait took, and
/// what it brought; time in which nobody waits does not count.
///
///     octets = receive(pace.patience());             // nothing after that time: the body trickles
///     pace.waited(how_long, octets.size());
class body_pace {
public:
    using duration = std::chrono::nanoseconds;

    /// `grace` is by how much it may be late from the start. What comes faster makes up for it, and may leave room for a
    /// pause as long as `longest_pause`. Without a rate, any wait may be that long.
    body_pace(std::size_t min_bytes_per_second, duration grace, duration longest_pause) noexcept
        : rate_(static_cast<std::int64_t>(min_bytes_per_second)),
          longest_(longest_pause),
          left_(rate_ == 0 ? longest_pause : grace) {}

    /// How long the next octets may be waited for.
    [[nodiscard]] duration patience() const noexcept { return left_; }
    void waited(duration how_long, std::size_t bytes) noexcept {
        if (rate_ == 0) return;
        left_ = std::min(longest_, left_ - how_long + duration(std::chrono::seconds(bytes)) / rate_);
    }

private:
    std::int64_t rate_;
    duration longest_;
    duration left_;
};
}  // namespace ferry::inline FERRY_ABI::http
