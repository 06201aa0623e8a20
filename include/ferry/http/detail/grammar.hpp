// ferry/http/detail/grammar.hpp - the octet classes of RFC 9110, RFC 9112 and RFC 3986
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ferry::inline FERRY_ABI::http::detail {
// Each is a bit, so that one table answers for all of them.
inline constexpr std::uint8_t token_octet = 1;   // RFC 9110 5.6.2: tchar
inline constexpr std::uint8_t value_octet = 2;   // RFC 9110 5.5: field-vchar, SP and HTAB
inline constexpr std::uint8_t target_octet = 4;  // visible ASCII without "#"; browsers send | { } ^ unescaped
inline constexpr std::uint8_t host_octet = 8;    // RFC 3986 3.2.2: reg-name without its percent escapes

constexpr std::array<std::uint8_t, 256> make_octet_table() noexcept {
    constexpr std::string_view token_marks = "!#$%&'*+-.^_`|~";
    constexpr std::string_view host_marks = "-._~!$&'()*+,;=";
    std::array<std::uint8_t, 256> table{};
    for (unsigned octet = 0; octet < 256; ++octet) {
        const char c = static_cast<char>(octet);
        const bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        unsigned classes = 0;
        if (alphanumeric || token_marks.find(c) != std::string_view::npos) classes |= token_octet;
        if (alphanumeric || host_marks.find(c) != std::string_view::npos) classes |= host_octet;
        if (c == '\t' || (octet >= 0x20 && octet != 0x7F)) classes |= value_octet;
        if (octet > 0x20 && octet < 0x7F && c != '#') classes |= target_octet;
        table[octet] = static_cast<std::uint8_t>(classes);
    }
    return table;
}
inline constexpr std::array<std::uint8_t, 256> octet_table = make_octet_table();

[[nodiscard]] constexpr bool is(char c, std::uint8_t wanted) noexcept {
    return (octet_table[static_cast<unsigned char>(c)] & wanted) != 0;
}

/// The first octet in [at, end) that is not of the wanted class.
[[nodiscard]] constexpr const char* skip(const char* at, const char* end, std::uint8_t wanted) noexcept {
    while (at != end && is(*at, wanted)) ++at;
    return at;
}

[[nodiscard]] constexpr bool all(std::string_view text, std::uint8_t wanted) noexcept {
    const char* const end = text.data() + text.size();
    return skip(text.data(), end, wanted) == end;
}

[[nodiscard]] constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

/// RFC 9110 5.6.3: only SP and HTAB are optional whitespace.
[[nodiscard]] constexpr bool is_whitespace(char c) noexcept { return c == ' ' || c == '\t'; }

/// 0 to 15, or -1 if `c` is no hexadecimal digit.
[[nodiscard]] constexpr int hex_value(char c) noexcept {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

[[nodiscard]] constexpr char lower(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

[[nodiscard]] constexpr bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (lower(a[i]) != lower(b[i])) return false;
    }
    return true;
}

[[nodiscard]] constexpr std::string_view trim(std::string_view text) noexcept {
    while (!text.empty() && is_whitespace(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_whitespace(text.back())) text.remove_suffix(1);
    return text;
}

/// Cuts the text before the first `separator`, which is dropped, off the front of `rest`.
[[nodiscard]] constexpr std::string_view cut(std::string_view& rest, char separator) noexcept {
    const std::size_t at = rest.find(separator);
    const std::string_view front = rest.substr(0, at);
    rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + 1);
    return front;
}

/// Whether a comma-separated list (RFC 9110 5.6.1) has the member `token`, in any case.
[[nodiscard]] constexpr bool list_contains(std::string_view list, std::string_view token) noexcept {
    while (!list.empty()) {
        if (equal_ignoring_case(trim(cut(list, ',')), token)) return true;
    }
    return false;
}
}  // namespace ferry::inline FERRY_ABI::http::detail
