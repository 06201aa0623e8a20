// ferry/websocket/handshake.hpp - whether a request may become a WebSocket (RFC 6455 section 4.2)
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/data/base64.hpp>
#include <ferry/data/digest.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/http/request_head.hpp>
#include <ferry/websocket/origin.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace ferry::inline FERRY_ABI::websocket {
/// Which pages may connect. A browser sends its user's cookies along with a handshake from any page whatever, so a
/// page of another site is refused unless it is listed. A request without an Origin does not come from a page.
class handshake_options {
public:
    /// Whether clients reach this server by https: through its own TLS, or a proxy's. Pages of the same host have that
    /// scheme then. Default false.
    handshake_options& secure(bool by_https) noexcept {
        secure_ = by_https;
        return *this;
    }
    /// Lets pages of another site connect: "https://example.com". Throws std::invalid_argument for anything else than
    /// a scheme, a host and perhaps a port.
    handshake_options& allow_origin(std::string_view site);
    handshake_options& allow_any_origin() noexcept {
        any_origin_ = true;
        return *this;
    }

    [[nodiscard]] bool allows(std::string_view origin_field, std::string_view host) const;

private:
    std::vector<origin> origins_;
    bool secure_ = false;
    bool any_origin_ = false;
};

/// How to answer a request that does not become a WebSocket.
class handshake_refusal {
public:
    /// `reason` must have static storage.
    handshake_refusal(int status, std::string_view reason) noexcept : status_(status), reason_(reason) {}

    handshake_refusal& header(std::string_view name, std::string_view value) {
        headers_.add(name, value);
        return *this;
    }

    [[nodiscard]] int status() const noexcept { return status_; }
    [[nodiscard]] std::string_view reason() const noexcept { return reason_; }
    [[nodiscard]] const http::headers& headers() const noexcept { return headers_; }

private:
    int status_;
    std::string_view reason_;
    http::headers headers_;
};

/// A request that may become a WebSocket. Extensions that it offers are declined.
class handshake {
public:
    /// What the client offers, in its order of preference.
    [[nodiscard]] const std::vector<std::string>& subprotocols() const noexcept { return subprotocols_; }

    /// The fields of the 101 response, `extra` ones last. Throws std::invalid_argument for a subprotocol that the
    /// client did not offer, and for extra fields that belong to the handshake itself.
    [[nodiscard]] http::headers response(std::string_view subprotocol = {},
                                         const http::headers& extra = http::headers()) const;

private:
    friend std::variant<handshake, handshake_refusal> check_handshake(const http::request_head&,
                                                                      const handshake_options&);
    handshake() = default;

    std::string accept_;
    std::vector<std::string> subprotocols_;
};

/// Whether the request asks for a WebSocket, well or badly. Others are plain HTTP.
[[nodiscard]] bool wants_websocket(const http::request_head& request) noexcept;

/// Checks all that RFC 6455 4.2.1 asks of a handshake, and its origin. A request that is plain HTTP gets 426.
[[nodiscard]] std::variant<handshake, handshake_refusal> check_handshake(
    const http::request_head& request, const handshake_options& options = handshake_options());

/// The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key.
[[nodiscard]] std::string accept_key(std::string_view key);

// ---- implementation ---------------------------------------------------------------
namespace detail {
/// The tokens of all lines of a field; nothing if one of the members is no token. Empty members do not count
/// (RFC 9110 5.6.1.2).
[[nodiscard]] inline std::optional<std::vector<std::string>> token_list(const http::headers& fields,
                                                                        std::string_view name) {
    std::vector<std::string> tokens;
    for (const http::header& field : fields) {
        if (in_lower_case(field.name) != name) continue;
        for (std::size_t at = 0; at <= field.value.size();) {
            const std::size_t end = std::min(field.value.find(',', at), field.value.size());
            std::string_view member = field.value.substr(at, end - at);
            at = end + 1;
            const std::size_t begin = member.find_first_not_of(" \t");
            if (begin == std::string_view::npos) continue;
            member = member.substr(begin, member.find_last_not_of(" \t") + 1 - begin);
            if (!http::valid_header_name(member)) return std::nullopt;  // which is a token, too
            tokens.emplace_back(member);
        }
    }
    return tokens;
}

[[nodiscard]] inline bool has_duplicates(const std::vector<std::string>& names) {
    std::vector<std::string_view> sorted(names.begin(), names.end());
    std::sort(sorted.begin(), sorted.end());
    return std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end();
}

[[nodiscard]] inline bool belongs_to_handshake(std::string_view field_name) {
    const std::string name = in_lower_case(field_name);
    return name == "upgrade" || name == "connection" || name.starts_with("sec-websocket-");
}

[[nodiscard]] inline handshake_refusal upgrade_required(std::string_view reason) {
    handshake_refusal refusal(426, reason);
    refusal.header("Upgrade", "websocket").header("Connection", "Upgrade").header("Sec-WebSocket-Version", "13");
    return refusal;
}
}  // namespace detail

