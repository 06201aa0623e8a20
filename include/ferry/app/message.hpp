// ferry/app/message.hpp - what an application receives and sends
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/data/value.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/websocket/encoded_message.hpp>
#include <ferry/websocket/frame.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace ferry::inline FERRY_ABI::app {
// ---- received ----------------------------------------------------------------------------------------------------
/// A piece of the request's body; the last one says so, and is empty when there is no body.
class http_request {
public:
    explicit http_request(std::string body = {}, bool more_body = false) noexcept
        : body_(std::move(body)), more_body_(more_body) {}
    /// The empty last piece.
    [[nodiscard]] static http_request end(const http::headers& trailers) {
        http_request last;
        if (!trailers.empty()) last.trailers_ = std::make_shared<const http::headers>(trailers);
        return last;
    }
    [[nodiscard]] const std::string& body() const noexcept { return body_; }
    [[nodiscard]] std::string take_body() noexcept { return std::move(body_); }
    [[nodiscard]] bool more_body() const noexcept { return more_body_; }
    /// The fields behind a chunked body, with its last piece; null if there are none. Nothing vouches for them: never
    /// take them for headers.
    [[nodiscard]] const http::headers* trailers() const noexcept { return trailers_.get(); }

private:
    std::string body_;
    std::shared_ptr<const http::headers> trailers_;
    bool more_body_;
};

/// The response is complete, or the client is gone. Received again by every later receive().
class http_disconnect {
public:
    http_disconnect() noexcept = default;
};

/// A client wants to open a WebSocket: answer with websocket_accept or websocket_close.
class websocket_connect {
public:
    websocket_connect() noexcept = default;
};

/// A whole message: text, which is valid UTF-8, or binary. Or a piece of one: see more().
class websocket_receive {
public:
    websocket_receive(std::string data, bool is_text, bool more = false) noexcept
        : data_(std::move(data)), is_text_(is_text), more_(more) {}
    [[nodiscard]] const std::string& data() const noexcept { return data_; }
    [[nodiscard]] std::string take_data() noexcept { return std::move(data_); }
    [[nodiscard]] bool is_text() const noexcept { return is_text_; }
    /// Further pieces of the same message follow: only where the server's websocket_limits ask for pieces.
    [[nodiscard]] bool more() const noexcept { return more_; }

private:
    std::string data_;
    bool is_text_;
    bool more_;
};

/// The WebSocket is closed: the peer's code (1005 if it gave none, 1006 if it just vanished) and reason. Received again
/// by every later receive().
class websocket_disconnect {
public:
    explicit websocket_disconnect(std::uint16_t code, std::string reason = {}) noexcept
        : code_(code), reason_(std::move(reason)) {}
    [[nodiscard]] std::uint16_t code() const noexcept { return code_; }
    [[nodiscard]] const std::string& reason() const noexcept { return reason_; }

private:
    std::uint16_t code_;
    std::string reason_;
};

/// Anything else: a message of the program's own, by name.
class custom_message {
public:
    explicit custom_message(std::string name, value payload = {})
        : name_(std::move(name)), payload_(std::move(payload)) {}
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] const value& payload() const noexcept { return payload_; }

private:
    std::string name_;
    value payload_;
};

/// What receive() yields.
using message = std::variant<http_request, http_disconnect, websocket_connect, websocket_receive, websocket_disconnect,
                             custom_message>;

// ---- sent --------------------------------------------------------------------------------------------------------
/// Begins a response. Content-Length and Connection are the server's business where they are not given; an invalid
/// header throws std::invalid_argument here.
class http_response_start {
public:
    explicit http_response_start(int status) noexcept : status_(status) {}
    http_response_start& header(std::string_view name, std::string_view content) & {
        headers_.add(name, content);
        return *this;
    }
    http_response_start&& header(std::string_view name, std::string_view content) && {
        headers_.add(name, content);
        return std::move(*this);
    }
    [[nodiscard]] int status() const noexcept { return status_; }
    [[nodiscard]] http::headers& headers() noexcept { return headers_; }
    [[nodiscard]] const http::headers& headers() const noexcept { return headers_; }

private:
    int status_;
    http::headers headers_;
};

/// A piece of the response's body; the last one, or the only one, has more_body false.
class http_response_body {
public:
    explicit http_response_body(std::string body = {}, bool more_body = false) noexcept
        : body_(std::move(body)), more_body_(more_body) {}
    [[nodiscard]] std::string& body() noexcept { return body_; }
    [[nodiscard]] const std::string& body() const noexcept { return body_; }
    [[nodiscard]] bool more_body() const noexcept { return more_body_; }

private:
    std::string body_;
    bool more_body_;
};

/// Completes the handshake, with one of the subprotocols the client offered or none.
class websocket_accept {
public:
    websocket_accept() noexcept = default;
    explicit websocket_accept(std::string subprotocol) noexcept : subprotocol_(std::move(subprotocol)) {}
    websocket_accept&& header(std::string_view name, std::string_view content) && {
        headers_.add(name, content);
        return std::move(*this);
    }
    [[nodiscard]] const std::string& subprotocol() const noexcept { return subprotocol_; }
    [[nodiscard]] http::headers& headers() noexcept { return headers_; }

private:
    std::string subprotocol_;
    http::headers headers_;
};

/// A whole message, or a piece of one. One that goes to many is encoded once and shared.
class websocket_send {
public:
    [[nodiscard]] static websocket_send text(std::string data) noexcept { return {std::move(data), true}; }
    [[nodiscard]] static websocket_send binary(std::string data) noexcept { return {std::move(data), false}; }
    /// A message in pieces; the last has `more` false. No other message may come between (std::logic_error).
    [[nodiscard]] static websocket_send text_piece(std::string data, bool more) noexcept {
        return {std::move(data), true, true, more};
    }
    [[nodiscard]] static websocket_send binary_piece(std::string data, bool more) noexcept {
        return {std::move(data), false, true, more};
    }
    explicit websocket_send(std::shared_ptr<const websocket::encoded_message> encoded) noexcept
        : encoded_(std::move(encoded)) {}

    [[nodiscard]] const std::string& data() const noexcept { return data_; }
    [[nodiscard]] bool is_text() const noexcept { return is_text_; }
    [[nodiscard]] bool is_piece() const noexcept { return is_piece_; }
    [[nodiscard]] bool more() const noexcept { return more_; }
    /// Null for a message that was not encoded before.
    [[nodiscard]] const websocket::encoded_message* encoded() const noexcept { return encoded_.get(); }

private:
    websocket_send(std::string data, bool is_text, bool is_piece = false, bool more = false) noexcept
        : data_(std::move(data)), is_text_(is_text), is_piece_(is_piece), more_(more) {}

    std::string data_;
    bool is_text_ = true;
    bool is_piece_ = false;
    bool more_ = false;
    std::shared_ptr<const websocket::encoded_message> encoded_;
};

/// Before the handshake is complete: refuses it with 403. After: begins the close handshake.
class websocket_close {
public:
    explicit websocket_close(std::uint16_t code = websocket::close_code::normal, std::string reason = {}) noexcept
        : code_(code), reason_(std::move(reason)) {}
    [[nodiscard]] std::uint16_t code() const noexcept { return code_; }
    [[nodiscard]] const std::string& reason() const noexcept { return reason_; }

private:
    std::uint16_t code_;
    std::string reason_;
};
}  // namespace ferry::inline FERRY_ABI::app
