// tests/client/http_url_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/client/http_url.hpp>

#include "support/catch.hpp"

#include <stdexcept>
#include <string>
#include <string_view>

using ferry::http_url;

namespace {
std::string refusal_of(std::string_view text) {
    try {
        return "accepted: " + http_url(text).host();
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
}
bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }
}  // namespace

TEST_CASE("a URL is where to connect, and what to say there", "[client][http_url]") {
    const http_url full("HTTP://a.test:8080/b/c?d=e&f#g");
    CHECK(full.host() == "a.test");
    CHECK(full.port() == 8080);
    CHECK(full.authority() == "a.test:8080");
    CHECK(full.target() == "/b/c?d=e&f");
    const http_url bare("http://a.test");
    CHECK(bare.port() == 80);
    CHECK(bare.authority() == "a.test");
    CHECK(bare.target() == "/");
    CHECK(http_url("http://a.test?q").target() == "/?q");
    CHECK(http_url("http://a.test:/x").port() == 80);
    CHECK(http_url("http://127.0.0.1:1/").host() == "127.0.0.1");
}

TEST_CASE("the brackets of an IPv6 address are for Host alone", "[client][http_url]") {
    const http_url with_port("http://[::1]:8000/");
    CHECK(with_port.host() == "::1");
    CHECK(with_port.port() == 8000);
    CHECK(with_port.authority() == "[::1]:8000");
    CHECK(http_url("http://[::1]").host() == "::1");
    CHECK(http_url("http://[::1]").port() == 80);
}

TEST_CASE("what is no http URL is refused with what to write", "[client][http_url]") {
    for (const std::string_view text :
         {"", "/path", "a.test/", "http:/a.test", "http://", "http:///x", "ftp://a.test/", "http://u:p@a.test/",
          "http://a.test:99999/", "http://a test/", "http://a.test/ b", "http://a.test/\r\nX: y",
          "http://a.test/caf\xC3\xA9", "http://a.test/%zz", "http://[::1/", "*"}) {
        CHECK(contains(refusal_of(text), "write http://host:port/path?query"));
    }
    CHECK(contains(refusal_of("https://a.test/"), "\"https://a.test/\" needs TLS"));
    CHECK(contains(refusal_of("http://a.test:0/"), "port 0"));
}
