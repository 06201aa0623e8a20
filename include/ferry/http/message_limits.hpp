// ferry/http/message_limits.hpp - what a message may cost, be it a request or a response
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>

namespace ferry::inline FERRY_ABI::http {
/// What request_limits and response_limits have in common; `Limits` is the one of them whose setters these are. Octets are
/// counted as received, line ends and the like included.
template <class Limits>
class message_limits {
public:
    /// The header section and the trailer section together. Default 32 KiB; beyond it a request gets 431.
    constexpr Limits& max_header_bytes(std::size_t bytes) noexcept { return set(header_bytes_, bytes); }
    /// Headers and trailers together. Default 100; beyond it a request gets 431.
    constexpr Limits& max_header_fields(std::size_t fields) noexcept { return set(header_fields_, fields); }
    /// All chunk extensions of one body together. Default 4 KiB; beyond it a request gets 413.
    constexpr Limits& max_chunk_extension_bytes(std::size_t bytes) noexcept { return set(extension_bytes_, bytes); }
    /// The body without its chunk framing. Not limited by default; beyond it a request gets 413, as soon as a length says so.
    constexpr Limits& max_body_bytes(std::uint64_t bytes) noexcept { return set(body_bytes_, bytes); }

    [[nodiscard]] constexpr std::size_t max_header_bytes() const noexcept { return header_bytes_; }
    [[nodiscard]] constexpr std::size_t max_header_fields() const noexcept { return header_fields_; }
    [[nodiscard]] constexpr std::size_t max_chunk_extension_bytes() const noexcept { return extension_bytes_; }
    [[nodiscard]] constexpr std::uint64_t max_body_bytes() const noexcept { return body_bytes_; }

protected:
    constexpr message_limits() noexcept = default;
    template <class T>
    constexpr Limits& set(T& limit, T chosen) noexcept {
        limit = chosen;
        return static_cast<Limits&>(*this);
    }

private:
    std::size_t header_bytes_ = 32 * 1024;
    std::size_t header_fields_ = 100;
    std::size_t extension_bytes_ = 4 * 1024;
    std::uint64_t body_bytes_ = std::numeric_limits<std::uint64_t>::max();
};
}  // namespace ferry::inline FERRY_ABI::http
