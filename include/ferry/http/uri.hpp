// ferry/http/uri.hpp - request targets, hosts and percent escapes
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/detail/grammar.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ferry::inline FERRY_ABI::http {
/// RFC 9112 3.2. There is no authority-form: it belongs to CONNECT, which an origin server does not offer.
enum class target_form {
    origin,    // "/path?query"
    absolute,  // "http://authority/path?query"
    asterisk,  // "*": the server as a whole, for OPTIONS
};

/// The parts of a request target, as received: views into it, escapes not decoded.
class request_target {
public:
    request_target() = default;  // "/"

    /// Nothing for a target that is in none of the three forms, whose scheme is neither http nor https, whose
    /// authority is not a host with an optional port, or whose path has a malformed percent escape. The query is
    /// taken as it comes: browsers leave a lone "%" in it.
    [[nodiscard]] static std::optional<request_target> split(std::string_view target) noexcept;

    [[nodiscard]] target_form form() const noexcept { return form_; }
    /// "http" or "https" in the client's spelling; empty unless the form is absolute.
    [[nodiscard]] std::string_view scheme() const noexcept { return scheme_; }
    /// Host and port; empty unless the form is absolute.
    [[nodiscard]] std::string_view authority() const noexcept { return authority_; }
    /// Begins with "/", unless the form is asterisk: then it is "*".
    [[nodiscard]] std::string_view path() const noexcept { return path_; }
    /// What follows the "?", without it.
    [[nodiscard]] std::string_view query() const noexcept { return query_; }

private:
    target_form form_ = target_form::origin;
    std::string_view scheme_;
    std::string_view authority_;
    std::string_view path_ = "/";
    std::string_view query_;
};

/// Whether `text` is what a Host field or an authority may hold: a name, an IPv4 or a bracketed IPv6 address, and
/// optionally ":" and a port up to 65535 (RFC 9110 7.2, RFC 3986 3.2.2). User information is not.
[[nodiscard]] constexpr bool valid_host(std::string_view text) noexcept;

/// Replaces each percent escape by its octet; the result may hold any octet, NUL and "/" included. Nothing if an
/// escape is malformed; "+" stays as it is.
[[nodiscard]] std::optional<std::string> decode_path(std::string_view path);

struct query_parameter {
    query_parameter(std::string parameter_name, std::string parameter_value) noexcept
        : name(std::move(parameter_name)), value(std::move(parameter_value)) {}

    std::string name;
    std::string value;
};

/// The parameters of a query in its order, "name=value&name=value", percent escapes decoded and "+" read as a space.
/// Nothing if an escape is malformed.
[[nodiscard]] std::optional<std::vector<query_parameter>> parse_query(std::string_view query);

// ---- implementation ---------------------------------------------------------------
namespace detail {
/// Whether text[at] begins a complete percent escape.
[[nodiscard]] constexpr bool escape_at(std::string_view text, std::size_t at) noexcept {
    return text[at] == '%' && text.size() - at > 2 && hex_value(text[at + 1]) >= 0 && hex_value(text[at + 2]) >= 0;
}

[[nodiscard]] constexpr bool valid_escapes(std::string_view text) noexcept {
    for (std::size_t i = text.find('%'); i != std::string_view::npos; i = text.find('%', i + 1)) {
        if (!escape_at(text, i)) return false;
    }
    return true;
}

/// RFC 3986 3.2.2: dec-octet "." dec-octet "." dec-octet "." dec-octet
[[nodiscard]] constexpr bool valid_ipv4(std::string_view text) noexcept {
    for (int part = 0; part < 4; ++part) {
        if (part == 3 && text.find('.') != std::string_view::npos) return false;
        const std::string_view octet = cut(text, '.');
        if (octet.empty() || octet.size() > 3 || (octet.size() > 1 && octet[0] == '0')) return false;
        int value = 0;
        for (const char c : octet) {
            if (!is_digit(c)) return false;
            value = 10 * value + (c - '0');
        }
        if (value > 255) return false;
    }
    return true;
}

/// RFC 3986 3.2.2: IPv6address, without the brackets.
[[nodiscard]] constexpr bool valid_ipv6(std::string_view text) noexcept {
    int groups = 0;  // of 16 bits
    bool shortened = text.starts_with("::");
    if (shortened) text.remove_prefix(2);
    while (!text.empty()) {
        std::size_t digits = 0;
        while (digits < text.size() && hex_value(text[digits]) >= 0) ++digits;
        if (digits < text.size() && text[digits] == '.') {
            if (!valid_ipv4(text)) return false;
            groups += 2;
            break;
        }
        if (digits == 0 || digits > 4) return false;
        ++groups;
        text.remove_prefix(digits);
        if (text.empty()) break;
        if (text.front() != ':' || text.size() == 1) return false;
        text.remove_prefix(1);
        if (text.front() == ':') {
            if (shortened) return false;
            shortened = true;
            text.remove_prefix(1);
        }
    }
    return shortened ? groups < 8 : groups == 8;
}

[[nodiscard]] constexpr bool valid_port(std::string_view text) noexcept {
    std::size_t port = 0;
    if (text.size() > 5) return false;
    for (const char c : text) {
        if (!is_digit(c)) return false;
        port = 10 * port + static_cast<std::size_t>(c - '0');
    }
    return port <= 65535;
}

[[nodiscard]] inline std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
    std::string decoded;
    decoded.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%') {
            if (!escape_at(text, i)) return std::nullopt;
            decoded.push_back(static_cast<char>(16 * hex_value(text[i + 1]) + hex_value(text[i + 2])));
            i += 2;
        } else {
            decoded.push_back(plus_is_space && text[i] == '+' ? ' ' : text[i]);
        }
    }
    return decoded;
}
}  // namespace detail

