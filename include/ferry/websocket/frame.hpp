// ferry/websocket/frame.hpp - one frame on the wire (RFC 6455 section 5.2)
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI::websocket {
enum class opcode : std::uint8_t { continuation = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 };

enum class role : std::uint8_t { server, client };

/// What closed a connection (RFC 6455 7.4.1); 3000 to 4999 are for libraries and applications to define.
namespace close_code {
inline constexpr std::uint16_t normal = 1000;
inline constexpr std::uint16_t going_away = 1001;
inline constexpr std::uint16_t protocol_error = 1002;
inline constexpr std::uint16_t unsupported_data = 1003;
inline constexpr std::uint16_t no_code = 1005;   // never on the wire: the close frame had no code
inline constexpr std::uint16_t abnormal = 1006;  // never on the wire: the connection ended without a close frame
inline constexpr std::uint16_t invalid_text = 1007;
inline constexpr std::uint16_t policy_violation = 1008;
inline constexpr std::uint16_t message_too_big = 1009;
inline constexpr std::uint16_t internal_error = 1011;
inline constexpr std::uint16_t service_restart = 1012;
inline constexpr std::uint16_t try_again_later = 1013;
}  // namespace close_code

/// Whether a close frame may carry this code: defined by the RFC, registered with IANA since, or private.
[[nodiscard]] constexpr bool valid_close_code(std::uint16_t code) noexcept {
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

/// The payload of a control frame is never longer (RFC 6455 5.5).
inline constexpr std::size_t max_control_bytes = 125;

using mask_key = std::array<unsigned char, 4>;

struct frame_header {
    bool fin = true;
    std::uint8_t reserved_bits = 0;  // RSV1 is 4, RSV2 is 2, RSV3 is 1
    opcode op = opcode::text;
    bool masked = false;
    std::uint64_t payload_bytes = 0;
    bool shortest = true;  // whether the length has the shortest of its three forms
    mask_key key{};        // all zero unless masked

    [[nodiscard]] constexpr bool is_control() const noexcept { return (static_cast<unsigned>(op) & 8U) != 0; }
};

/// How long the header is that begins with these two octets: 2 to 14.
[[nodiscard]] constexpr std::size_t frame_header_bytes(const char* two_octets) noexcept;
/// Reads frame_header_bytes() octets as they stand: any of the 16 opcodes, any length.
[[nodiscard]] frame_header decode_frame_header(const char* octets) noexcept;
/// What RFC 6455 forbids about a header that `receiver` got, whatever came before it; nullptr if nothing. `claimed` are
/// the reserved bits that a negotiated extension puts on the first frame of a message.
[[nodiscard]] const char* find_violation(const frame_header& header, role receiver, unsigned claimed = 0) noexcept;

/// Appends an unmasked frame, as servers send it.
void append_frame(std::string& out, opcode op, std::string_view payload, bool fin = true, unsigned reserved_bits = 0);
/// Appends a masked frame, as clients send it.
void append_masked_frame(std::string& out, opcode op, std::string_view payload, const mask_key& key, bool fin = true,
                         unsigned reserved_bits = 0);

/// Masks or unmasks octets in place, the first of which stands at `offset` in its frame's payload.
void apply_mask(char* octets, std::size_t count, const mask_key& key, std::uint64_t offset = 0) noexcept;

// ---- implementation ---------------------------------------------------------------
namespace detail {
inline constexpr unsigned length_is_16_bit = 126;
inline constexpr unsigned length_is_64_bit = 127;

inline void append_frame_header(std::string& out, unsigned first_octet, std::uint64_t payload_bytes,
                                const mask_key* key) {
    char header[14];
    std::size_t size = 0;
    const auto put = [&](std::uint64_t octet) {
        header[size++] = static_cast<char>(static_cast<unsigned char>(octet));
    };
    const std::uint64_t mask_bit = key != nullptr ? 0x80 : 0;
    put(first_octet);
    if (payload_bytes <= max_control_bytes) {
        put(mask_bit | payload_bytes);
    } else {
        const bool fits_16_bit = payload_bytes <= 0xFFFF;
        put(mask_bit | (fits_16_bit ? length_is_16_bit : length_is_64_bit));
        for (int shift = fits_16_bit ? 8 : 56; shift >= 0; shift -= 8) put(payload_bytes >> shift);
    }
    if (key != nullptr) {
        for (const unsigned char octet : *key) put(octet);
    }
    out.append(header, size);
}

[[nodiscard]] constexpr unsigned first_octet(opcode op, bool fin, unsigned reserved_bits) noexcept {
    return (fin ? 0x80U : 0U) | (reserved_bits & 7U) << 4 | static_cast<unsigned>(op);
}
}  // namespace detail

constexpr std::size_t frame_header_bytes(const char* two_octets) noexcept {
    const unsigned second = static_cast<unsigned char>(two_octets[1]);
    const unsigned length = second & 0x7F;
    const std::size_t extended = length == detail::length_is_64_bit ? 8 : length == detail::length_is_16_bit ? 2 : 0;
    return 2 + extended + (second >= 0x80 ? sizeof(mask_key) : 0);
}

inline frame_header decode_frame_header(const char* octets) noexcept {
    const auto octet = [octets](std::size_t at) {
        return static_cast<unsigned>(static_cast<unsigned char>(octets[at]));
    };
    frame_header header;
    header.fin = (octet(0) & 0x80) != 0;
    header.reserved_bits = static_cast<std::uint8_t>(octet(0) >> 4 & 7);
    header.op = static_cast<opcode>(octet(0) & 15);
    header.masked = (octet(1) & 0x80) != 0;
    header.payload_bytes = octet(1) & 0x7F;
    std::size_t at = 2;
    if (header.payload_bytes > max_control_bytes) {
        const bool has_16_bit = header.payload_bytes == detail::length_is_16_bit;
        header.payload_bytes = 0;
        for (const std::size_t end = has_16_bit ? 4 : 10; at < end; ++at) {
            header.payload_bytes = header.payload_bytes << 8 | octet(at);
        }
        header.shortest = header.payload_bytes > (has_16_bit ? max_control_bytes : 0xFFFF);
    }
    if (header.masked) std::memcpy(header.key.data(), octets + at, header.key.size());
    return header;
}

inline const char* find_violation(const frame_header& header, role receiver, unsigned claimed) noexcept {
    const bool begins_message = header.op == opcode::text || header.op == opcode::binary;
    const unsigned allowed = begins_message ? claimed : 0;  // RFC 7692 6: neither on control nor on further frames
    if ((header.reserved_bits & ~allowed) != 0) return "a reserved bit is set";
    if ((static_cast<unsigned>(header.op) & 7U) > 2) return "reserved opcode";
    if (header.masked != (receiver == role::server)) {
        return receiver == role::server ? "a client's frame must be masked" : "a server's frame must not be masked";
    }
    if (header.is_control() && !header.fin) return "fragmented control frame";
    if (header.is_control() && header.payload_bytes > max_control_bytes) return "control frame above 125 bytes";
    if (!header.shortest) return "length not in its shortest form";
    if (header.payload_bytes >> 63 != 0) return "length above 63 bits";
    return nullptr;
}

inline void append_frame(std::string& out, opcode op, std::string_view payload, bool fin, unsigned reserved_bits) {
    detail::append_frame_header(out, detail::first_octet(op, fin, reserved_bits), payload.size(), nullptr);
    out.append(payload);
}

inline void append_masked_frame(std::string& out, opcode op, std::string_view payload, const mask_key& key, bool fin,
                                unsigned reserved_bits) {
    detail::append_frame_header(out, detail::first_octet(op, fin, reserved_bits), payload.size(), &key);
    out.append(payload);
    apply_mask(out.data() + (out.size() - payload.size()), payload.size(), key);
}

inline void apply_mask(char* octets, std::size_t count, const mask_key& key, std::uint64_t offset) noexcept {
    mask_key turned;
    for (std::size_t i = 0; i < turned.size(); ++i) turned[i] = key[(offset + i) % key.size()];
    const std::uint64_t half = std::bit_cast<std::uint32_t>(turned);
    const std::uint64_t mask = half << 32 | half;  // the same eight octets in either byte order
    char* const end = octets + count;
    std::array<std::uint64_t, 4> words;  // of a known number, so that every optimiser makes vectors of them
    for (; static_cast<std::size_t>(end - octets) >= sizeof words; octets += sizeof words) {
        std::memcpy(words.data(), octets, sizeof words);
        for (std::uint64_t& word : words) word ^= mask;
        std::memcpy(octets, words.data(), sizeof words);
    }
    for (; end - octets >= 8; octets += 8) {
        std::memcpy(words.data(), octets, 8);
        words[0] ^= mask;
        std::memcpy(octets, words.data(), 8);
    }
    for (std::size_t i = 0; octets != end; ++octets, ++i) {
        *octets = static_cast<char>(static_cast<unsigned char>(*octets) ^ turned[i % turned.size()]);
    }
}
}  // namespace ferry::inline FERRY_ABI::websocket
