// tests/net/address_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/net/address.hpp>

#include "support/catch.hpp"

#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

using ferry::net::address;

namespace {
std::string refusal_of(std::string_view text) {
    try {
        return "accepted as " + address::parse(text).to_string();
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
}
bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }
}  // namespace

TEST_CASE("an address is read from numeric text and printed the same way", "[net][address]") {
    for (const std::string_view text :
         {"127.0.0.1:8000", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:8000", "[::]:80", "[2001:db8::ff00:42]:1"}) {
        CHECK(address::parse(text).to_string() == text);
    }
    CHECK(address::parse("[2001:0DB8:0:0::0001]:80").to_string() == "[2001:db8::1]:80");
}

TEST_CASE("an address has a host and a port", "[net][address]") {
    const address v4("127.0.0.1", 8000);
    CHECK(v4.host() == "127.0.0.1");
    CHECK(v4.port() == 8000);
    CHECK_FALSE(v4.is_ipv6());
    const address v6("::1", 65535);
    CHECK(v6.host() == "::1");
    CHECK(v6.port() == 65535);
    CHECK(v6.is_ipv6());
    CHECK(address().to_string() == "0.0.0.0:0");
}

TEST_CASE("addresses are equal when host and port are", "[net][address]") {
    CHECK(address("127.0.0.1", 80) == address::parse("127.0.0.1:80"));
    CHECK(address("::1", 80) == address::parse("[0:0::1]:80"));
    CHECK(address("127.0.0.1", 80) != address("127.0.0.1", 81));
    CHECK(address("127.0.0.1", 80) != address("127.0.0.2", 80));
    CHECK(address("::1", 80) != address("::2", 80));
    CHECK(address("::", 80) != address("0.0.0.0", 80));
}

TEST_CASE("text that is no numeric host is refused with what to write", "[net][address]") {
    for (const std::string_view host : {"", "localhost", "127.0.0", "127.0.0.1.1", "256.0.0.1", "[::1]", "::g",
                                        "1::2::3", " 127.0.0.1", "127.0.0.1 "}) {
        CHECK_THROWS_AS(address(host, 80), std::invalid_argument);
    }
    CHECK_THROWS_AS(address(std::string_view("127.0.0.1\0", 10), 80), std::invalid_argument);
    CHECK_THROWS_AS(address(std::string(1000, ':'), 80), std::invalid_argument);
    const std::string refusal = refusal_of("localhost:80");
    CHECK(contains(refusal, "\"localhost\""));
    CHECK(contains(refusal, "127.0.0.1 or ::1"));
}

TEST_CASE("text without a proper port is refused with what to write", "[net][address]") {
    for (const std::string_view text : {"", ":", "127.0.0.1", "127.0.0.1:", "[::1]", "[::1]:"}) {
        CHECK_THROWS_AS(address::parse(text), std::invalid_argument);
    }
    for (const std::string_view text : {"127.0.0.1:x", "127.0.0.1:-1", "127.0.0.1:+1", "127.0.0.1: 1", "127.0.0.1:1 ",
                                        "127.0.0.1:65536", "127.0.0.1:99999999999999999999"}) {
        CHECK(contains(refusal_of(text), "port from 0 to 65535"));
    }
    CHECK(contains(refusal_of("127.0.0.1"), "\"127.0.0.1\" has no port; write 127.0.0.1:8000 or [::1]:8000"));
}

TEST_CASE("brackets belong around IPv6 and nothing else", "[net][address]") {
    for (const std::string_view text : {"::1:8000", "[127.0.0.1]:80", "[]:80", "[::1:80", "::1]:80", "[[::1]]:80"}) {
        CHECK_THROWS_AS(address::parse(text), std::invalid_argument);
    }
    CHECK(contains(refusal_of("::1:8000"), "[::1]:8000"));
}

TEST_CASE("an address passes through the kernel's form unchanged", "[net][address]") {
    for (const std::string_view text : {"127.0.0.1:8000", "[2001:db8::1]:443"}) {
        const address before = address::parse(text);
        ::sockaddr_storage storage{};
        std::memcpy(&storage, before.data(), before.size());
        const address after = address::from_native(reinterpret_cast<const ::sockaddr*>(&storage), before.size());
        CHECK(after == before);
    }
}

TEST_CASE("link-local addresses on two interfaces differ", "[net][address]") {
    ::sockaddr_in6 native{};
    native.sin6_family = AF_INET6;
    native.sin6_scope_id = 1;
    const address first = address::from_native(reinterpret_cast<const ::sockaddr*>(&native), sizeof native);
    native.sin6_scope_id = 2;
    const address second = address::from_native(reinterpret_cast<const ::sockaddr*>(&native), sizeof native);
    CHECK(first != second);
}

TEST_CASE("a link-local address names its interface, by name or number", "[net][address]") {
    const address by_number = address::parse("[fe80::1%1]:80");  // 1 is the loopback interface everywhere
    CHECK(by_number == address("fe80::1%lo", 80));
    CHECK(by_number.host() == "fe80::1%lo");
    CHECK(by_number.to_string() == "[fe80::1%lo]:80");
    CHECK(address::parse(by_number.to_string()) == by_number);
    CHECK(address("fe80::1%4000000", 80).host() == "fe80::1%4000000");  // there is no such interface
    CHECK(by_number != address("fe80::1", 80));
    for (const std::string_view host : {"fe80::1%", "fe80::1%nosuchinterface", "fe80::1%0", "fe80::1%1%1",
                                        "127.0.0.1%lo", "fe80::1%99999999999", "fe80::1%lo "}) {
        CHECK_THROWS_AS(address(host, 80), std::invalid_argument);
    }
}

TEST_CASE("a path is an address, in the file system and in the abstract namespace", "[net][address]") {
    for (const std::string_view path : {"/run/ferry.sock", "relative", "@ferry", "@a/b"}) {
        const address at = address::of_path(path);
        CHECK(at.is_path());
        CHECK(at.path() == path);
        CHECK(at.host().empty());
        CHECK(at.port() == 0);
        CHECK(at.to_string() == "unix:" + std::string(path));
        CHECK(address::parse(at.to_string()) == at);
        const address copy = at;
        CHECK(address::from_native(copy.data(), copy.size()) == at);
    }
    CHECK(address::of_path("/a") != address::of_path("/b"));
    CHECK(address::of_path("/a") != address::of_path("@a"));
    CHECK(address::of_path("/a") != address());
    CHECK(address::of_path(std::string(107, 'p')).path() == std::string(107, 'p'));
    CHECK_FALSE(address().is_path());
    CHECK(address().path().empty());
}

TEST_CASE("a path that the kernel could not take is refused", "[net][address]") {
    for (const std::string& path : {std::string(), std::string("@"), std::string(108, 'p'), std::string("a\0b", 3)}) {
        CHECK_THROWS_AS(address::of_path(path), std::invalid_argument);
    }
    CHECK(contains(refusal_of("unix:"), "/run/ferry.sock"));
}

TEST_CASE("a unix-domain socket without a name is an address without a path", "[net][address]") {
    ::sockaddr_un native{};
    native.sun_family = AF_UNIX;
    const address nameless = address::from_native(reinterpret_cast<const ::sockaddr*>(&native), sizeof(::sa_family_t));
    CHECK(nameless.is_path());
    CHECK(nameless.path().empty());
    CHECK(nameless.to_string() == "unix:");
    CHECK(nameless.size() == sizeof(::sa_family_t));
    CHECK(nameless != address::of_path("/a"));
}

TEST_CASE("a path that the kernel reports without its zero, or with more behind it, is the same path",
          "[net][address]") {
    ::sockaddr_un native{};
    native.sun_family = AF_UNIX;
    std::strcpy(native.sun_path, "/a");
    constexpr std::size_t path_at = offsetof(::sockaddr_un, sun_path);
    for (const std::size_t size : {path_at + 2, path_at + 3, sizeof native}) {
        CHECK(address::from_native(reinterpret_cast<const ::sockaddr*>(&native), static_cast<::socklen_t>(size)) ==
              address::of_path("/a"));
    }
}

TEST_CASE("a socket address of another family, or cut short, is refused", "[net][address]") {
    ::sockaddr_storage native{};
    native.ss_family = AF_APPLETALK;
    CHECK_THROWS_AS(address::from_native(reinterpret_cast<const ::sockaddr*>(&native), sizeof native),
                    std::invalid_argument);
    const address whole("127.0.0.1", 80);
    CHECK_THROWS_AS(address::from_native(whole.data(), whole.size() - 1), std::invalid_argument);
    CHECK_THROWS_AS(address::from_native(whole.data(), 0), std::invalid_argument);
}