constexpr bool valid_host(std::string_view text) noexcept {
    if (text.starts_with('[')) {
        const std::size_t close = text.find(']');
        if (close == std::string_view::npos || !detail::valid_ipv6(text.substr(1, close - 1))) return false;
        text.remove_prefix(close + 1);
        return text.empty() || (text.front() == ':' && detail::valid_port(text.substr(1)));
    }
    const std::string_view name = detail::cut(text, ':');
    for (std::size_t i = 0; i < name.size(); ++i) {
        if (!detail::is(name[i], detail::host_octet) && !detail::escape_at(name, i)) return false;
    }
    return !name.empty() && detail::valid_port(text);
}

inline std::optional<request_target> request_target::split(std::string_view target) noexcept {
    request_target parts;
    if (!detail::all(target, detail::target_octet)) return std::nullopt;
    if (target == "*") {
        parts.form_ = target_form::asterisk;
        parts.path_ = target;
        return parts;
    }
    if (!target.starts_with('/')) {
        const std::size_t scheme_end = target.find("://");
        if (scheme_end == std::string_view::npos) return std::nullopt;
        parts.form_ = target_form::absolute;
        parts.scheme_ = target.substr(0, scheme_end);
        if (!detail::equal_ignoring_case(parts.scheme_, "http") &&
            !detail::equal_ignoring_case(parts.scheme_, "https")) {
            return std::nullopt;
        }
        target.remove_prefix(scheme_end + 3);
        parts.authority_ = target.substr(0, target.find_first_of("/?"));
        if (!valid_host(parts.authority_)) return std::nullopt;
        target.remove_prefix(parts.authority_.size());
    }
    const std::string_view path = detail::cut(target, '?');
    if (!path.empty()) parts.path_ = path;  // RFC 9110 4.2.3: an empty path is the same as "/"
    parts.query_ = target;
    if (!detail::valid_escapes(parts.path_)) return std::nullopt;
    return parts;
}

inline std::optional<std::string> decode_path(std::string_view path) { return detail::percent_decode(path, false); }

inline std::optional<std::vector<query_parameter>> parse_query(std::string_view query) {
    std::vector<query_parameter> parameters;
    while (!query.empty()) {
        std::string_view value = detail::cut(query, '&');
        if (value.empty()) continue;
        std::optional<std::string> decoded_name = detail::percent_decode(detail::cut(value, '='), true);
        std::optional<std::string> decoded_value = detail::percent_decode(value, true);
        if (!decoded_name || !decoded_value) return std::nullopt;
        parameters.emplace_back(std::move(*decoded_name), std::move(*decoded_value));
    }
    return parameters;
}
}  // namespace ferry::inline FERRY_ABI::http
