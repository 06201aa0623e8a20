// ferry/bridge/limiter.hpp - at most so many blocking calls at a time for one resource
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call_limit.hpp>
#include <ferry/core/config.hpp>

#include <algorithm>
#include <cstddef>

namespace ferry::inline FERRY_ABI {
/// Lets at most so many calls run at a time, of any loops and threads and on any pools: a hundred threads must not be a
/// hundred connections. Further calls wait, in the order in which they were made; while they wait they occupy no thread, and
/// a cancellation ends their wait.
///
///     ferry::limiter at_most_five(5);
///     user u = co_await ferry::to_thread(at_most_five, load_user, 42);
///     auto load = ferry::sync_to_async(load_user).on(pool).limited(at_most_five);
///
/// A call that is let in keeps its share until it has ended, also while it is blocked: a call of one limiter that waits for
/// another call of the same one may wait for ever.
///
/// Ownership      May go away before its calls; they still keep to the limit.
/// Thread-safety  Every member, on any thread.
/// Cost           One lock for each call and end of call; no allocation.
class limiter {
public:
    /// At least one.
    explicit limiter(std::size_t calls) : state_(new detail::call_limit(std::max<std::size_t>(calls, 1))) {}
    ~limiter() { state_->release(); }
    limiter(const limiter&) = delete;
    limiter& operator=(const limiter&) = delete;

    [[nodiscard]] std::size_t limit() const noexcept { return state_->most(); }
    /// Calls that have been let in and have not ended, and calls that wait for their turn, at this moment.
    [[nodiscard]] std::size_t running() const noexcept { return state_->running(); }
    [[nodiscard]] std::size_t waiting() const noexcept { return state_->waiting(); }

    // For ferry's awaiters.
    [[nodiscard]] detail::call_limit& state() noexcept { return *state_; }

private:
    detail::call_limit* state_;
};
}  // namespace ferry::inline FERRY_ABI
