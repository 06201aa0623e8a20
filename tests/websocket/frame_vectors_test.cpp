// tests/websocket/frame_vectors_test.cpp - every vector of websocket-frames.json, however its input is cut
// SPDX-License-Identifier: BSL-1.0
#include <ferry/websocket/session.hpp>

#include "support/catch.hpp"
#include "support/json.hpp"
#include "support/sha256.hpp"
#include "websocket/peer.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

using namespace ferry_test;

namespace {
struct result {
    std::string outcome = "open";
    std::vector<std::string> messages;
    std::vector<std::string> pongs;
    std::vector<std::string> closes;  // codes of the close frames sent; "none" for one without

    friend bool operator==(const result&, const result&) = default;
};

std::string octets_of(const json& vector) {
    std::string octets;
    if (vector.has("input_hex")) {
        for (const json& frame : vector.at("input_hex").array()) octets += unhex(frame.string());
    } else {
        for (const json& part : vector.at("input_parts").array()) {
            const std::string piece = unhex(part.at("hex").string());
            for (int n = static_cast<int>(part.at("repeat").number()); n > 0; --n) octets += piece;
        }
    }
    return octets;
}

/// Gives the session one piece, and writes what it has to say.
void run_piece(ws::session& session, std::string& output, std::string_view piece, result& seen) {
    for (const std::string& event : feed(session, piece)) {
        const std::size_t colon = event.find(':');
        const std::string what = event.substr(0, colon);
        if (what == "closed" || what == "failed") {
            seen.outcome = what;
        } else if (what != "pong") {
            seen.messages.push_back(event);
        }
    }
    for (const sent_frame& frame : frames_of(output)) {
        if (frame.op == ws::opcode::pong) seen.pongs.push_back(hex(frame.payload));
        if (frame.op != ws::opcode::close) continue;
        const auto octet = [&](std::size_t at) { return static_cast<unsigned char>(frame.payload.at(at)); };
        seen.closes.push_back(frame.payload.empty() ? "none" : std::to_string(octet(0) * 256 + octet(1)));
    }
    output.clear();
    session.output_written();
}

result run_cut(std::string_view octets, std::size_t first, std::size_t then) {
    std::string output;
    ws::session session(output, ws::session_options().max_message_bytes(1048576));
    result seen;
    for (std::size_t size = first; !octets.empty(); size = then) {
        const std::string_view piece = octets.substr(0, size);
        octets.remove_prefix(piece.size());
        run_piece(session, output, piece, seen);
    }
    return seen;
}

bool messages_match(const std::vector<std::string>& seen, const std::vector<json>& expected) {
    if (seen.size() != expected.size()) return false;
    for (std::size_t i = 0; i < seen.size(); ++i) {
        const std::string prefix = expected[i].at("type").string() + ":";
        if (!seen[i].starts_with(prefix)) return false;
        const std::string data = seen[i].substr(prefix.size());
        if (expected[i].has("data_hex")) {
            if (hex(data) != expected[i].at("data_hex").string()) return false;
        } else if (data.size() != static_cast<std::size_t>(expected[i].at("length").number()) ||
                   sha256_hex(data) != expected[i].at("sha256").string()) {
            return false;
        }
    }
    return true;
}

bool close_matches(const std::vector<std::string>& seen, const json& any) {
    if (any.is_null()) return seen.empty();
    if (seen.size() != 1) return false;
    return std::any_of(any.array().begin(), any.array().end(), [&](const json& code) {
        return seen[0] == (code.is_null() ? "none" : std::to_string(static_cast<int>(code.number())));
    });
}

/// Whether the result is as expected where `instead` says nothing else.
bool matches(const result& seen, const json& expected, const json& instead) {
    const auto field = [&](const char* name) -> const json& {
        return instead.is_object() && instead.has(name) ? instead.at(name) : expected.at(name);
    };
    std::vector<std::string> pongs;
    for (const json& pong : field("pongs_hex").array()) pongs.push_back(pong.string());
    return seen.outcome == field("outcome").string() && messages_match(seen.messages, field("messages").array()) &&
           seen.pongs == pongs && close_matches(seen.closes, field("close_sent_any"));
}

bool as_expected(const result& seen, const json& vector) {
    if (matches(seen, vector.at("expect"), json())) return true;
    if (!vector.has("alternatives")) return false;
    const std::vector<json>& others = vector.at("alternatives").array();
    return std::any_of(others.begin(), others.end(),
                       [&](const json& other) { return matches(seen, vector.at("expect"), other); });
}
}  // namespace

TEST_CASE("every frame vector gives what it should, in one write, octet by octet and cut anywhere",
          "[websocket][vectors]") {
    const json file = json::parse_file(FERRY_TEST_VECTORS_DIR "/websocket-frames.json");
    std::size_t run = 0;
    std::size_t skipped = 0;
    std::vector<std::string> unexpected;
    std::vector<std::string> changed_by_a_cut;
    for (const json& vector : file.at("vectors").array()) {
        if (vector.has("extension")) {
            ++skipped;
            continue;
        }
        ++run;
        const std::string& id = vector.at("id").string();
        const std::string octets = octets_of(vector);
        const result whole = run_cut(octets, octets.size(), octets.size());
        if (!as_expected(whole, vector)) unexpected.push_back(id);

        for (std::size_t piece = 1; piece <= 3; ++piece) {
            if (run_cut(octets, piece, piece) != whole) changed_by_a_cut.push_back(id);
        }
        const std::size_t stride = octets.size() <= 4096 ? 2 : octets.size() / 16 | 1;
        for (std::size_t cut = stride; cut < octets.size(); cut += stride) {
            if (run_cut(octets, cut, octets.size()) != whole) changed_by_a_cut.push_back(id);
        }
    }
    CHECK(unexpected == std::vector<std::string>());
    CHECK(changed_by_a_cut == std::vector<std::string>());
    REQUIRE(run == 116);
    REQUIRE(skipped == 14);  // permessage-deflate
}
