// ferry/net/address.hpp - an IPv4 or IPv6 address and a port
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace ferry::inline FERRY_ABI::net {
/// Where a listener listens or a peer is: a value of 28 bytes.
///
///     net::address("127.0.0.1", 8000) == net::address::parse("127.0.0.1:8000")
///
/// Text is numeric here, and nothing is looked up: resolver.hpp turns names into addresses.
///
/// Errors  std::invalid_argument, which quotes the text and shows how to write it.
class address {
public:
    /// 0.0.0.0:0, every IPv4 interface and a port that the kernel chooses.
    address() noexcept { bytes_.v4.sin_family = AF_INET; }
    /// "127.0.0.1" or "::1".
    address(std::string_view host, std::uint16_t port);
    /// "127.0.0.1:8000" or "[::1]:8000".
    [[nodiscard]] static address parse(std::string_view text);
    /// What accept, getsockname or getaddrinfo filled in; `size` is the length that they report.
    [[nodiscard]] static address from_native(const ::sockaddr* native, ::socklen_t size);

    [[nodiscard]] bool is_ipv6() const noexcept { return bytes_.any.sa_family == AF_INET6; }
    /// "127.0.0.1" or "::1".
    [[nodiscard]] std::string host() const;
    [[nodiscard]] std::uint16_t port() const noexcept {
        return ntohs(is_ipv6() ? bytes_.v6.sin6_port : bytes_.v4.sin_port);
    }
    /// "127.0.0.1:8000" or "[::1]:8000".
    [[nodiscard]] std::string to_string() const;

    // For bind, connect and sendto.
    [[nodiscard]] const ::sockaddr* data() const noexcept { return &bytes_.any; }
    [[nodiscard]] ::socklen_t size() const noexcept { return is_ipv6() ? sizeof bytes_.v6 : sizeof bytes_.v4; }

    [[nodiscard]] friend bool operator==(const address& left, const address& right) noexcept {
        return left.port() == right.port() && left.same_host(right);
    }

private:
    union native_bytes {
        ::sockaddr_in6 v6{};  // first: its initialiser clears the whole union
        ::sockaddr_in v4;
        ::sockaddr any;
    };

    [[nodiscard]] bool same_host(const address& other) const noexcept;
    [[nodiscard]] bool read_host(std::string_view text) noexcept;

    native_bytes bytes_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
namespace detail {
[[noreturn]] inline void refuse_address(std::string_view text, const char* why) {
    throw std::invalid_argument("ferry: \"" + std::string(text) + "\" " + why);
}
}  // namespace detail

inline address::address(std::string_view host, std::uint16_t port) {
    if (!read_host(host)) {
        detail::refuse_address(host, "is no numeric address; write one such as 127.0.0.1 or ::1, or resolve the name");
    }
    (is_ipv6() ? bytes_.v6.sin6_port : bytes_.v4.sin_port) = htons(port);
}

inline address address::parse(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos || colon + 1 == text.size()) {
        detail::refuse_address(text, "has no port; write 127.0.0.1:8000 or [::1]:8000");
    }
    std::uint16_t port = 0;
    const char* const end = text.data() + text.size();
    const auto [parsed, error] = std::from_chars(text.data() + colon + 1, end, port);
    if (error != std::errc() || parsed != end) {
        detail::refuse_address(text, "does not end in a port from 0 to 65535; write 127.0.0.1:8000 or [::1]:8000");
    }
    std::string_view host = text.substr(0, colon);
    const bool in_brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (in_brackets) host = host.substr(1, host.size() - 2);
    if (in_brackets != (host.find(':') != std::string_view::npos)) {
        detail::refuse_address(text, "is ambiguous; IPv6 goes in brackets, and nothing else does: [::1]:8000");
    }
    return address(host, port);
}

inline address address::from_native(const ::sockaddr* native, ::socklen_t size) {
    address result;
    const bool v4 = size == sizeof result.bytes_.v4 && native->sa_family == AF_INET;
    const bool v6 = size == sizeof result.bytes_.v6 && native->sa_family == AF_INET6;
    if (!v4 && !v6) throw std::invalid_argument("ferry: this socket address is neither IPv4 nor IPv6");
    std::memcpy(static_cast<void*>(&result.bytes_), native, size);
    return result;
}

inline std::string address::host() const {
    char text[INET6_ADDRSTRLEN];
    const void* const number = is_ipv6() ? static_cast<const void*>(&bytes_.v6.sin6_addr) : &bytes_.v4.sin_addr;
    return ::inet_ntop(bytes_.any.sa_family, number, text, sizeof text);
}

inline std::string address::to_string() const {
    const std::string port_text = std::to_string(port());
    return is_ipv6() ? "[" + host() + "]:" + port_text : host() + ":" + port_text;
}

inline bool address::same_host(const address& other) const noexcept {
    if (is_ipv6() != other.is_ipv6()) return false;
    if (!is_ipv6()) return bytes_.v4.sin_addr.s_addr == other.bytes_.v4.sin_addr.s_addr;
    return bytes_.v6.sin6_scope_id == other.bytes_.v6.sin6_scope_id &&
           std::memcmp(&bytes_.v6.sin6_addr, &other.bytes_.v6.sin6_addr, sizeof bytes_.v6.sin6_addr) == 0;
}

inline bool address::read_host(std::string_view text) noexcept {
    char terminated[INET6_ADDRSTRLEN] = {};
    if (text.size() >= sizeof terminated || text.find('\0') != std::string_view::npos) return false;
    text.copy(terminated, text.size());
    const bool v6 = text.find(':') != std::string_view::npos;
    bytes_.any.sa_family = v6 ? AF_INET6 : AF_INET;
    void* const number = v6 ? static_cast<void*>(&bytes_.v6.sin6_addr) : &bytes_.v4.sin_addr;
    return ::inet_pton(bytes_.any.sa_family, terminated, number) == 1;
}
}  // namespace ferry::inline FERRY_ABI::net
