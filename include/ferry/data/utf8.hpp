// ferry/data/utf8.hpp - whether octets are UTF-8, told at the first octet that is wrong
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace ferry::inline FERRY_ABI {
/// Checks text that arrives in pieces, cut anywhere, against RFC 3629: no overlong form, no surrogate, nothing above
/// U+10FFFF.
///
/// Thread-safety  As int.
/// Cost           Three bytes; each octet is looked at once, ASCII eight at a time. Never allocates.
class utf8_validator {
public:
    /// False as soon as no continuation can make the text valid; the validator is spent then.
    [[nodiscard]] bool feed(std::string_view octets) noexcept;
    /// Whether the text may end here: not inside a code point.
    [[nodiscard]] bool complete() const noexcept { return missing_ == 0; }

private:
    [[nodiscard]] bool lead(unsigned char octet) noexcept;

    std::uint8_t missing_ = 0;     // octets that the code point still needs
    std::uint8_t lowest_ = 0x80;   // bounds of its next octet: only the second one of a
    std::uint8_t highest_ = 0xBF;  // code point may have narrower ones (RFC 3629 section 4)
};

[[nodiscard]] inline bool is_utf8(std::string_view octets) noexcept {
    utf8_validator check;
    return check.feed(octets) && check.complete();
}

// ---- implementation ---------------------------------------------------------------
namespace detail {
/// Past the ASCII octets at the front, or most of them.
inline const char* skip_ascii(const char* at, const char* end) noexcept {
    constexpr std::uint64_t high_bits = 0x8080808080808080U;
    std::array<std::uint64_t, 4> words;
    for (; static_cast<std::size_t>(end - at) >= sizeof words; at += sizeof words) {
        std::memcpy(words.data(), at, sizeof words);
        if (((words[0] | words[1] | words[2] | words[3]) & high_bits) != 0) break;
    }
    for (; end - at >= 8; at += 8) {
        std::memcpy(words.data(), at, 8);
        if ((words[0] & high_bits) != 0) break;
    }
    return at;
}
}  // namespace detail

inline bool utf8_validator::feed(std::string_view octets) noexcept {
    const char* at = octets.data();
    const char* const end = at + octets.size();
    while (at != end) {
        if (missing_ == 0) {
            at = detail::skip_ascii(at, end);
            if (at == end) break;
        }
        const auto octet = static_cast<unsigned char>(*at++);
        if (missing_ == 0) {
            if (octet >= 0x80 && !lead(octet)) return false;
            continue;
        }
        if (octet < lowest_ || octet > highest_) return false;
        --missing_;
        lowest_ = 0x80;
        highest_ = 0xBF;
    }
    return true;
}

inline bool utf8_validator::lead(unsigned char octet) noexcept {
    if (octet < 0xC2 || octet > 0xF4) return false;  // a continuation, an overlong form, above U+10FFFF
    if (octet < 0xE0) {
        missing_ = 1;
    } else if (octet < 0xF0) {
        missing_ = 2;
        if (octet == 0xE0) lowest_ = 0xA0;   // below is overlong
        if (octet == 0xED) highest_ = 0x9F;  // above are the surrogates
    } else {
        missing_ = 3;
        if (octet == 0xF0) lowest_ = 0x90;   // below is overlong
        if (octet == 0xF4) highest_ = 0x8F;  // above is beyond U+10FFFF
    }
    return true;
}
}  // namespace ferry::inline FERRY_ABI
