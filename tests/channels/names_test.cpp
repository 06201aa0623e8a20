// tests/channels/names_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/channels/names.hpp>

#include "support/catch.hpp"

#include <stdexcept>
#include <string>
#include <string_view>

namespace {
template <class Check>
std::string problem(Check check, std::string_view name) {
    try {
        check(name);
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return "";
}

bool channel_allowed(std::string_view name) { return problem(ferry::check_channel_name, name).empty(); }
bool group_allowed(std::string_view name) { return problem(ferry::check_group_name, name).empty(); }

bool mentions(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }
}  // namespace

TEST_CASE("channel and group names have 1 to 99 characters", "[channels][names]") {
    for (const std::string& name : {std::string("a"), std::string(99, 'a')}) {
        CHECK(channel_allowed(name));
        CHECK(group_allowed(name));
    }
    for (const std::string& name : {std::string(), std::string(100, 'a'), std::string(100000, 'a')}) {
        CHECK(!channel_allowed(name));
        CHECK(!group_allowed(name));
    }
    CHECK(channel_allowed(std::string(98, 'a').append("!")));
    CHECK(!channel_allowed(std::string(99, 'a').append("!")));
}

TEST_CASE("names consist of letters, digits, hyphens, underscores and periods", "[channels][names]") {
    for (int octet = 0; octet < 256; ++octet) {
        const char c = static_cast<char>(octet);
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                           c == '_' || c == '.';
        CHECK(group_allowed(std::string("a") + c) == plain);
        CHECK(channel_allowed(std::string("a") + c) == (plain || c == '!'));
        CHECK(channel_allowed(std::string("a!") + c) == plain);  // an octet above ASCII is no UTF-8 alone
    }
    for (const char* name : {"a b", "a?b", "\xC3\xA9", "\xD9\xA1"}) {  // the last one is a digit, but no ASCII one
        CHECK(!channel_allowed(name));
        CHECK(!group_allowed(name));
    }
}

TEST_CASE("a newline at the end of a name is refused like anywhere else", "[channels][names]") {
    for (const char* name : {"a\n", "\na", "a\nb", "\n"}) {
        CHECK(!channel_allowed(name));
        CHECK(!group_allowed(name));
    }
    CHECK(!channel_allowed("a!\n"));
    CHECK(!channel_allowed("a!b\n"));
}

TEST_CASE("a channel name may have one local part, a group name none", "[channels][names]") {
    for (const char* name : {"a!", "a!b", "specific.3f2a!b-c_d.e"}) {
        CHECK(channel_allowed(name));
        CHECK(!group_allowed(name));
    }
    for (const char* name : {"!", "!b", "a!b!c", "a!!"}) {
        CHECK(!channel_allowed(name));
        CHECK(!group_allowed(name));
    }
}

TEST_CASE("a local part may be beyond ASCII, counts in characters and must be UTF-8", "[channels][names]") {
    CHECK(channel_allowed("a!\xC3\xA9"));
    std::string longest = "a!";
    for (int i = 0; i < 97; ++i) longest += "\xC3\xA9";
    CHECK(channel_allowed(longest));
    CHECK(!channel_allowed(longest + "\xC3\xA9"));
    CHECK(!channel_allowed("a!\xC3"));
    CHECK(!channel_allowed("a!\xA9"));
    CHECK(!channel_allowed("a!\xED\xA0\x80"));  // a surrogate
}

TEST_CASE("a refused name is told what it violates, without its control characters", "[channels][names]") {
    CHECK(mentions(problem(ferry::check_group_name, ""), "0 characters: 1 to 99"));
    CHECK(mentions(problem(ferry::check_group_name, std::string(120, 'a')), "120 characters: 1 to 99"));
    CHECK(mentions(problem(ferry::check_group_name, "a!b"), "group name \"a!b\" may hold only A-Z a-z 0-9 - _ ."));
    CHECK(mentions(problem(ferry::check_channel_name, "a\n"), "channel name \"a?\" may hold only"));
    CHECK(mentions(problem(ferry::check_channel_name, "a!b!c"), "at most one '!'"));
    CHECK(mentions(problem(ferry::check_channel_name, "!b"), "nothing before its '!'"));
    CHECK(mentions(problem(ferry::check_channel_name, "a!b c"), "after its '!'"));
    CHECK(mentions(problem(ferry::check_channel_name, "a!\xC3"), "must be UTF-8"));
    CHECK(problem(ferry::check_channel_name, std::string(100000, 'a')).size() < 300);
}
