// tests/fuzz/uri_fuzz.cpp - any octets as a target, a host, a path and a query
// SPDX-License-Identifier: BSL-1.0
#include <ferry/client/http_url.hpp>
#include <ferry/http/uri.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "fuzz/fuzz.hpp"

namespace {
namespace http = ferry::http;
using ferry_test::must;

std::string escape(std::string_view text) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string escaped;
    for (const char c : text) {
        escaped.push_back('%');
        escaped.push_back(digits[static_cast<unsigned char>(c) >> 4]);
        escaped.push_back(digits[static_cast<unsigned char>(c) & 15]);
    }
    return escaped;
}

void check_target(std::string_view text) {
    const std::optional<http::request_target> parts = http::request_target::split(text);
    if (!parts) return;
    must(text.find_first_of("\r\n\t #") == std::string_view::npos, "a target with what cannot be in a request line");
    std::string joined;
    if (parts->form() == http::target_form::absolute) {
        must(http::valid_host(parts->authority()), "an authority that is no host");
        joined.append(parts->scheme()).append("://").append(parts->authority());
    }
    const std::size_t path_at = joined.size();
    joined.append(parts->path());
    if (!parts->query().empty() || text.ends_with('?')) joined.append("?").append(parts->query());
    if (joined != text) {  // an empty path is read as "/"
        must(parts->form() == http::target_form::absolute && joined[path_at] == '/', "the parts are not the whole");
        joined.erase(path_at, 1);
    }
    must(joined == text, "the parts are not the whole");
    must(parts->form() == http::target_form::asterisk || parts->path().front() == '/', "a path without a slash");
    must(http::decode_path(parts->path()).has_value(), "a path that cannot be decoded");
}

void check_host(std::string_view text) {
    const std::string terminated(text);
    const bool whole = text.find('\0') == std::string_view::npos;
    ::in6_addr v6;
    ::in_addr v4;
    must(http::detail::valid_ipv6(text) == (whole && ::inet_pton(AF_INET6, terminated.c_str(), &v6) == 1),
         "inet_pton disagrees on an IPv6 address");
    must(http::detail::valid_ipv4(text) == (whole && ::inet_pton(AF_INET, terminated.c_str(), &v4) == 1),
         "inet_pton disagrees on an IPv4 address");
    if (http::valid_host(text)) {
        must(!text.empty() && text.find_first_of("/?#@ \t\r\n\\") == std::string_view::npos, "a host that ends early");
    }
}

/// What the client makes of a URL is a place where somebody may listen, and a request that stays in its line.
void check_url(std::string_view text) {
    for (const std::string_view scheme : {"", "http://"}) {
        try {
            const ferry::http_url url(std::string(scheme).append(text));
            must(!url.host().empty() && url.port() != 0, "a URL that leads nowhere");
            must(http::valid_host(url.authority()), "an authority that is no host");
            const auto target = http::request_target::split(url.target());
            must(target && target->form() == http::target_form::origin, "a target that no server takes");
            const ferry::http_url again("http://" + url.authority() + url.target());
            must(again.host() == url.host() && again.port() == url.port() && again.target() == url.target(),
                 "written out it is another URL");
        } catch (const std::invalid_argument&) {}
    }
}

void check_escapes(std::string_view text) {
    must(http::decode_path(escape(text)) == text, "what was escaped is not what is decoded");
    if (const auto decoded = http::decode_path(text)) must(decoded->size() <= text.size(), "decoding adds octets");
    if (const auto parameters = http::parse_query(text)) {
        std::string joined;
        for (const http::query_parameter& one : *parameters)
            joined.append(joined.empty() ? "" : "&").append(escape(one.name)).append("=").append(escape(one.value));
        const auto again = http::parse_query(joined);
        must(again.has_value() && again->size() == parameters->size(), "escaped, there are other parameters");
        for (std::size_t at = 0; at < again->size(); ++at) {
            must((*again)[at].name == (*parameters)[at].name && (*again)[at].value == (*parameters)[at].value,
                 "escaped, it is another parameter");
        }
    }
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = ferry_test::view_of(data, size);
    check_target(text);
    check_host(text);
    check_url(text);
    check_escapes(text);
    return 0;
}
