// tests/data/json_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/data/json.hpp>

#include "support/catch.hpp"

#include <clocale>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

using ferry::value;
using ferry::value_error;
using ferry::value_kind;
namespace json = ferry::json;

namespace {
std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

/// npos if the text is accepted.
std::size_t offset_of_error(std::string_view text) {
    try {
        (void)json::parse(text);
    } catch (const ferry::json_error& error) {
        return error.offset();
    }
    return std::string::npos;
}
}  // namespace

TEST_CASE("json::parse reads what RFC 8259 allows", "[data][json]") {
    struct row {
        std::string_view text;
        value expected;
    };
    const row rows[] = {
        {"null", nullptr},
        {"true", true},
        {"false", false},
        {" \t\r\n 1 \t\r\n ", 1},
        {"0", 0},
        {"-0", 0},
        {"-12", -12},
        {"9223372036854775807", std::numeric_limits<std::int64_t>::max()},
        {"-9223372036854775808", std::numeric_limits<std::int64_t>::min()},
        {"9223372036854775808", 9223372036854775808.0},
        {"100000000000000000000000000000000000000000000000000000000000000000000000000000000", 1e80},
        {"1.0", 1.0},
        {"0.5", 0.5},
        {"-0.0", -0.0},
        {"1e3", 1000.0},
        {"1E+3", 1000.0},
        {"25e-1", 2.5},
        {"1e-400", 0.0},
        {"1.7976931348623157e308", std::numeric_limits<double>::max()},
        {"5e-324", std::numeric_limits<double>::denorm_min()},
        {"\"\"", ""},
        {"\"a\x7F\"", "a\x7F"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u0041\\u00e9\\u20AC\\uD83D\\uDE00\"", "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"},
        {"\"\\u0000\"", std::string_view("\0", 1)},
        {"\"\\u007f\\u0080\\u07ff\\u0800\\uffff\\ud800\\udc00\\udbff\\udfff\"",
         "\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"},
        {"\"\xE2\x82\xAC\"", "\xE2\x82\xAC"},
        {"[]", value::list()},
        {" [ 1 , [ ] , \"a\" ] ", value::list({1, value::list(), "a"})},
        {"{}", value::object()},
        {" { \"a\" : 1 , \"b\" : { } } ", value::map({{"a", 1}, {"b", value::object()}})},
        {"{\"\":1}", value::map({{"", 1}})},
        {"{\"a\":1,\"b\":2,\"a\":3}", value::map({{"a", 3}, {"b", 2}})},
    };
    std::string wrong;
    for (const row& r : rows) {
        if (json::parse(r.text) != r.expected) wrong.append(r.text).append("\n");
    }
    CHECK(wrong == "");
    CHECK(std::signbit(json::parse("-0.0").as_double()));
}

TEST_CASE("json::parse refuses what RFC 8259 does not allow, and says where", "[data][json]") {
    struct row {
        std::string_view text;
        std::size_t offset;
    };
    const row rows[] = {
        {"", 0},
        {"  ", 2},
        {"nul", 0},
        {"nullx", 4},
        {"True", 0},
        {"NaN", 0},
        {"Infinity", 0},
        {"-", 1},
        {"-a", 1},
        {"+1", 0},
        {".5", 0},
        {"01", 1},
        {"-01", 2},
        {"1.", 2},
        {"1.e3", 2},
        {"1e", 2},
        {"1e+", 3},
        {"0x10", 1},
        {"1_000", 1},
        {"1e400", 0},
        {"[-1e400]", 1},
        {"\"", 1},
        {"\"abc", 4},
        {"\"\\", 2},
        {"\"\\x\"", 2},
        {"\"\\u12\"", 3},
        {"\"\\u12g4\"", 3},
        {"\"\\u+123\"", 3},
        {"\"\\ud800\"", 7},
        {"\"\\ud800\\u0041\"", 13},
        {"\"\\ud800x\"", 7},
        {"\"\\udc00\"", 7},
        {"\"a\nb\"", 2},
        {"\"a\tb\"", 2},
        {std::string_view("\"a\0b\"", 5), 2},
        {std::string_view("1\0", 2), 1},
        {std::string_view("\0", 1), 0},
        {"\"\xFF\"", 1},
        {"\"\xC0\x80\"", 1},
        {"\"\xED\xA0\x80\"", 1},
        {"\"\xE2\x82\"", 1},
        {"\"\xE2\\u0082\"", 1},
        {"\xEF\xBB\xBF"
         "1",
         0},
        {"'a'", 0},
        {"[", 1},
        {"[1", 2},
        {"[1,", 3},
        {"[1,]", 3},
        {"[,1]", 1},
        {"[1 2]", 3},
        {"[1}", 2},
        {"]", 0},
        {"{", 1},
        {"{\"a\"", 4},
        {"{\"a\":", 5},
        {"{\"a\":1", 6},
        {"{\"a\":1,}", 7},
        {"{\"a\" 1}", 5},
        {"{a:1}", 1},
        {"{1:1}", 1},
        {"{\"a\":1 \"b\":2}", 7},
        {"1 2", 2},
        {"[] // no comments", 3},
        {"\v1", 0},
        {"\xC2\xA0"
         "1",
         0},
    };
    std::string wrong;
    for (const row& r : rows) {
        const std::size_t offset = offset_of_error(r.text);
        if (offset != r.offset) wrong.append(r.text).append(" at ").append(std::to_string(offset)).append("\n");
    }
    CHECK(wrong == "");
}

