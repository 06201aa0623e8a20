// ferry/http/response_limits.hpp - what a response may cost
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>

namespace ferry::inline FERRY_ABI::http {
/// The limits of one response. Octets are counted as received, line ends and the like included.
class response_limits {
public:
    constexpr response_limits() noexcept = default;

    /// The status line. Default 8 KiB.
    constexpr response_limits& max_status_line_bytes(std::size_t bytes) noexcept {
        status_line_bytes_ = bytes;
        return *this;
    }
    /// The header section and the trailer section together. Default 32 KiB.
    constexpr response_limits& max_header_bytes(std::size_t bytes) noexcept {
        header_bytes_ = bytes;
        return *this;
    }
    /// Headers and trailers together. Default 100.
    constexpr response_limits& max_header_fields(std::size_t fields) noexcept {
        header_fields_ = fields;
        return *this;
    }
    /// All chunk extensions of one body together. Default 4 KiB.
    constexpr response_limits& max_chunk_extension_bytes(std::size_t bytes) noexcept {
        chunk_extension_bytes_ = bytes;
        return *this;
    }
    /// The body without its chunk framing. Not limited by default; refused as soon as a length says so.
    constexpr response_limits& max_body_bytes(std::uint64_t bytes) noexcept {
        body_bytes_ = bytes;
        return *this;
    }
    /// Interim responses (1xx) before the final one. Default 16.
    constexpr response_limits& max_interim_responses(std::size_t responses) noexcept {
        interim_responses_ = responses;
        return *this;
    }

    [[nodiscard]] constexpr std::size_t max_status_line_bytes() const noexcept { return status_line_bytes_; }
    [[nodiscard]] constexpr std::size_t max_header_bytes() const noexcept { return header_bytes_; }
    [[nodiscard]] constexpr std::size_t max_header_fields() const noexcept { return header_fields_; }
    [[nodiscard]] constexpr std::size_t max_chunk_extension_bytes() const noexcept { return chunk_extension_bytes_; }
    [[nodiscard]] constexpr std::uint64_t max_body_bytes() const noexcept { return body_bytes_; }
    [[nodiscard]] constexpr std::size_t max_interim_responses() const noexcept { return interim_responses_; }

private:
    std::size_t status_line_bytes_ = 8 * 1024;
    std::size_t header_bytes_ = 32 * 1024;
    std::size_t header_fields_ = 100;
    std::size_t chunk_extension_bytes_ = 4 * 1024;
    std::uint64_t body_bytes_ = std::numeric_limits<std::uint64_t>::max();
    std::size_t interim_responses_ = 16;
};
}  // namespace ferry::inline FERRY_ABI::http
