// ferry/bridge/detail/destination.hpp - where a call of to_thread goes, and its hold on that place
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/bridge/detail/call_limit.hpp>
#include <ferry/bridge/detail/homes.hpp>
#include <ferry/bridge/detail/sensitive_threads.hpp>
#include <ferry/bridge/limiter.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/core/config.hpp>

#include <exception>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// A pool, or the innermost home of the caller; with or without a limit on the way.
class destination final : private limited_call {
public:
    /// The home.
    destination() noexcept = default;
    explicit destination(thread_pool& pool) noexcept : pool_(&pool) {}
    destination(const destination& other) noexcept : limited_call(), pool_(other.pool_), limit_(other.limit_) {}
    destination& operator=(const destination&) = delete;
    [[nodiscard]] destination limited(limiter& by) const noexcept {
        destination copy(*this);
        copy.limit_by(call_limit_reference(by.state()));
        return copy;
    }
    void limit_by(call_limit_reference limit) noexcept { limit_ = std::move(limit); }

    /// Sends the call there. Null when it is on its way, else why it is not.
    [[nodiscard]] std::exception_ptr submit(call& made) noexcept {
        return limit_ ? limit_->enter(*this, made) : send(made);
    }
    /// True when the call was still queued: it will not run, and is the caller's again.
    [[nodiscard]] bool withdraw(call& made) noexcept {
        if (limit_ && limit_->withdraw(*this)) return true;
        if (!(pool_ == nullptr ? homes::withdraw(made) : ticket_.withdraw(made))) return false;
        has_ended();
        return true;
    }
    /// The call has ended, and is about to be delivered.
    void has_ended() noexcept {
        if (limit_) limit_->leave(*this);
    }

private:
    [[nodiscard]] std::exception_ptr send(call& made) noexcept override {
        if (pool_ != nullptr) return ticket_.submit(*pool_, made);
        return homes::submit(made);
    }
    [[nodiscard]] bool comes_home() const noexcept override { return pool_ == nullptr; }

    thread_pool* pool_ = nullptr;
    thread_pool::ticket ticket_;
    call_limit_reference limit_;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
