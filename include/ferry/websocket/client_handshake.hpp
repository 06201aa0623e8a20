// ferry/websocket/client_handshake.hpp - asks a server for a WebSocket, and checks its answer (RFC 6455 section 4.1)
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/data/base64.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/http/response_limits.hpp>
#include <ferry/http/response_parser.hpp>
#include <ferry/websocket/handshake.hpp>
#include <ferry/websocket/url.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ferry::inline FERRY_ABI::websocket {
/// A client's side of the handshake, as a function of octets: request() goes out, what comes back goes into read(), and
/// how it is cut does not matter.
///
///     websocket::client_handshake opening(websocket::url::parse("ws://127.0.0.1:8000/chat"), random_octets);
///     opening.subprotocol("chat.v2");
///
/// A server is trusted no more than a client is: the answer is read as strictly as any response, and must be a 101 whose
/// every field is as asked for.
///
/// Errors  What the server does wrong is a result. The setters throw std::invalid_argument.
class client_handshake {
public:
    enum class result : std::uint8_t {
        need_more,
        accepted,
        refused,  // by the server, see status(); or by this client, see why()
    };

    static constexpr http::response_limits limits = http::response_limits().max_header_bytes(16 * 1024);
    using nonce = std::array<unsigned char, 16>;

    /// Takes 16 random octets, new ones for each handshake: no cache may know the answer.
    client_handshake(url where, const nonce& random);

    /// Offers a subprotocol, the preferred one first.
    client_handshake& subprotocol(std::string_view name);
    /// Adds a field to the request. Those of the handshake itself are not for the caller to set.
    client_handshake& header(std::string_view name, std::string_view value);

    /// The octets of the request.
    [[nodiscard]] std::string request() const;
    /// Takes octets of the answer off the front. Once accepted, what is left are the first frames.
    [[nodiscard]] result read(std::string_view& octets);

    /// The one that the server chose; empty if none.
    [[nodiscard]] const std::string& subprotocol() const noexcept { return chosen_; }
    /// Of the answer; 0 while there is none, or none that can be read.
    [[nodiscard]] int status() const noexcept { return parser_.head().status(); }
    [[nodiscard]] const http::headers& headers() const noexcept { return parser_.head().headers(); }
    /// Why it was refused.
    [[nodiscard]] std::string_view why() const noexcept { return why_; }

private:
    result refuse(std::string_view why) noexcept {
        why_ = why;
        return result_ = result::refused;
    }
    [[nodiscard]] result check();

    url where_;
    std::string key_;
    std::vector<std::string> offered_;
    http::headers extra_;

    http::response_parser parser_;
    result result_ = result::need_more;
    std::string chosen_;
    std::string_view why_;
};

// ---- implementation ---------------------------------------------------------------
inline client_handshake::client_handshake(url where, const nonce& random)
    : where_(std::move(where)),
      key_(base64::encode(std::string_view(reinterpret_cast<const char*>(random.data()), random.size()))),
      parser_(limits) {
    parser_.begin();
}

inline client_handshake& client_handshake::subprotocol(std::string_view name) {
    if (!http::valid_header_name(name)) {  // which is a token, too
        throw std::invalid_argument("websocket: subprotocol \"" + std::string(name) + "\" is no token");
    }
    if (std::find(offered_.begin(), offered_.end(), name) != offered_.end()) {
        throw std::invalid_argument("websocket: subprotocol \"" + std::string(name) + "\" is offered twice");
    }
    offered_.emplace_back(name);
    return *this;
}

inline client_handshake& client_handshake::header(std::string_view name, std::string_view value) {
    const std::string lowered = detail::in_lower_case(name);
    if (detail::belongs_to_handshake(name) || lowered == "host" || lowered == "content-length" ||
        lowered == "transfer-encoding") {
        throw std::invalid_argument("websocket: header \"" + std::string(name) +
                                    "\" belongs to the handshake, the program cannot set it");
    }
    extra_.add(name, value);
    return *this;
}

inline std::string client_handshake::request() const {
    std::string text = "GET " + where_.target() + " HTTP/1.1\r\nHost: " + where_.authority() +
                       "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " + key_ +
                       "\r\nSec-WebSocket-Version: 13\r\n";
    for (std::size_t i = 0; i < offered_.size(); ++i) {
        text.append(i == 0 ? "Sec-WebSocket-Protocol: " : ", ").append(offered_[i]);
    }
    if (!offered_.empty()) text.append("\r\n");
    for (const http::header& field : extra_) text.append(field.name).append(": ").append(field.value).append("\r\n");
    return text.append("\r\n");
}

inline client_handshake::result client_handshake::read(std::string_view& octets) {
    while (result_ == result::need_more) {
        switch (parser_.read(octets)) {
            case http::response_event::need_more:
                return result_;
            case http::response_event::error:
                return refuse(parser_.error().reason());
            case http::response_event::head:
                return check();
            default:  // an interim response, which says nothing here (RFC 9110 15.2)
                break;
        }
    }
    return result_;
}

inline client_handshake::result client_handshake::check() {
    const http::headers& fields = headers();
    if (status() != 101 || parser_.head().minor_version() == 0) return refuse("the server has refused the WebSocket");
    if (fields.count("upgrade") != 1 || detail::in_lower_case(*fields.find("upgrade")) != "websocket") {
        return refuse("the server's Upgrade is not \"websocket\"");
    }
    if (!fields.contains_token("connection", "upgrade")) return refuse("the server's Connection has no \"Upgrade\"");
    if (fields.count("sec-websocket-accept") != 1 || fields.find("sec-websocket-accept") != accept_key(key_)) {
        return refuse("the server's Sec-WebSocket-Accept answers another request");
    }
    const auto extensions = detail::token_list(fields, "sec-websocket-extensions");
    if (!extensions || !extensions->empty()) return refuse("the server uses an extension that was not offered");
    if (fields.contains("sec-websocket-protocol")) {
        const std::string_view name = *fields.find("sec-websocket-protocol");
        if (fields.count("sec-websocket-protocol") != 1 ||
            std::find(offered_.begin(), offered_.end(), name) == offered_.end()) {
            return refuse("the server chose a subprotocol that was not offered");
        }
        chosen_ = name;
    }
    return result_ = result::accepted;
}
}  // namespace ferry::inline FERRY_ABI::websocket
