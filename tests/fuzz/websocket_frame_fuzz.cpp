// tests/fuzz/websocket_frame_fuzz.cpp - any octets as a frame's header, as a masked payload and as text
// SPDX-License-Identifier: BSL-1.0
#include <ferry/data/utf8.hpp>
#include <ferry/websocket/frame.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/fuzz.hpp"

namespace {
using ferry_test::must;
namespace ws = ferry::websocket;

/// A header that is read as valid is the one that would be written.
void check_header(std::string_view octets) {
    if (octets.size() < 2 || octets.size() < ws::frame_header_bytes(octets.data())) return;
    const std::size_t bytes = ws::frame_header_bytes(octets.data());
    const std::vector<char> exact(octets.begin(), octets.begin() + static_cast<std::ptrdiff_t>(bytes));
    const ws::frame_header header = ws::decode_frame_header(exact.data());
    const ws::role receiver = header.masked ? ws::role::server : ws::role::client;
    must(ws::find_violation(header, header.masked ? ws::role::client : ws::role::server) != nullptr,
         "a frame of the wrong direction is accepted");
    if (ws::find_violation(header, receiver, 7) != nullptr || header.payload_bytes > 100'000) return;
    const std::string payload(static_cast<std::size_t>(header.payload_bytes), 'x');
    std::string written;
    if (header.masked) {
        ws::append_masked_frame(written, header.op, payload, header.key, header.fin, header.reserved_bits);
    } else {
        ws::append_frame(written, header.op, payload, header.fin, header.reserved_bits);
    }
    must(written.size() == bytes + payload.size(), "the frame has another size");
    must(std::equal(exact.begin(), exact.end(), written.begin()), "the header is written in another way");
}

void check_mask(std::string_view octets) {
    if (octets.size() < 4) return;
    ws::mask_key key{};
    for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<unsigned char>(octets[i]);
    octets.remove_prefix(4);
    std::string expected(octets);
    for (std::size_t i = 0; i < expected.size(); ++i) {
        expected[i] = static_cast<char>(static_cast<unsigned char>(expected[i]) ^ key[i % 4]);
    }
    const auto cuts = ferry_test::cuts_of(octets);
    std::vector<char> seen(octets.begin(), octets.end());
    ws::apply_mask(seen.data(), cuts[0], key);
    ws::apply_mask(seen.data() + cuts[0], cuts[1] - cuts[0], key, cuts[0]);
    ws::apply_mask(seen.data() + cuts[1], seen.size() - cuts[1], key, cuts[1]);
    must(std::equal(seen.begin(), seen.end(), expected.begin(), expected.end()), "the mask is another one");
}

/// How many octets the first code point has (RFC 3629 section 4), 0 if it is wrong, -1 if it is cut.
int code_point(std::string_view text) {
    const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned first = at(0);
    const int size = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    for (int i = 1; i < size; ++i) {
        if (static_cast<std::size_t>(i) == text.size()) return -1;
        const unsigned octet = at(static_cast<std::size_t>(i));
        unsigned low = 0x80;
        unsigned high = 0xBF;
        if (i == 1 && first == 0xE0) low = 0xA0;
        if (i == 1 && first == 0xED) high = 0x9F;
        if (i == 1 && first == 0xF0) low = 0x90;
        if (i == 1 && first == 0xF4) high = 0x8F;
        if (octet < low || octet > high) return 0;
    }
    return size;
}

void check_text(std::string_view octets) {
    bool valid = true;
    bool complete = true;
    for (std::string_view rest = octets; !rest.empty() && valid && complete;) {
        const int size = code_point(rest);
        valid = size != 0;
        complete = size > 0;
        if (size > 0) rest.remove_prefix(static_cast<std::size_t>(size));
    }
    const std::vector<char> exact(octets.begin(), octets.end());
    const std::string_view view(exact.data(), exact.size());
    must(ferry::is_utf8(view) == (valid && complete), "the grammar disagrees whether it is UTF-8");
    const auto cuts = ferry_test::cuts_of(view);
    ferry::utf8_validator check;
    const bool accepted = check.feed(view.substr(0, cuts[0])) && check.feed(view.substr(cuts[0], cuts[1] - cuts[0])) &&
                          check.feed(view.substr(cuts[1]));
    must(accepted == valid, "the grammar disagrees about the beginning of a text, cut");
    if (accepted) must(check.complete() == complete, "the grammar disagrees where a text may end");
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view octets = ferry_test::view_of(data, size);
    check_header(octets);
    check_mask(octets);
    check_text(octets);
    // Long texts are checked in blocks, which short inputs seldom reach.
    check_text("abc" + std::string(octets) +
               "\xE2\x82\xAC\xF0\x9F\x98\x80\xC3\xA9 and so on, and on, and on, and on, and on" + std::string(octets) +
               "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC");
    return 0;
}
