// ferry/data/digest.hpp - message digests
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI {
/// SHA-1 (FIPS 180-4), which the WebSocket handshake prescribes. It is no protection against anyone: collisions are
/// cheap to make.
///
/// Every digest has these members and constants, so that code over digests takes any of them.
///
/// Thread-safety  As int.
/// Cost           100 octets of state, no allocation but for the result.
class sha1 {
public:
    static constexpr std::size_t digest_bytes = 20;
    static constexpr std::size_t block_bytes = 64;

    /// The digest of `octets` in one go.
    [[nodiscard]] static std::string of(std::string_view octets);

    sha1& update(std::string_view octets) noexcept;
    /// The digest, as digest_bytes octets, of all that was given to update(). The object then begins anew.
    [[nodiscard]] std::string finish();

private:
    void compress(const unsigned char* block) noexcept;

    std::array<std::uint32_t, 5> state_ = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    std::uint64_t bytes_ = 0;                         // in all
    std::array<unsigned char, block_bytes> block_{};  // the first bytes_ % block_bytes are waiting
};

// ---- implementation ---------------------------------------------------------------
inline std::string sha1::of(std::string_view octets) { return sha1().update(octets).finish(); }

inline sha1& sha1::update(std::string_view octets) noexcept {
    while (!octets.empty()) {
        const std::size_t waiting = bytes_ % block_bytes;
        const std::size_t taken = std::min(octets.size(), block_bytes - waiting);
        std::memcpy(block_.data() + waiting, octets.data(), taken);
        bytes_ += taken;
        octets.remove_prefix(taken);
        if (waiting + taken == block_bytes) compress(block_.data());
    }
    return *this;
}

inline std::string sha1::finish() {
    const std::uint64_t bits = bytes_ * 8;
    // One bit, zeros up to eight octets before the end of a block, and the length in these eight.
    char padding[block_bytes + 8] = {static_cast<char>(0x80)};
    const std::size_t size = 1 + (block_bytes + 55 - bytes_ % block_bytes) % block_bytes;
    for (std::size_t i = 0; i < 8; ++i) {
        padding[size + i] = static_cast<char>(static_cast<unsigned char>(bits >> (56 - 8 * i)));
    }
    update(std::string_view(padding, size + 8));
    std::string digest;
    for (const std::uint32_t word : state_) {
        for (int shift = 24; shift >= 0; shift -= 8) {
            digest += static_cast<char>(static_cast<unsigned char>(word >> shift));
        }
    }
    *this = sha1();
    return digest;
}

inline void sha1::compress(const unsigned char* block) noexcept {
    std::array<std::uint32_t, 80> w;
    for (std::size_t i = 0; i < 16; ++i) {
        w[i] = std::uint32_t{block[4 * i]} << 24 | std::uint32_t{block[4 * i + 1]} << 16 |
               std::uint32_t{block[4 * i + 2]} << 8 | std::uint32_t{block[4 * i + 3]};
    }
    for (std::size_t i = 16; i < 80; ++i) w[i] = std::rotl(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);

    auto [a, b, c, d, e] = state_;
    const auto round = [&](std::uint32_t f, std::uint32_t constant, std::uint32_t word) {
        const std::uint32_t next = std::rotl(a, 5) + f + e + constant + word;
        e = d;
        d = c;
        c = std::rotl(b, 30);
        b = a;
        a = next;
    };
    for (std::size_t i = 0; i < 20; ++i) round((b & c) | (~b & d), 0x5A827999, w[i]);
    for (std::size_t i = 20; i < 40; ++i) round(b ^ c ^ d, 0x6ED9EBA1, w[i]);
    for (std::size_t i = 40; i < 60; ++i) round((b & c) | (b & d) | (c & d), 0x8F1BBCDC, w[i]);
    for (std::size_t i = 60; i < 80; ++i) round(b ^ c ^ d, 0xCA62C1D6, w[i]);
    state_ = {state_[0] + a, state_[1] + b, state_[2] + c, state_[3] + d, state_[4] + e};
}
}  // namespace ferry::inline FERRY_ABI
