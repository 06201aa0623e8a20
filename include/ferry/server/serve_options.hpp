// ferry/server/serve_options.hpp - where a server listens, and how long it waits for whom
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/request_limits.hpp>
#include <ferry/net/address.hpp>
#include <ferry/net/listener.hpp>
#include <ferry/websocket/handshake.hpp>
#include <ferry/websocket/session_options.hpp>

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace ferry::inline FERRY_ABI {
/// What becomes of a message to a WebSocket whose client reads too slowly: its output is above the high-water mark.
enum class slow_reader : std::uint8_t {
    wait,  // send() waits; a broadcast goes on when the slowest has read
    drop,  // the message is dropped, and counted: see server::dropped_messages(). In the middle of one sent in pieces: close
    close,  // likewise, and the WebSocket is closed with 1008
};

/// Options of serve() and server, set in a chain: serve_options().host("0.0.0.0").port(80).
class serve_options {
public:
    using seconds = std::chrono::seconds;
    using listening_function = void (*)(const net::address& where);

    serve_options() = default;

    /// Takes --host NAME and --port NUMBER from a program's arguments, and returns those it does not know. Throws
    /// std::invalid_argument, which says what is wrong with a value.
    std::vector<std::string> take_arguments(int argc, const char* const* argv);

    /// A name, an address, or "unix:PATH". Default 127.0.0.1: reachable from this machine only.
    serve_options& host(std::string name) { return set(host_, std::move(name)); }
    /// 0 lets the kernel choose. Default 8000.
    serve_options& port(std::uint16_t number) { return set(port_, number); }
    /// Connections that the kernel keeps ready while the server does not come to accept them. Default 4096.
    serve_options& backlog(int connections) { return set(backlog_, connections); }
    /// Several servers share the port, in one process or in many: each needs this option, and the kernel spreads the
    /// connections over them. Default false.
    serve_options& reuse_port(bool shared) { return set(reuse_port_, shared); }
    /// Connections at a time; further ones wait in the kernel's queue. Default 10000; std::invalid_argument for 0.
    serve_options& max_connections(std::size_t count) {
        if (count == 0) throw std::invalid_argument("ferry: a server without connections");
        return set(max_connections_, count);
    }
    serve_options& http_limits(const http::request_limits& limits) { return set(http_limits_, limits); }
    serve_options& websocket_limits(const websocket::session_options& limits) { return set(websocket_limits_, limits); }
    /// Default true. False: a request for a WebSocket is a request like any other, as RFC 9110 7.8 lets a server see it.
    serve_options& websockets(bool spoken) { return set(websockets_, spoken); }
    /// Which sites' pages may open WebSockets here. Default: those of the same host.
    serve_options& websocket_origins(websocket::handshake_options rules) { return set(origins_, std::move(rules)); }
    /// Octets of a request's body that the application has not taken, from which on no more are read. Default 64 KiB;
    /// std::invalid_argument for 0.
    serve_options& body_high_water_mark(std::size_t bytes) {
        if (bytes == 0) throw std::invalid_argument("ferry: a server that may read nothing of a body");
        return set(body_high_water_mark_, bytes);
    }
    /// Output of one connection beyond which send() waits. Default 64 KiB.
    serve_options& high_water_mark(std::size_t bytes) { return set(high_water_mark_, bytes); }
    /// What a WebSocket's messages do above it. Default: wait.
    serve_options& when_slow(slow_reader policy) { return set(slow_reader_, policy); }
    /// From the first octet of a request, or of the empty lines before it, to the end of its head. Default 10 s.
    serve_options& header_timeout(seconds limit) { return set(header_timeout_, limit); }
    /// For the first octet of the next request of a connection, the first one included. Default 5 s.
    serve_options& keep_alive_timeout(seconds limit) { return set(keep_alive_timeout_, limit); }
    /// A body that is waited for must come at this rate, in octets a second, or is answered with 408. Time in which the
    /// application takes nothing does not count. Default 240; 0 is none.
    serve_options& min_body_rate(std::size_t bytes_per_second) { return set(min_body_rate_, bytes_per_second); }
    /// By how much a body may be late. Default 5 s.
    serve_options& body_grace_time(seconds limit) { return set(body_grace_time_, limit); }
    /// For the next octet of a body, however fast it came before, and for a client to take an octet of what is sent to it;
    /// then the connection is cut. Default 60 s.
    serve_options& stall_timeout(seconds limit) { return set(stall_timeout_, limit); }
    /// Silence after which a WebSocket is pinged. Default 20 s.
    serve_options& ping_interval(seconds limit) { return set(ping_interval_, limit); }
    /// Silence after a ping after which the peer counts as gone. Default 20 s.
    serve_options& pong_timeout(seconds limit) { return set(pong_timeout_, limit); }
    /// For the peer's answer to a close frame, at a WebSocket's end to take octets of what is left, and at each connection's
    /// end to close in its turn. Default 5 s.
    serve_options& close_timeout(seconds limit) { return set(close_timeout_, limit); }
    /// For an application to end after its client has gone; then it is cancelled, with a report. Default 10 s.
    serve_options& application_close_timeout(seconds limit) { return set(application_close_timeout_, limit); }
    /// For what runs when the server is told to stop; then it is cancelled. Default 10 s.
    serve_options& shutdown_timeout(seconds limit) { return set(shutdown_timeout_, limit); }
    /// Called once the port is open. The default writes "listening on http://HOST:PORT/" to stdout, or "listening on
    /// unix:PATH", and flushes it.
    serve_options& on_listening(listening_function call) { return set(on_listening_, call); }

    [[nodiscard]] const std::string& host() const noexcept { return host_; }
    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    [[nodiscard]] int backlog() const noexcept { return backlog_; }
    [[nodiscard]] bool reuse_port() const noexcept { return reuse_port_; }
    [[nodiscard]] std::size_t max_connections() const noexcept { return max_connections_; }
    [[nodiscard]] const http::request_limits& http_limits() const noexcept { return http_limits_; }
    [[nodiscard]] bool websockets() const noexcept { return websockets_; }
    [[nodiscard]] const websocket::session_options& websocket_limits() const noexcept { return websocket_limits_; }
    [[nodiscard]] const websocket::handshake_options& websocket_origins() const noexcept { return origins_; }
    [[nodiscard]] std::size_t body_high_water_mark() const noexcept { return body_high_water_mark_; }
    [[nodiscard]] std::size_t high_water_mark() const noexcept { return high_water_mark_; }
    [[nodiscard]] slow_reader when_slow() const noexcept { return slow_reader_; }
    [[nodiscard]] seconds header_timeout() const noexcept { return header_timeout_; }
    [[nodiscard]] seconds keep_alive_timeout() const noexcept { return keep_alive_timeout_; }
    [[nodiscard]] std::size_t min_body_rate() const noexcept { return min_body_rate_; }
    [[nodiscard]] seconds body_grace_time() const noexcept { return body_grace_time_; }
    [[nodiscard]] seconds stall_timeout() const noexcept { return stall_timeout_; }
    [[nodiscard]] seconds ping_interval() const noexcept { return ping_interval_; }
    [[nodiscard]] seconds pong_timeout() const noexcept { return pong_timeout_; }
    [[nodiscard]] seconds close_timeout() const noexcept { return close_timeout_; }
    [[nodiscard]] seconds application_close_timeout() const noexcept { return application_close_timeout_; }
    [[nodiscard]] seconds shutdown_timeout() const noexcept { return shutdown_timeout_; }
    [[nodiscard]] listening_function on_listening() const noexcept { return on_listening_; }

private:
    template <class T>
    serve_options& set(T& option, T chosen) {
        option = std::move(chosen);
        return *this;
    }
    static void announce(const net::address& where) {
        std::printf(where.is_path() ? "listening on %s\n" : "listening on http://%s/\n", where.to_string().c_str());
        std::fflush(stdout);
    }

    std::string host_ = "127.0.0.1";
    std::uint16_t port_ = 8000;
    int backlog_ = net::listener_options().backlog();
    bool reuse_port_ = false;
    std::size_t max_connections_ = 10000;
    http::request_limits http_limits_;
    bool websockets_ = true;
    websocket::session_options websocket_limits_;
    websocket::handshake_options origins_;
    std::size_t body_high_water_mark_ = 64 * 1024;
    std::size_t high_water_mark_ = 64 * 1024;
    slow_reader slow_reader_ = slow_reader::wait;
    seconds header_timeout_{10};
    seconds keep_alive_timeout_{5};
    std::size_t min_body_rate_ = 240;
    seconds body_grace_time_{5};
    seconds stall_timeout_{60};
    seconds ping_interval_{20};
    seconds pong_timeout_{20};
    seconds close_timeout_{5};
    seconds application_close_timeout_{10};
    seconds shutdown_timeout_{10};
    listening_function on_listening_ = &announce;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline std::vector<std::string> serve_options::take_arguments(int argc, const char* const* argv) {
    std::vector<std::string> rest;
    for (int at = 1; at < argc; ++at) {
        const std::string_view option = argv[at];
        if (option != "--host" && option != "--port") {
            rest.emplace_back(option);
            continue;
        }
        if (++at == argc) throw std::invalid_argument(std::string(option) + " needs a value");
        const std::string_view text = argv[at];
        if (option == "--host") {
            host_ = text;
            continue;
        }
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port_);
        if (error != std::errc() || end != text.data() + text.size()) {
            throw std::invalid_argument("--port " + std::string(text) + ": a port is a number from 0 to 65535");
        }
    }
    return rest;
}
}  // namespace ferry::inline FERRY_ABI
