// ferry/client/websocket_client.hpp - a WebSocket to a server
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/client/detail/random_words.hpp>
#include <ferry/client/detail/websocket_link.hpp>
#include <ferry/client/websocket_message.hpp>
#include <ferry/client/websocket_options.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/net/connect.hpp>
#include <ferry/net/socket.hpp>
#include <ferry/websocket/client_handshake.hpp>
#include <ferry/websocket/url.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
class websocket_opening;
}

/// The server does not open a WebSocket, or not the one that was asked for.
class websocket_refused : public std::runtime_error {
public:
    websocket_refused(const std::string& what, int status, http::headers headers)
        : std::runtime_error(what),
          status_(status),
          headers_(std::make_shared<const http::headers>(std::move(headers))) {}

    /// Of the server's answer; 101 if the answer was wrong otherwise, 0 if it was not HTTP.
    [[nodiscard]] int status() const noexcept { return status_; }
    [[nodiscard]] const http::headers& headers() const noexcept { return *headers_; }
    /// The server has understood and does not want it, or speaks another protocol: asking again will not help. (Not so
    /// for 408, 425, 429, and from 500 on.)
    [[nodiscard]] bool is_final() const noexcept {
        return status_ < 500 && status_ != 408 && status_ != 425 && status_ != 429;
    }

private:
    int status_;
    std::shared_ptr<const http::headers> headers_;  // exceptions are copied
};

/// A WebSocket to a server: what connect_websocket() yields.
///
///     ferry::websocket_client chat = co_await ferry::connect_websocket("ws://127.0.0.1:8000/chat");
///     co_await chat.send_text("hello");
///     while (auto message = co_await chat.receive()) print(message->data());
///     log(chat.close_code(), chat.close_reason());
///
/// Pings are answered, silence is watched and output is written whether somebody waits here or not. While nobody
/// receives, 16 messages or 1 MiB are kept, unless the limits say otherwise; then nothing more is read, and the server
/// has to wait. Sending waits while the output is above its high-water mark; it has taken the message then, not yet
/// written it.
///
/// Ownership      Move-only. close() first: destroying it cuts the connection, and what was not written is lost. A task
///                that waits in receive() must end before (asserted).
/// Thread-safety  None: the loop's thread that connected. From blocking code use async_to_sync with that loop. At most one
///                task receives; any number may send.
/// Errors         The end is a value of receive(). Sending throws `disconnected` once the server has closed or is gone,
///                closed_error after close(), std::invalid_argument for text that is not UTF-8.
class websocket_client {
public:
    websocket_client(websocket_client&&) noexcept = default;
    websocket_client& operator=(websocket_client&& other) noexcept {
        const websocket_client old(std::exchange(link_, std::move(other.link_)), {}, {});
        subprotocol_ = std::move(other.subprotocol_);
        headers_ = std::move(other.headers_);
        return *this;
    }
    ~websocket_client() {
        if (link_ == nullptr) return;
        FERRY_ASSERT(!link_->incoming().is_waited_for(), "websocket_client destroyed while a task waits in receive()");
        link_->abandon();
    }

    /// The next message; nothing once the WebSocket is closed. A checkpoint; cancelling it loses no message.
    [[nodiscard]] auto receive() noexcept { return link().incoming().receive(); }

    task<> send_text(std::string data) {
        return detail::websocket_link::send(link_of(), std::move(data),
                                            [](auto& to, const std::string& what) { to.send_text(what); });
    }
    task<> send_binary(std::string data) {
        return detail::websocket_link::send(link_of(), std::move(data),
                                            [](auto& to, const std::string& what) { to.send_binary(what); });
    }
    /// A message in pieces; the last has `more` false. No other message may come between (std::logic_error).
    task<> send_text_piece(std::string piece, bool more) {
        return detail::websocket_link::send(
            link_of(), std::move(piece), [more](auto& to, const std::string& what) { to.send_text_piece(what, more); });
    }
    task<> send_binary_piece(std::string piece, bool more) {
        return detail::websocket_link::send(link_of(), std::move(piece), [more](auto& to, const std::string& what) {
            to.send_binary_piece(what, more);
        });
    }
    /// Tells the server, and waits until the connection has ended; it is cut if the server has not answered within
    /// close_timeout, nor taken anything of what was sent before. Messages that come meanwhile can still be received. Does
    /// nothing if it is closed already.
    task<> close(std::uint16_t code = websocket::close_code::normal, std::string reason = {}) {
        return close_link(link_of(), code, std::move(reason));
    }

