// ferry/http/response_head.hpp - what a response says before its body
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/body_framing.hpp>
#include <ferry/http/headers.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI::http {
/// The status line and the headers of a response, already checked, and what they mean for the connection.
///
/// Ownership  Owns its text; what it returns are views into it.
class response_head {
public:
    response_head() = default;

    /// 100 to 999. What is 600 or above is to be taken for a 5xx (RFC 9110 15).
    [[nodiscard]] int status() const noexcept { return status_; }
    /// The phrase after the status, often empty: not for programs.
    [[nodiscard]] std::string_view reason() const noexcept { return reason_; }
    /// "1.0", "1.1", or a later minor version, which is treated like 1.1.
    [[nodiscard]] std::string_view version() const noexcept;
    [[nodiscard]] int minor_version() const noexcept { return minor_version_; }
    [[nodiscard]] const http::headers& headers() const noexcept { return headers_; }

    [[nodiscard]] const body_framing& body() const noexcept { return body_; }
    /// Whether another response follows for the same request: a 1xx, but not 101.
    [[nodiscard]] bool interim() const noexcept { return status_ < 200 && status_ != 101; }
    /// Whether the connection can carry a next request once the response is complete.
    [[nodiscard]] bool keep_alive() const noexcept { return keep_alive_; }

private:
    friend class response_parser;

    void restart() noexcept;

    std::string reason_;
    http::headers headers_;
    body_framing body_;
    int status_ = 0;
    int minor_version_ = 1;
    bool keep_alive_ = false;
};

// ---- implementation ---------------------------------------------------------------
/// Back to the start, with the buffers kept.
inline void response_head::restart() noexcept {
    reason_.clear();
    headers_.clear();
    body_ = body_framing();
    status_ = 0;
    minor_version_ = 1;
    keep_alive_ = false;
}

inline std::string_view response_head::version() const noexcept {
    constexpr std::string_view versions = "1.01.11.21.31.41.51.61.71.81.9";
    return versions.substr(3 * static_cast<std::size_t>(minor_version_), 3);
}
}  // namespace ferry::inline FERRY_ABI::http
