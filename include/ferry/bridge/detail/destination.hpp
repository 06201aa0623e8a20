// ferry/bridge/detail/destination.hpp - where a call of to_thread goes, and its hold on that place
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/bridge/detail/homes.hpp>
#include <ferry/bridge/detail/sensitive_threads.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>

#include <exception>
#include <string>

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
        if (pool_ == nullptr) {
            homes::submit(made);
            return nullptr;
        }
        const thread_pool::submission answer = ticket_.submit(*pool_, made);
        return answer == thread_pool::submission::accepted ? nullptr : refusal(answer);
    }
    /// True when the call was still queued: it will not run, and is the caller's again.
    [[nodiscard]] bool withdraw(call& made) noexcept {
        return pool_ == nullptr ? homes::withdraw(made) : ticket_.withdraw(made);
    }
    /// What a call gets whose place has closed.
    [[nodiscard]] std::exception_ptr closed() const noexcept { return refusal(thread_pool::submission::closed); }

private:
    [[nodiscard]] std::exception_ptr refusal(thread_pool::submission answer) const noexcept {
        const std::string pool = std::string("pool \"") + pool_->name() + "\"";
        if (answer == thread_pool::submission::closed) {
            return std::make_exception_ptr(closed_error("to_thread: " + pool + " is closed"));
        }
        if (answer == thread_pool::submission::left_behind) {
            return std::make_exception_ptr(closed_error(
                "to_thread: " + pool + " belongs to the process that forked this one; make another one here"));
        }
        return std::make_exception_ptr(
            queue_full("to_thread: " + pool +
                       " has no room for another call: give it more threads or a longer queue, or "
                       "make fewer calls at a time"));
    }

    thread_pool* pool_ = nullptr;
    thread_pool::ticket ticket_;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
