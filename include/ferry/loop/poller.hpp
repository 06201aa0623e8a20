// ferry/loop/poller.hpp - how a loop waits for time and descriptors
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <chrono>
#include <cstddef>

namespace ferry::inline FERRY_ABI {
/// A descriptor a loop watches: registered once, for reading and writing, with whoever waits for it.
class io_watch {
public:
    explicit io_watch(int descriptor) noexcept : descriptor_(descriptor) {}
    io_watch(const io_watch&) = delete;
    io_watch& operator=(const io_watch&) = delete;

    [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

    /// Says what became possible; both are set on an error or hang-up, which the next syscall then tells. Called
    /// between tasks, on the loop's thread; it wakes waiters and runs no user code.
    virtual void on_ready(bool readable, bool writable) noexcept = 0;
    /// Whether somebody waits until it is readable, or writable: asked by a poller that is not told of changes only.
    [[nodiscard]] virtual bool wants_readable() const noexcept = 0;
    [[nodiscard]] virtual bool wants_writable() const noexcept = 0;

protected:
    ~io_watch() = default;

private:
    int descriptor_;
};

/// The clock and the descriptors of one loop. The epoll poller is the default; poll_poller needs poll() only, and
/// virtual_clock serves tests.
///
/// Thread-safety  None, one loop's thread; a sleeping poller is woken through the loop's own descriptor.
class poller {
public:
    using time_point = std::chrono::steady_clock::time_point;

    virtual ~poller() = default;
    [[nodiscard]] virtual time_point now() const noexcept = 0;
    /// Does time jump to the next deadline, so that it tells nothing about how long something takes?
    [[nodiscard]] virtual bool is_virtual() const noexcept { return false; }
    /// Reports what is ready; if nothing is, waits until something is or until `deadline`. time_point::min() means "do
    /// not wait", and is left out while the loop watches nothing. `work_outside` says that a thread works for this loop and will wake it. Returns how many descriptors
    /// were ready.
    virtual std::size_t wait(time_point deadline, bool work_outside) = 0;
    /// Throws std::system_error when the kernel refuses the descriptor.
    virtual void add(io_watch& watch) = 0;
    virtual void remove(io_watch& watch) noexcept = 0;
    /// Does it report changes only? Else the loop takes a wake-up out of its descriptor, at one syscall each, so that it
    /// is not reported again: right in either case.
    [[nodiscard]] virtual bool edge_triggered() const noexcept { return false; }
    /// Becomes readable when wait() would have something to report. Throws std::system_error where there is no such
    /// descriptor.
    [[nodiscard]] virtual int native_handle() = 0;
};
}  // namespace ferry::inline FERRY_ABI
