// tests/websocket/url_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/websocket/url.hpp>

#include "support/catch.hpp"

#include <stdexcept>
#include <string>
#include <string_view>

namespace {
/// "host port authority target", with an "s" in front of the port by TLS.
std::string parts(std::string_view text) {
    const auto url = ferry::websocket::url::parse(text);
    return url.host() + (url.secure() ? " s" : " ") + std::to_string(url.port()) + " " + url.authority() + " " +
           url.target();
}
}  // namespace

TEST_CASE("a WebSocket's URL is taken apart", "[websocket][url]") {
    CHECK(parts("ws://example.com") == "example.com 80 example.com /");
    CHECK(parts("ws://example.com/") == "example.com 80 example.com /");
    CHECK(parts("WS://Example.com:80/Chat?room=1&x=%20") == "Example.com 80 Example.com /Chat?room=1&x=%20");
    CHECK(parts("ws://127.0.0.1:8000/a/b") == "127.0.0.1 8000 127.0.0.1:8000 /a/b");
    CHECK(parts("ws://[::1]:8000") == "::1 8000 [::1]:8000 /");
    CHECK(parts("ws://[::1]/x") == "::1 80 [::1] /x");
    CHECK(parts("ws://localhost?case=1") == "localhost 80 localhost /?case=1");
    CHECK(parts("wss://example.com/") == "example.com s443 example.com /");
    CHECK(parts("wss://example.com:80/") == "example.com s80 example.com:80 /");
}

TEST_CASE("what is no URL of a WebSocket is refused, and quoted", "[websocket][url]") {
    for (const std::string_view bad : {"",
                                       "ws",
                                       "ws:",
                                       "ws://",
                                       "example.com",
                                       "http://example.com/",
                                       "ws:/example.com",
                                       "ws:///path",
                                       "ws://:80/",
                                       "ws://host:65536/",
                                       "ws://host:x/",
                                       "ws://user@host/",
                                       "ws://user:word@host/",
                                       "ws://ho st/",
                                       "ws://[::1/",
                                       "ws://host/#fragment",
                                       "ws://host#fragment",
                                       "ws://host/a b",
                                       "ws://host/%zz",
                                       "ws://host/\r\nX: y",
                                       "ws://host/\x7F",
                                       "ws://host\r\n/"}) {
        REQUIRE_THROWS_AS(ferry::websocket::url::parse(bad), std::invalid_argument);
    }
    try {
        (void)ferry::websocket::url::parse("http://example.com/");
    } catch (const std::invalid_argument& error) {
        CHECK(std::string(error.what()).find("\"http://example.com/\"") != std::string::npos);
    }
}
