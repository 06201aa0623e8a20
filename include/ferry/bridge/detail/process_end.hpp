// ferry/bridge/detail/process_end.hpp - what the end of the process refuses, and how long it waits for calls that run
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/exit_wait.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/process.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/timer_queue.hpp>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// The parts of ferry that the process has once, and whose threads run calls: all of them refuse new ones first, then all have
/// exit_wait(), together, for those that run; one report names what is left.
///
/// Thread-safety  include() on any thread; the rest happens on the thread that exits, which may run a call itself.
class process_end {
public:
    using time_point = std::chrono::steady_clock::time_point;

    /// Lives as long as the process.
    class part {
    public:
        virtual void refuse() noexcept = 0;
        /// Until its calls have ended, but one that runs on this thread. False when the deadline has passed first.
        [[nodiscard]] virtual bool wait(time_point deadline) = 0;
        /// The threads that still run one, in lines of their own.
        [[nodiscard]] virtual std::string who() const = 0;

    protected:
        ~part() = default;
    };

    static void include(part& one) {
        static constinit std::atomic<bool> registered{false};  // a forked child has the parent's exit handlers
        if (!registered.exchange(true)) std::atexit([] { process_wide<process_end>::get().end(); });
        process_end& self = process_wide<process_end>::get();
        const std::lock_guard lock(self.mutex_);
        self.parts_.push_back(&one);
    }

private:
    void end() {
        std::vector<part*> parts;
        {
            const std::lock_guard lock(mutex_);
            parts = parts_;
        }
        const std::chrono::nanoseconds limit = exit_wait();
        const time_point deadline = deadline_after(std::chrono::steady_clock::now(), limit);
        for (part* each : parts) each->refuse();
        std::string left;
        for (part* each : parts) {
            if (!each->wait(deadline)) left += each->who();
        }
        if (left.empty()) return;
        const auto tenths = limit / std::chrono::milliseconds(100);
        report("exit: calls still run after " + std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) +
               " s, and the process ends without them\n" + left +
               "  end or cancel them before main() returns, or give them time with set_exit_wait()");
    }

    std::mutex mutex_;  // guards parts_
    std::vector<part*> parts_;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
