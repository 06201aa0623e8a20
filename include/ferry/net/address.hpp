// ferry/net/address.hpp - where a listener listens or a peer is: IPv4, IPv6 or the path of a unix-domain socket
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace ferry::inline FERRY_ABI::net {
/// Where a listener listens or a peer is: an IPv4 or IPv6 address and a port, or a path of the file system.
///
///     net::address("127.0.0.1", 8000) == net::address::parse("127.0.0.1:8000")
///     net::address::parse("[fe80::1%eth0]:8000")       // link-local: the interface by its name or number
///     net::address::parse("unix:/run/ferry.sock")      // "unix:@name" is in the abstract namespace
///
/// Text is numeric here, and nothing is looked up but an interface's number: resolver.hpp turns names into addresses.
///
/// Ownership  A value of 48 bytes; copies share a path.
/// Errors     std::invalid_argument, which quotes the text and shows how to write it.
class address {
public:
    /// 0.0.0.0:0, every IPv4 interface and a port that the kernel chooses.
    address() noexcept { bytes_.v4.sin_family = AF_INET; }
    /// "127.0.0.1", "::1" or "fe80::1%eth0".
    address(std::string_view host, std::uint16_t port);
    /// A unix-domain socket: a path of up to 107 octets, or "@" and a name in Linux's abstract namespace.
    [[nodiscard]] static address of_path(std::string_view path);
    /// "127.0.0.1:8000", "[::1]:8000" or "unix:/run/ferry.sock".
    [[nodiscard]] static address parse(std::string_view text);
    /// What accept, getsockname or getaddrinfo filled in; `size` is the length that they report.
    [[nodiscard]] static address from_native(const ::sockaddr* native, ::socklen_t size);

    /// AF_INET, AF_INET6 or AF_UNIX.
    [[nodiscard]] int family() const noexcept { return bytes_.any.sa_family; }
    [[nodiscard]] bool is_ipv6() const noexcept { return family() == AF_INET6; }
    [[nodiscard]] bool is_path() const noexcept { return family() == AF_UNIX; }
    /// "127.0.0.1" or "fe80::1%eth0"; empty for a path.
    [[nodiscard]] std::string host() const;
    /// 0 for a path.
    [[nodiscard]] std::uint16_t port() const noexcept {
        if (is_path()) return 0;
        return ntohs(is_ipv6() ? bytes_.v6.sin6_port : bytes_.v4.sin_port);
    }
    /// As of_path() takes it; empty for a unix-domain socket without a name, as a client's is, and for anything else.
    [[nodiscard]] std::string path() const;
    /// As parse() takes it.
    [[nodiscard]] std::string to_string() const;

    // For bind, connect and sendto.
    [[nodiscard]] const ::sockaddr* data() const noexcept {
        return path_ == nullptr ? &bytes_.any : reinterpret_cast<const ::sockaddr*>(&path_->native);
    }
    [[nodiscard]] ::socklen_t size() const noexcept {
        if (path_ != nullptr) return path_->size;
        if (is_path()) return sizeof(::sa_family_t);
        return is_ipv6() ? sizeof bytes_.v6 : sizeof bytes_.v4;
    }

    [[nodiscard]] friend bool operator==(const address& left, const address& right) noexcept {
        return left.port() == right.port() && left.same_host(right);
    }

private:
    union native_bytes {
        ::sockaddr_in6 v6{};  // first: its initialiser clears the whole union
        ::sockaddr_in v4;
        ::sockaddr any;
    };
    struct native_path {
        ::sockaddr_un native{};
        ::socklen_t size = 0;
    };

    [[nodiscard]] bool same_host(const address& other) const noexcept;
    [[nodiscard]] bool read_host(std::string_view text) noexcept;
    [[nodiscard]] bool read_scope(std::string_view text) noexcept;

    native_bytes bytes_;  // of a path its family only
    std::shared_ptr<const native_path> path_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
namespace detail {
inline constexpr std::size_t path_at = offsetof(::sockaddr_un, sun_path);

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

inline address address::of_path(std::string_view path) {
    const bool is_abstract = path.starts_with('@');
    native_path made;
    // A path ends in a zero; an abstract name has one in front, in place of the "@", and ends with its size.
    if (path.size() >= sizeof made.native.sun_path || path.empty() || path == "@") {
        detail::refuse_address(path, "is no path for a socket; write one of 1 to 107 octets, such as /run/ferry.sock");
    }
    if (path.find('\0') != std::string_view::npos) detail::refuse_address(path, "has a zero in it");
    made.native.sun_family = AF_UNIX;
    path.copy(made.native.sun_path, path.size());
    if (is_abstract) made.native.sun_path[0] = '\0';
    made.size = static_cast<::socklen_t>(detail::path_at + path.size() + (is_abstract ? 0 : 1));
    address result;
    result.bytes_.any.sa_family = AF_UNIX;
    result.path_ = std::make_shared<const native_path>(made);
    return result;
}

inline address address::parse(std::string_view text) {
    if (text.starts_with("unix:")) return of_path(text.substr(5));
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
    if (size >= sizeof(::sa_family_t) && native->sa_family == AF_UNIX) {
        size = std::min(size, static_cast<::socklen_t>(sizeof(::sockaddr_un)));
        result.bytes_.any.sa_family = AF_UNIX;
        if (size <= detail::path_at) return result;  // it has no name
        native_path named;
        std::memcpy(&named.native, native, size);
        // The kernel may count the zero behind a path or not.
        named.size = size;
        if (named.native.sun_path[0] != '\0') {
            const std::size_t length = ::strnlen(named.native.sun_path, size - detail::path_at);
            named.size = static_cast<::socklen_t>(std::min(sizeof(::sockaddr_un), detail::path_at + length + 1));
        }
        result.path_ = std::make_shared<const native_path>(named);
        return result;
    }
    const bool v4 = size == sizeof result.bytes_.v4 && native->sa_family == AF_INET;
    const bool v6 = size == sizeof result.bytes_.v6 && native->sa_family == AF_INET6;
    if (!v4 && !v6) throw std::invalid_argument("ferry: this socket address is neither IPv4 nor IPv6, and no path");
    std::memcpy(static_cast<void*>(&result.bytes_), native, size);
    return result;
}

inline std::string address::host() const {
    if (is_path()) return {};
    char text[INET6_ADDRSTRLEN];
    const void* const number = is_ipv6() ? static_cast<const void*>(&bytes_.v6.sin6_addr) : &bytes_.v4.sin_addr;
    std::string host = ::inet_ntop(bytes_.any.sa_family, number, text, sizeof text);
    if (is_ipv6() && bytes_.v6.sin6_scope_id != 0) {
        char name[IF_NAMESIZE];
        host.push_back('%');
        host += ::if_indextoname(bytes_.v6.sin6_scope_id, name) != nullptr ? std::string(name)
                                                                           : std::to_string(bytes_.v6.sin6_scope_id);
    }
    return host;
}

inline std::string address::path() const {
    if (path_ == nullptr) return {};
    const std::size_t length = path_->size - detail::path_at;
    if (path_->native.sun_path[0] != '\0')
        return std::string(path_->native.sun_path, ::strnlen(path_->native.sun_path, length));
    std::string name(path_->native.sun_path, length);
    name[0] = '@';
    return name;
}

inline std::string address::to_string() const {
    if (is_path()) return "unix:" + path();
    const std::string port_text = std::to_string(port());
    return is_ipv6() ? "[" + host() + "]:" + port_text : host() + ":" + port_text;
}

inline bool address::same_host(const address& other) const noexcept {
    if (family() != other.family()) return false;
    if (is_path()) return size() == other.size() && std::memcmp(data(), other.data(), size()) == 0;
    if (!is_ipv6()) return bytes_.v4.sin_addr.s_addr == other.bytes_.v4.sin_addr.s_addr;
    return bytes_.v6.sin6_scope_id == other.bytes_.v6.sin6_scope_id &&
           std::memcmp(&bytes_.v6.sin6_addr, &other.bytes_.v6.sin6_addr, sizeof bytes_.v6.sin6_addr) == 0;
}

inline bool address::read_host(std::string_view text) noexcept {
    char terminated[INET6_ADDRSTRLEN] = {};
    const bool v6 = text.find(':') != std::string_view::npos;
    const std::size_t percent = text.find('%');
    const std::string_view number = text.substr(0, percent);
    if (number.size() >= sizeof terminated || text.find('\0') != std::string_view::npos) return false;
    number.copy(terminated, number.size());
    bytes_.any.sa_family = v6 ? AF_INET6 : AF_INET;
    void* const into = v6 ? static_cast<void*>(&bytes_.v6.sin6_addr) : &bytes_.v4.sin_addr;
    if (::inet_pton(bytes_.any.sa_family, terminated, into) != 1) return false;
    return percent == std::string_view::npos || (v6 && read_scope(text.substr(percent + 1)));
}

/// RFC 4007 11: an interface, by its number or its name.
inline bool address::read_scope(std::string_view text) noexcept {
    char name[IF_NAMESIZE] = {};
    if (text.empty() || text.size() >= sizeof name) return false;
    const char* const end = text.data() + text.size();
    const auto [parsed, error] = std::from_chars(text.data(), end, bytes_.v6.sin6_scope_id);
    if (error == std::errc() && parsed == end) return bytes_.v6.sin6_scope_id != 0;
    text.copy(name, text.size());
    bytes_.v6.sin6_scope_id = ::if_nametoindex(name);
    return bytes_.v6.sin6_scope_id != 0;
}
}  // namespace ferry::inline FERRY_ABI::net
