// ferry/client/reconnect.hpp - connects again and again, ever more patiently
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/client/detail/random_words.hpp>
#include <ferry/client/websocket_client.hpp>
#include <ferry/client/websocket_options.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/invoke.hpp>
#include <ferry/core/task.hpp>
#include <ferry/core/temporaries.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// How long to wait before trying again.
class reconnect_options {
public:
    using milliseconds = std::chrono::milliseconds;
    using random_function = std::uint32_t (*)();

    reconnect_options() = default;

    /// Before the second attempt. It doubles from one attempt to the next. Default 500 ms.
    reconnect_options& first_delay(milliseconds delay) noexcept { return set(first_delay_, delay); }
    /// At most. Default 60 s.
    reconnect_options& max_delay(milliseconds delay) noexcept { return set(max_delay_, delay); }
    /// How much of each delay is drawn by lot, in percent, so that the clients of a server that has failed do not all come
    /// back at once. Default 50: between half and the whole of it.
    reconnect_options& jitter_percent(unsigned share) noexcept { return set(jitter_percent_, std::min(share, 100U)); }
    /// A connection that lasted this long was a good one: the delays begin anew. Default 10 s.
    reconnect_options& reset_after(milliseconds lifetime) noexcept { return set(reset_after_, lifetime); }
    /// Attempts in a row that fail, after which the last failure is thrown. Default 0: never.
    reconnect_options& max_failures(std::size_t attempts) noexcept { return set(max_failures_, attempts); }
    /// Where the lot comes from. Default: the operating system.
    reconnect_options& random(random_function source) noexcept { return set(random_, source); }

    [[nodiscard]] milliseconds first_delay() const noexcept { return first_delay_; }
    [[nodiscard]] milliseconds max_delay() const noexcept { return max_delay_; }
    [[nodiscard]] unsigned jitter_percent() const noexcept { return jitter_percent_; }
    [[nodiscard]] milliseconds reset_after() const noexcept { return reset_after_; }
    [[nodiscard]] std::size_t max_failures() const noexcept { return max_failures_; }
    [[nodiscard]] random_function random() const noexcept { return random_; }

private:
    static std::uint32_t draw() { return detail::random_words()(); }
    template <class T>
    reconnect_options& set(T& option, T chosen) noexcept {
        option = chosen;
        return *this;
    }

    milliseconds first_delay_{500};
    milliseconds max_delay_{60'000};
    milliseconds reset_after_{10'000};
    std::size_t max_failures_ = 0;
    unsigned jitter_percent_ = 50;
    random_function random_ = &draw;
};

/// Exponential back-off with jitter, as numbers: it knows no clock and waits for nothing.
class backoff {
public:
    explicit backoff(const reconnect_options& options = reconnect_options()) noexcept : options_(options) {}

    /// The delay before the next attempt.
    [[nodiscard]] std::chrono::milliseconds next();
    /// Begins anew.
    void reset() noexcept { delay_ = std::chrono::milliseconds(0); }

private:
    reconnect_options options_;
    std::chrono::milliseconds delay_{0};
};

/// Keeps a WebSocket to `where`: connects, hands the client to `use`, a coroutine, and when that returns true connects
/// again after a delay. Ends when it returns false; when it throws, which goes to the caller; when the server refuses for
/// good (websocket_refused::is_final); and when the awaiting task is cancelled.
///
///     auto session = [&](ferry::websocket_client& chat) -> ferry::task<bool> {
///         while (auto message = co_await chat.receive()) show(*message);
///         co_return !user_has_left;
///     };
///     co_await ferry::keep_connected("ws://127.0.0.1:8000/chat", session);
template <class Use>
task<> keep_connected(std::string where, Use&& use, websocket_options options = {}, reconnect_options retry = {});

// ---- implementation ----------------------------------------------------------------------------------------------
inline std::chrono::milliseconds backoff::next() {
    // Doubled by comparing first: no delay is too long for that.
    delay_ = delay_.count() == 0                 ? options_.first_delay()
             : delay_ > options_.max_delay() / 2 ? options_.max_delay()
                                                 : 2 * delay_;
    delay_ = std::min(delay_, options_.max_delay());
    const std::int64_t by_lot =
        delay_.count() / 100 * options_.jitter_percent() + delay_.count() % 100 * options_.jitter_percent() / 100;
    if (by_lot == 0) return delay_;
    const auto drawn = static_cast<std::int64_t>(options_.random()());
    return std::chrono::milliseconds(delay_.count() - drawn % (by_lot + 1));
}

namespace detail {
template <class Use>
task<> keep_websocket(std::string where, Use use, websocket_options options, reconnect_options retry) {
    event_loop& loop = event_loop::of(co_await current_task());
    backoff delays(retry);
    std::size_t failures = 0;
    for (;;) {
        std::optional<websocket_client> opened;
        try {
            opened.emplace(co_await connect_websocket(where, options));
        } catch (const websocket_refused& refusal) {
            if (refusal.is_final() || ++failures == retry.max_failures()) throw;
        } catch (const closed_error&) {
            throw;                             // this side ends
        } catch (const std::runtime_error&) {  // nobody there, no name, too slow, gone again
            if (++failures == retry.max_failures()) throw;
        }
        if (opened) {
            failures = 0;
            const event_loop::time_point since = loop.now();
            const bool again = co_await detail::invoke(use, *opened);
            if (!again) co_return;
            if (loop.now() - since >= retry.reset_after()) delays.reset();
            opened.reset();
        }
        co_await sleep_for(delays.next());
    }
}
}  // namespace detail

template <class Use>
task<> keep_connected(std::string where, Use&& use, websocket_options options, reconnect_options retry) {
    detail::refuse_unsafe_temporaries<Use&&>();
    return detail::keep_websocket<detail::stored_type<Use>>(std::move(where), std::forward<Use>(use),
                                                            std::move(options), retry);
}
}  // namespace ferry::inline FERRY_ABI
