// ferry/loop/latch.hpp - a count of what is still to be done, on one loop
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>

#include <cstddef>

namespace ferry::inline FERRY_ABI {
/// Opens once its count has come down to zero, and stays open.
///
/// Ownership      Owns nothing. Destroying it while a task waits is a bug (asserted).
/// Thread-safety  None. Call every member on the loop's own thread.
/// Errors         wait() throws cancelled. Counting below zero is a bug (asserted).
/// Cost           O(1), the last count_down() O(waiters); no allocation.
class latch {
public:
    latch(event_loop& loop, std::size_t count) noexcept : count_(count), open_(loop) {
        if (count == 0) open_.set();
    }

    [[nodiscard]] bool is_open() const noexcept { return open_.is_set(); }
    void count_down(std::size_t by = 1) noexcept {
        FERRY_ASSERT(by <= count_, "a latch is counted below zero");
        count_ -= by;
        if (count_ == 0) open_.set();
    }
    /// Waits until it is open. A checkpoint.
    [[nodiscard]] event::awaiter wait() noexcept { return open_.wait(); }
    /// Counts down, here and now, and then waits.
    [[nodiscard]] event::awaiter arrive_and_wait(std::size_t by = 1) noexcept {
        count_down(by);
        return open_.wait();
    }

private:
    std::size_t count_;
    event open_;
};
}  // namespace ferry::inline FERRY_ABI
