// tests/http/headers_test.cpp - order, look-up and validity of header fields
// SPDX-License-Identifier: BSL-1.0
#include <ferry/http/headers.hpp>

#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "http/request_log.hpp"
#include "support/catch.hpp"

using ferry::http::headers;
using ferry_test::field_list;
using ferry_test::fields_of;

static_assert(!std::is_aggregate_v<headers> && !std::is_aggregate_v<ferry::http::header>);

TEST_CASE("headers keep the order and the spelling of what was added, duplicates too", "[http][headers]") {
    headers fields;
    CHECK(fields.empty());
    fields.add("Set-Cookie", "a=1").add("Host", "a.test").add("set-cookie", "b=2").add("X-Empty", "");
    CHECK(fields.size() == 4);
    CHECK(fields_of(fields) ==
          field_list{{"Set-Cookie", "a=1"}, {"Host", "a.test"}, {"set-cookie", "b=2"}, {"X-Empty", ""}});
    CHECK(fields[1].name == "Host");
    CHECK(fields[1].value == "a.test");
}

TEST_CASE("headers are found without regard to case, the first of a name first", "[http][headers]") {
    const headers fields = headers().add("Accept", "a").add("ACCEPT", "b").add("X-Empty", "");
    CHECK(fields.find("accept") == "a");
    CHECK(fields.count("aCCept") == 2);
    CHECK(fields.contains("x-empty"));
    CHECK(fields.find("x-empty") == "");
    CHECK_FALSE(fields.find("acc").has_value());
    CHECK_FALSE(fields.contains("accept2"));
    CHECK(fields.count("accept2") == 0);
}

TEST_CASE("contains_token reads every line of a list and compares whole members", "[http][headers]") {
    const headers fields = headers().add("Connection", "keep-alive ,\tUpgrade").add("connection", ",,foo");
    CHECK(fields.contains_token("connection", "upgrade"));
    CHECK(fields.contains_token("Connection", "KEEP-ALIVE"));
    CHECK(fields.contains_token("connection", "foo"));
    CHECK_FALSE(fields.contains_token("connection", "keep"));
    CHECK_FALSE(fields.contains_token("connection", "alive"));
    CHECK_FALSE(fields.contains_token("connection", "keep-alive ,\tupgrade"));
    CHECK_FALSE(fields.contains_token("upgrade", "upgrade"));
}

TEST_CASE("set leaves one field of a name, where the first one was", "[http][headers]") {
    headers fields = headers().add("A", "1").add("B", "22").add("b", "333").add("C", "4").add("B", "5");
    SECTION("longer") {
        fields.set("b", "a much longer value than before");
        CHECK(fields_of(fields) == field_list{{"A", "1"}, {"b", "a much longer value than before"}, {"C", "4"}});
    }
    SECTION("shorter") {
        fields.set("B", "");
        CHECK(fields_of(fields) == field_list{{"A", "1"}, {"B", ""}, {"C", "4"}});
    }
    SECTION("new") {
        fields.set("D", "6");
        CHECK(fields.size() == 6);
        CHECK(fields.find("d") == "6");
    }
}

TEST_CASE("remove takes away every field of a name and no other", "[http][headers]") {
    headers fields = headers().add("B", "1").add("A", "2").add("b", "3").add("Bb", "4").add("B", "5");
    CHECK(fields.remove("b") == 3);
    CHECK(fields_of(fields) == field_list{{"A", "2"}, {"Bb", "4"}});
    CHECK(fields.remove("b") == 0);
    CHECK(fields.remove("a") == 1);
    fields.add("Z", "9");
    CHECK(fields_of(fields) == field_list{{"Bb", "4"}, {"Z", "9"}});
    fields.clear();
    CHECK(fields.empty());
    CHECK_FALSE(fields.contains("z"));
}

TEST_CASE("headers may be changed with views of themselves", "[http][headers]") {
    headers fields;
    fields.add("A", std::string(40, 'a'));
    for (int i = 0; i < 50; ++i) fields.add(fields[0].name, fields[0].value);  // grows under the views
    CHECK(fields.count("a") == 51);
    CHECK(fields[50].value == std::string(40, 'a'));
    fields.add("B", "short");
    fields.set(fields[0].name, *fields.find("b"));
    CHECK(fields_of(fields) == field_list{{"A", "short"}, {"B", "short"}});
    CHECK(fields.remove(fields[0].name) == 1);
    CHECK(fields_of(fields) == field_list{{"B", "short"}});
}

TEST_CASE("headers refuse names that are not tokens and keep what they have", "[http][headers]") {
    headers fields = headers().add("A", "1");
    for (const char* name : {"", "A B", "A:", "A\r\nB", "\xC3\xA9", "A\t", "(A)", "\"A\"", "A\x7F"}) {
        REQUIRE_THROWS_AS(fields.add(name, "v"), std::invalid_argument);
        REQUIRE_THROWS_AS(fields.set(name, "v"), std::invalid_argument);
    }
    REQUIRE_THROWS_AS(fields.add(std::string("A\0B", 3), "v"), std::invalid_argument);
    CHECK(fields_of(fields) == field_list{{"A", "1"}});
    CHECK(ferry::http::valid_header_name("!#$%&'*+-.^_`|~09azAZ"));
}

TEST_CASE("headers refuse values that would end their line or be trimmed", "[http][headers]") {
    headers fields = headers().add("A", "1");
    for (const char* value : {"v\r\nSet-Cookie: x", "v\n", "v\r", " v", "v\t", "\x01", "\x7F"}) {
        REQUIRE_THROWS_AS(fields.add("A", value), std::invalid_argument);
        REQUIRE_THROWS_AS(fields.set("A", value), std::invalid_argument);
    }
    REQUIRE_THROWS_AS(fields.add("A", std::string("a\0b", 3)), std::invalid_argument);
    CHECK(fields_of(fields) == field_list{{"A", "1"}});
    CHECK(ferry::http::valid_header_value("a b\tc \xC3\xA9"));
    CHECK(ferry::http::valid_header_value(""));
}

TEST_CASE("a copy of headers is its own, and moved ones keep their text", "[http][headers]") {
    headers fields = headers().add("A", std::string(100, 'x'));
    const headers copy = fields;
    fields.set("A", "1");
    CHECK(copy.find("a") == std::string(100, 'x'));
    const headers moved = std::move(fields);
    CHECK(moved.find("a") == "1");
}
