// ferry/http/cookies.hpp - what a browser keeps for a server
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/detail/grammar.hpp>
#include <ferry/http/headers.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace ferry::inline FERRY_ABI::http {
/// The value of a cookie that a request has brought: the first of that name, in quotes if it came in quotes. Names are
/// compared with case. What a client sends is not to be trusted: any page of a neighbouring host may have set it, unless
/// the name begins with "__Host-".
[[nodiscard]] std::optional<std::string_view> find_cookie(const headers& request, std::string_view name) noexcept;

/// A cookie for a response to set:
///
///     headers.add("Set-Cookie", http::cookie("__Host-id", token).secure().http_only().to_string());
///
/// What is not said has the careful default: it lasts as long as the browser's session, goes to this host alone (no
/// Domain), to all of its paths (Path=/), and is not sent with requests that other sites cause, but for links that are
/// followed (SameSite=Lax).
///
/// Errors  std::invalid_argument for a name, value, domain or path that would end its attribute, and by to_string() for
///         attributes that browsers would refuse: "__Host-" and "__Secure-" names, and SameSite=None, need secure().
class cookie {
public:
    enum class site { strict, lax, none };

    /// The value is visible ASCII but for space, quotes, comma, semicolon and backslash (RFC 6265 4.1.1): encode others.
    cookie(std::string_view name, std::string_view value);

    /// How long it lasts; 0 or less removes it.
    cookie& max_age(std::chrono::seconds lifetime) & { return set(max_age_, std::optional(lifetime)); }
    cookie&& max_age(std::chrono::seconds lifetime) && { return std::move(max_age(lifetime)); }
    cookie& path(std::string_view prefix) & { return set(path_, checked(prefix)); }
    cookie&& path(std::string_view prefix) && { return std::move(path(prefix)); }
    /// Opens it to that host and all hosts below it.
    cookie& domain(std::string_view host) & { return set(domain_, checked(host)); }
    cookie&& domain(std::string_view host) && { return std::move(domain(host)); }
    cookie& same_site(site rule) & { return set(same_site_, rule); }
    cookie&& same_site(site rule) && { return std::move(same_site(rule)); }
    /// Sent over TLS only.
    cookie& secure() & { return set(secure_, true); }
    cookie&& secure() && { return std::move(secure()); }
    /// Hidden from scripts.
    cookie& http_only() & { return set(http_only_, true); }
    cookie&& http_only() && { return std::move(http_only()); }

    /// The value of a Set-Cookie field.
    [[nodiscard]] std::string to_string() const;

private:
    template <class T>
    cookie& set(T& what, T value) {
        what = std::move(value);
        return *this;
    }
    [[nodiscard]] static std::string checked(std::string_view attribute);

    std::string name_;
    std::string value_;
    std::string path_ = "/";
    std::string domain_;
    std::optional<std::chrono::seconds> max_age_;
    site same_site_ = site::lax;
    bool secure_ = false;
    bool http_only_ = false;
};

// ---- implementation ---------------------------------------------------------------
namespace detail {
/// RFC 6265 4.1.1: cookie-octet
[[nodiscard]] constexpr bool is_cookie_octet(char c) noexcept {
    return c > 0x20 && c < 0x7F && c != '"' && c != ',' && c != ';' && c != '\\';
}
}  // namespace detail

inline std::optional<std::string_view> find_cookie(const headers& request, std::string_view name) noexcept {
    for (const header field : request) {
        if (!detail::equal_ignoring_case(field.name, "cookie")) continue;
        std::string_view rest = field.value;
        while (!rest.empty()) {
            std::string_view value = detail::cut(rest, ';');
            const bool has_name = value.find('=') != std::string_view::npos;
            if (detail::trim(detail::cut(value, '=')) == name && has_name) return detail::trim(value);
        }
    }
    return std::nullopt;
}

inline cookie::cookie(std::string_view name, std::string_view value) : name_(name), value_(value) {
    if (!valid_header_name(name))
        throw std::invalid_argument("http: the name of a cookie must be a token (RFC 6265 4.1.1)");
    for (const char c : value) {
        if (!detail::is_cookie_octet(c)) {
            throw std::invalid_argument(
                "http: the value of cookie \"" + name_ +
                "\" has a character that cookies cannot carry; encode it, as base64 for example");
        }
    }
}

inline std::string cookie::checked(std::string_view attribute) {
    if (!valid_header_value(attribute) || attribute.find(';') != std::string_view::npos) {
        throw std::invalid_argument("http: an attribute of a cookie has a control character or a semicolon");
    }
    return std::string(attribute);
}

inline std::string cookie::to_string() const {
    const bool for_host = name_.starts_with("__Host-");
    if ((for_host || name_.starts_with("__Secure-") || same_site_ == site::none) && !secure_) {
        throw std::invalid_argument("http: browsers refuse cookie \"" + name_ + "\" unless it is secure()");
    }
    if (for_host && (!domain_.empty() || path_ != "/")) {
        throw std::invalid_argument("http: browsers refuse cookie \"" + name_ + "\" with a domain, or a path but /");
    }
    std::string text = name_ + "=" + value_;
    if (max_age_) text += "; Max-Age=" + std::to_string(max_age_->count());
    if (!domain_.empty()) text += "; Domain=" + domain_;
    if (!path_.empty()) text += "; Path=" + path_;
    constexpr std::string_view rules[] = {"Strict", "Lax", "None"};
    text.append("; SameSite=").append(rules[static_cast<int>(same_site_)]);
    if (secure_) text += "; Secure";
    if (http_only_) text += "; HttpOnly";
    return text;
}
}  // namespace ferry::inline FERRY_ABI::http
