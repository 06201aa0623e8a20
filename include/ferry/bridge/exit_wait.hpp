// ferry/bridge/exit_wait.hpp - how long the end of the process waits for calls that still run
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>

namespace ferry::inline FERRY_ABI {
namespace detail {
inline std::atomic<std::int64_t>& exit_wait_nanoseconds() noexcept {
    static constinit std::atomic<std::int64_t> limit{2'000'000'000};
    return limit;
}
}  // namespace detail

/// When the process exits, the default pool and the threads for thread-sensitive calls refuse calls, and wait for those that
/// run, at most so long; 2 seconds at first.
/// Those that still run then are named in a report.
[[nodiscard]] inline std::chrono::nanoseconds exit_wait() noexcept {
    return std::chrono::nanoseconds(detail::exit_wait_nanoseconds().load(std::memory_order_relaxed));
}
/// Sets it. Returns the one before.
inline std::chrono::nanoseconds set_exit_wait(std::chrono::nanoseconds limit) noexcept {
    return std::chrono::nanoseconds(detail::exit_wait_nanoseconds().exchange(limit.count(), std::memory_order_relaxed));
}
}  // namespace ferry::inline FERRY_ABI
