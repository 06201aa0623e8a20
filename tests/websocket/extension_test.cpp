// tests/websocket/extension_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/websocket/extension.hpp>
#include <ferry/websocket/session.hpp>

#include "support/catch.hpp"
#include "websocket/peer.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

using namespace ferry_test;
using strings = std::vector<std::string>;

namespace {
/// "3a1b" stands for "aaab"; RSV1 says so. Messages of fewer than 8 octets are sent as they are.
class run_lengths final : public ws::extension {
public:
    [[nodiscard]] unsigned reserved_bits() const noexcept override { return 4; }
    [[nodiscard]] outcome decode(std::string_view piece, bool last, std::size_t room, std::string& out) override {
        for (const char c : piece) {
            if (count_ == 0) {
                if (c < '1' || c > '9') return outcome::malformed;
                count_ = static_cast<std::size_t>(c - '0');
                continue;
            }
            if (count_ > room) return outcome::too_big;
            room -= count_;
            out.append(count_, c);
            count_ = 0;
        }
        return last && count_ != 0 ? outcome::malformed : outcome::done;
    }
    [[nodiscard]] unsigned encode(std::string_view payload, std::string& out) override {
        if (payload.size() < 8) return 0;
        for (std::size_t at = 0; at < payload.size();) {
            std::size_t count = 1;
            while (count < 9 && at + count < payload.size() && payload[at + count] == payload[at]) ++count;
            out += static_cast<char>('0' + count);
            out += payload[at];
            at += count;
        }
        return 4;
    }

private:
    std::size_t count_ = 0;
};

struct server {
    explicit server(const ws::session_options& options = ws::session_options()) : session(output, options) {
        session.use(agreed);
    }
    run_lengths agreed;
    std::string output;
    ws::session session;
};
}  // namespace

TEST_CASE("an extension decodes the messages that carry its bit, in any frames and cut anywhere",
          "[websocket][extension]") {
    const std::string input = masked(0x41, "3a") + masked(0x89, "p") + masked(0x00, "") + masked(0x80, "2b") +
                              masked(0x81, "plain") + masked(0xC2, "1x") + masked(0xC1, "");
    for (std::size_t cut = 0; cut <= input.size(); ++cut) {
        for (const bool in_pieces : {false, true}) {
            server s(ws::session_options().deliver_pieces(in_pieces));
            std::string joined;
            for (const std::string_view part :
                 {std::string_view(input).substr(0, cut), std::string_view(input).substr(cut)}) {
                std::string buffer(part);
                s.session.feed(buffer.data(), buffer.size());
                for (auto event = s.session.next_event(); event.what() != ws::session_event::kind::none;
                     event = s.session.next_event()) {
                    if (event.what() == ws::session_event::kind::ping) continue;
                    joined.append(event.data()).append(event.more() ? "" : "|");
                }
            }
            REQUIRE(joined == "aaabb|plain|x||");
        }
    }
}

TEST_CASE("an extension's bit is refused on control frames, on continuations, and where nothing was agreed",
          "[websocket][extension]") {
    server ping;
    CHECK(feed(ping.session, masked(0xC9, "")) == strings{"failed:1002"});
    server continuation;
    CHECK(feed(continuation.session, masked(0x41, "1a") + masked(0xC0, "1b")) == strings{"failed:1002"});
    server other_bit;
    CHECK(feed(other_bit.session, masked(0xE1, "1a")) == strings{"failed:1002"});
    std::string output;
    ws::session nothing_agreed(output);
    CHECK(feed(nothing_agreed, masked(0xC1, "1a")) == strings{"failed:1002"});
}

TEST_CASE("an extension's message is measured and checked as what it stands for", "[websocket][extension]") {
    server s(ws::session_options().max_message_bytes(10));
    CHECK(feed(s.session, masked(0xC1, "9a1b")) == strings{"text:aaaaaaaaab"});
    CHECK(feed(s.session, masked(0xC1, "9a2b")) == strings{"failed:1009"});
    server fragments(ws::session_options().max_message_bytes(10).deliver_pieces(true));
    CHECK(feed(fragments.session, masked(0x41, "9a") + masked(0x80, "2b")) ==
          strings{"text:aaaaaaaaa...", "failed:1009"});
    server malformed;
    CHECK(feed(malformed.session, masked(0xC1, "aa")) == strings{"failed:1002"});
    server not_text;
    CHECK(feed(not_text.session, masked(0xC1, "1\xFF")) == strings{"failed:1007"});
    server cut_code_point;
    CHECK(feed(cut_code_point.session, masked(0xC1, "1\xC3")) == strings{"failed:1007"});
}

TEST_CASE("an extension encodes what is sent, or leaves it as it is", "[websocket][extension]") {
    server s;
    s.session.send_text("aaaaaaaa");
    s.session.send_binary("short");
    s.session.ping("aaaaaaaa");
    CHECK(hex(s.output) == "c102" + hex("8a") + "8205" + hex("short") + "8908" + hex("aaaaaaaa"));
}
