// tests/websocket/session_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/websocket/session.hpp>

#include "support/catch.hpp"
#include "websocket/peer.hpp"

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace ferry_test;
using kind = ws::session_event::kind;
using state = ws::session_state;
using strings = std::vector<std::string>;

namespace {
constexpr unsigned continuation = 0x80;
constexpr unsigned text = 0x81;
constexpr unsigned binary = 0x82;
constexpr unsigned close_frame = 0x88;
constexpr unsigned ping = 0x89;
constexpr unsigned pong = 0x8A;
constexpr unsigned not_final = 0x7F;  // & with it clears FIN

struct server {
    server() : session(output) {}
    explicit server(const ws::session_options& options) : session(output, options) {}

    std::string output;
    ws::session session;
};

struct counted_keys {
    std::uint32_t operator()() { return drawn += 0x01010101; }
    std::uint32_t drawn = 0;
};

struct client {
    client() : session(output, ws::mask_source(keys)) {}

    counted_keys keys;
    std::string output;
    ws::session session;
};
}  // namespace

TEST_CASE("a session delivers whole messages, whatever frames they come in", "[websocket][session]") {
    server s;
    CHECK(feed(s.session, masked(text, "one") + masked(binary, std::string("\0\xFF", 2)) + masked(text, "")) ==
          strings{"text:one", std::string("binary:\0\xFF", 9), "text:"});
    CHECK(feed(s.session, masked(text & not_final, "a") + masked(continuation & not_final, "") +
                              masked(continuation & not_final, "b")) == strings());
    CHECK(feed(s.session, masked(continuation, "c") + masked(text, "d")) == strings{"text:abc", "text:d"});
    CHECK(s.output.empty());
    CHECK(s.session.state() == state::open);
}

TEST_CASE("a session delivers a message that lies in the buffer without copying it", "[websocket][session]") {
    server s;
    std::string buffer = masked(text, "hello") + masked(binary, "there");
    s.session.feed(buffer.data(), buffer.size());
    const ws::session_event hello = s.session.next_event();
    CHECK(hello.what() == kind::text);
    CHECK(hello.data() == "hello");
    CHECK(hello.data().data() == buffer.data() + 6);
    CHECK(s.session.take_data() == "hello");
    const ws::session_event there = s.session.next_event();
    CHECK(there.data().data() == buffer.data() + 6 + 5 + 6);
    CHECK(s.session.next_event().what() == kind::none);
}

TEST_CASE("a session gives a message that it put together away without copying it", "[websocket][session]") {
    server s;
    std::string first = masked(text & not_final, std::string(100, 'a'));
    std::string second = masked(continuation, std::string(100, 'b')) + masked(text, "next");
    s.session.feed(first.data(), first.size());
    CHECK(s.session.next_event().what() == kind::none);
    s.session.feed(second.data(), second.size());
    const ws::session_event event = s.session.next_event();
    const char* const octets = event.data().data();
    const std::string taken = s.session.take_data();
    CHECK(taken.data() == octets);
    CHECK(taken == std::string(100, 'a') + std::string(100, 'b'));
    CHECK(s.session.next_event().data() == "next");
    CHECK(s.session.take_data() == "next");
}

TEST_CASE("a session keeps what is not read yet when its buffer is needed elsewhere", "[websocket][session]") {
    const std::string input = masked(text, "one") + masked(ping, "p") + masked(binary & not_final, "tw") +
                              masked(continuation, "o") + masked(text, "three") + masked(close_frame, "");
    const strings expected = {"text:one", "binary:two", "text:three", "closed:1005:"};
    for (std::size_t cut = 0; cut <= input.size(); ++cut) {
        server s;
        strings events;
        for (const std::string_view piece :
             {std::string_view(input).substr(0, cut), std::string_view(input).substr(cut)}) {
            std::string buffer(piece);
            s.session.feed(buffer.data(), buffer.size());
            const ws::session_event event = s.session.next_event();
            if (event.what() == kind::text || event.what() == kind::binary) {
                events.push_back((event.what() == kind::text ? "text:" : "binary:") + s.session.take_data());
            }
            s.session.keep_input();
        }
        for (std::string& event : drain(s.session)) events.push_back(std::move(event));
        REQUIRE(events == expected);
        REQUIRE(frames_of(s.output) == std::vector<sent_frame>{{ws::opcode::pong, "p"}, {ws::opcode::close, ""}});
    }
}

