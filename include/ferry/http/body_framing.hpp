// ferry/http/body_framing.hpp - where the body of a message ends
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <cstdint>

namespace ferry::inline FERRY_ABI::http {
/// How the end of a body is found (RFC 9112 6.3).
class body_framing {
public:
    enum class kind {
        none,
        length,
        chunked,
        until_close,  // responses only
    };

    constexpr body_framing() noexcept = default;  // none
    [[nodiscard]] static constexpr body_framing of_length(std::uint64_t bytes) noexcept {
        return body_framing(kind::length, bytes);
    }
    [[nodiscard]] static constexpr body_framing chunked() noexcept { return body_framing(kind::chunked, 0); }
    [[nodiscard]] static constexpr body_framing until_close() noexcept { return body_framing(kind::until_close, 0); }

    [[nodiscard]] constexpr kind how() const noexcept { return how_; }
    /// The announced size; 0 unless how() is length.
    [[nodiscard]] constexpr std::uint64_t length() const noexcept { return length_; }
    /// Whether at least one octet of body may follow.
    [[nodiscard]] constexpr bool has_body() const noexcept {
        return how_ == kind::chunked || how_ == kind::until_close || length_ != 0;
    }

private:
    constexpr body_framing(kind how, std::uint64_t bytes) noexcept : how_(how), length_(bytes) {}

    kind how_ = kind::none;
    std::uint64_t length_ = 0;
};
}  // namespace ferry::inline FERRY_ABI::http
