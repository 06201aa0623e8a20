// ferry/bridge/detail/destination.hpp - where a call of to_thread goes, and its hold on that place
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/bridge/detail/homes.hpp>
#include <ferry/bridge/detail/sensitive_threads.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/core/config.hpp>

#include <exception>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// A pool, or the innermost home of the caller.
class destination {
public:
    /// The home.
    destination() noexcept = default;
    explicit destination(thread_pool& pool) noexcept : pool_(&pool) {}
    destination(const destination& other) noexcept : pool_(other.pool_) {}
    destination& operator=(const destination&) = delete;

    /// Sends the call there. Null when it is on its way, else why it is not.
    [[nodiscard]] std::exception_ptr submit(call& made) noexcept {
        if (pool_ != nullptr) return ticket_.submit(*pool_, made);
        homes::submit(made);
        return nullptr;
    }
    /// True when the call was still queued: it will not run, and is the caller's again.
    [[nodiscard]] bool withdraw(call& made) noexcept {
        return pool_ == nullptr ? homes::withdraw(made) : ticket_.withdraw(made);
    }

private:
    thread_pool* pool_ = nullptr;
    thread_pool::ticket ticket_;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
