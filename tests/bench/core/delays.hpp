// tests/bench/core/delays.hpp - when each of a million timers is due: the same for everyone
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace ferry_bench {
inline constexpr std::size_t timer_count = 1'000'000;

[[nodiscard]] inline std::vector<std::chrono::nanoseconds> random_delays(std::chrono::nanoseconds least,
                                                                         std::chrono::nanoseconds most) {
    std::mt19937_64 random(1);
    const auto range = static_cast<std::uint64_t>((most - least).count());
    std::vector<std::chrono::nanoseconds> delays(timer_count);
    for (std::chrono::nanoseconds& delay : delays) {
        delay = least + std::chrono::nanoseconds(static_cast<std::int64_t>(random() % range));
    }
    return delays;
}
/// For timers that do not fire while they are measured.
[[nodiscard]] inline std::vector<std::chrono::nanoseconds> far_delays() {
    return random_delays(std::chrono::seconds(100), std::chrono::seconds(110));
}
/// For timers that are due by the time the last one is armed, or soon after.
[[nodiscard]] inline std::vector<std::chrono::nanoseconds> near_delays() {
    return random_delays(std::chrono::nanoseconds(0), std::chrono::milliseconds(1));
}
}  // namespace ferry_bench
