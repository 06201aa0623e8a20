// ferry/loop/run.hpp - a loop on this thread until an awaitable ends
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/combine.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/signals.hpp>

#include <csignal>
#include <source_location>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// Makes a loop, runs it on this thread until the awaitable has ended, closes it, and returns the result.
///
///     int main() { return ferry::run(serve_until_told()); }
///
/// Errors  Whatever the awaitable throws. Inside a loop's turn: blocking_error, since it would block that loop.
template <awaitable Awaitable>
detail::await_result<Awaitable> run(Awaitable what, wait_options how = std::source_location::current()) {
    event_loop loop;
    return loop.run(std::move(what), how);
}

/// run(cancel_on_signals, awaitable): SIGINT and SIGTERM cancel it. If it then ends without a value, run throws
/// `cancelled`. It runs beside the wait for them, as a child: what it changes in its context does not come back.
class cancel_on_signals_t {
public:
    constexpr explicit cancel_on_signals_t(int) noexcept {}
};
inline constexpr cancel_on_signals_t cancel_on_signals{0};

namespace detail {
template <class T, awaitable Awaitable>
task<T> until_signal(event_loop& loop, Awaitable what) {
    signals stop(loop, {SIGINT, SIGTERM});
    auto ended = co_await when_any(std::move(what), stop.wait());
    if (!ended.template get<0>().has_value()) throw cancelled();
    if constexpr (std::is_reference_v<T>) {
        co_return **ended.template get<0>();
    } else if constexpr (!std::is_void_v<T>) {
        co_return std::move(*ended.template get<0>());
    }
}
}  // namespace detail

template <awaitable Awaitable>
detail::await_result<Awaitable> run(cancel_on_signals_t, Awaitable what,
                                    wait_options how = std::source_location::current()) {
    event_loop loop;
    return loop.run(detail::until_signal<detail::await_result<Awaitable>>(loop, std::move(what)), how);
}
}  // namespace ferry::inline FERRY_ABI
