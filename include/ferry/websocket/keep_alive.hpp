// ferry/websocket/keep_alive.hpp - when to ping, and when to give the peer up
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <chrono>
#include <cstdint>

namespace ferry::inline FERRY_ABI::websocket {
/// Watches the silence of one WebSocket. It has no clock: whoever drives it says what time it is, about once a second.
///
///     if (octets came) alive.heard(now);
///     switch (alive.check(now)) { case ping: session.ping(); break; case lost: drop(); break; case none: break; }
///
/// Any octet counts as a sign of life, not only the pong: a peer in the middle of a long message answers late.
class keep_alive {
public:
    using time_point = std::chrono::steady_clock::time_point;
    using duration = std::chrono::nanoseconds;

    enum class action : std::uint8_t {
        none,
        ping,  // it has been silent for ping_interval
        lost,  // and, since that ping, for pong_timeout
    };

    keep_alive(duration ping_interval, duration pong_timeout, time_point now) noexcept
        : ping_interval_(ping_interval), pong_timeout_(pong_timeout), last_heard_(now) {}

    void heard(time_point now) noexcept {
        last_heard_ = now;
        pinged_ = false;
    }
    /// When check() will next have something to say, if nothing is heard before.
    [[nodiscard]] time_point due() const noexcept {
        return pinged_ ? pinged_at_ + pong_timeout_ : last_heard_ + ping_interval_;
    }
    [[nodiscard]] action check(time_point now) noexcept {
        if (pinged_) return now - pinged_at_ >= pong_timeout_ ? action::lost : action::none;
        if (now - last_heard_ < ping_interval_) return action::none;
        pinged_ = true;
        pinged_at_ = now;
        return action::ping;
    }

private:
    duration ping_interval_;
    duration pong_timeout_;
    time_point last_heard_;
    time_point pinged_at_;
    bool pinged_ = false;
};
}  // namespace ferry::inline FERRY_ABI::websocket