TEST_CASE("a session answers pings and reports pongs", "[websocket][session]") {
    server s;
    CHECK(feed(s.session, masked(ping, "are you there") + masked(ping, "")) == strings());
    CHECK(frames_of(s.output) == std::vector<sent_frame>{{ws::opcode::pong, "are you there"}, {ws::opcode::pong, ""}});
    s.output.clear();
    std::string asked = masked(ping, "hello");
    s.session.feed(asked.data(), asked.size());
    const ws::session_event told = s.session.next_event();
    CHECK(told.what() == kind::ping);
    CHECK(told.data() == "hello");
    CHECK(frames_of(s.output) == std::vector<sent_frame>{{ws::opcode::pong, "hello"}});  // answered already
    CHECK(s.session.next_event().what() == kind::none);
    s.output.clear();
    s.session.ping("and you");
    CHECK(frames_of(s.output) == std::vector<sent_frame>{{ws::opcode::ping, "and you"}});
    CHECK(feed(s.session, masked(pong, "and you") + masked(pong, "unasked")) ==
          strings{"pong:and you", "pong:unasked"});
    REQUIRE_THROWS_AS(s.session.ping(std::string(126, 'x')), std::invalid_argument);
    s.session.ping(std::string(125, 'x'));
}

TEST_CASE("a session reads control frames between the fragments of a message", "[websocket][session]") {
    server s;
    CHECK(feed(s.session, masked(text & not_final, "a") + masked(pong, "p") + masked(ping, "q") +
                              masked(continuation, "b")) == strings{"pong:p", "text:ab"});
    server late;
    CHECK(feed(late.session, masked(text & not_final, "a") + masked(pong, "p")) == strings{"pong:p"});
    CHECK(late.session.take_data() == "");  // of `none`
    CHECK(feed(late.session, masked(continuation, "b")) == strings{"text:ab"});
}

TEST_CASE("a session bounds the pongs that are not written, and answers the newest ping", "[websocket][session]") {
    server s;
    for (int i = 0; i < 1000; ++i) (void)feed(s.session, masked(ping, std::to_string(i)));
    std::vector<sent_frame> pongs = frames_of(s.output);
    REQUIRE(pongs.size() == 64);
    CHECK(pongs.front().payload == "0");
    CHECK(pongs.back().payload == "63");

    s.output.clear();
    s.session.output_written();
    CHECK(frames_of(s.output) == std::vector<sent_frame>{{ws::opcode::pong, "999"}});
    s.output.clear();
    s.session.output_written();
    CHECK(s.output.empty());

    (void)feed(s.session, masked(ping, "again"));
    CHECK(frames_of(s.output) == std::vector<sent_frame>{{ws::opcode::pong, "again"}});

    server less(ws::session_options().max_unwritten_pongs(2));
    for (int i = 0; i < 10; ++i) (void)feed(less.session, masked(ping, std::to_string(i)));
    CHECK(frames_of(less.output) == std::vector<sent_frame>{{ws::opcode::pong, "0"}, {ws::opcode::pong, "1"}});
    less.output.clear();
    less.session.output_written();
    CHECK(frames_of(less.output) == std::vector<sent_frame>{{ws::opcode::pong, "9"}});
    CHECK_THROWS_AS(ws::session_options().max_unwritten_pongs(0), std::invalid_argument);
}

TEST_CASE("a session never answers an older ping after a newer one", "[websocket][session]") {
    server s;
    for (int i = 0; i < 70; ++i) (void)feed(s.session, masked(ping, "old"));
    s.output.clear();
    (void)feed(s.session, masked(ping, "new"));
    CHECK(frames_of(s.output) == std::vector<sent_frame>{{ws::opcode::pong, "new"}});
    s.output.clear();
    s.session.output_written();
    CHECK(s.output.empty());

    for (int i = 0; i < 70; ++i) (void)feed(s.session, masked(ping, "old"));
    s.session.close();
    s.output.clear();
    s.session.output_written();
    CHECK(s.output.empty());  // nothing follows a close frame
}

