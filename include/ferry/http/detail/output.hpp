// ferry/http/detail/output.hpp - the pieces that messages are written with
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/detail/framing.hpp>
#include <ferry/http/headers.hpp>

#include <charconv>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI::http::detail {
inline void append_number(std::string& out, std::uint64_t value, int base) {
    char digits[20];
    const std::to_chars_result result = std::to_chars(digits, digits + sizeof digits, value, base);
    out.append(digits, result.ptr);
}

inline void append_field(std::string& out, std::string_view name, std::string_view value) {
    out.append(name).append(": ").append(value).append("\r\n");
}

/// RFC 9112 7.1. An empty chunk would be the last one, so nothing is written for it.
inline void append_chunk(std::string& out, std::string_view piece) {
    if (piece.empty()) return;
    append_number(out, piece.size(), 16);
    out.append("\r\n").append(piece).append("\r\n");
}

/// What the fields of a message to be written say of its length. Throws std::invalid_argument unless that is one number.
[[nodiscard]] inline std::optional<std::uint64_t> declared_length(const headers& fields) {
    const auto text = fields.find("content-length");
    if (!text) return std::nullopt;
    const std::optional<std::uint64_t> length = parse_length(*text);
    if (!length || fields.count("content-length") > 1) {
        throw std::invalid_argument("http: the Content-Length of a message must be one number of octets");
    }
    return length;
}
}  // namespace ferry::inline FERRY_ABI::http::detail