inline handshake_options& handshake_options::allow_origin(std::string_view site) {
    const std::optional<origin> parsed = origin::parse(site);
    if (!parsed) {
        throw std::invalid_argument("websocket: \"" + std::string(site) +
                                    "\" is no origin; write scheme and host, like https://example.com");
    }
    origins_.push_back(*parsed);
    return *this;
}

inline bool handshake_options::allows(std::string_view origin_field, std::string_view host) const {
    if (any_origin_) return true;
    const std::optional<origin> from = origin::parse(origin_field);
    if (!from) return false;
    return from == origin::of_host(secure_ ? "https" : "http", host) ||
           std::find(origins_.begin(), origins_.end(), *from) != origins_.end();
}

inline http::headers handshake::response(std::string_view subprotocol, const http::headers& extra) const {
    http::headers fields;
    fields.add("Upgrade", "websocket").add("Connection", "Upgrade").add("Sec-WebSocket-Accept", accept_);
    if (!subprotocol.empty()) {
        if (std::find(subprotocols_.begin(), subprotocols_.end(), subprotocol) == subprotocols_.end()) {
            throw std::invalid_argument("websocket: the client did not offer subprotocol \"" +
                                        std::string(subprotocol) + "\"");
        }
        fields.add("Sec-WebSocket-Protocol", subprotocol);
    }
    for (const http::header& field : extra) {
        if (detail::belongs_to_handshake(field.name)) {
            throw std::invalid_argument("websocket: header \"" + std::string(field.name) +
                                        "\" belongs to the handshake, the application cannot set it");
        }
        fields.add(field.name, field.value);
    }
    return fields;
}

inline bool wants_websocket(const http::request_head& request) noexcept {
    return request.headers().contains_token("upgrade", "websocket");
}

inline std::variant<handshake, handshake_refusal> check_handshake(const http::request_head& request,
                                                                  const handshake_options& options) {
    const http::headers& fields = request.headers();
    if (!wants_websocket(request)) return detail::upgrade_required("only WebSocket is spoken here");
    if (request.method() != "GET") {
        handshake_refusal refusal(405, "a WebSocket handshake is a GET");
        refusal.header("Allow", "GET");
        return refusal;
    }
    if (request.minor_version() == 0) return handshake_refusal(400, "a WebSocket handshake needs HTTP/1.1");
    if (!fields.contains_token("connection", "upgrade")) {
        return handshake_refusal(400, "Upgrade without \"Connection: Upgrade\"");
    }
    if (request.body().has_body()) return handshake_refusal(400, "a WebSocket handshake has no body");

    if (fields.count("sec-websocket-version") > 1) return handshake_refusal(400, "more than one Sec-WebSocket-Version");
    if (fields.find("sec-websocket-version") != "13") return detail::upgrade_required("WebSocket version 13 is needed");

    const std::string_view key = fields.find("sec-websocket-key").value_or(std::string_view());
    if (fields.count("sec-websocket-key") != 1 || base64::decode(key).value_or(std::string()).size() != 16) {
        return handshake_refusal(400, "Sec-WebSocket-Key must be one base64 text of 16 octets");
    }

    if (fields.count("origin") > 1) return handshake_refusal(400, "more than one Origin");
    const std::optional<std::string_view> from = fields.find("origin");
    if (from && !options.allows(*from, request.host()))
        return handshake_refusal(403, "the page's origin is not allowed");

    std::optional<std::vector<std::string>> subprotocols = detail::token_list(fields, "sec-websocket-protocol");
    if (!subprotocols) return handshake_refusal(400, "malformed Sec-WebSocket-Protocol");
    if (detail::has_duplicates(*subprotocols)) return handshake_refusal(400, "a subprotocol is offered twice");

    handshake accepted;
    accepted.accept_ = accept_key(key);
    accepted.subprotocols_ = std::move(*subprotocols);
    return accepted;
}

inline std::string accept_key(std::string_view key) {
    constexpr std::string_view guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";  // RFC 6455 1.3
    return base64::encode(sha1().update(key).update(guid).finish());
}
}  // namespace ferry::inline FERRY_ABI::websocket
