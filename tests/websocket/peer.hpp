// tests/websocket/peer.hpp - the other end of a session: what it sends, and what it makes of the session's output
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/websocket/frame.hpp>
#include <ferry/websocket/session.hpp>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ferry_test {
namespace ws = ferry::websocket;

inline std::string hex(std::string_view octets) {
    std::string out;
    for (const char c : octets) {
        out += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
        out += "0123456789abcdef"[static_cast<unsigned char>(c) & 15];
    }
    return out;
}

inline std::string unhex(std::string_view text) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
        out += static_cast<char>(static_cast<unsigned char>(digits.find(text[i]) << 4 | digits.find(text[i + 1])));
    }
    return out;
}

/// A frame from a client, with the first octet as it is to stand there.
inline std::string masked(unsigned first_octet, std::string_view payload) {
    std::string out;
    ws::append_masked_frame(out, ws::opcode::text, payload, {0x37, 0xFA, 0x21, 0x3D});
    out[0] = static_cast<char>(static_cast<unsigned char>(first_octet));
    return out;
}

/// A frame from a server, likewise.
inline std::string unmasked(unsigned first_octet, std::string_view payload) {
    std::string out;
    ws::append_frame(out, ws::opcode::text, payload);
    out[0] = static_cast<char>(static_cast<unsigned char>(first_octet));
    return out;
}

/// The octets of one side of a conversation as the other side would have sent them: each frame that is masked is sent
/// bare, and each bare one masked. What is malformed stays so.
inline std::string from_other_role(std::string octets) {
    constexpr ws::mask_key key = {0x37, 0xFA, 0x21, 0x3D};
    std::string out;
    for (std::size_t at = 0; at < octets.size();) {
        char* const frame = octets.data() + at;
        const std::size_t left = octets.size() - at;
        if (left < 2 || left < ws::frame_header_bytes(frame)) return out.append(frame, left);
        const std::size_t header_bytes = ws::frame_header_bytes(frame);
        const ws::frame_header header = ws::decode_frame_header(frame);
        const std::size_t size = header.payload_bytes < left - header_bytes
                                     ? static_cast<std::size_t>(header.payload_bytes)
                                     : left - header_bytes;
        out.append(frame, header.masked ? header_bytes - 4 : header_bytes);
        out[out.size() - (header.masked ? header_bytes - 4 : header_bytes) + 1] =
            static_cast<char>(static_cast<unsigned char>(frame[1]) ^ 0x80);
        char* const payload = frame + header_bytes;
        if (header.masked) {
            ws::apply_mask(payload, size, header.key);
        } else {
            ws::apply_mask(payload, size, key);
            for (const unsigned char octet : key) out += static_cast<char>(octet);
        }
        out.append(payload, size);
        at += header_bytes + size;
    }
    return out;
}

struct sent_frame {
    ws::opcode op;
    std::string payload;

    friend bool operator==(const sent_frame&, const sent_frame&) = default;
};

/// Takes a session's output apart; throws if it is not a row of whole frames that may stand there.
inline std::vector<sent_frame> frames_of(std::string output, ws::role receiver = ws::role::client) {
    std::vector<sent_frame> frames;
    for (std::size_t at = 0; at < output.size();) {
        const std::size_t header_bytes = ws::frame_header_bytes(output.data() + at);
        const ws::frame_header header = ws::decode_frame_header(output.data() + at);
        if (ws::find_violation(header, receiver) != nullptr) throw std::runtime_error("the session sent a bad frame");
        const std::size_t size = static_cast<std::size_t>(header.payload_bytes);
        if (output.size() - at - header_bytes < size) throw std::runtime_error("the session sent half a frame");
        ws::apply_mask(output.data() + at + header_bytes, size, header.key);
        frames.push_back({header.op, output.substr(at + header_bytes, size)});
        at += header_bytes + size;
    }
    return frames;
}

inline std::string close_payload(std::uint16_t code, std::string_view reason = {}) {
    std::string payload;
    payload += static_cast<char>(static_cast<unsigned char>(code >> 8));
    payload += static_cast<char>(static_cast<unsigned char>(code & 0xFF));
    return payload.append(reason);
}

/// All events up to `none` but pings, one word each: "text:abc", "closed:1000:reason"; "text:ab..." for a piece that others follow.
inline std::vector<std::string> drain(ws::session& session) {
    std::vector<std::string> events;
    for (;;) {
        const ws::session_event event = session.next_event();
        const std::string data(event.data());
        switch (event.what()) {
            case ws::session_event::kind::none:
                return events;
            case ws::session_event::kind::text:
                events.push_back("text:" + data + (event.more() ? "..." : ""));
                break;
            case ws::session_event::kind::binary:
                events.push_back("binary:" + data + (event.more() ? "..." : ""));
                break;
            case ws::session_event::kind::ping:
                break;  // its pong is in the output
            case ws::session_event::kind::pong:
                events.push_back("pong:" + data);
                break;
            case ws::session_event::kind::closed:
                events.push_back("closed:" + std::to_string(event.code()) + ":" + data);
                break;
            case ws::session_event::kind::failed:
                events.push_back("failed:" + std::to_string(event.code()));
                break;
        }
    }
}

/// Feeds octets from a buffer that is gone afterwards, and has no octet to spare at its end.
inline std::vector<std::string> feed(ws::session& session, std::string_view octets) {
    std::vector<char> buffer(octets.begin(), octets.end());
    session.feed(buffer.data(), buffer.size());
    return drain(session);
}
}  // namespace ferry_test
