// tests/server/websocket_conformance_test.cpp - an echo server, held against the kinds of cases of the public suite
// SPDX-License-Identifier: BSL-1.0
#include <ferry/server/server.hpp>
#include <ferry/websocket/session_options.hpp>

#include "server/apps.hpp"
#include "support/catch.hpp"
#include "support/raw_client.hpp"
#include "support/site.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace ferry_test;

namespace {
using frames = std::vector<sent_frame>;
constexpr std::size_t mebibyte = 1024 * 1024;

sent_frame text(std::string payload) { return {ws::opcode::text, std::move(payload)}; }
sent_frame binary(std::string payload) { return {ws::opcode::binary, std::move(payload)}; }
sent_frame pong(std::string payload) { return {ws::opcode::pong, std::move(payload)}; }

/// What an echo server answers to these octets, up to the end of the connection; of its close frame, the code alone.
/// They come in one write, or octet by octet, each in a turn of its own.
frames answers(std::string_view octets, bool octet_by_octet) {
    site server(echo, ferry::serve_options().websocket_limits(
                          ws::session_options().max_message_bytes(16 * mebibyte).max_fragments(1 << 20)));
    raw_client client(server);
    client.open_websocket();
    if (octet_by_octet) {
        for (const char octet : octets) {
            client.send(std::string_view(&octet, 1));
            server.turn();
            if (client.unread().find("\x88") != std::string::npos) break;  // perhaps closed: sending may be refused
        }
    } else {
        client.send(octets);
    }
    frames seen;
    do {
        seen.push_back(client.read_frame());
    } while (seen.back().op != ws::opcode::close);
    seen.back().payload.resize(seen.back().payload.size() < 2 ? 0 : 2);
    return seen;
}

/// These octets are answered with these frames and then a close frame with this code, 1005 if it has none.
bool strict(std::string_view octets, frames expected, std::uint16_t code) {
    expected.push_back({ws::opcode::close, code == 1005 ? std::string() : close_payload(code)});
    if (answers(octets, false) != expected) return false;
    return octets.size() > 2000 || answers(octets, true) == expected;
}

std::uint16_t wire(int code) { return static_cast<std::uint16_t>(code); }

const std::string goodbye = masked(0x88, close_payload(1000));
}  // namespace

TEST_CASE("framing: every form of the length, text and binary", "[server][websocket_conformance]") {
    for (const int size : {0, 1, 125, 126, 127, 128, 65535, 65536, 70000}) {
        const std::string payload(static_cast<std::size_t>(size), '*');
        CHECK(strict(masked(0x81, payload) + goodbye, {text(payload)}, 1000));
        CHECK(strict(masked(0x82, payload) + goodbye, {binary(payload)}, 1000));
    }
}

TEST_CASE("pings: any payload up to 125 octets, many at once, and pongs nobody asked for",
          "[server][websocket_conformance]") {
    CHECK(strict(masked(0x89, "") + goodbye, {pong("")}, 1000));
    const std::string odd("\x00\xff\xfe\xfd\xfc\xfb\x00\xff", 8);
    CHECK(strict(masked(0x89, odd) + goodbye, {pong(odd)}, 1000));
    CHECK(strict(masked(0x89, std::string(125, '\xfe')) + goodbye, {pong(std::string(125, '\xfe'))}, 1000));
    CHECK(strict(masked(0x89, std::string(126, 'x')), {}, 1002));
    CHECK(strict(masked(0x8A, "") + masked(0x8A, "unsolicited") + masked(0x89, "p") + goodbye, {pong("p")}, 1000));
    std::string ten;
    frames pongs;
    for (int i = 0; i < 10; ++i) {
        ten += masked(0x89, "payload-" + std::to_string(i));
        pongs.push_back(pong("payload-" + std::to_string(i)));
    }
    CHECK(strict(ten + goodbye, pongs, 1000));
}

TEST_CASE("reserved bits and opcodes: what came before is answered, then 1002", "[server][websocket_conformance]") {
    for (const unsigned first : {0x91U, 0xA1U, 0xB1U, 0xC1U, 0xD2U, 0xE9U, 0xF8U, 0x83U, 0x84U, 0x87U, 0x8BU, 0x8FU}) {
        CHECK(strict(masked(first, "x"), {}, 1002));
        CHECK(strict(masked(0x81, "hello") + masked(first, "") + masked(0x89, ""), {text("hello")}, 1002));
        CHECK(strict(masked(0x81, "a") + masked(0x82, "b") + masked(first, "") + goodbye, {text("a"), binary("b")},
                     1002));
    }
}