    /// Can messages be sent?
    [[nodiscard]] bool is_open() const noexcept { return link().is_open(); }
    /// 0 while neither side has closed: the server's code; 1005 if it gave none, 1006 if the connection was lost, what it
    /// was told if it broke the protocol.
    [[nodiscard]] std::uint16_t close_code() const noexcept { return link().close_code(); }
    /// The server's, or what it did wrong.
    [[nodiscard]] const std::string& close_reason() const noexcept { return link().close_reason(); }

    /// The one that the server chose; empty if none.
    [[nodiscard]] const std::string& subprotocol() const noexcept { return subprotocol_; }
    /// Of the server's answer to the handshake.
    [[nodiscard]] const http::headers& headers() const noexcept { return headers_; }

private:
    friend class detail::websocket_opening;
    websocket_client(std::shared_ptr<detail::websocket_link> link, std::string subprotocol,
                     http::headers headers) noexcept
        : link_(std::move(link)), subprotocol_(std::move(subprotocol)), headers_(std::move(headers)) {}

    [[nodiscard]] detail::websocket_link& link() const noexcept {
        FERRY_ASSERT(link_ != nullptr, "use of a websocket_client that was moved from");
        return *link_;
    }
    [[nodiscard]] const std::shared_ptr<detail::websocket_link>& link_of() const noexcept {
        static_cast<void>(link());
        return link_;
    }
    static task<> close_link(std::shared_ptr<detail::websocket_link> link, std::uint16_t code, std::string reason);

    std::shared_ptr<detail::websocket_link> link_;
    std::string subprotocol_;
    http::headers headers_;
};

/// Opens a WebSocket: "ws://host:port/path?query". Nothing is open if it throws.
///
/// Errors  std::invalid_argument for another URL, also for wss: there is no TLS here. std::system_error when nobody
///         answers, timeout_error when it takes longer than open_timeout, websocket_refused when the server does not agree.
[[nodiscard]] task<websocket_client> connect_websocket(std::string where, websocket_options options = {});

// ---- implementation ----------------------------------------------------------------------------------------------
inline task<> websocket_client::close_link(std::shared_ptr<detail::websocket_link> link, std::uint16_t code,
                                           std::string reason) {
    bool behind = link->is_behind();  // with what was sent before: then it has that to take first
    link->close(code, reason);
    for (;;) {
        const std::uint64_t before = link->taken_bytes();
        const bool answered = co_await try_timeout(link->options().close_timeout(), link->answered());
        if (answered) break;
        if (!behind || link->taken_bytes() == before) {
            link->abandon();
            break;
        }
        behind = link->is_behind();
    }
    co_await link->ended();
}

namespace detail {
class websocket_opening {
public:
    static task<websocket_client> open(websocket::url where, websocket_options options);
};

inline task<websocket_client> websocket_opening::open(websocket::url where, websocket_options options) {
    event_loop& loop = event_loop::of(co_await current_task());
    websocket::client_handshake::nonce nonce;
    random_words random;
    for (unsigned char& octet : nonce) octet = static_cast<unsigned char>(random() & 0xFF);
    websocket::client_handshake opening(where, nonce);
    for (const std::string& name : options.subprotocols()) opening.subprotocol(name);
    for (const http::header& field : options.headers()) opening.header(field.name, field.value);

    net::socket connected = co_await net::connect(where.host(), where.port());
    const std::string request = opening.request();
    co_await connected.send_all(request);
    std::string early;
    for (auto seen = websocket::client_handshake::result::need_more;
         seen != websocket::client_handshake::result::accepted;) {
        const net::borrowed_bytes octets = co_await connected.receive();
        std::string_view unread = octets.view();
        if (unread.empty()) throw disconnected("websocket: " + where.authority() + " closed before it had answered");
        seen = opening.read(unread);
        if (seen == websocket::client_handshake::result::refused) {
            throw websocket_refused("websocket: " + where.authority() + ": " + std::string(opening.why()) +
                                        " (status " + std::to_string(opening.status()) + ")",
                                    opening.status(), opening.headers());
        }
        early = unread;
    }
    auto link = std::make_shared<websocket_link>(loop, std::move(connected), std::move(options), std::move(early));
    websocket_client opened(link, opening.subprotocol(), opening.headers());
    ferry::spawn(loop, websocket_link::run(link));
    co_await link->started();
    co_return std::move(opened);
}
}  // namespace detail

inline task<websocket_client> connect_websocket(std::string where, websocket_options options) {
    websocket::url parsed = websocket::url::parse(where);
    if (parsed.secure()) {
        throw std::invalid_argument("websocket: \"" + where +
                                    "\": there is no TLS here; put a proxy in front that has");
    }
    const std::chrono::seconds limit = options.open_timeout();
    co_return co_await timeout(limit, detail::websocket_opening::open(std::move(parsed), std::move(options)));
}
}  // namespace ferry::inline FERRY_ABI
