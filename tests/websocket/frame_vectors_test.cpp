// tests/websocket/frame_vectors_test.cpp - every vector of websocket-frames.json, however its input is cut
// SPDX-License-Identifier: BSL-1.0
#include <ferry/websocket/session.hpp>

#include "support/catch.hpp"
#include "support/json.hpp"
#include "support/sha256.hpp"
#include "websocket/peer.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
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
void run_piece(ws::session& session, ws::role role, std::string& output, std::string_view piece, result& seen) {
    for (const std::string& event : feed(session, piece)) {
        const std::size_t colon = event.find(':');
        const std::string what = event.substr(0, colon);
        if (what == "closed" || what == "failed") {
            seen.outcome = what;
        } else if (what != "pong") {
            seen.messages.push_back(event);
        }
    }
    const ws::role receiver = role == ws::role::server ? ws::role::client : ws::role::server;
    for (const sent_frame& frame : frames_of(output, receiver)) {
        if (frame.op == ws::opcode::pong) seen.pongs.push_back(hex(frame.payload));
        if (frame.op != ws::opcode::close) continue;
        const auto octet = [&](std::size_t at) { return static_cast<unsigned char>(frame.payload.at(at)); };
        seen.closes.push_back(frame.payload.empty() ? "none" : std::to_string(octet(0) * 256 + octet(1)));
    }
    output.clear();
    session.output_written();
}

struct counted_keys {
    std::uint32_t operator()() { return drawn += 0x01010101; }
    std::uint32_t drawn = 0;
};

/// Feeds a piece of `first` octets, then pieces of `then`.
result run_cut(ws::role role, std::string_view octets, std::size_t first, std::size_t then) {
    const auto options = ws::session_options().max_message_bytes(1048576);
    std::string output;
    counted_keys keys;
    std::optional<ws::session> session;
    if (role == ws::role::server) {
        session.emplace(output, options);
    } else {
        session.emplace(output, ws::mask_source(keys), options);
    }
    result seen;
    for (std::size_t size = first; !octets.empty(); size = then) {
        const std::string_view piece = octets.substr(0, size);
        octets.remove_prefix(piece.size());
        run_piece(*session, role, output, piece, seen);
    }
    return seen;
}

/// Where to cut: everywhere, but of a long input only around what is not the middle of a payload.
std::vector<std::size_t> cuts_of(std::string octets) {
    std::vector<std::size_t> cuts;
    if (octets.size() <= 2048) {
        for (std::size_t cut = 1; cut < octets.size(); ++cut) cuts.push_back(cut);
        return cuts;
    }
    const auto around = [&](std::size_t where) {
        for (std::size_t cut = where > 3 ? where - 3 : 1; cut < std::min(where + 17, octets.size()); ++cut) {
            if (cuts.empty() || cut > cuts.back()) cuts.push_back(cut);
        }
    };
    std::size_t frames = 0;
    for (std::size_t at = 0; at + 14 < octets.size() && frames < 64; ++frames) {
        around(at);
        const ws::frame_header header = ws::decode_frame_header(octets.data() + at);
        const std::size_t bytes = ws::frame_header_bytes(octets.data() + at);
        if (header.payload_bytes > octets.size() - at - bytes) break;
        at += bytes + static_cast<std::size_t>(header.payload_bytes);
    }
    around(octets.size() - 4);
    return cuts;
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

TEST_CASE("every frame vector gives what it should, in both roles, in one write, octet by octet and cut anywhere",
          "[websocket][vectors]") {
    const json file = json::parse_file(FERRY_TEST_VECTORS_DIR "/websocket-frames.json");
    for (const ws::role role : {ws::role::server, ws::role::client}) {
        std::size_t run = 0;
        std::size_t skipped = 0;
        std::size_t cut_runs = 0;
        std::vector<std::string> unexpected;
        std::vector<std::string> changed_by_a_cut;
        for (const json& vector : file.at("vectors").array()) {
            if (vector.has("extension")) {
                ++skipped;
                continue;
            }
            ++run;
            const std::string& id = vector.at("id").string();
            std::string octets = octets_of(vector);
            if (role == ws::role::client) octets = from_other_role(std::move(octets));
            const result whole = run_cut(role, octets, octets.size(), octets.size());
            if (!as_expected(whole, vector)) unexpected.push_back(id);

            const std::size_t stride = octets.size() <= 65536 ? 1 : 2;
            for (std::size_t piece = 1; piece <= 3; piece += stride) {
                if (run_cut(role, octets, piece, piece) != whole) changed_by_a_cut.push_back(id);
            }
            for (const std::size_t cut : cuts_of(octets)) {
                ++cut_runs;
                if (run_cut(role, octets, cut, octets.size()) != whole) changed_by_a_cut.push_back(id);
            }
        }
        CHECK(unexpected == std::vector<std::string>());
        CHECK(changed_by_a_cut == std::vector<std::string>());
        CHECK(run == 116);
        CHECK(skipped == 14);  // permessage-deflate
        CHECK(cut_runs > 1500);
    }
}
