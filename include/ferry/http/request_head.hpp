// ferry/http/request_head.hpp - what a request says before its body
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/body_framing.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/http/uri.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI::http {
/// The request line and the headers of a request, already checked, and what they mean for the connection.
///
/// Ownership  Owns its text; what it returns are views into it.
class request_head {
public:
    request_head() = default;

    [[nodiscard]] std::string_view method() const noexcept { return method_; }
    /// As received. A parsed head's target can be split, and its path decoded.
    [[nodiscard]] std::string_view target() const noexcept { return target_; }
    /// The target, taken apart; splits it on each call.
    [[nodiscard]] request_target uri() const noexcept {
        return request_target::split(target_).value_or(request_target());
    }
    /// "1.0", "1.1", or a later minor version, which is treated like 1.1.
    [[nodiscard]] std::string_view version() const noexcept;
    [[nodiscard]] int minor_version() const noexcept { return minor_version_; }
    [[nodiscard]] const http::headers& headers() const noexcept { return headers_; }

    /// The host and port that the request is for: the authority of an absolute target, which overrides the Host field
    /// (RFC 9112 3.2.2), else that field; empty if there is neither.
    [[nodiscard]] std::string_view host() const noexcept;
    [[nodiscard]] const body_framing& body() const noexcept { return body_; }
    /// Whether the client lets the connection stay open after the response.
    [[nodiscard]] bool keep_alive() const noexcept { return keep_alive_; }
    /// Whether the client waits for "100 Continue" before it sends the body.
    [[nodiscard]] bool expects_continue() const noexcept { return expects_continue_; }
    /// Whether the client asks for another protocol, named in its Upgrade field, right after this head. Never with a
    /// body: such a request is an ordinary one.
    [[nodiscard]] bool wants_upgrade() const noexcept { return wants_upgrade_; }

private:
    friend class request_parser;

    void restart() noexcept;

    std::string method_;
    std::string target_;
    http::headers headers_;
    body_framing body_;
    int minor_version_ = 1;
    bool keep_alive_ = false;
    bool expects_continue_ = false;
    bool wants_upgrade_ = false;
};

// ---- implementation ---------------------------------------------------------------
/// Back to the start, with the buffers kept.
inline void request_head::restart() noexcept {
    method_.clear();
    target_.clear();
    headers_.clear();
    body_ = body_framing();
    minor_version_ = 1;
    keep_alive_ = expects_continue_ = wants_upgrade_ = false;
}

inline std::string_view request_head::version() const noexcept {
    constexpr std::string_view versions = "1.01.11.21.31.41.51.61.71.81.9";
    return versions.substr(3 * static_cast<std::size_t>(minor_version_), 3);
}

inline std::string_view request_head::host() const noexcept {
    const request_target parts = uri();
    if (parts.form() == target_form::absolute) return parts.authority();
    return headers_.find("host").value_or(std::string_view());
}
}  // namespace ferry::inline FERRY_ABI::http
