// tests/fuzz/websocket_session_fuzz.cpp - any octets as what the other side of a WebSocket sends
// SPDX-License-Identifier: BSL-1.0
#include <ferry/data/utf8.hpp>
#include <ferry/websocket/frame.hpp>
#include <ferry/websocket/session.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/fuzz.hpp"
#include "websocket/peer.hpp"

namespace {
using ferry_test::must;
namespace ws = ferry::websocket;

constexpr std::size_t max_message = 300;
constexpr std::size_t max_fragments = 6;

struct keys {
    std::uint32_t operator()() { return drawn += 0x01030507; }
    std::uint32_t drawn = 0;
};

/// What a session made of its input. Messages that came in pieces are joined; the output is kept to the end, so that the
/// bound on pongs does not depend on the cut.
class session_log {
public:
    session_log(ws::role role, bool in_pieces) {
        const auto options =
            ws::session_options().max_message_bytes(max_message).max_fragments(max_fragments).deliver_pieces(in_pieces);
        if (role == ws::role::server) {
            session_.emplace(output_, options);
        } else {
            session_.emplace(output_, ws::mask_source(keys_), options);
        }
    }

    void feed(std::string_view piece) {
        std::vector<char> exact(piece.begin(), piece.end());
        if (session_->state() == ws::session_state::closed) return;
        session_->feed(exact.data(), exact.size());
        for (;;) {
            const ws::session_event event = session_->next_event();
            if (event.what() == ws::session_event::kind::none) return;
            take(event);
        }
    }
    /// One word for each event.
    [[nodiscard]] const std::vector<std::string>& events() const { return events_; }
    [[nodiscard]] const std::string& output() const { return output_; }

private:
    void take(const ws::session_event& event) {
        const std::string data(event.data());
        switch (event.what()) {
            case ws::session_event::kind::none:
            case ws::session_event::kind::ping:  // its pong is in the output
                return;
            case ws::session_event::kind::text:
            case ws::session_event::kind::binary: {
                joined_ += data;
                must(joined_.size() <= max_message, "a message is beyond its limit");
                if (event.more()) return;
                const bool is_text = event.what() == ws::session_event::kind::text;
                must(!is_text || ferry::is_utf8(joined_), "a text is not UTF-8");
                events_.push_back((is_text ? "text:" : "binary:") + joined_);
                joined_.clear();
                return;
            }
            case ws::session_event::kind::pong:
                events_.push_back("pong:" + data);
                return;
            case ws::session_event::kind::closed:
                must(ferry::is_utf8(data), "a close reason is not UTF-8");
                events_.push_back("closed:" + std::to_string(event.code()) + ":" + data);
                return;
            case ws::session_event::kind::failed:
                events_.push_back("failed:" + std::to_string(event.code()));
                return;
        }
    }

