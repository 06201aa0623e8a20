// tests/websocket/origin_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/websocket/origin.hpp>

#include "support/catch.hpp"

#include <string_view>

using ferry::websocket::origin;

namespace {
bool same(std::string_view a, std::string_view b) { return origin::parse(a).value() == origin::parse(b).value(); }
}  // namespace

TEST_CASE("origins are the same if scheme, host and port are", "[websocket][origin]") {
    CHECK(same("https://example.com", "HTTPS://Example.COM"));
    CHECK(same("https://example.com", "https://example.com:443"));
    CHECK(same("http://example.com:80", "http://example.com"));
    CHECK(same("http://example.com:", "http://example.com"));
    CHECK(same("http://example.com:08080", "http://example.com:8080"));
    CHECK(same("http://[::1]:8000", "http://[::1]:8000"));
    CHECK(same("http://[::FF]", "http://[::ff]:80"));
    CHECK(same("app://bundle", "app://bundle"));

    CHECK(!same("https://example.com", "http://example.com"));
    CHECK(!same("https://example.com:80", "http://example.com"));
    CHECK(!same("https://example.com", "https://example.com:8443"));
    CHECK(!same("https://example.com", "https://www.example.com"));
    CHECK(!same("https://example.com", "https://example.com.evil.test"));
    CHECK(!same("https://example.com", "https://evilexample.com"));
    CHECK(!same("https://example.com", "https://example.com."));
    CHECK(!same("http://[::1]", "http://[::2]"));
    CHECK(!same("http://[::1]:8000", "http://[::1]"));
}

TEST_CASE("an origin is a scheme, a host and perhaps a port, and nothing else", "[websocket][origin]") {
    for (const std::string_view text : {"",
                                        "null",
                                        "*",
                                        "example.com",
                                        "//example.com",
                                        "://example.com",
                                        "https://",
                                        "https:///",
                                        "https:example.com",
                                        "https://example.com/",
                                        "https://example.com/path",
                                        "https://example.com?query",
                                        "https://example.com#part",
                                        "https://user@example.com",
                                        "https://example.com:port",
                                        "https://example.com:65536",
                                        "https://a b",
                                        "https://a,https://b",
                                        "https://[::1",
                                        "https://::1"}) {
        CHECK(!origin::parse(text).has_value());
    }
}

TEST_CASE("an origin can be made of a Host field", "[websocket][origin]") {
    CHECK(origin::of_host("https", "example.com") == origin::parse("https://example.com"));
    CHECK(origin::of_host("http", "example.com:8000") == origin::parse("http://example.com:8000"));
    CHECK(!origin::of_host("http", "").has_value());
    CHECK(!origin::of_host("", "example.com").has_value());
}
