// tests/bench/delays.hpp - how late things were, and a timer that tells how late a loop is
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <utility>
#include <vector>

namespace ferry_bench {
struct delay_summary {
    std::uint64_t count = 0;
    double p50_ms = 0;
    double p99_ms = 0;
    double p999_ms = 0;
    double max_ms = 0;
};

/// Keeps every delay, so its percentiles are exact.
class delays {
public:
    void add(std::chrono::nanoseconds delay) {
        microseconds_.push_back(static_cast<std::uint32_t>(std::max<std::int64_t>(0, delay.count()) / 1000));
    }
    [[nodiscard]] delay_summary summary() const {
        delay_summary found;
        if (microseconds_.empty()) return found;
        std::vector<std::uint32_t> sorted = microseconds_;
        std::sort(sorted.begin(), sorted.end());
        const auto at = [&](std::size_t per_mille) { return sorted[(sorted.size() - 1) * per_mille / 1000] / 1000.0; };
        found.count = sorted.size();
        found.p50_ms = at(500);
        found.p99_ms = at(990);
        found.p999_ms = at(999);
        found.max_ms = at(1000);
        return found;
    }

private:
    std::vector<std::uint32_t> microseconds_;
};

/// A timer of 1 ms, again and again until it is cancelled.
class ticker {
public:
    ferry::task<> run(ferry::event_loop& loop) {
        constexpr std::chrono::milliseconds period(1);
        for (std::chrono::nanoseconds worked = cpu_time();;) {
            const ferry::event_loop::time_point due = loop.now() + period;
            co_await ferry::sleep_for(period);
            lateness_.add(loop.now() - due);
            const std::chrono::nanoseconds before = std::exchange(worked, cpu_time());
            work_.add(worked - before);
        }
    }
    /// How much later than it should the timer fired.
    [[nodiscard]] delay_summary lateness() const { return lateness_.summary(); }
    /// Processor time that the loop's thread used between one tick and the next: lateness beyond it comes from the
    /// machine, which ran something else.
    [[nodiscard]] delay_summary work() const { return work_.summary(); }

private:
    static std::chrono::nanoseconds cpu_time() noexcept {
        std::timespec used{};
        ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
        return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
    }

    delays lateness_;
    delays work_;
};
}  // namespace ferry_bench
