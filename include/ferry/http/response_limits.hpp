// ferry/http/response_limits.hpp - what a response may cost
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/message_limits.hpp>

#include <cstddef>

namespace ferry::inline FERRY_ABI::http {
/// The limits of one response, set in a chain; most of them are message_limits'. What is beyond is an error.
class response_limits : public message_limits<response_limits> {
public:
    constexpr response_limits() noexcept = default;

    /// The status line. Default 8 KiB.
    constexpr response_limits& max_status_line_bytes(std::size_t bytes) noexcept { return set(line_bytes_, bytes); }
    /// Interim responses (1xx) before the final one. Default 16.
    constexpr response_limits& max_interim_responses(std::size_t responses) noexcept {
        return set(interims_, responses);
    }

    [[nodiscard]] constexpr std::size_t max_status_line_bytes() const noexcept { return line_bytes_; }
    [[nodiscard]] constexpr std::size_t max_interim_responses() const noexcept { return interims_; }

private:
    std::size_t line_bytes_ = 8 * 1024;
    std::size_t interims_ = 16;
};
}  // namespace ferry::inline FERRY_ABI::http
