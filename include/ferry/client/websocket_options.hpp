// ferry/client/websocket_options.hpp - what a WebSocket client offers, and how long it waits for what
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/websocket/session_options.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ferry::inline FERRY_ABI {
/// Options of connect_websocket(), set in a chain: websocket_options().subprotocol("chat.v2").open_timeout(3s).
class websocket_options {
public:
    using seconds = std::chrono::seconds;

    websocket_options() = default;

    /// Offers a subprotocol, the preferred one first. Which one the server took is websocket_client::subprotocol().
    websocket_options& subprotocol(std::string name) {
        subprotocols_.push_back(std::move(name));
        return *this;
    }
    /// A further field of the request, such as Origin or Authorization. An invalid one throws std::invalid_argument.
    websocket_options& header(std::string_view name, std::string_view value) {
        headers_.add(name, value);
        return *this;
    }
    /// Of what the server sends. By default a message has 1 MiB at most, and is delivered whole.
    websocket_options& limits(const websocket::session_options& limits) { return set(limits_, limits); }
    /// Unwritten output beyond which sending waits. Default 64 KiB.
    websocket_options& high_water_mark(std::size_t bytes) { return set(high_water_mark_, bytes); }
    /// From the look-up of the name to the server's agreement. Default 10 s.
    websocket_options& open_timeout(seconds limit) { return set(open_timeout_, limit); }
    /// Silence after which the server is pinged. Default 20 s.
    websocket_options& ping_interval(seconds limit) { return set(ping_interval_, limit); }
    /// Silence after a ping after which the server counts as gone. Default 20 s.
    websocket_options& pong_timeout(seconds limit) { return set(pong_timeout_, limit); }
    /// For the server's answer to a close frame, and for it to end the connection. Default 5 s.
    websocket_options& close_timeout(seconds limit) { return set(close_timeout_, limit); }

    [[nodiscard]] const std::vector<std::string>& subprotocols() const noexcept { return subprotocols_; }
    [[nodiscard]] const http::headers& headers() const noexcept { return headers_; }
    [[nodiscard]] const websocket::session_options& limits() const noexcept { return limits_; }
    [[nodiscard]] std::size_t high_water_mark() const noexcept { return high_water_mark_; }
    [[nodiscard]] seconds open_timeout() const noexcept { return open_timeout_; }
    [[nodiscard]] seconds ping_interval() const noexcept { return ping_interval_; }
    [[nodiscard]] seconds pong_timeout() const noexcept { return pong_timeout_; }
    [[nodiscard]] seconds close_timeout() const noexcept { return close_timeout_; }

private:
    template <class T>
    websocket_options& set(T& option, T chosen) {
        option = std::move(chosen);
        return *this;
    }

    std::vector<std::string> subprotocols_;
    http::headers headers_;
    websocket::session_options limits_;
    std::size_t high_water_mark_ = 64 * 1024;
    seconds open_timeout_{10};
    seconds ping_interval_{20};
    seconds pong_timeout_{20};
    seconds close_timeout_{5};
};
}  // namespace ferry::inline FERRY_ABI
