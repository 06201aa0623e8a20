// tests/http/uri_test.cpp - request targets, hosts and percent escapes
// SPDX-License-Identifier: BSL-1.0
#include <ferry/http/uri.hpp>

#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"

namespace http = ferry::http;

namespace {
std::vector<std::pair<std::string, std::string>> pairs_of(std::string_view query) {
    std::vector<std::pair<std::string, std::string>> pairs;
    const auto parameters = http::parse_query(query);
    REQUIRE(parameters.has_value());
    for (const http::query_parameter& p : *parameters) pairs.emplace_back(p.name, p.value);
    return pairs;
}
}  // namespace

TEST_CASE("a target in origin-form is a path and a query", "[http][uri]") {
    const auto target = http::request_target::split("/a%20b/c?x=1?&y=%zz");
    REQUIRE(target.has_value());
    CHECK(target->form() == http::target_form::origin);
    CHECK(target->path() == "/a%20b/c");
    CHECK(target->query() == "x=1?&y=%zz");
    CHECK(target->scheme().empty());
    CHECK(target->authority().empty());
    CHECK(http::request_target::split("/?")->query().empty());
    CHECK(http::request_target::split("//b.test/x")->path() == "//b.test/x");
}

TEST_CASE("a target in absolute-form has an authority, and its empty path is /", "[http][uri]") {
    const auto target = http::request_target::split("HTTP://b.test:81/x?y");
    REQUIRE(target.has_value());
    CHECK(target->form() == http::target_form::absolute);
    CHECK(target->scheme() == "HTTP");
    CHECK(target->authority() == "b.test:81");
    CHECK(target->path() == "/x");
    CHECK(target->query() == "y");
    CHECK(http::request_target::split("https://b.test")->path() == "/");
    const auto no_path = http::request_target::split("http://b.test?q=/");
    REQUIRE(no_path.has_value());
    CHECK(no_path->authority() == "b.test");
    CHECK(no_path->path() == "/");
    CHECK(no_path->query() == "q=/");
}

TEST_CASE("the asterisk is a target of its own", "[http][uri]") {
    const auto target = http::request_target::split("*");
    REQUIRE(target.has_value());
    CHECK(target->form() == http::target_form::asterisk);
    CHECK(target->path() == "*");
}

TEST_CASE("targets that name no path are refused", "[http][uri]") {
    for (const char* target :
         {"", "foo", "**", "b.test:443", "ftp://b.test/", "http:/b.test/", "http://", "http:///x", "http://u@b.test/",
          "http://b.test:x/", "://b.test/", "/a#b", "/a b", "/a\x7F", "/caf\xC3\xA9", "/%", "/%4", "/%4g/", "/%%41"}) {
        CHECK_FALSE(http::request_target::split(target).has_value());
    }
}

TEST_CASE("a host is a name or an address with an optional port", "[http][uri]") {
    for (const char* host : {"a.test", "A-1_b.test", "a.test:", "a.test:0", "a.test:65535", "127.0.0.1:80", "999.1",
                             "a%41", "[::]:8080", "[::1]", "[1:2:3:4:5:6:7:8]", "[1::8]", "[1:2:3:4:5:6:7::]",
                             "[::ffff:192.0.2.1]", "[1:2:3:4:5:6:192.0.2.1]"}) {
        CHECK(http::valid_host(host));
    }
    for (const char* host : {"",
                             ":80",
                             "a.test:8x",
                             "a.test:65536",
                             "a.test:000080",
                             "a.test:80:80",
                             "u@a.test",
                             "a/b",
                             "a b",
                             "a,b.test/",
                             "a\"b",
                             "a%4",
                             "a%zz",
                             "a%",
                             "::1",
                             "[::1",
                             "[]",
                             "[::1]x",
                             "[::1]80",
                             "[::1]:x",
                             "[:1]",
                             "[1:]",
                             "[:::]",
                             "[1::2::3]",
                             "[12345::]",
                             "[g::]",
                             "[1:2:3:4:5:6:7]",
                             "[1:2:3:4:5:6:7:8:9]",
                             "[1:2:3:4:5:6:7:8::]",
                             "[::1.2.3]",
                             "[::1.2.3.4.5]",
                             "[::1.2.3.256]",
                             "[::01.2.3.4]",
                             "[1:2:3:4:5:6:7:1.2.3.4]",
                             "[::1%25eth0]"}) {
        CHECK_FALSE(http::valid_host(host));
    }
}

TEST_CASE("decode_path replaces escapes once and leaves plus alone", "[http][uri]") {
    CHECK(http::decode_path("/a%20b+c") == "/a b+c");
    CHECK(http::decode_path("/%2F%2f%C3%a9") == "///\xC3\xA9");
    CHECK(http::decode_path("/%2541") == "/%41");
    CHECK(http::decode_path("/%00x") == std::string("/\0x", 3));
    CHECK(http::decode_path("") == "");
    for (const char* path : {"%", "/%4", "/%4g", "/%g4", "/%%", "/%+1", "/% 1", "/a%"}) {
        CHECK_FALSE(http::decode_path(path).has_value());
    }
}

TEST_CASE("parse_query lists parameters in order and decodes both sides", "[http][uri]") {
    using pairs = std::vector<std::pair<std::string, std::string>>;
    CHECK(pairs_of("a=1&b=x+y%2Bz&a=2") == pairs{{"a", "1"}, {"b", "x y+z"}, {"a", "2"}});
    CHECK(pairs_of("flag&e=&=v&a=b=c") == pairs{{"flag", ""}, {"e", ""}, {"", "v"}, {"a", "b=c"}});
    CHECK(pairs_of("%26%3D=%3d") == pairs{{"&=", "="}});
    CHECK(pairs_of("").empty());
    CHECK(pairs_of("&&").empty());
    CHECK_FALSE(http::parse_query("a=1&b=%").has_value());
    CHECK_FALSE(http::parse_query("%zz=1").has_value());
}