    keys keys_;
    std::string output_;
    std::optional<ws::session> session_;
    std::string joined_;
    std::vector<std::string> events_;
};

/// RFC 6455 once more, with all octets at hand: the events that they come to. Text that is wrong is reported at the octet
/// where it is, so a frame that is not complete may be judged, too.
std::vector<std::string> expected(std::string_view octets, ws::role role) {
    std::vector<std::string> events;
    const auto octet = [&](std::size_t at) { return std::uint64_t{static_cast<unsigned char>(octets[at])}; };
    std::string message;
    unsigned kind = 0;
    std::size_t fragments = 0;
    const auto fail = [&](int code) {
        events.push_back("failed:" + std::to_string(code));
        return events;
    };
    for (;;) {
        if (octets.size() < 2) return events;
        const std::uint64_t first = octet(0);
        const bool masked = octet(1) >= 0x80;
        std::uint64_t size = octet(1) & 0x7F;
        const std::size_t extended = size == 126 ? 2 : size == 127 ? 8 : 0;
        const std::size_t head = 2 + extended + (masked ? 4 : 0);
        if (octets.size() < head) return events;
        if (extended != 0) size = 0;
        for (std::size_t i = 0; i < extended; ++i) size = size << 8 | octet(2 + i);
        const unsigned op = first & 15;
        const bool fin = first >= 0x80;
        if ((first & 0x70) != 0 || (op > 2 && op < 8) || op > 10 || masked != (role == ws::role::server))
            return fail(1002);
        if (op >= 8 && (!fin || size > 125)) return fail(1002);
        if ((extended == 2 && size < 126) || (extended == 8 && (size < 65536 || size >> 63 != 0))) return fail(1002);
        std::string payload(octets.substr(head, size > octets.size() ? octets.size() : static_cast<std::size_t>(size)));
        for (std::size_t i = 0; masked && i < payload.size(); ++i) {
            payload[i] = static_cast<char>(static_cast<unsigned char>(payload[i]) ^ octet(head - 4 + i % 4));
        }
        const bool complete = payload.size() == size;
        if (op >= 8 && !complete) return events;
        if (op == 10) events.push_back("pong:" + payload);
        if (op == 8) {
            if (payload.size() == 1) return fail(1002);
            std::uint16_t code = 1005;
            if (!payload.empty()) {
                code = static_cast<std::uint16_t>(static_cast<unsigned char>(payload[0]) << 8 |
                                                  static_cast<unsigned char>(payload[1]));
                if (!ws::valid_close_code(code)) return fail(1002);
                if (!ferry::is_utf8(payload.substr(2))) return fail(1007);
                payload.erase(0, 2);
            }
            events.push_back("closed:" + std::to_string(code) + ":" + payload);
            return events;
        }
        if (op < 8) {
            if ((op == 0) == (kind == 0)) return fail(1002);
            if (op != 0) {
                kind = op;
                fragments = 0;
            }
            if (size > max_message - message.size() || ++fragments > max_fragments) return fail(1009);
            message += payload;
            ferry::utf8_validator check;
            const bool valid = kind != 1 || (check.feed(message) && (!fin || !complete || check.complete()));
            if (!valid) return fail(1007);
            if (!complete) return events;
            if (fin) {
                events.push_back((kind == 1 ? "text:" : "binary:") + message);
                message.clear();
                kind = 0;
            }
        }
        octets.remove_prefix(head + static_cast<std::size_t>(size));
    }
}

void read_all_ways(std::string_view octets, ws::role role) {
    const std::vector<std::string> events = expected(octets, role);
    std::string output;
    for (const bool in_pieces : {false, true}) {
        session_log whole(role, in_pieces), octetwise(role, in_pieces), cut(role, in_pieces);
        whole.feed(octets);
        ferry_test::feed_octetwise(octetwise, octets);
        ferry_test::feed_cut(cut, octets);
        must(whole.events() == events, "it is not what RFC 6455 says");
        must(octetwise.events() == events, "octet by octet it is another conversation");
        must(cut.events() == events, "cut it is another conversation");
        must(whole.output() == octetwise.output() && whole.output() == cut.output(), "the answers depend on the cut");
        if (in_pieces) must(whole.output() == output, "the answers depend on how messages are delivered");
        output = whole.output();
    }
    const auto sent = ferry_test::frames_of(output, role == ws::role::server ? ws::role::client : ws::role::server);
    for (std::size_t i = 0; i < sent.size(); ++i) {
        const bool last = i + 1 == sent.size();
        must(sent[i].op == ws::opcode::pong || (last && sent[i].op == ws::opcode::close),
             "an answer that nobody asked for");
    }
    const bool ended = !events.empty() && (events.back()[0] == 'c' || events.back()[0] == 'f');
    must(ended == (!sent.empty() && sent.back().op == ws::opcode::close), "the end and the close frame do not agree");
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view octets = ferry_test::view_of(data, size);
    read_all_ways(octets, ws::role::server);
    read_all_ways(octets, ws::role::client);
    const std::string mirrored = ferry_test::from_other_role(std::string(octets));
    read_all_ways(mirrored, ws::role::client);
    return 0;
}
