// ferry/data/base64.hpp - octets as text: RFC 4648 section 4
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI::base64 {
/// With padding, without line breaks.
[[nodiscard]] std::string encode(std::string_view octets);

/// Accepts exactly what encode() gives: the padding is there, nothing else is, and the bits it leaves over are zero.
/// So two different texts never mean the same octets.
[[nodiscard]] std::optional<std::string> decode(std::string_view text);

// ---- implementation ---------------------------------------------------------------
namespace detail {
inline constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
inline constexpr std::uint8_t not_a_digit = 64;

inline constexpr std::array<std::uint8_t, 256> digit_of = [] {
    std::array<std::uint8_t, 256> digits{};
    for (std::uint8_t& digit : digits) digit = not_a_digit;
    for (std::size_t i = 0; i < alphabet.size(); ++i) {
        digits[static_cast<unsigned char>(alphabet[i])] = static_cast<std::uint8_t>(i);
    }
    return digits;
}();
}  // namespace detail

inline std::string encode(std::string_view octets) {
    std::string out;
    out.reserve((octets.size() + 2) / 3 * 4);
    for (; !octets.empty(); octets.remove_prefix(octets.size() < 3 ? octets.size() : 3)) {
        std::uint32_t bits = 0;
        for (std::size_t i = 0; i < 3; ++i) {
            bits = bits << 8 | (i < octets.size() ? static_cast<unsigned char>(octets[i]) : 0U);
        }
        for (std::size_t i = 0; i < 4; ++i) {
            out += i <= octets.size() ? detail::alphabet[bits >> (18 - 6 * i) & 63] : '=';
        }
    }
    return out;
}

inline std::optional<std::string> decode(std::string_view text) {
    if (text.size() % 4 != 0) return std::nullopt;
    std::size_t padding = 0;
    while (padding < 2 && !text.empty() && text.back() == '=') {
        text.remove_suffix(1);
        ++padding;
    }
    std::string out;
    out.reserve(text.size() * 3 / 4);
    std::uint32_t bits = 0;
    std::uint32_t held = 0;  // how many of the low bits are not written yet
    for (const char c : text) {
        const std::uint8_t digit = detail::digit_of[static_cast<unsigned char>(c)];
        if (digit == detail::not_a_digit) return std::nullopt;
        bits = bits << 6 | digit;
        held += 6;
        if (held < 8) continue;
        held -= 8;
        out += static_cast<char>(static_cast<unsigned char>(bits >> held & 0xFF));
    }
    if ((bits & ((1U << held) - 1)) != 0) return std::nullopt;
    return out;
}
}  // namespace ferry::inline FERRY_ABI::base64