TEST_CASE("a session that the peer closes answers with its code and ends", "[websocket][session]") {
    server s;
    CHECK(feed(s.session, masked(text, "last") + masked(close_frame, close_payload(4001, "tired")) +
                              masked(text, "too late") + masked(ping, "")) ==
          strings{"text:last", "closed:4001:tired"});
    CHECK(frames_of(s.output) == std::vector<sent_frame>{{ws::opcode::close, close_payload(4001)}});
    CHECK(s.session.state() == state::closed);
    CHECK(feed(s.session, masked(text, "still")) == strings());

    server without_code;
    CHECK(feed(without_code.session, masked(close_frame, "")) == strings{"closed:1005:"});
    CHECK(frames_of(without_code.output) == std::vector<sent_frame>{{ws::opcode::close, ""}});
}

TEST_CASE("a session that closes waits for the peer's close, and delivers what came before it",
          "[websocket][session]") {
    server s;
    s.session.close(ws::close_code::going_away, "restart");
    s.session.close(ws::close_code::normal);
    CHECK(s.session.state() == state::closing);
    CHECK(frames_of(s.output) == std::vector<sent_frame>{{ws::opcode::close, close_payload(1001, "restart")}});
    s.output.clear();
    CHECK(feed(s.session, masked(text, "crossing") + masked(ping, "p") + masked(close_frame, close_payload(1001))) ==
          strings{"text:crossing", "closed:1001:"});
    CHECK(s.session.state() == state::closed);
    CHECK(s.output.empty());  // neither a pong nor a second close
}

TEST_CASE("a session can answer what came before the peer's close, or before its error, until it is concluded",
          "[websocket][session]") {
    for (const bool breaks : {false, true}) {
        server s;
        std::string buffer = masked(text, "question") +
                             (breaks ? unmasked(text, "bad") : masked(close_frame, close_payload(1000, "bye")));
        s.session.feed(buffer.data(), buffer.size());
        CHECK(s.session.next_event().data() == "question");
        CHECK(s.session.next_event().what() == (breaks ? kind::failed : kind::closed));
        CHECK(s.session.state() == state::open);
        s.session.send_text("answer");
        s.session.conclude();
        s.session.conclude();
        CHECK(s.session.state() == state::closed);
        CHECK(s.session.next_event().what() == kind::none);
        const std::vector<sent_frame> sent = frames_of(s.output);
        REQUIRE(sent.size() == 2);
        CHECK(sent[0] == sent_frame{ws::opcode::text, "answer"});
        CHECK(sent[1].op == ws::opcode::close);
        CHECK(sent[1].payload.substr(0, 2) == close_payload(breaks ? 1002 : 1000));
    }
}

TEST_CASE("a session whose peer was the first to close answers with the peer's code", "[websocket][session]") {
    server s;
    std::string buffer = masked(close_frame, close_payload(4001));
    s.session.feed(buffer.data(), buffer.size());
    CHECK(s.session.next_event().what() == kind::closed);
    s.session.close(4002, "mine");
    CHECK(frames_of(s.output) == std::vector<sent_frame>{{ws::opcode::close, close_payload(4001)}});
    CHECK(s.session.state() == state::closed);
}

TEST_CASE("a session that is asked for pieces delivers each octet as soon as it has come", "[websocket][session]") {
    const auto options = ws::session_options().deliver_pieces(true).max_message_bytes(10);
    server s(options);
    const std::string frame = masked(text & not_final, "\xE2\x82\xAC and");
    CHECK(feed(s.session, std::string_view(frame).substr(0, 6)) == strings());
    CHECK(feed(s.session, std::string_view(frame).substr(6, 2)) == strings{"text:\xE2\x82..."});
    CHECK(feed(s.session, std::string_view(frame).substr(8)) == strings{"text:\xAC and..."});
    CHECK(feed(s.session, masked(ping, "p") + masked(continuation & not_final, "") + masked(continuation, " so")) ==
          strings{"text: so"});
    CHECK(feed(s.session, masked(binary & not_final, "a") + masked(continuation, "") + masked(text, "")) ==
          strings{"binary:a...", "binary:", "text:"});
    CHECK(feed(s.session, masked(binary & not_final, "12345") + masked(continuation & not_final, "67890")) ==
          strings{"binary:12345...", "binary:67890..."});
    CHECK(feed(s.session, masked(continuation, "!").substr(0, 6)) == strings{"failed:1009"});

    server broken(options);
    CHECK(feed(broken.session, masked(text & not_final, "ok") + masked(continuation & not_final, "\xE2\x82") +
                                   masked(continuation, "")) ==
          strings{"text:ok...", "text:\xE2\x82...", "failed:1007"});
}

