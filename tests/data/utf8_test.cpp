// tests/data/utf8_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/data/utf8.hpp>

#include "support/catch.hpp"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace {
std::string octets(std::initializer_list<unsigned> list) {
    std::string out;
    for (const unsigned octet : list) out += static_cast<char>(static_cast<unsigned char>(octet));
    return out;
}

/// RFC 3629 section 4, written down as its grammar has it: how long the code point is that the text begins with, or 0.
std::size_t code_point(std::string_view text) {
    const auto within = [&](std::size_t i, unsigned low, unsigned high) {
        return i < text.size() && static_cast<unsigned char>(text[i]) >= low &&
               static_cast<unsigned char>(text[i]) <= high;
    };
    const auto tail = [&](std::size_t i) { return within(i, 0x80, 0xBF); };
    if (within(0, 0x00, 0x7F)) return 1;
    if (within(0, 0xC2, 0xDF) && tail(1)) return 2;
    if (within(0, 0xE0, 0xE0) && within(1, 0xA0, 0xBF) && tail(2)) return 3;
    if (within(0, 0xE1, 0xEC) && tail(1) && tail(2)) return 3;
    if (within(0, 0xED, 0xED) && within(1, 0x80, 0x9F) && tail(2)) return 3;
    if (within(0, 0xEE, 0xEF) && tail(1) && tail(2)) return 3;
    if (within(0, 0xF0, 0xF0) && within(1, 0x90, 0xBF) && tail(2) && tail(3)) return 4;
    if (within(0, 0xF1, 0xF3) && tail(1) && tail(2) && tail(3)) return 4;
    if (within(0, 0xF4, 0xF4) && within(1, 0x80, 0x8F) && tail(2) && tail(3)) return 4;
    return 0;
}

bool grammar_accepts(std::string_view text) {
    while (!text.empty()) {
        const std::size_t length = code_point(text);
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

/// How many octets are taken before the validator refuses; npos if it accepts them all.
std::size_t refused_after(std::string_view text) {
    ferry::utf8_validator check;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (!check.feed(text.substr(i, 1))) return i;
    }
    return std::string::npos;
}
}  // namespace

TEST_CASE("utf8 agrees with the grammar on all octets, each followed by all octets and by the edges of every class",
          "[data][utf8]") {
    const unsigned edges[] = {0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0};
    std::size_t accepted = 0;
    std::size_t refused = 0;
    std::size_t wrong = 0;
    for (unsigned a = 0; a < 256; ++a) {
        for (unsigned b = 0; b < 256; ++b) {
            for (const unsigned c : edges) {
                for (const unsigned d : edges) {
                    const std::string four = octets({a, b, c, d});
                    for (std::size_t length = 1; length <= 4; ++length) {
                        const std::string_view text = std::string_view(four).substr(0, length);
                        const bool expected = grammar_accepts(text);
                        (expected ? accepted : refused) += 1;
                        wrong += ferry::is_utf8(text) != expected ? 1 : 0;
                    }
                }
            }
        }
    }
    CHECK(wrong == 0);
    CHECK(accepted > 100000);
    CHECK(refused > 100000);
}

TEST_CASE("utf8 accepts every code point but the surrogates", "[data][utf8]") {
    std::size_t wrong = 0;
    for (std::uint32_t code = 0x80; code < 0x200000; ++code) {
        std::string text;
        if (code < 0x800) {
            text = octets({0xC0 | code >> 6, 0x80 | (code & 0x3F)});
        } else if (code < 0x10000) {
            text = octets({0xE0 | code >> 12, 0x80 | (code >> 6 & 0x3F), 0x80 | (code & 0x3F)});
        } else {
            text = octets(
                {0xF0 | code >> 18, 0x80 | (code >> 12 & 0x3F), 0x80 | (code >> 6 & 0x3F), 0x80 | (code & 0x3F)});
        }
        const bool scalar = code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
        wrong += ferry::is_utf8(text) == scalar ? 0 : 1;
    }
    CHECK(wrong == 0);
}

