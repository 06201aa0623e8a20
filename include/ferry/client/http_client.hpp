// ferry/client/http_client.hpp - HTTP/1.1 requests, over connections that are kept
// SPDX-License-Identifier: BSL-1.0
#pragma once

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
#include <vector>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// The idle connections of a client; the calls that are under way keep it, too.
class http_pool {
public:
    using connection = http_connection<net::socket>;

    http_pool(event_loop& loop, const http_client_options& options) : loop_(loop), options_(options) {}

    /// The one that was used last of those to this place that can still be used; null if there is none.
    [[nodiscard]] std::unique_ptr<connection> take(const std::string& place);
    /// Keeps it if it can be used again.
    void give(std::string place, std::unique_ptr<connection> used);
    void close_idle() noexcept { idle_.clear(); }

    [[nodiscard]] std::size_t size() const noexcept { return idle_.size(); }
    [[nodiscard]] event_loop& loop() const noexcept { return loop_; }
    [[nodiscard]] const http_client_options& options() const noexcept { return options_; }

private:
    struct idle_connection {
        std::string place;
        std::unique_ptr<connection> kept;
        event_loop::time_point since;
    };

    event_loop& loop_;
    http_client_options options_;
    std::vector<idle_connection> idle_;  // oldest first
};
}  // namespace detail

/// One request and its response, in pieces: what http_client::open() and upload() yield. See http_connection.
///
/// Ownership      Owns its connection, and gives it back to the client when it is destroyed, if both messages are
///                complete. Move-only, also while a task waits in it; destroy it when none does.
/// Thread-safety  None: its loop's thread.
class http_call {
public:
    http_call(std::shared_ptr<detail::http_pool> pool, std::string place,
              std::unique_ptr<http_connection<net::socket>> used) noexcept
        : pool_(std::move(pool)), place_(std::move(place)), connection_(std::move(used)) {}
    http_call(http_call&&) noexcept = default;
    http_call& operator=(http_call&&) = delete;
    ~http_call() {
        if (connection_ != nullptr) pool_->give(std::move(place_), std::move(connection_));
    }

    /// Of upload(): the next piece of the body, and its end.
    [[nodiscard]] task<bool> send(std::string_view piece) { return connection_->send(piece); }
    [[nodiscard]] task<> finish() { return connection_->finish(); }

    [[nodiscard]] task<const http::response_head&> response() { return connection_->response(); }
    [[nodiscard]] task<std::string> read() { return connection_->read(); }
    [[nodiscard]] task<std::string> read_all() { return connection_->read_all(); }
    [[nodiscard]] const http::headers& trailers() const noexcept { return connection_->trailers(); }
    /// After a 101.
    [[nodiscard]] std::pair<net::socket, std::string> take_stream() { return connection_->take_stream(); }

private:
    std::shared_ptr<detail::http_pool> pool_;
    std::string place_;
    std::unique_ptr<http_connection<net::socket>> connection_;
};

/// Asks HTTP servers: fetch() takes the whole response, open() and upload() give it in pieces.
///
///     ferry::http_client client(loop);
///     const ferry::client_response page = co_await client.get("http://127.0.0.1:8000/");
///
/// Any number of tasks may ask at once; each request has a connection to itself, and idle ones are used again. Where one
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
    void close_idle() noexcept { pool_->close_idle(); }

private:
    using connection = http_connection<net::socket>;

    [[nodiscard]] static std::string place_of(const http_url& where) {
        return where.host() + " " + std::to_string(where.port());
    }
    static task<net::socket> reach(std::string host, std::uint16_t port, std::optional<net::address> instead);
    static task<std::unique_ptr<connection>> connect(std::shared_ptr<detail::http_pool> pool, std::string host,
                                                     std::uint16_t port);

    std::shared_ptr<detail::http_pool> pool_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
namespace detail {
inline std::unique_ptr<http_pool::connection> http_pool::take(const std::string& place) {
    const event_loop::time_point now = loop_.now();
    std::erase_if(idle_, [&](const idle_connection& one) {
        return now - one.since >= options_.keep_alive_timeout() || !one.kept->reusable();
    });
    for (std::size_t at = idle_.size(); at-- > 0;) {
        if (idle_[at].place != place) continue;
        std::unique_ptr<connection> found = std::move(idle_[at].kept);
        idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(at));
        return found;
    }
    return nullptr;
}

inline void http_pool::give(std::string place, std::unique_ptr<connection> used) {
    if (options_.max_idle_connections() == 0 || options_.keep_alive_timeout().count() <= 0 || !used->reusable()) return;
    if (idle_.size() >= options_.max_idle_connections()) idle_.erase(idle_.begin());
    idle_.push_back(idle_connection{std::move(place), std::move(used), loop_.now()});
}
}  // namespace detail

inline task<client_response> http_client::fetch(client_request what) {
    const std::shared_ptr<detail::http_pool> pool = pool_;
    const http_url where(what.url());
    std::string place = place_of(where);
    std::unique_ptr<connection> used = pool->take(place);
    std::optional<client_response> answer;
    if (used != nullptr) {
        try {
            answer.emplace(co_await used->exchange(what, where.target(), where.authority()));
        } catch (const disconnected&) {
            if (used->answered() || !what.idempotent()) throw;
            used.reset();
        }
    }
    if (used == nullptr) {
        used = co_await connect(pool, where.host(), where.port());
        answer.emplace(co_await used->exchange(what, where.target(), where.authority()));
    }
    pool->give(std::move(place), std::move(used));
    co_return std::move(*answer);
}

inline task<http_call> http_client::open(client_request what) {
    const std::shared_ptr<detail::http_pool> pool = pool_;
    const http_url where(what.url());
    std::string place = place_of(where);
    std::unique_ptr<connection> used = pool->take(place);
    if (used != nullptr) {
        try {
            co_await used->ask(what, where.target(), where.authority());
        } catch (const disconnected&) {
            if (used->answered() || !what.idempotent()) throw;
            used.reset();
        }
    }
    if (used == nullptr) {
        used = co_await connect(pool, where.host(), where.port());
        co_await used->ask(what, where.target(), where.authority());
    }
    co_return http_call(pool, std::move(place), std::move(used));
}

inline task<http_call> http_client::upload(client_request what) {
    const std::shared_ptr<detail::http_pool> pool = pool_;
    const http_url where(what.url());
    std::string place = place_of(where);
    std::unique_ptr<connection> used = pool->take(place);
    if (used == nullptr) used = co_await connect(pool, where.host(), where.port());
    co_await used->begin(what.method(), where.target(), where.authority(), what.headers());
    co_return http_call(pool, std::move(place), std::move(used));
}

inline task<net::socket> http_client::reach(std::string host, std::uint16_t port, std::optional<net::address> instead) {
    if (instead) co_return co_await net::connect(*instead);
    co_return co_await net::connect(std::move(host), port);
}

inline task<std::unique_ptr<http_client::connection>> http_client::connect(std::shared_ptr<detail::http_pool> pool,
                                                                           std::string host, std::uint16_t port) {
    const http_client_options& options = pool->options();
    std::optional<net::socket> made =
        co_await try_timeout(options.connect_timeout(), reach(host, port, options.connect_to()));
    if (!made) {
        throw timeout_error("ferry: no connection to " + host + ", port " + std::to_string(port) + ", within " +
                            std::to_string(options.connect_timeout().count()) + " ms");
    }
    co_return std::make_unique<connection>(pool->loop(), std::move(*made), options);
}
}  // namespace ferry::inline FERRY_ABI
