// ferry/client/http_client_options.hpp - how long an HTTP client waits, and how much it takes
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/response_limits.hpp>
#include <ferry/net/address.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// Options of http_client, set in a chain.
class http_client_options {
public:
    using milliseconds = std::chrono::milliseconds;

    http_client_options() = default;

    /// To resolve the host and to connect. Default 10 s.
    http_client_options& connect_timeout(milliseconds limit) { return set(connect_timeout_, limit); }
    /// From when the server last took an octet of the request to the end of the response's head, interim ones included.
    /// Default 60 s.
    http_client_options& response_timeout(milliseconds limit) { return set(response_timeout_, limit); }
    /// For the next octet of a body, in either direction. Default 60 s.
    http_client_options& stall_timeout(milliseconds limit) { return set(stall_timeout_, limit); }
    /// Of a response that is taken whole, by fetch() and read_all(): its body must come at this rate, in octets a second.
    /// One that is read in pieces may be a stream of events, and has stall_timeout only. Default 240; 0 is none.
    http_client_options& min_body_rate(std::size_t bytes_per_second) { return set(min_body_rate_, bytes_per_second); }
    /// By how much such a body may be late: a server may think in the middle of its answer. Default 30 s.
    http_client_options& body_grace_time(milliseconds limit) { return set(body_grace_time_, limit); }
    /// For the server's "100 Continue", where a request asks for it; then the body is sent all the same. Default 1 s.
    http_client_options& continue_timeout(milliseconds limit) { return set(continue_timeout_, limit); }
    /// How long a connection may be idle and be used again: less than servers keep it. Default 4 s; 0 uses each once.
    http_client_options& keep_alive_timeout(milliseconds limit) { return set(keep_alive_timeout_, limit); }
    /// Connections in use at a time, in all and to one host and port. A request that would need one more waits until another
    /// has ended, and an http_call ends when it is destroyed. Default 256 and 64; std::invalid_argument for 0.
    http_client_options& max_connections(std::size_t count) { return set(max_connections_, at_least_one(count)); }
    http_client_options& max_connections_per_host(std::size_t count) {
        return set(max_connections_per_host_, at_least_one(count));
    }
    /// Idle connections that are kept. Default 8.
    http_client_options& max_idle_connections(std::size_t count) { return set(max_idle_connections_, count); }
    /// Of a response that is taken whole, by fetch() and read_all(). Default 1 MiB; a streamed one has `limits` only.
    http_client_options& max_body_bytes(std::size_t bytes) { return set(max_body_bytes_, bytes); }
    http_client_options& limits(const http::response_limits& chosen) { return set(limits_, chosen); }
    /// Where to connect, whatever host the URL names: a proxy, a unix-domain socket, a server under test.
    http_client_options& connect_to(net::address where) {
        elsewhere_ = true;
        return set(connect_to_, std::move(where));
    }

    [[nodiscard]] milliseconds connect_timeout() const noexcept { return connect_timeout_; }
    [[nodiscard]] milliseconds response_timeout() const noexcept { return response_timeout_; }
    [[nodiscard]] milliseconds stall_timeout() const noexcept { return stall_timeout_; }
    [[nodiscard]] std::size_t min_body_rate() const noexcept { return min_body_rate_; }
    [[nodiscard]] milliseconds body_grace_time() const noexcept { return body_grace_time_; }
    [[nodiscard]] milliseconds continue_timeout() const noexcept { return continue_timeout_; }
    [[nodiscard]] milliseconds keep_alive_timeout() const noexcept { return keep_alive_timeout_; }
    [[nodiscard]] std::size_t max_connections() const noexcept { return max_connections_; }
    [[nodiscard]] std::size_t max_connections_per_host() const noexcept { return max_connections_per_host_; }
    [[nodiscard]] std::size_t max_idle_connections() const noexcept { return max_idle_connections_; }
    [[nodiscard]] std::size_t max_body_bytes() const noexcept { return max_body_bytes_; }
    [[nodiscard]] const http::response_limits& limits() const noexcept { return limits_; }
    [[nodiscard]] std::optional<net::address> connect_to() const {
        return elsewhere_ ? std::optional(connect_to_) : std::nullopt;
    }

private:
    template <class T>
    http_client_options& set(T& option, T chosen) {
        option = std::move(chosen);
        return *this;
    }
    static std::size_t at_least_one(std::size_t connections) {
        if (connections == 0) throw std::invalid_argument("ferry: an HTTP client without connections");
        return connections;
    }

    milliseconds connect_timeout_{10'000};
    milliseconds response_timeout_{60'000};
    milliseconds stall_timeout_{60'000};
    std::size_t min_body_rate_ = 240;
    milliseconds body_grace_time_{30'000};
    milliseconds continue_timeout_{1'000};
    milliseconds keep_alive_timeout_{4'000};
    std::size_t max_connections_ = 256;
    std::size_t max_connections_per_host_ = 64;
    std::size_t max_idle_connections_ = 8;
    std::size_t max_body_bytes_ = 1024 * 1024;
    http::response_limits limits_;
    bool elsewhere_ = false;  // beside the address: of an optional, GCC 12 believes that it may not be initialised
    net::address connect_to_;
};
}  // namespace ferry::inline FERRY_ABI
