// ferry/channels/names.hpp - which names channels and groups may have
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/data/utf8.hpp>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI {
/// In characters, of channel and group names alike; every part and '!' count.
inline constexpr std::size_t max_name_length = 99;

/// A group name is 1 to 99 of A-Z a-z 0-9 - _ . and nothing else. Throws std::invalid_argument, which names the limit.
void check_group_name(std::string_view name);

/// A channel name is the same, and may go on with one '!' and a local part: "chat.3f2a!17". The local part may be empty
/// and, beside the characters above, may hold everything UTF-8 has beyond ASCII. Throws std::invalid_argument, which
/// names the limit.
void check_channel_name(std::string_view name);

// ---- implementation ----------------------------------------------------------------------------------------------
namespace detail {
/// `name` may be anything: the message shows its beginning, in printable ASCII.
[[noreturn]] inline void throw_bad_name(const char* kind, std::string_view name, const std::string& problem) {
    std::string message = std::string(kind) + " name \"";
    for (const char letter : name.substr(0, max_name_length)) message += letter < ' ' || letter > '~' ? '?' : letter;
    message += name.size() > max_name_length ? "...\" " : "\" ";
    throw std::invalid_argument(message + problem);
}

[[nodiscard]] constexpr bool is_name_character(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
}

/// What group names and the part of a channel name before its '!' have in common.
inline void check_name(const char* kind, std::string_view name, std::string_view plain_part) {
    std::size_t length = 0;
    for (const char octet : name) length += (static_cast<unsigned char>(octet) & 0xC0) != 0x80;  // starts a character
    if (length == 0 || length > max_name_length) {
        throw_bad_name(
            kind, name,
            "has " + std::to_string(length) + " characters: 1 to " + std::to_string(max_name_length) + " are allowed");
    }
    if (plain_part.empty()) throw_bad_name(kind, name, "has nothing before its '!'");
    for (const char c : plain_part) {
        if (!is_name_character(c)) throw_bad_name(kind, name, "may hold only A-Z a-z 0-9 - _ .");
    }
}
}  // namespace detail

inline void check_group_name(std::string_view name) { detail::check_name("group", name, name); }

inline void check_channel_name(std::string_view name) {
    const std::string_view plain = name.substr(0, name.find('!'));
    detail::check_name("channel", name, plain);
    if (plain.size() == name.size()) return;
    const std::string_view local = name.substr(plain.size() + 1);
    for (const char c : local) {
        if (c == '!') detail::throw_bad_name("channel", name, "may hold at most one '!'");
        const bool beyond_ascii = (static_cast<unsigned char>(c) & 0x80) != 0;
        if (!beyond_ascii && !detail::is_name_character(c)) {
            detail::throw_bad_name("channel", name, "may hold after its '!' only A-Z a-z 0-9 - _ . and non-ASCII");
        }
    }
    if (!is_utf8(local)) detail::throw_bad_name("channel", name, "must be UTF-8 after its '!'");
}
}  // namespace ferry::inline FERRY_ABI