TEST_CASE("fragmentation: in any pieces, with control frames between, and nothing else",
          "[server][websocket_conformance]") {
    CHECK(strict(masked(0x01, "frag") + masked(0x80, "ment") + goodbye, {text("fragment")}, 1000));
    CHECK(strict(masked(0x01, "frag") + masked(0x89, "p") + masked(0x80, "ment") + goodbye,
                 {pong("p"), text("fragment")}, 1000));
    CHECK(strict(masked(0x02, "") + masked(0x00, "") + masked(0x80, "") + goodbye, {binary("")}, 1000));
    CHECK(strict(masked(0x09, "ping") + masked(0x80, ""), {}, 1002));  // a ping in fragments
    CHECK(strict(masked(0x0A, "pong"), {}, 1002));
    CHECK(strict(masked(0x80, "continues nothing"), {}, 1002));
    CHECK(strict(masked(0x00, "continues nothing"), {}, 1002));
    CHECK(strict(masked(0x81, "whole") + masked(0x80, "continues nothing"), {text("whole")}, 1002));
    CHECK(strict(masked(0x01, "one") + masked(0x81, "another"), {}, 1002));
    CHECK(strict(masked(0x01, "f1") + masked(0x00, "f2") + masked(0x89, "1") + masked(0x00, "f3") + masked(0x89, "2") +
                     masked(0x80, "f4") + goodbye,
                 {pong("1"), pong("2"), text("f1f2f3f4")}, 1000));
}

TEST_CASE("UTF-8: whole code points wherever they are cut, and 1007 at the first wrong octet",
          "[server][websocket_conformance]") {
    const std::string good =
        "\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5 \xF0\x9F\x98\x80 \xEF\xBF\xBF \xF4\x8F\xBF\xBF";
    CHECK(strict(masked(0x81, good) + goodbye, {text(good)}, 1000));
    std::string bytewise;
    for (std::size_t i = 0; i < good.size(); ++i) {
        const bool last = i + 1 == good.size();
        bytewise += masked((i == 0 ? 0x01U : 0x00U) | (last ? 0x80U : 0U), good.substr(i, 1));
    }
    CHECK(strict(bytewise + goodbye, {text(good)}, 1000));
    const std::string nul(1, '\0');
    CHECK(strict(masked(0x81, nul) + goodbye, {text(nul)}, 1000));
    for (const std::string_view bad :
         {"\xCE\xBA\xE1\xBD\xB9\xED\xA0\x80", "\xF4\x90\x80\x80", "\xC0\x80", "\xE0\x80\x80", "\xF8\x88\x80\x80\x80",
          "\xFE", "\x80", "\xC3", "\xE2\x82", "\xF0\x9F\x98"}) {
        CHECK(strict(masked(0x81, bad), {}, 1007));
        CHECK(strict(masked(0x81, "fine") + masked(0x81, bad) + goodbye, {text("fine")}, 1007));
        CHECK(strict(masked(0x01, bad) + masked(0x80, ""), {}, 1007));
    }
    CHECK(strict(masked(0x82, "\xFF\xFE") + goodbye, {binary("\xFF\xFE")}, 1000));
}

TEST_CASE("UTF-8: a frame that is wrong at its second octet is refused before it has all come",
          "[server][websocket_conformance]") {
    site server(echo);
    raw_client client(server);
    client.open_websocket();
    client.send(masked(0x81, "a\xFF" + std::string(1000, 'b')).substr(0, 8 + 2));
    CHECK(client.read_frame().payload.substr(0, 2) == close_payload(1007));
    CHECK(client.at_end());
}

TEST_CASE("closing: every code, reason and length that may stand on the wire, and no other",
          "[server][websocket_conformance]") {
    CHECK(strict(masked(0x88, ""), {}, 1005));
    CHECK(strict(masked(0x88, "\x03"), {}, 1002));
    for (const int code : {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1014, 3000, 3999, 4000, 4999}) {
        CHECK(strict(masked(0x88, close_payload(wire(code))), {}, wire(code)));
    }
    for (const int code : {0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535}) {
        CHECK(strict(masked(0x88, close_payload(wire(code))), {}, 1002));
    }
    CHECK(strict(masked(0x88, close_payload(1000, std::string(123, '*'))), {}, 1000));
    CHECK(strict(masked(0x88, close_payload(1000, std::string(124, '*'))), {}, 1002));
    CHECK(strict(masked(0x88, close_payload(1000, "\xCE\xBA\xED\xA0\x80")), {}, 1007));
    CHECK(strict(masked(0x81, "last") + goodbye + masked(0x81, "too late") + masked(0x89, "") + goodbye, {text("last")},
                 1000));
    CHECK(strict(masked(0x01, "unfinished") + goodbye + masked(0x80, ""), {}, 1000));
}

TEST_CASE("limits: 16 MiB in one frame and in many, and many small messages", "[server][websocket_conformance][long]") {
    const std::string large(16 * mebibyte, '*');
    CHECK(strict(masked(0x82, large) + goodbye, {binary(large)}, 1000));
    std::string in_frames;
    for (std::size_t at = 0; at < 4 * mebibyte; at += 256) {
        in_frames += masked((at == 0 ? 1U : 0U) | (at + 256 == 4 * mebibyte ? 0x80U : 0U), std::string(256, '*'));
    }
    CHECK(strict(in_frames + goodbye, {text(std::string(4 * mebibyte, '*'))}, 1000));
    CHECK(strict(masked(0x82, large + "*"), {}, 1009));
    std::string many;
    frames echoed;
    for (int i = 0; i < 1000; ++i) {
        many += masked(0x81, std::string(16, static_cast<char>('a' + i % 26)));
        echoed.push_back(text(std::string(16, static_cast<char>('a' + i % 26))));
    }
    CHECK(strict(many + goodbye, echoed, 1000));
}
