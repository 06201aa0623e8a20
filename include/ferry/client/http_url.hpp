// ferry/client/http_url.hpp - where a request goes
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/uri.hpp>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI {
/// An http URL, taken apart: "http://host:port/path?query".
///
/// Errors  std::invalid_argument, which quotes the text and says what is wrong. User information is refused; a fragment
///         is left out, since it is not the server's business. https needs TLS, which ferry does not have.
class http_url {
public:
    explicit http_url(std::string_view text);

    /// To be resolved: without the brackets of an IPv6 address.
    [[nodiscard]] const std::string& host() const noexcept { return host_; }
    /// 80 unless it is given.
    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    /// For the Host field: as it was given.
    [[nodiscard]] const std::string& authority() const noexcept { return authority_; }
    /// For the request line: path and query.
    [[nodiscard]] const std::string& target() const noexcept { return target_; }

private:
    std::string host_;
    std::string authority_;
    std::string target_;
    std::uint16_t port_ = 80;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline http_url::http_url(std::string_view text) {
    const auto refuse = [text](const char* why) {
        throw std::invalid_argument("ferry: the URL \"" + std::string(text) + "\" " + why);
    };
    const std::optional<http::request_target> parts = http::request_target::split(text.substr(0, text.find('#')));
    if (!parts || parts->form() != http::target_form::absolute) {
        refuse("is none; write http://host:port/path?query, and escape what is not ASCII");
    }
    if (parts->scheme().size() != 4)
        refuse("needs TLS, which is not spoken here; write http://, or put a proxy between");
    authority_ = parts->authority();
    target_ = parts->path();
    if (!parts->query().empty()) target_.append("?").append(parts->query());

    std::string_view host = authority_;
    const std::size_t colon = host.rfind(':');
    if (colon != std::string_view::npos && host.back() != ']') {
        const std::string_view digits = host.substr(colon + 1);
        if (!digits.empty()) std::from_chars(digits.data(), digits.data() + digits.size(), port_);
        host = host.substr(0, colon);
    }
    if (port_ == 0) refuse("has port 0, where nobody listens");
    if (host.front() == '[') host = host.substr(1, host.size() - 2);
    host_ = host;
}
}  // namespace ferry::inline FERRY_ABI
