// ferry/websocket/origin.hpp - which site a browser's script came from (RFC 6454)
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/uri.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI::websocket {
/// Scheme, host and port. Two are the same only if all three are: letter case aside and with the scheme's own port
/// filled in, nothing is a prefix, a suffix or a pattern.
class origin {
public:
    /// As in an Origin field: "https://example.com:8443". Nothing for anything else, "null" and a path included.
    [[nodiscard]] static std::optional<origin> parse(std::string_view text);
    /// Of a server that is reached by `scheme` under the value of a Host field.
    [[nodiscard]] static std::optional<origin> of_host(std::string_view scheme, std::string_view host_and_port);

    [[nodiscard]] friend bool operator==(const origin&, const origin&) = default;

private:
    origin() = default;

    std::string scheme_;      // in lower case
    std::string host_;        // likewise
    std::uint32_t port_ = 0;  // 0 if the text has none and the scheme no usual one
};

// ---- implementation ---------------------------------------------------------------
namespace detail {
[[nodiscard]] inline std::string in_lower_case(std::string_view text) {
    std::string lowered(text);
    for (char& c : lowered) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return lowered;
}
}  // namespace detail

inline std::optional<origin> origin::parse(std::string_view text) {
    const std::size_t scheme_end = text.find("://");
    if (scheme_end == std::string_view::npos) return std::nullopt;
    return of_host(text.substr(0, scheme_end), text.substr(scheme_end + 3));
}

inline std::optional<origin> origin::of_host(std::string_view scheme, std::string_view host_and_port) {
    if (scheme.empty() || !http::valid_host(host_and_port)) return std::nullopt;
    const std::size_t bracket = host_and_port.rfind(']');  // ends an IPv6 address, which has colons of its own
    const std::size_t colon = host_and_port.find(':', bracket == std::string_view::npos ? 0 : bracket);
    origin result;
    result.scheme_ = detail::in_lower_case(scheme);
    result.host_ = detail::in_lower_case(host_and_port.substr(0, colon));
    if (colon != std::string_view::npos) {
        for (const char digit : host_and_port.substr(colon + 1)) {
            result.port_ = 10 * result.port_ + static_cast<std::uint32_t>(digit - '0');
        }
    }
    if (result.port_ == 0 && result.scheme_ == "http") result.port_ = 80;
    if (result.port_ == 0 && result.scheme_ == "https") result.port_ = 443;
    return result;
}
}  // namespace ferry::inline FERRY_ABI::websocket