TEST_CASE("utf8 refuses at the first octet that cannot be part of a text", "[data][utf8]") {
    CHECK(refused_after(octets({0x41, 0x80})) == 1);
    CHECK(refused_after(octets({0xC0, 0x80})) == 0);
    CHECK(refused_after(octets({0xC1, 0xBF})) == 0);
    CHECK(refused_after(octets({0xE0, 0x9F, 0xBF})) == 1);
    CHECK(refused_after(octets({0xED, 0xA0, 0x80})) == 1);
    CHECK(refused_after(octets({0xF0, 0x8F, 0xBF, 0xBF})) == 1);
    CHECK(refused_after(octets({0xF4, 0x90, 0x80, 0x80})) == 1);
    CHECK(refused_after(octets({0xF5})) == 0);
    CHECK(refused_after(octets({0xE2, 0x82, 0x41})) == 2);
    CHECK(refused_after(octets({0xF0, 0x9F, 0x98, 0xC0})) == 3);
}

TEST_CASE("utf8 gives the same answer wherever the text is cut", "[data][utf8]") {
    const std::string good = "plain ascii, long enough \xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80 more ascii afterwards";
    for (std::size_t bad = 0; bad <= good.size(); ++bad) {
        std::string text = good;
        if (bad < text.size()) text[bad] = '\xFF';
        for (std::size_t cut = 0; cut <= text.size(); ++cut) {
            ferry::utf8_validator check;
            const bool accepted = check.feed(std::string_view(text).substr(0, cut)) &&
                                  check.feed(std::string_view(text).substr(cut)) && check.complete();
            REQUIRE(accepted == (bad == good.size()));
        }
    }
}

TEST_CASE("utf8 agrees with the grammar wherever in a long text an octet is changed", "[data][utf8]") {
    const std::string unit =
        octets({0xC3, 0xA9, 0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x98, 0x80, 0x61, 0xED, 0x9F, 0xBF, 0xE0, 0xA0,
                0x80, 0xF4, 0x8F, 0xBF, 0xBF, 0xF0, 0x90, 0x80, 0x80, 0xC2, 0x80, 0xEE, 0x80, 0x80});
    std::string good;
    while (good.size() < 240) good += unit;
    REQUIRE(ferry::is_utf8(good));
    std::size_t wrong = 0;
    std::size_t accepted = 0;
    for (std::size_t at = 0; at < good.size(); ++at) {
        for (unsigned octet = 0; octet < 256; ++octet) {
            std::string text = good;
            text[at] = static_cast<char>(static_cast<unsigned char>(octet));
            const bool expected = grammar_accepts(text);
            accepted += expected ? 1 : 0;
            wrong += ferry::is_utf8(text) != expected ? 1 : 0;
            ferry::utf8_validator cut;  // the same in two pieces
            const std::size_t where = (at * 7 + octet) % (text.size() + 1);
            const bool in_pieces = cut.feed(std::string_view(text).substr(0, where)) &&
                                   cut.feed(std::string_view(text).substr(where)) && cut.complete();
            wrong += in_pieces != expected ? 1 : 0;
        }
    }
    CHECK(wrong == 0);
    CHECK(accepted > 5000);
    CHECK(accepted < 40000);
}

TEST_CASE("utf8 agrees with the grammar however long the text is, and whatever is cut off its end", "[data][utf8]") {
    std::string text = "abc";
    while (text.size() < 200) text += octets({0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x98, 0x80});
    for (std::size_t size = 0; size <= text.size(); ++size) {
        const std::string_view front = std::string_view(text).substr(0, size);
        ferry::utf8_validator check;
        REQUIRE(check.feed(front));
        REQUIRE(check.complete() == grammar_accepts(front));
        REQUIRE(check.feed(std::string_view(text).substr(size)));
        REQUIRE(check.complete());
    }
}

TEST_CASE("utf8 is complete only between code points", "[data][utf8]") {
    ferry::utf8_validator check;
    CHECK(check.complete());
    CHECK(check.feed("\xF0\x9F\x98"));
    CHECK(!check.complete());
    CHECK(check.feed(""));
    CHECK(!check.complete());
    CHECK(check.feed("\x80"));
    CHECK(check.complete());
}