TEST_CASE("json_error is a runtime_error whose message holds the offset", "[data][json]") {
    std::string message;
    try {
        (void)json::parse("[1 2]");
    } catch (const std::runtime_error& error) {
        message = error.what();
    }
    CHECK(message == "json: expected ',' or ']' at offset 3");
}

TEST_CASE("json::parse limits the depth it accepts", "[data][json]") {
    CHECK(json::parse(nested(64)).size() == 1);
    REQUIRE_THROWS_AS(json::parse(nested(65)), ferry::json_error);
    REQUIRE_THROWS_AS(json::parse(std::string(1000000, '[')), ferry::json_error);
    CHECK(json::parse("[[],[],{}]", 2).size() == 3);  // side by side is not deep
    REQUIRE_THROWS_AS(json::parse("[[[]]]", 2), ferry::json_error);
    REQUIRE_THROWS_AS(json::parse("{\"a\":{\"b\":[]}}", 2), ferry::json_error);
    CHECK(json::parse("1", 0) == value(1));
    REQUIRE_THROWS_AS(json::parse("[]", 0), ferry::json_error);
}

TEST_CASE("json::dump writes compact text in the order of the keys", "[data][json]") {
    const value v = value::map(
        {{"z", nullptr}, {"a", value::list({true, false, -1, 1.5, "\xC3\xA9", value::list(), value::object()})}});
    CHECK(json::dump(v) == "{\"z\":null,\"a\":[true,false,-1,1.5,\"\xC3\xA9\",[],{}]}");
}

TEST_CASE("json::dump escapes what text may not contain", "[data][json]") {
    CHECK(json::dump("\"\\/\b\f\n\r\t<\x7F") == "\"\\\"\\\\/\\b\\f\\n\\r\\t<\x7F\"");
    CHECK(json::dump(std::string_view("\0\x01\x1F", 3)) == "\"\\u0000\\u0001\\u001f\"");
    CHECK(json::dump(value::map({{"a\"b", 1}})) == "{\"a\\\"b\":1}");
}

TEST_CASE("json::dump refuses what JSON cannot say", "[data][json]") {
    REQUIRE_THROWS_AS(json::dump(value::list({value::bytes("a")})), value_error);
    REQUIRE_THROWS_AS(json::dump(std::numeric_limits<double>::infinity()), value_error);
    REQUIRE_THROWS_AS(json::dump(std::numeric_limits<double>::quiet_NaN()), value_error);
    REQUIRE_THROWS_AS(json::dump("\xFF"), value_error);
    REQUIRE_THROWS_AS(json::dump(value::map({{"\xC3", 1}})), value_error);
}

TEST_CASE("what json::dump writes comes back as the same kind and content", "[data][json]") {
    std::string every_octet;
    for (char c = 0; c < 127; ++c) every_octet += c;
    for (const value& v :
         {value(1.0), value(-0.0), value(1e22), value(1e300), value(0.1), value(1.0 / 3), value(5e-324),
          value(std::numeric_limits<double>::max()), value(std::numeric_limits<double>::lowest()), value(123456789.0),
          value(std::numeric_limits<std::int64_t>::min()), value(every_octet), value("\xF4\x8F\xBF\xBF")}) {
        const std::string text = json::dump(v);
        CHECK(json::dump(json::parse(text)) == text);
        CHECK(json::parse(text) == v);
    }
}

TEST_CASE("json numbers do not depend on the program's locale", "[data][json]") {
    const std::string before = std::setlocale(LC_ALL, nullptr);
    std::setlocale(LC_ALL, "de_DE.UTF-8");  // has a decimal comma, where it is installed
    const value read = json::parse("[1.5,2e1]");
    const std::string written = json::dump(1.5);
    std::setlocale(LC_ALL, before.c_str());
    CHECK(read == value::list({1.5, 20.0}));
    CHECK(written == "1.5");
}
