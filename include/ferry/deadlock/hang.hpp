// ferry/deadlock/hang.hpp - waits that take suspiciously long are reported
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/deadlock/report.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <new>
#include <string>

namespace ferry::inline FERRY_ABI {
namespace detail {
inline std::atomic<std::int64_t>& hang_after_nanoseconds() noexcept {
    static constinit std::atomic<std::int64_t> limit{5'000'000'000};
    return limit;
}
}  // namespace detail

/// How long a wait may take before it is reported; 5 seconds at first. nanoseconds::max() means for ever.
[[nodiscard]] inline std::chrono::nanoseconds hang_after() noexcept {
    return std::chrono::nanoseconds(detail::hang_after_nanoseconds().load(std::memory_order_relaxed));
}
/// Sets it, for waits that begin from now on, on any thread. Returns the one before.
inline std::chrono::nanoseconds set_hang_after(std::chrono::nanoseconds limit) noexcept {
    return std::chrono::nanoseconds(
        detail::hang_after_nanoseconds().exchange(limit.count(), std::memory_order_relaxed));
}

namespace detail {
/// One wait under watch: it is reported after hang_after(), then each time that its length has doubled, and once more when
/// it has ended after all. The waiting thread asks by itself; nobody watches it.
class hang_watch {
public:
    using time_point = std::chrono::steady_clock::time_point;

    hang_watch(const char* operation, time_point now) noexcept
        : operation_(operation), began_(now), next_report_(after(hang_after())) {}

    [[nodiscard]] time_point next_report() const noexcept { return next_report_; }
    [[nodiscard]] bool is_due(time_point now) const noexcept { return now >= next_report_; }
    [[nodiscard]] bool reported() const noexcept { return reported_; }

    /// `who` names those that are waited for, in lines of their own, and the way out.
    void report(time_point now, const std::string& who) {
        const std::string text = "hang: " + std::string(operation_) + " has waited for " + seconds(now) + "\n" + who;
        reported_ = true;
        put_off(now);
        detail::report(text);
    }
    /// It is no reason for one: asked again when it has doubled.
    void put_off(time_point now) noexcept { next_report_ = after(2 * (now - began_)); }
    /// The wait is over.
    void ended(time_point now) const noexcept {
        if (!reported_) return;
        try {
            detail::report("hang: " + std::string(operation_) + " has ended after all, after " + seconds(now));
        } catch (const std::bad_alloc&) {
            detail::report("hang: a wait that was reported has ended after all");
        }
    }

private:
    [[nodiscard]] time_point after(std::chrono::nanoseconds wait) const noexcept {
        return wait < time_point::max() - began_ ? began_ + wait : time_point::max();
    }
    [[nodiscard]] std::string seconds(time_point now) const {
        const auto tenths = (now - began_) / std::chrono::milliseconds(100);
        return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s";
    }

    const char* operation_;
    time_point began_;
    time_point next_report_;
    bool reported_ = false;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