TEST_CASE("a session's pieces joined are the message, wherever its octets are cut", "[websocket][session]") {
    const std::string input = masked(text & not_final, "one ") + masked(pong, "!") +
                              masked(continuation & not_final, "") + masked(continuation, "two") +
                              masked(binary, "three") + masked(text, "");
    for (std::size_t cut = 0; cut <= input.size(); ++cut) {
        server s(ws::session_options().deliver_pieces(true));
        std::string joined;
        for (const std::string_view part :
             {std::string_view(input).substr(0, cut), std::string_view(input).substr(cut)}) {
            std::string buffer(part);
            s.session.feed(buffer.data(), buffer.size());
            for (auto event = s.session.next_event(); event.what() != kind::none; event = s.session.next_event()) {
                if (event.what() == kind::pong) continue;
                REQUIRE(s.session.take_data() == event.data());
                joined.append(event.data()).append(event.more() ? "" : "|");
                s.session.keep_input();
            }
        }
        REQUIRE(joined == "one two|three||");
    }
}

TEST_CASE("a session sends a message in pieces, with pings between them", "[websocket][session]") {
    server s;
    client c;
    s.session.send_text_piece("\xE2\x82", true);
    s.session.ping("p");
    s.session.send_text_piece("\xAC", true);
    s.session.send_text_piece("", false);
    s.session.send_binary_piece("whole", false);
    s.session.send_text("after");
    CHECK(hex(s.output) ==
          "0102e282"
          "890170"
          "0001ac"
          "8000"
          "8205" +
              hex("whole") + "8105" + hex("after"));
    CHECK(feed(c.session, s.output) == strings{"text:\xE2\x82\xAC", "binary:whole", "text:after"});

    c.output.clear();
    c.session.send_binary_piece("a", true);
    c.session.send_binary_piece("b", false);
    CHECK(feed(s.session, c.output) == strings{"binary:ab"});
}

TEST_CASE("a session lets no other message into one that is sent in pieces", "[websocket][session]") {
    server s;
    s.session.send_text_piece("a", true);
    const std::string sent = s.output;
    REQUIRE_THROWS_AS(s.session.send_text("b"), std::logic_error);
    REQUIRE_THROWS_AS(s.session.send_binary("b"), std::logic_error);
    REQUIRE_THROWS_AS(s.session.send_binary_piece("b", false), std::logic_error);
    REQUIRE_THROWS_AS(s.session.send_encoded(ws::encoded_message::text("b")), std::logic_error);
    REQUIRE_THROWS_AS(s.session.send_text_piece("\xFF", true), std::invalid_argument);
    REQUIRE_THROWS_AS(s.session.send_text_piece("\xC3", false), std::invalid_argument);
    CHECK(s.output == sent);
    s.session.send_text_piece("\xC3\xA9", false);
    client c;
    CHECK(feed(c.session, s.output) == strings{"text:a\xC3\xA9"});
    s.session.close();
    REQUIRE_THROWS_AS(s.session.send_text_piece("late", false), ferry::closed_error);
}

TEST_CASE("a session takes a message of 16 MiB in one frame, in thousands, and in any reads", "[websocket][session]") {
    const std::string large(16 * 1024 * 1024, 'x');
    const auto options = ws::session_options().max_message_bytes(large.size());
    std::string in_frames;
    const std::string_view all = large;
    for (std::size_t at = 0; at < all.size(); at += 4096) {
        const bool last = at + 4096 == all.size();
        in_frames += masked((at == 0 ? binary : continuation) & (last ? 0xFFU : not_final), all.substr(at, 4096));
    }
    for (const std::string& input : {masked(binary, large), in_frames}) {
        for (const std::size_t read : {input.size(), std::size_t{65536}, std::size_t{1460}}) {
            server s(options);
            std::size_t messages = 0;
            for (std::string_view left = input; !left.empty();) {
                std::string buffer(left.substr(0, read));
                left.remove_prefix(buffer.size());
                s.session.feed(buffer.data(), buffer.size());
                for (auto event = s.session.next_event(); event.what() != kind::none; event = s.session.next_event()) {
                    REQUIRE(event.what() == kind::binary);
                    REQUIRE(event.data() == large);
                    ++messages;
                }
            }
            CHECK(messages == 1);
        }
    }
}

