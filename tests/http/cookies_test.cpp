// tests/http/cookies_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/http/cookies.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>

#include "support/catch.hpp"

namespace http = ferry::http;
using http::cookie;
using http::find_cookie;
using http::headers;

TEST_CASE("a cookie is found by its exact name, the first of several", "[http][cookies]") {
    const headers request =
        headers().add("Cookie", "a=1; bb=two ;c=\"3\";d=;e;=f; a=4;g=h=i").add("X", "x=1").add("cookie", "z=26");
    CHECK(find_cookie(request, "a") == "1");
    CHECK(find_cookie(request, "bb") == "two");
    CHECK(find_cookie(request, "c") == "\"3\"");
    CHECK(find_cookie(request, "d") == "");
    CHECK(find_cookie(request, "g") == "h=i");
    CHECK(find_cookie(request, "z") == "26");
    for (const std::string_view name : {"A", "b", "e", "x", "Cookie"})
        CHECK_FALSE(find_cookie(request, name).has_value());
    CHECK_FALSE(find_cookie(headers(), "a").has_value());
}

TEST_CASE("a cookie to be set is careful unless it is told otherwise", "[http][cookies]") {
    CHECK(cookie("id", "abc").to_string() == "id=abc; Path=/; SameSite=Lax");
    CHECK(cookie("id", "")
              .max_age(std::chrono::seconds(0))
              .domain("a.test")
              .path("/app")
              .same_site(cookie::site::strict)
              .secure()
              .http_only()
              .to_string() == "id=; Max-Age=0; Domain=a.test; Path=/app; SameSite=Strict; Secure; HttpOnly");
    CHECK(cookie("id", "x").same_site(cookie::site::none).secure().to_string() ==
          "id=x; Path=/; SameSite=None; Secure");
    cookie named("__Host-id", "x");
    named.secure().http_only();
    CHECK(named.to_string() == "__Host-id=x; Path=/; SameSite=Lax; Secure; HttpOnly");
    CHECK(http::valid_header_value(named.to_string()));
}

TEST_CASE("what would end a cookie or its attribute is refused", "[http][cookies]") {
    for (const std::string_view name : {"", "a b", "a=b", "a;b", "a\r\n"}) {
        CHECK_THROWS_AS(cookie(name, "x"), std::invalid_argument);
    }
    for (const std::string_view value : {"a b", "a;b", "a,b", "\"a\"", "a\\b", "a\r\nb", "\x01", "caf\xC3\xA9"}) {
        CHECK_THROWS_AS(cookie("a", value), std::invalid_argument);
    }
    for (const std::string_view attribute : {"/;Domain=b.test", "/\r\n", "/\x7F"}) {
        CHECK_THROWS_AS(cookie("a", "x").path(attribute), std::invalid_argument);
        CHECK_THROWS_AS(cookie("a", "x").domain(attribute), std::invalid_argument);
    }
}

TEST_CASE("a cookie that browsers would refuse is refused here", "[http][cookies]") {
    CHECK_THROWS_AS(cookie("__Host-id", "x").to_string(), std::invalid_argument);
    CHECK_THROWS_AS(cookie("__Secure-id", "x").to_string(), std::invalid_argument);
    CHECK_THROWS_AS(cookie("__Host-id", "x").secure().domain("a.test").to_string(), std::invalid_argument);
    CHECK_THROWS_AS(cookie("__Host-id", "x").secure().path("/app").to_string(), std::invalid_argument);
    CHECK_THROWS_AS(cookie("id", "x").same_site(cookie::site::none).to_string(), std::invalid_argument);
    CHECK(cookie("__Secure-id", "x").secure().domain("a.test").path("/app").to_string() ==
          "__Secure-id=x; Domain=a.test; Path=/app; SameSite=Lax; Secure");
}
