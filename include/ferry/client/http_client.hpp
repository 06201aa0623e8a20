// ferry/client/http_client.hpp - HTTP/1.1 requests, over connections that are kept
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/client/detail/http_pool.hpp>
#include <ferry/client/http_client_options.hpp>
#include <ferry/client/http_connection.hpp>
#include <ferry/client/http_message.hpp>
#include <ferry/client/http_url.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/http/response_head.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/net/connect.hpp>
#include <ferry/net/socket.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// One request and its response, in pieces: what http_client::open() and upload() yield. See http_connection.
///
/// Ownership      Owns its connection, and gives it back to the client when it is destroyed, if both messages are
///                complete. Move-only, also while a task waits in it; destroy it when none does.
/// Thread-safety  None: its loop's thread.
class http_call {
public:
    explicit http_call(detail::http_lease lease) noexcept : lease_(std::move(lease)) {}

    /// Of upload(): the next piece of the body, and its end.
    [[nodiscard]] task<bool> send(std::string_view piece) { return lease_.connection().send(piece); }
    [[nodiscard]] task<> finish() { return lease_.connection().finish(); }

    [[nodiscard]] task<const http::response_head&> response() { return lease_.connection().response(); }
    [[nodiscard]] task<std::string> read() { return lease_.connection().read(); }
    [[nodiscard]] task<std::string> read_all() { return lease_.connection().read_all(); }
    [[nodiscard]] const http::headers& trailers() const noexcept { return lease_.connection().trailers(); }
    /// After a 101.
    [[nodiscard]] std::pair<net::socket, std::string> take_stream() { return lease_.connection().take_stream(); }

private:
    detail::http_lease lease_;
};

/// Asks HTTP servers: fetch() takes the whole response, open() and upload() give it in pieces.
///
///     ferry::http_client client(loop);
///     const ferry::client_response page = co_await client.get("http://127.0.0.1:8000/");
///
/// Any number of tasks may ask at once; each request has a connection to itself, and idle ones are used again. There are
/// limits to how many are in use: further requests wait, in their order, until another has ended. Where an idle one
/// turns out to be gone before an octet of the answer has come, fetch() asks once more on a new one, if to ask twice is
/// the same as once. Redirects are not followed. See http_client_options for limits.
///
/// Ownership      Owns the idle connections. The loop outlives it and its calls; calls may outlive it.
/// Thread-safety  None: its loop's thread.
/// Errors         std::invalid_argument for what cannot be sent; std::system_error when no connection can be made;
///                disconnected, bad_response and timeout_error, which name the request. A status is no error.
class http_client {
public:
    explicit http_client(event_loop& loop, const http_client_options& options = http_client_options())
        : pool_(std::make_shared<detail::http_pool>(loop, options)) {}

    task<client_response> fetch(client_request what);
    task<client_response> get(std::string url) { return fetch(client_request::get(std::move(url))); }

    /// Sends a request whole and waits for the head of its response, whose body comes in pieces. Asks again as fetch()
    /// does. (Where a server sends a large answer before it has read a large request, upload() and two tasks serve.)
    task<http_call> open(client_request what);
    /// Sends the head of a request, whose body comes by send() and finish(): in chunks, unless it declares a length.
    task<http_call> upload(client_request what);

    [[nodiscard]] std::size_t idle_connections() const noexcept { return pool_->size(); }
    /// Of requests and calls that have not ended.
    [[nodiscard]] std::size_t active_connections() const noexcept { return pool_->limit().in_use(); }
    void close_idle() noexcept { pool_->close_idle(); }

private:
    [[nodiscard]] static std::string place_of(const http_url& where) {
        return where.host() + " " + std::to_string(where.port());
    }
    static task<net::socket> reach(std::string host, std::uint16_t port, std::optional<net::address> instead);
    static task<> connect(detail::http_lease& lease, const http_url& where);

    std::shared_ptr<detail::http_pool> pool_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline task<client_response> http_client::fetch(client_request what) {
    const http_url where(what.url());
    detail::http_lease lease = co_await detail::http_lease::of(pool_, place_of(where));
    std::optional<client_response> answer;
    if (lease.reuse()) {
        try {
            answer.emplace(co_await lease.connection().exchange(what, where.target(), where.authority()));
        } catch (const disconnected&) {
            if (lease.connection().answered() || !what.idempotent()) throw;
        }
    }
    if (!answer) {
        co_await connect(lease, where);
        answer.emplace(co_await lease.connection().exchange(what, where.target(), where.authority()));
    }
    co_return std::move(*answer);
}

inline task<http_call> http_client::open(client_request what) {
    const http_url where(what.url());
    detail::http_lease lease = co_await detail::http_lease::of(pool_, place_of(where));
    bool asked = false;
    if (lease.reuse()) {
        try {
            co_await lease.connection().ask(what, where.target(), where.authority());
            asked = true;
        } catch (const disconnected&) {
            if (lease.connection().answered() || !what.idempotent()) throw;
        }
    }
    if (!asked) {
        co_await connect(lease, where);
        co_await lease.connection().ask(what, where.target(), where.authority());
    }
    co_return http_call(std::move(lease));
}

inline task<http_call> http_client::upload(client_request what) {
    const http_url where(what.url());
    detail::http_lease lease = co_await detail::http_lease::of(pool_, place_of(where));
    if (!lease.reuse()) co_await connect(lease, where);
    co_await lease.connection().begin(what.method(), where.target(), where.authority(), what.headers());
    co_return http_call(std::move(lease));
}

inline task<net::socket> http_client::reach(std::string host, std::uint16_t port, std::optional<net::address> instead) {
    if (instead) co_return co_await net::connect(*instead);
    co_return co_await net::connect(std::move(host), port);
}

inline task<> http_client::connect(detail::http_lease& lease, const http_url& where) {
    const http_client_options& options = lease.pool().options();
    std::optional<net::socket> made =
        co_await try_timeout(options.connect_timeout(), reach(where.host(), where.port(), options.connect_to()));
    if (!made) {
        throw timeout_error("ferry: no connection to " + where.host() + ", port " + std::to_string(where.port()) +
                            ", within " + std::to_string(options.connect_timeout().count()) + " ms");
    }
    lease.use(std::make_unique<detail::http_pool::connection>(lease.pool().loop(), std::move(*made), options));
}
}  // namespace ferry::inline FERRY_ABI
