// ferry/websocket/client_handshake.hpp - asks a server for a WebSocket, and checks its answer (RFC 6455 section 4.1)
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/data/base64.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/websocket/handshake.hpp>
#include <ferry/websocket/url.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
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
/// A server is trusted no more than a client is: the answer must be a 101 whose every field is as asked for, in at most
/// 16 KiB and 100 fields.
///
/// Errors  What the server does wrong is a result. The setters throw std::invalid_argument.
class client_handshake {
public:
    enum class result : std::uint8_t {
        need_more,
        accepted,
        refused,  // by the server, see status(); or by this client, see why()
    };

    static constexpr std::size_t max_head_bytes = 16 * 1024;
    static constexpr std::size_t max_head_fields = 100;
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
    [[nodiscard]] int status() const noexcept { return status_; }
    [[nodiscard]] const http::headers& headers() const noexcept { return headers_; }
    /// Why it was refused.
    [[nodiscard]] std::string_view why() const noexcept { return why_; }

private:
    result refuse(std::string_view why) noexcept {
        why_ = why;
        return result_ = result::refused;
    }
    [[nodiscard]] bool parse_head(std::string_view head);
    [[nodiscard]] bool parse_status_line(std::string_view line) noexcept;
    [[nodiscard]] result check();

    url where_;
    std::string key_;
    std::vector<std::string> offered_;
    http::headers extra_;

    std::string received_;        // of the head that is being read
    std::size_t head_bytes_ = 0;  // of the heads before it: those of interim responses
    result result_ = result::need_more;
    int status_ = 0;
    bool has_101_ = false;  // HTTP/1.1 or later
    http::headers headers_;
    std::string chosen_;
    std::string_view why_;
};

// ---- implementation ---------------------------------------------------------------
inline client_handshake::client_handshake(url where, const nonce& random)
    : where_(std::move(where)),
      key_(base64::encode(std::string_view(reinterpret_cast<const char*>(random.data()), random.size()))) {}

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
    while (result_ == result::need_more && !octets.empty()) {
        const std::size_t before = received_.size();
        const std::size_t room = max_head_bytes - head_bytes_ - before;
        received_.append(octets.substr(0, room));
        const std::size_t end = received_.find("\r\n\r\n", before < 3 ? 0 : before - 3);
        if (end == std::string::npos) {
            octets.remove_prefix(received_.size() - before);
            if (octets.empty() && received_.size() - before < room) return result_;
            return refuse("the server's answer is too long");
        }
        octets.remove_prefix(end + 4 - before);
        head_bytes_ += end + 4;
        const std::string head = received_.substr(0, end + 2);
        std::string().swap(received_);
        if (!parse_head(head)) return refuse("the server's answer is not HTTP");
        if (status_ != 101 && status_ < 200) continue;  // RFC 9110 15.2: an interim response, which says nothing here
        return check();
    }
    return result_;
}

/// Lines that end in CR LF: a status line and fields. `headers` refuses what is malformed: RFC 9112 5 strictly, no
/// folding, no control octets, no blank before a colon.
inline bool client_handshake::parse_head(std::string_view head) {
    headers_.clear();
    bool first = true;
    while (!head.empty()) {
        const std::size_t end = head.find("\r\n");
        const std::string_view line = head.substr(0, end);
        head.remove_prefix(end + 2);
        if (std::exchange(first, false)) {
            if (!parse_status_line(line)) return false;
            continue;
        }
        const std::size_t colon = line.find(':');
        if (colon == std::string_view::npos || headers_.size() == max_head_fields) return false;
        std::string_view value = line.substr(colon + 1);
        const std::size_t begin = value.find_first_not_of(" \t");
        value = begin == std::string_view::npos ? std::string_view()
                                                : value.substr(begin, value.find_last_not_of(" \t") + 1 - begin);
        if (!http::valid_header_name(line.substr(0, colon)) || !http::valid_header_value(value)) return false;
        headers_.add(line.substr(0, colon), value);
    }
    return true;
}

/// RFC 9112 4: HTTP/1.1 101 Switching Protocols
inline bool client_handshake::parse_status_line(std::string_view line) noexcept {
    const auto digit = [line](std::size_t at) { return line[at] >= '0' && line[at] <= '9'; };
    if (line.size() < 13 || !line.starts_with("HTTP/1.") || !digit(7) || line[8] != ' ' || line[12] != ' ')
        return false;
    if (!digit(9) || !digit(10) || !digit(11) || line[9] == '0') return false;
    for (const char c : line.substr(13)) {
        const auto octet = static_cast<unsigned char>(c);
        if ((octet < 0x20 && c != '\t') || octet == 0x7F) return false;
    }
    status_ = 100 * (line[9] - '0') + 10 * (line[10] - '0') + (line[11] - '0');
    has_101_ = status_ == 101 && line[7] != '0';
    return true;
}

inline client_handshake::result client_handshake::check() {
    if (!has_101_) return refuse("the server has refused the WebSocket");
    const auto is_one = [this](std::string_view name, std::string_view value) {
        return headers_.count(name) == 1 && detail::in_lower_case(*headers_.find(name)) == value;
    };
    if (!is_one("upgrade", "websocket")) return refuse("the server's Upgrade is not \"websocket\"");
    if (!headers_.contains_token("connection", "upgrade")) return refuse("the server's Connection has no \"Upgrade\"");
    if (headers_.count("sec-websocket-accept") != 1 || headers_.find("sec-websocket-accept") != accept_key(key_)) {
        return refuse("the server's Sec-WebSocket-Accept answers another request");
    }
    // RFC 9110 8.6, RFC 9112 6.1: a 101 has no body; some servers say so.
    if (headers_.contains("transfer-encoding") ||
        (headers_.contains("content-length") && !is_one("content-length", "0"))) {
        return refuse("the server's 101 announces a body");
    }
    const auto extensions = detail::token_list(headers_, "sec-websocket-extensions");
    if (!extensions || !extensions->empty()) return refuse("the server uses an extension that was not offered");
    if (headers_.contains("sec-websocket-protocol")) {
        const std::string_view name = *headers_.find("sec-websocket-protocol");
        if (headers_.count("sec-websocket-protocol") != 1 ||
            std::find(offered_.begin(), offered_.end(), name) == offered_.end()) {
            return refuse("the server chose a subprotocol that was not offered");
        }
        chosen_ = name;
    }
    return result_ = result::accepted;
}
}  // namespace ferry::inline FERRY_ABI::websocket
