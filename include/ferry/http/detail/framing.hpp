// ferry/http/detail/framing.hpp - decides, once per message, where its body ends
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/body_framing.hpp>
#include <ferry/http/detail/grammar.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/http/status.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

namespace ferry::inline FERRY_ABI::http::detail {
/// The value of a Content-Length: digits only, at most 19 of them, below 2^63.
[[nodiscard]] constexpr std::optional<std::uint64_t> parse_length(std::string_view text) noexcept {
    if (text.empty() || text.size() > 19) return std::nullopt;
    std::uint64_t value = 0;  // 19 digits fit
    for (const char c : text) {
        if (!is_digit(c)) return std::nullopt;
        value = 10 * value + static_cast<std::uint64_t>(c - '0');
    }
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
    return value;
}

/// Why a Transfer-Encoding other than "chunked" is refused. Only a list that ends in chunked, applied once, has a
/// length that can be found: its other codings are merely not implemented (RFC 9112 6.1). The rest is 400 (6.3).
[[nodiscard]] constexpr parse_error refuse_transfer_coding(std::string_view codings) noexcept {
    const std::size_t comma = codings.rfind(',');
    if (comma != std::string_view::npos && equal_ignoring_case(trim(codings.substr(comma + 1)), "chunked")) {
        const std::string_view others = trim(codings.substr(0, comma));
        if (!others.empty() && !list_contains(others, "chunked")) {
            return parse_error(501, "the only transfer coding implemented is chunked");
        }
    }
    return parse_error(400, "the transfer coding must be chunked, alone and once");
}

/// The one place that decides how a message with such fields is framed. It never guesses: whatever two implementations
/// could read differently (RFC 9112 11.2) is refused, and a refused message is the last one of its connection. The
/// framing is none where neither field is there.
[[nodiscard]] inline parse_error decide_framing(const headers& fields, int minor_version,
                                                body_framing& framing) noexcept {
    const std::size_t codings = fields.count("transfer-encoding");
    const std::size_t lengths = fields.count("content-length");
    framing = body_framing();
    if (codings != 0) {
        if (lengths != 0) return parse_error(400, "the message has both Transfer-Encoding and Content-Length");
        if (minor_version == 0) return parse_error(400, "Transfer-Encoding in an HTTP/1.0 message");
        if (codings > 1) return parse_error(400, "the message has more than one Transfer-Encoding");
        const std::string_view value = *fields.find("transfer-encoding");
        if (!equal_ignoring_case(value, "chunked")) return refuse_transfer_coding(value);
        framing = body_framing::chunked();
    } else if (lengths != 0) {
        if (lengths > 1) return parse_error(400, "the message has more than one Content-Length");
        const std::optional<std::uint64_t> length = parse_length(*fields.find("content-length"));
        if (!length) return parse_error(400, "the Content-Length is not a number of octets");
        framing = body_framing::of_length(*length);
    }
    return parse_error();
}

/// RFC 9112 9.3: "close" wins over everything, and HTTP/1.0 stays open only if it asks for it.
[[nodiscard]] inline bool allows_keep_alive(const headers& fields, int minor_version) noexcept {
    return !fields.contains_token("connection", "close") &&
           (minor_version >= 1 || fields.contains_token("connection", "keep-alive"));
}
}  // namespace ferry::inline FERRY_ABI::http::detail
