// ferry/http/request_limits.hpp - what a request may cost
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/message_limits.hpp>

#include <cstddef>

namespace ferry::inline FERRY_ABI::http {
/// The limits of one request, set in a chain; most of them are message_limits'.
class request_limits : public message_limits<request_limits> {
public:
    constexpr request_limits() noexcept = default;

    /// The request line, with the empty lines before it. Default 8 KiB; beyond it: 414.
    constexpr request_limits& max_request_line_bytes(std::size_t bytes) noexcept { return set(line_bytes_, bytes); }
    [[nodiscard]] constexpr std::size_t max_request_line_bytes() const noexcept { return line_bytes_; }

private:
    std::size_t line_bytes_ = 8 * 1024;
};
}  // namespace ferry::inline FERRY_ABI::http
