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
/// Cost           Three bytes; each octet is looked at once, in blocks that compilers turn into vectors where the text is
///                long enough. Never allocates.
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

inline constexpr std::size_t utf8_block_bytes = 64;

/// Whether each octet of a block may follow the three before it, which are of the same text (RFC 3629 section 4). What
/// the block leaves incomplete at its end is not judged. Eight octets to a word and without a branch: every condition is
/// computed in the topmost bit of its octet, so compilers can make vectors of the words.
inline bool valid_utf8_block(const char* block) noexcept {
    using words = std::array<std::uint64_t, utf8_block_bytes / 8>;
    std::array<words, 4> octets;  // [n]: the octets n places before
    for (std::size_t n = 0; n < 4; ++n) std::memcpy(octets[n].data(), block - n, utf8_block_bytes);
    std::uint64_t wrong = 0;
    for (std::size_t i = 0; i < octets[0].size(); ++i) {
        const std::uint64_t now = octets[0][i];
        const std::uint64_t last = octets[1][i];
        const std::uint64_t before_last = octets[2][i];
        const std::uint64_t first_of_four = octets[3][i];
        const std::uint64_t lead_2 = last & last << 1;    // 0xC0 and up
        const std::uint64_t lead_3 = lead_2 & last << 2;  // 0xE0 and up
        const std::uint64_t lead_4 = lead_3 & last << 3;  // 0xF0 and up
        const std::uint64_t continues = now & ~(now << 1);
        const std::uint64_t should = lead_2 | (before_last & before_last << 1 & before_last << 2) |
                                     (first_of_four & first_of_four << 1 & first_of_four << 2 & first_of_four << 3);
        wrong |= continues ^ should;

        const std::uint64_t bit_4 = last << 3;
        const std::uint64_t bit_3 = last << 4;
        const std::uint64_t bit_2 = last << 5;
        const std::uint64_t low_2 = last << 6 | last << 7;
        const std::uint64_t from_a0 = now << 2;             // of a continuation: 0xA0 and up
        const std::uint64_t from_90 = now << 2 | now << 3;  // 0x90 and up
        const std::uint64_t is_ed = ~(last << 6) & last << 7 & bit_2 & bit_3 & ~bit_4;
        wrong |= lead_2 & ~(last << 2 | bit_4 | bit_3 | bit_2 | last << 6);  // C0, C1
        wrong |= lead_4 & (bit_3 | (bit_2 & low_2));                         // F5 to FF
        wrong |= lead_3 & ~(bit_4 | bit_3 | bit_2 | low_2) & ~from_a0;       // E0, and overlong
        wrong |= lead_3 & is_ed & from_a0;                                   // ED, and a surrogate
        wrong |= lead_4 & ~(bit_3 | bit_2 | low_2) & ~from_90;               // F0, and overlong
        wrong |= lead_4 & bit_2 & from_90;                                   // F4, and above U+10FFFF
    }
    return (wrong & 0x8080808080808080U) == 0;
}
}  // namespace detail

inline bool utf8_validator::feed(std::string_view octets) noexcept {
    const char* const begin = octets.data();
    const char* const end = begin + octets.size();
    for (const char* at = begin; at != end;) {
        if (missing_ == 0) {
            at = detail::skip_ascii(at, end);
            if (at == end) break;
            if (at - begin >= 3 && static_cast<std::size_t>(end - at) >= detail::utf8_block_bytes) {
                do {
                    if (!detail::valid_utf8_block(at)) return false;
                    at += detail::utf8_block_bytes;
                } while (static_cast<std::size_t>(end - at) >= detail::utf8_block_bytes);
                // Back to the code point that the last block may have left incomplete, which is valid so far.
                while ((static_cast<unsigned char>(*--at) & 0xC0) == 0x80) continue;
            }
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