TEST_CASE("a session refuses to send once it closes", "[websocket][session]") {
    const auto refuses_all = [](ws::session& session) {
        REQUIRE_THROWS_AS(session.send_text("a"), ferry::closed_error);
        REQUIRE_THROWS_AS(session.send_binary("a"), ferry::closed_error);
        REQUIRE_THROWS_AS(session.send_encoded(ws::encoded_message::text("a")), ferry::closed_error);
        REQUIRE_THROWS_AS(session.ping(), ferry::closed_error);
        session.close();
    };
    server closing;
    closing.session.close();
    const std::string sent = closing.output;
    refuses_all(closing.session);
    CHECK(closing.output == sent);

    server failed;
    (void)feed(failed.session, unmasked(text, "a"));
    const std::string told = failed.output;
    refuses_all(failed.session);
    CHECK(failed.output == told);
}

TEST_CASE("a session refuses to send what the peer would have to refuse", "[websocket][session]") {
    server s;
    REQUIRE_THROWS_AS(s.session.send_text("\xC3"), std::invalid_argument);
    REQUIRE_THROWS_AS(s.session.close(1005), std::invalid_argument);
    REQUIRE_THROWS_AS(s.session.close(999), std::invalid_argument);
    REQUIRE_THROWS_AS(s.session.close(5000), std::invalid_argument);
    REQUIRE_THROWS_AS(s.session.close(1000, std::string(124, 'x')), std::invalid_argument);
    REQUIRE_THROWS_AS(s.session.close(1000, "\xFF"), std::invalid_argument);
    CHECK(s.output.empty());
    CHECK(s.session.state() == state::open);
    s.session.close(4999, std::string(123, 'x'));
    CHECK(frames_of(s.output).at(0).payload.size() == 125);
}

TEST_CASE("a session that finds an error tells the peer once, after the messages before it", "[websocket][session]") {
    server s;
    CHECK(feed(s.session, masked(text, "good") + masked(ping, "p") + unmasked(text, "bad") + masked(text, "more")) ==
          strings{"text:good", "failed:1002"});
    const std::vector<sent_frame> sent = frames_of(s.output);
    REQUIRE(sent.size() == 2);
    CHECK(sent[0] == sent_frame{ws::opcode::pong, "p"});
    CHECK(sent[1] == sent_frame{ws::opcode::close, close_payload(1002, "a client's frame must be masked")});
    CHECK(s.session.state() == state::closed);

    server closing;
    closing.session.close();
    closing.output.clear();
    CHECK(feed(closing.session, unmasked(text, "bad")) == strings{"failed:1002"});
    CHECK(closing.output.empty());
}

TEST_CASE("a session refuses text at the first octet that is not UTF-8", "[websocket][session]") {
    server s;
    const std::string frame = masked(text, std::string("ok \xFF") + std::string(1000, 'x'));
    CHECK(feed(s.session, std::string_view(frame).substr(0, 4 + 4 + 3)) == strings());
    CHECK(feed(s.session, std::string_view(frame).substr(4 + 4 + 3, 1)) == strings{"failed:1007"});

    server cut;  // a code point may be cut by frames, not by the end of the message
    CHECK(feed(cut.session, masked(text & not_final, "\xE2\x82") + masked(continuation, "\xAC")) ==
          strings{"text:\xE2\x82\xAC"});
    CHECK(feed(cut.session, masked(text & not_final, "\xE2\x82") + masked(continuation, "")) == strings{"failed:1007"});

    server reason;
    CHECK(feed(reason.session, masked(close_frame, close_payload(1000, "\xC3"))) == strings{"failed:1007"});
}

