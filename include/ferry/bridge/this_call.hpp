// ferry/bridge/this_call.hpp - what blocking code knows of the call of to_thread that it runs in
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/stop_token.hpp>
#include <ferry/core/this_thread.hpp>

namespace ferry::inline FERRY_ABI::this_call {
/// Says when the task that awaits this call has been cancelled. A long call asks it now and then, or hangs a stop_callback
/// on it, which runs on the loop's thread and must not block. Outside of a call, a token that never stops.
///
/// Thread-safety  The calling thread asks; the token may go anywhere.
/// Cost           One recycled block for each call that asks.
[[nodiscard]] inline ferry::stop_token stop_token() {
    detail::call* const around = detail::this_thread().running_call;
    return around == nullptr ? ferry::stop_token() : around->stop().token();
}
}  // namespace ferry::inline FERRY_ABI::this_call
