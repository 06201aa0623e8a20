// ferry/loop/poller.hpp - how a loop waits for time and descriptors
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <chrono>
#include <cstddef>

namespace ferry::inline FERRY_ABI {
/// A descriptor a loop watches: registered once, edge-triggered, for reading and writing.
class io_watch {
public:
    /// Says what became possible; both are set on an error or hang-up, which the next syscall then tells. Called
    /// between tasks, on the loop's thread; it wakes waiters and runs no user code.
    using ready_function = void (*)(io_watch& self, bool readable, bool writable) noexcept;

    io_watch(int descriptor, ready_function ready) noexcept : descriptor_(descriptor), ready_(ready) {}
    [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
    void on_ready(bool readable, bool writable) noexcept { ready_(*this, readable, writable); }

private:
    int descriptor_;
    ready_function ready_;
};

/// The clock and the descriptors of one loop. The epoll poller is the default; virtual_clock serves tests.
///
/// Thread-safety  None, one loop's thread; a sleeping poller is woken through the loop's own descriptor.
class poller {
public:
    using time_point = std::chrono::steady_clock::time_point;

    virtual ~poller() = default;
    [[nodiscard]] virtual time_point now() const noexcept = 0;
    /// Reports what is ready; if nothing is, waits until something is or until `deadline`. time_point::min() means "do
    /// not wait". `work_outside` says that a thread works for this loop and will wake it. Returns how many descriptors
    /// were ready.
    virtual std::size_t wait(time_point deadline, bool work_outside) = 0;
    /// Throws std::system_error when the kernel refuses the descriptor.
    virtual void add(io_watch& watch) = 0;
    virtual void remove(io_watch& watch) noexcept = 0;
    /// Becomes readable when wait() would have something to report.
    [[nodiscard]] virtual int native_handle() = 0;
};
}  // namespace ferry::inline FERRY_ABI