TEST_CASE("a session refuses a message above its limit when the header announces it", "[websocket][session]") {
    server s(ws::session_options().max_message_bytes(10));
    CHECK(feed(s.session, masked(text, std::string(10, 'x'))).size() == 1);
    CHECK(feed(s.session, masked(text, std::string(11, 'x')).substr(0, 6)) == strings{"failed:1009"});

    server sum(ws::session_options().max_message_bytes(10));
    CHECK(feed(sum.session, masked(text & not_final, std::string(6, 'x'))) == strings());
    CHECK(feed(sum.session, masked(continuation, std::string(5, 'x')).substr(0, 6)) == strings{"failed:1009"});

    server huge;
    CHECK(feed(huge.session, unhex("82ff7fffffffffffffff00000000")) == strings{"failed:1009"});
}

TEST_CASE("a session refuses a message in more frames than its limit", "[websocket][session]") {
    server s(ws::session_options().max_fragments(3));
    CHECK(feed(s.session, masked(text & not_final, "a") + masked(continuation & not_final, "b") +
                              masked(continuation, "c")) == strings{"text:abc"});
    CHECK(feed(s.session, masked(text & not_final, "") + masked(continuation & not_final, "") +
                              masked(continuation & not_final, "")) == strings());
    CHECK(feed(s.session, masked(continuation & not_final, "")) == strings{"failed:1009"});
    CHECK(ws::session_options().max_fragments() == 16384);
    CHECK(ws::session_options().max_message_bytes() == 1048576);
}

TEST_CASE("a client's session masks each frame with a new key", "[websocket][session]") {
    client c;
    c.session.send_text("aaaa");
    c.session.send_binary("aaaa");
    c.session.ping("aaaa");
    c.session.close(1000, "bye");
    CHECK(hex(c.output.substr(0, 20)) ==
          "81840101010160606060"
          "82840202020263636363");
    CHECK(frames_of(c.output, ws::role::server) ==
          std::vector<sent_frame>{{ws::opcode::text, "aaaa"},
                                  {ws::opcode::binary, "aaaa"},
                                  {ws::opcode::ping, "aaaa"},
                                  {ws::opcode::close, close_payload(1000, "bye")}});
    CHECK(c.keys.drawn == 0x04040404);
    client other;
    REQUIRE_THROWS_AS(other.session.send_encoded(ws::encoded_message::text("a")), std::logic_error);
}

TEST_CASE("a client's session reads unmasked frames and refuses masked ones", "[websocket][session]") {
    client c;
    CHECK(feed(c.session, unmasked(text & not_final, "a") + unmasked(ping, "p") + unmasked(continuation, "b")) ==
          strings{"text:ab"});
    CHECK(frames_of(c.output, ws::role::server) == std::vector<sent_frame>{{ws::opcode::pong, "p"}});
    CHECK(feed(c.session, unmasked(close_frame, close_payload(1001, "bye"))) == strings{"closed:1001:bye"});
    CHECK(frames_of(c.output, ws::role::server).back() == sent_frame{ws::opcode::close, close_payload(1001)});

    client strict;
    CHECK(feed(strict.session, masked(text, "a")) == strings{"failed:1002"});
}

TEST_CASE("a server's and a client's session understand each other, octet by octet", "[websocket][session]") {
    server s;
    client c;
    strings at_server;
    strings at_client;
    const auto carry = [](std::string& output, ws::session& to, strings& events) {
        for (const char octet : std::exchange(output, std::string())) {
            for (std::string& event : feed(to, std::string_view(&octet, 1))) events.push_back(std::move(event));
        }
    };
    const std::string large(70000, 'x');
    c.session.send_text("question");
    c.session.send_binary(large);
    c.session.ping("1");
    carry(c.output, s.session, at_server);
    s.session.send_text("answer");
    s.session.send_encoded(ws::encoded_message::binary(large));
    carry(s.output, c.session, at_client);
    c.session.close(1000, "done");
    carry(c.output, s.session, at_server);
    carry(s.output, c.session, at_client);
    CHECK(at_server == strings{"text:question", "binary:" + large, "closed:1000:done"});
    CHECK(at_client == strings{"pong:1", "text:answer", "binary:" + large, "closed:1000:"});
    CHECK(s.session.state() == state::closed);
    CHECK(c.session.state() == state::closed);
}
