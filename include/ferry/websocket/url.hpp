// ferry/websocket/url.hpp - ws://host:port/path?query, taken apart (RFC 6455 section 3)
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/uri.hpp>
#include <ferry/websocket/origin.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI::websocket {
/// Where a client connects to, and what it asks for there.
///
/// Errors  parse() throws std::invalid_argument, which quotes the text, for another scheme than ws and wss, user
///         information, a fragment, and whatever a request could not carry.
class url {
public:
    [[nodiscard]] static url parse(std::string_view text);

    /// wss: by TLS.
    [[nodiscard]] bool secure() const noexcept { return secure_; }
    /// A name or a number, an IPv6 address without its brackets.
    [[nodiscard]] const std::string& host() const noexcept { return host_; }
    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    /// Host and port as a Host field has them: without the port if it is the scheme's own.
    [[nodiscard]] const std::string& authority() const noexcept { return authority_; }
    /// Path and query; "/" if the text has none.
    [[nodiscard]] const std::string& target() const noexcept { return target_; }

private:
    url() = default;

    std::string host_;
    std::string authority_;
    std::string target_;
    std::uint16_t port_ = 0;
    bool secure_ = false;
};

// ---- implementation ---------------------------------------------------------------
namespace detail {
[[noreturn]] inline void refuse_url(std::string_view text, const char* why) {
    throw std::invalid_argument("websocket: \"" + std::string(text) + "\" " + why);
}
}  // namespace detail

inline url url::parse(std::string_view text) {
    url result;
    const std::size_t scheme_end = text.find("://");
    const std::string scheme = detail::in_lower_case(text.substr(0, scheme_end));
    if (scheme_end == std::string_view::npos || (scheme != "ws" && scheme != "wss")) {
        detail::refuse_url(text, "is no URL of a WebSocket; write one such as ws://127.0.0.1:8000/path");
    }
    result.secure_ = scheme == "wss";
    const std::uint16_t own_port = result.secure_ ? 443 : 80;

    std::string_view rest = text.substr(scheme_end + 3);
    const std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));
    rest.remove_prefix(authority.size());
    if (authority.find('@') != std::string_view::npos) {
        detail::refuse_url(text, "has user information; send it in a header");
    }
    if (!http::valid_host(authority) || authority.front() == ':') {
        detail::refuse_url(text, "has no valid host and port");
    }
    const std::size_t bracket = authority.rfind(']');  // ends an IPv6 address, which has colons of its own
    const std::size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
    std::string_view host = authority.substr(0, colon);
    unsigned port = 0;  // at most 65535, as valid_host() has seen to
    if (colon != std::string_view::npos) {
        for (const char digit : authority.substr(colon + 1)) port = 10 * port + static_cast<unsigned>(digit - '0');
    }
    result.port_ = port == 0 ? own_port : static_cast<std::uint16_t>(port);
    result.authority_ = result.port_ == own_port ? std::string(host) : std::string(host) + ":" + std::to_string(port);
    if (host.front() == '[') host = host.substr(1, host.size() - 2);
    result.host_ = host;

    if (rest.find('#') != std::string_view::npos) detail::refuse_url(text, "has a fragment, which is never sent");
    if (rest.empty() || rest.front() != '/') result.target_ = "/";
    result.target_ += rest;
    if (!http::request_target::split(result.target_)) detail::refuse_url(text, "has a path that cannot be sent");
    return result;
}
}  // namespace ferry::inline FERRY_ABI::websocket
