// ferry/deadlock/allowance.hpp - a scope in which a loop's turn may block, with the reason why
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/this_thread.hpp>

namespace ferry::inline FERRY_ABI {
/// While it lives, blocking ferry calls on this thread are let through even inside a turn of a loop, unless they wait
/// for that very loop: such a wait can never end, and throws deadlock_error all the same.
///
///     ferry::allow_blocking ok("the cache is warmed once, before the first connection");
///
/// Ownership      A local variable; scopes nest. It must not live across a co_await.
/// Thread-safety  Concerns the calling thread only.
class [[nodiscard]] allow_blocking {
public:
    /// The reason is a literal: it is what a reader of the code, and of a report, sees.
    explicit allow_blocking(const char* reason) noexcept : reason_(reason), outer_(detail::this_thread().allowance) {
        detail::this_thread().allowance = this;
    }
    ~allow_blocking() { detail::this_thread().allowance = outer_; }
    allow_blocking(const allow_blocking&) = delete;
    allow_blocking& operator=(const allow_blocking&) = delete;

    [[nodiscard]] const char* reason() const noexcept { return reason_; }

private:
    const char* reason_;
    const allow_blocking* outer_;
};
}  // namespace ferry::inline FERRY_ABI
