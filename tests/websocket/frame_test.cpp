// tests/websocket/frame_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/websocket/frame.hpp>

#include "support/catch.hpp"
#include "websocket/peer.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

using namespace ferry_test;

namespace {
std::string violation(std::string_view header_hex, ws::role receiver) {
    const std::string octets = unhex(header_hex);
    const char* found = ws::find_violation(ws::decode_frame_header(octets.data()), receiver);
    return found != nullptr ? found : "";
}
}  // namespace

TEST_CASE("a frame gives the examples of RFC 6455 section 5.7", "[websocket][frame]") {
    const auto frame = [](ws::opcode op, std::string_view payload) {
        std::string out;
        ws::append_frame(out, op, payload);
        return hex(out);
    };
    CHECK(frame(ws::opcode::text, "Hello") == "810548656c6c6f");
    CHECK(frame(ws::opcode::ping, "Hello") == "890548656c6c6f");
    std::string out;
    ws::append_masked_frame(out, ws::opcode::text, "Hello", {0x37, 0xFA, 0x21, 0x3D});
    ws::append_masked_frame(out, ws::opcode::pong, "Hello", {0x37, 0xFA, 0x21, 0x3D});
    CHECK(hex(out) == "818537fa213d7f9f4d51588a8537fa213d7f9f4d5158");
    CHECK(frame(ws::opcode::binary, std::string(256, 'x')).substr(0, 8) == "827e0100");
    CHECK(frame(ws::opcode::binary, std::string(65536, 'x')).substr(0, 20) == "827f0000000000010000");
}

TEST_CASE("a frame header has the shortest length that fits, and is read as it was written", "[websocket][frame]") {
    struct row {
        std::size_t payload_bytes;
        std::size_t header_bytes;
    };
    for (const row r : {row{0, 2}, row{1, 2}, row{125, 2}, row{126, 4}, row{127, 4}, row{65535, 4}, row{65536, 10},
                        row{100000, 10}}) {
        const std::string payload(r.payload_bytes, 'x');
        std::string plain;
        ws::append_frame(plain, ws::opcode::binary, payload);
        REQUIRE(ws::frame_header_bytes(plain.data()) == r.header_bytes);
        CHECK(plain.size() == r.header_bytes + r.payload_bytes);
        const ws::frame_header header = ws::decode_frame_header(plain.data());
        CHECK(header.fin);
        CHECK(header.op == ws::opcode::binary);
        CHECK(!header.masked);
        CHECK(header.shortest);
        CHECK(header.payload_bytes == r.payload_bytes);
        CHECK(ws::find_violation(header, ws::role::client) == nullptr);

        std::string masked_frame;
        ws::append_masked_frame(masked_frame, ws::opcode::text, payload, {1, 2, 3, 4});
        REQUIRE(ws::frame_header_bytes(masked_frame.data()) == r.header_bytes + 4);
        const ws::frame_header masked_header = ws::decode_frame_header(masked_frame.data());
        CHECK(masked_header.masked);
        CHECK(masked_header.key == ws::mask_key{1, 2, 3, 4});
        CHECK(masked_header.payload_bytes == r.payload_bytes);
        CHECK(ws::find_violation(masked_header, ws::role::server) == nullptr);
        ws::apply_mask(masked_frame.data() + r.header_bytes + 4, r.payload_bytes, masked_header.key);
        CHECK(masked_frame.substr(r.header_bytes + 4) == payload);
    }
}

TEST_CASE("a frame header that RFC 6455 forbids is named", "[websocket][frame]") {
    const ws::role server = ws::role::server;
    const ws::role client = ws::role::client;
    CHECK(violation("c18000000000", server) == "a reserved bit is set");
    CHECK(violation("a18000000000", server) == "a reserved bit is set");
    CHECK(violation("918000000000", server) == "a reserved bit is set");
    for (const char* reserved : {"83", "84", "85", "86", "87", "8b", "8c", "8d", "8e", "8f"}) {
        CHECK(violation(std::string(reserved) + "8000000000", server) == "reserved opcode");
    }
    for (const char* defined : {"80", "81", "82", "88", "89", "8a", "00", "01", "02"}) {
        CHECK(violation(std::string(defined) + "8000000000", server) == "");
    }
    CHECK(violation("8100", server) == "a client's frame must be masked");
    CHECK(violation("8100", client) == "");
    CHECK(violation("818000000000", client) == "a server's frame must not be masked");
    CHECK(violation("088000000000", server) == "fragmented control frame");
    CHECK(violation("89fe007e00000000", server) == "control frame above 125 bytes");
    CHECK(violation("89fd00000000", server) == "");
    CHECK(violation("827e007d", client) == "length not in its shortest form");
    CHECK(violation("827e007e", client) == "");
    CHECK(violation("827e0000", client) == "length not in its shortest form");
    CHECK(violation("827f000000000000ffff", client) == "length not in its shortest form");
    CHECK(violation("827f0000000000010000", client) == "");
    CHECK(violation("827f7fffffffffffffff", client) == "");
    CHECK(violation("827f8000000000000000", client) == "length above 63 bits");
    CHECK(violation("827fffffffffffffffff", client) == "length above 63 bits");
}

TEST_CASE("a mask is applied at every size, place in memory and offset in its frame", "[websocket][frame]") {
    const ws::mask_key key = {0x37, 0xFA, 0x21, 0x3D};
    for (std::size_t place = 0; place < 8; ++place) {
        for (std::size_t size = 0; size <= 40; ++size) {
            for (std::uint64_t offset = 0; offset < 9; ++offset) {
                std::vector<char> memory(place + size);
                std::string expected;
                for (std::size_t i = 0; i < size; ++i) {
                    memory[place + i] = static_cast<char>(i * 7);
                    expected += static_cast<char>(static_cast<unsigned char>(i * 7) ^ key[(offset + i) % 4]);
                }
                ws::apply_mask(memory.data() + place, size, key, offset);
                REQUIRE(std::string(memory.begin() + static_cast<std::ptrdiff_t>(place), memory.end()) == expected);
                REQUIRE(std::string(place, '\0') == std::string(memory.data(), place));
            }
        }
    }
}

TEST_CASE("a mask applied piece by piece is the mask of the whole", "[websocket][frame]") {
    const ws::mask_key key = {1, 2, 3, 250};
    const std::string payload = "a payload that is longer than eight octets, and no multiple of four";
    std::string whole = payload;
    ws::apply_mask(whole.data(), whole.size(), key);
    for (std::size_t cut = 0; cut <= payload.size(); ++cut) {
        std::string pieces = payload;
        ws::apply_mask(pieces.data(), cut, key);
        ws::apply_mask(pieces.data() + cut, pieces.size() - cut, key, cut);
        REQUIRE(pieces == whole);
    }
}

TEST_CASE("a close code may be sent if it is defined for the wire, registered or private", "[websocket][frame]") {
    std::string valid;
    bool before = false;
    for (unsigned code = 0; code <= 65535; ++code) {
        const bool now = ws::valid_close_code(static_cast<std::uint16_t>(code));
        if (now && !before) valid += std::to_string(code) + "-";
        if (!now && before) valid += std::to_string(code - 1) + " ";
        before = now;
    }
    CHECK(valid == "1000-1003 1007-1014 3000-4999 ");
}
