// tests/server/websocket_faults_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/error.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/server/server.hpp>
#include <ferry/websocket/handshake.hpp>
#include <ferry/websocket/session_options.hpp>

#include "server/apps.hpp"
#include "support/catch.hpp"
#include "support/raw_client.hpp"
#include "support/reports.hpp"
#include "support/site.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

using namespace ferry_test;
using namespace std::chrono_literals;

namespace {
constexpr std::string_view upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
constexpr std::string_view key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
constexpr std::string_view version = "Sec-WebSocket-Version: 13\r\n";

int status_of_handshake(const std::string& fields, ferry::serve_options options = ferry::serve_options()) {
    site server(echo, std::move(options));
    raw_client client(server);
    client.request("GET", "/", fields);
    return client.read_response().status;
}

/// The code with which the server closes after these octets; the application is told the same.
std::uint16_t code_after(std::string_view octets) {
    std::string seen;
    site server(note_disconnect(seen),
                ferry::serve_options().websocket_limits(ferry::websocket::session_options().max_message_bytes(1000)));
    raw_client client(server);
    client.open_websocket();
    client.send(octets);
    const sent_frame answer = client.read_frame();
    REQUIRE(answer.op == ws::opcode::close);
    REQUIRE(answer.payload.size() >= 2);
    CHECK(client.at_end());
    const auto code = static_cast<std::uint16_t>(static_cast<unsigned char>(answer.payload[0]) << 8 |
                                                 static_cast<unsigned char>(answer.payload[1]));
    server.until([&] { return !seen.empty(); });
    CHECK(seen.substr(0, 5) == std::to_string(code) + ":");
    return code;
}
}  // namespace

TEST_CASE("a bad handshake gets the status that says what is wrong", "[server][websocket_faults]") {
    const std::string good = std::string(upgrade) + std::string(key) + std::string(version);
    CHECK(status_of_handshake(good) == 101);
    CHECK(status_of_handshake(std::string(upgrade) + std::string(version)) == 400);  // no key
    CHECK(status_of_handshake(std::string(upgrade) + std::string(version) + "Sec-WebSocket-Key: short\r\n") == 400);
    CHECK(status_of_handshake(std::string(upgrade) + std::string(key)) == 426);
    CHECK(status_of_handshake(std::string(upgrade) + std::string(key) + "Sec-WebSocket-Version: 8\r\n") == 426);
    CHECK(status_of_handshake("Upgrade: websocket\r\n" + std::string(key) + std::string(version)) == 400);
}

TEST_CASE("a server that speaks no WebSocket takes a handshake, good or bad, for a request",
          "[server][websocket_faults]") {
    site server(echo_body, ferry::serve_options().websockets(false));
    raw_client client(server);
    for (const std::string fields : {"Upgrade: websocket\r\n",
                                     "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
                                     "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: no\r\n"}) {
        client.request("POST", "/", fields + "Content-Length: 4\r\n");
        client.send("body");
        const response answer = client.read_response();
        CHECK(answer.status == 200);
        CHECK(answer.body == "body");
    }
}

TEST_CASE("a page of another site may not open a WebSocket unless it is listed", "[server][websocket_faults]") {
    const std::string good = std::string(upgrade) + std::string(key) + std::string(version);
    CHECK(status_of_handshake(good + "Origin: http://test\r\n") == 101);
    CHECK(status_of_handshake(good + "Origin: http://evil.example\r\n") == 403);
    CHECK(status_of_handshake(good + "Origin: null\r\n") == 403);
    ferry::websocket::handshake_options rules;
    rules.allow_origin("https://friend.example");
    const ferry::serve_options options = ferry::serve_options().websocket_origins(rules);
    CHECK(status_of_handshake(good + "Origin: https://friend.example\r\n", options) == 101);
    CHECK(status_of_handshake(good + "Origin: http://evil.example\r\n", options) == 403);
}

TEST_CASE("a client that breaks the protocol is told how, and so is the application", "[server][websocket_faults]") {
    CHECK(code_after(unmasked(0x81, "unmasked")) == 1002);
    CHECK(code_after(masked(0xC1, "reserved bit")) == 1002);
    CHECK(code_after(masked(0x80, "continues nothing")) == 1002);
    CHECK(code_after(masked(0x81, "\xff\xfe")) == 1007);
    CHECK(code_after(masked(0x81, std::string(1001, 'x'))) == 1009);
    CHECK(code_after(masked(0x01, std::string(600, 'x')) + masked(0x80, std::string(600, 'x'))) == 1009);
}

TEST_CASE("what came before a violation is still delivered", "[server][websocket_faults]") {
    std::string seen;
    site server([&](app::scope scope, app::receive receive, app::send send) -> ferry::task<> {
        static_cast<void>(co_await receive());
        co_await send(app::websocket_accept());
        for (int message = 0; message < 2; ++message) {
            const app::message next = co_await receive();
            seen += std::get<app::websocket_receive>(next).data() + " ";
        }
        std::string end;
        co_await note_disconnect(end)(scope, receive, send);
        seen += end.substr(0, 5);
    });
    raw_client client(server);
    client.open_websocket();
    client.send(masked(0x81, "first") + masked(0x81, "second") + unmasked(0x81, "third"));
    server.until([&] { return seen.size() == 18; });
    CHECK(seen == "first second 1002:");
}

TEST_CASE("a peer that vanishes is a disconnect with 1006", "[server][websocket_faults]") {
    std::string seen;
    site server(note_disconnect(seen));
    for (const bool with_reset : {false, true}) {
        raw_client client(server);
        client.open_websocket();
        if (with_reset) {
            client.reset();
        } else {
            client.close();
        }
        server.until_empty();
        CHECK(std::exchange(seen, "") == "1006:");
    }
}

TEST_CASE("a peer that vanishes before the answer is told to the application", "[server][websocket_faults]") {
    std::string seen;
    bool refused = false;
    site server([&](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        static_cast<void>(co_await receive());
        const app::message last = co_await receive();
        seen = std::to_string(std::get<app::websocket_disconnect>(last).code());
        try {
            co_await send(app::websocket_accept());
            co_await send(app::websocket_send::text("hello?"));
        } catch (const ferry::disconnected&) {
            refused = true;
        }
    });
    raw_client client(server);
    client.ask_for_websocket();
    server.turn();
    client.reset();
    server.until_empty();
    CHECK(seen == "1006");
    CHECK(refused);
}

TEST_CASE("sending to a WebSocket waits for its reader, and loses nothing", "[server][websocket_faults]") {
    constexpr std::size_t message_bytes = 16 * 1024, messages = 2048;
    std::size_t accepted = 0;
    site server([&](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await send(app::websocket_accept());
        for (; accepted < messages; ++accepted) {
            co_await send(
                app::websocket_send::binary(std::string(message_bytes, static_cast<char>('a' + accepted % 26))));
        }
        co_await until_disconnect(receive);
    });
    raw_client client(server);
    client.open_websocket();
    server.advance(10s);
    CHECK(accepted < messages / 2);  // the rest of the memory is the kernel's
    for (std::size_t message = 0; message < messages; ++message) {
        const sent_frame frame = client.read_frame();
        REQUIRE(frame.payload.size() == message_bytes);
        REQUIRE(frame.payload[0] == static_cast<char>('a' + message % 26));
    }
}

TEST_CASE("a client that sends faster than the application takes has to wait", "[server][websocket_faults]") {
    std::size_t taken = 0;
    site server([&](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await send(app::websocket_accept());
        co_await ferry::sleep_for(1s);
        for (;;) {
            const app::message next = co_await receive();
            if (std::holds_alternative<app::websocket_disconnect>(next)) co_return;
            if (std::holds_alternative<app::websocket_receive>(next)) ++taken;
        }
    });
    raw_client client(server);
    client.open_websocket();
    std::string octets;
    for (int message = 0; message < 2000; ++message) octets += masked(0x82, std::string(16 * 1024, 'x'));
    std::size_t sent = 0;
    for (int stalled = 0; stalled < 100; ++stalled) {
        const std::size_t now = client.send_some(std::string_view(octets).substr(sent));
        if (now != 0) stalled = 0;
        sent += now;
        server.turn();
    }
    CHECK(sent < octets.size() / 2);
    server.advance(1s);
    client.send(std::string_view(octets).substr(sent));
    client.send_close(1000);
    CHECK(client.read_frame().op == ws::opcode::close);
    CHECK(taken == 2000);
}

TEST_CASE("a client that vanishes behind messages that nobody takes is noticed", "[server][websocket_faults]") {
    const reports reported;
    std::size_t taken = 0;
    bool refused = false;
    site server([&](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await send(app::websocket_accept());
        co_await ferry::sleep_for(3s);
        try {
            co_await send(app::websocket_send::text("are you still there?"));
        } catch (const ferry::disconnected&) {
            refused = true;
        }
        for (;;) {
            const app::message next = co_await receive();
            if (std::holds_alternative<app::websocket_disconnect>(next)) co_return;
            if (std::holds_alternative<app::websocket_receive>(next)) ++taken;
        }
    });
    raw_client client(server);
    client.open_websocket();
    std::string octets;
    for (int number = 0; number < 100; ++number) octets += masked(0x81, "unheard");
    client.send(octets);
    server.turn();
    client.reset();
    for (int second = 0; second < 3; ++second) server.advance(1s);
    CHECK(refused);
    CHECK(taken == 100);  // what had come is delivered all the same
    server.until_empty();
    CHECK(reported.count() == 0);
}

TEST_CASE("a silent peer is pinged, and dropped when it stays silent", "[server][websocket_faults]") {
    std::string seen;
    site server(note_disconnect(seen), ferry::serve_options().ping_interval(10s).pong_timeout(5s));
    raw_client client(server);
    client.open_websocket();
    for (int second = 0; second < 9; ++second) server.advance(1s);
    CHECK(client.unread().empty());
    for (int second = 0; second < 3; ++second) server.advance(1s);
    CHECK(client.read_frame().op == ws::opcode::ping);
    client.send(masked(0x8A, ""));  // a pong
    for (int second = 0; second < 12; ++second) server.advance(1s);
    CHECK(client.read_frame().op == ws::opcode::ping);
    CHECK(seen.empty());
    for (int second = 0; second < 8; ++second) server.advance(1s);
    CHECK(client.at_end());
    CHECK(seen == "1006:");
    CHECK(server.server().connections() == 0);
}

TEST_CASE("a peer whose messages wait for the application does not count as silent", "[server][websocket_faults]") {
    std::string seen;
    site server(
        [&](app::scope, app::receive receive, app::send send) -> ferry::task<> {
            co_await send(app::websocket_accept());
            co_await ferry::sleep_for(60s);
            co_await receive();
            for (int message = 0; message < 40; ++message) co_await receive();
            co_await send(app::websocket_send::text("at last"));
            co_await until_disconnect(receive);
        },
        ferry::serve_options().ping_interval(10s).pong_timeout(5s));
    raw_client client(server);
    client.open_websocket();
    for (int message = 0; message < 40; ++message) client.send_text("please");
    for (int second = 0; second < 61; ++second) server.advance(1s);
    sent_frame frame = client.read_frame();
    while (frame.op == ws::opcode::ping) frame = client.read_frame();
    CHECK(frame == sent_frame{ws::opcode::text, "at last"});
}

TEST_CASE("a peer that is busy with reading what was sent before the ping does not count as silent",
          "[server][websocket_faults]") {
    constexpr std::size_t message_bytes = 30'000'000;
    bool lost = false;
    site server([&](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await send(app::websocket_accept());
        co_await send(app::websocket_send::binary(std::string(message_bytes, 'x')));
        co_await until_disconnect(receive);
        lost = true;
    });
    raw_client client(server, 64 * 1024);
    client.open_websocket();
    static_cast<void>(client.read(10));  // the header
    for (std::size_t left = message_bytes; left != 0; left -= 300'000) {
        server.advance(1s);
        REQUIRE(client.read(300'000).size() == 300'000);
    }
    CHECK_FALSE(lost);
}

TEST_CASE("as many messages and octets wait for the application as may, and then the peer does",
          "[server][websocket_faults]") {
    // A peer that is silent is pinged only while more could be read.
    const auto check = [](ws::session_options limits, bool reads_on) {
        site server(
            [](app::scope, app::receive, app::send send) -> ferry::task<> {
                co_await send(app::websocket_accept());
                co_await ferry::sleep_for(30s);
            },
            ferry::serve_options().websocket_limits(limits));
        raw_client client(server);
        client.open_websocket();
        for (int message = 0; message < 2; ++message) client.send_text("please");
        client.until_delivered();
        for (int second = 0; second < 25; ++second) server.advance(1s);
        if (reads_on) CHECK(client.read_frame().op == ws::opcode::ping);
        CHECK(client.unread().empty());
    };
    check(ws::session_options(), true);
    check(ws::session_options().max_queued_messages(4), true);
    check(ws::session_options().max_queued_messages(3), false);  // the first one is websocket_connect
    check(ws::session_options().max_queued_bytes(13), true);
    check(ws::session_options().max_queued_bytes(12), false);
    CHECK_THROWS_AS(ws::session_options().max_queued_messages(0), std::invalid_argument);
    CHECK_THROWS_AS(ws::session_options().max_queued_bytes(0), std::invalid_argument);
}

namespace {
/// Pings that carry their number.
std::string pings(int count) {
    std::string flood;
    for (int number = 0; number < count; ++number) flood += masked(0x89, std::to_string(number));
    return flood;
}
/// How many of them are answered at the moment, and that no pong is for an earlier ping than the one before.
int answered_up_to(raw_client& client) {
    int last = -1;
    while (!client.unread().empty()) {
        const sent_frame frame = client.read_frame();
        REQUIRE(frame.op == ws::opcode::pong);
        REQUIRE(std::stoi(frame.payload) > last);
        last = std::stoi(frame.payload);
    }
    return last + 1;
}
}  // namespace

TEST_CASE("a flood of pings is read at a hundred a second, and what is behind it waits", "[server][websocket_faults]") {
    site server(echo);
    raw_client client(server);
    client.open_websocket();
    raw_client other(server);
    other.open_websocket();
    client.send(pings(1000) + masked(0x81, "behind it"));
    server.turn();
    for (int second = 1; second <= 9; ++second) {
        CHECK(answered_up_to(client) == 100 * second);
        server.advance(1s);
    }
    other.send_text("elsewhere");
    CHECK(other.read_frame() == sent_frame{ws::opcode::text, "elsewhere"});
    CHECK(answered_up_to(client) == 1000);
    server.advance(1s);
    CHECK(client.read_frame() == sent_frame{ws::opcode::text, "behind it"});
}

TEST_CASE("a flood of pongs waits like one of pings, and the rate is an option", "[server][websocket_faults]") {
    const auto limits = ws::session_options().max_control_frames_per_second(10);
    site server(echo, ferry::serve_options().websocket_limits(limits));
    raw_client client(server);
    client.open_websocket();
    std::string flood;
    for (int number = 0; number < 20; ++number) flood += masked(0x8A, "");
    client.send(flood + masked(0x81, "behind it"));
    server.advance(1s);
    CHECK(client.unread().empty());
    server.advance(1s);
    CHECK(client.read_frame() == sent_frame{ws::opcode::text, "behind it"});
}

TEST_CASE("a client whose pings wait does not count as silent", "[server][websocket_faults]") {
    site server(echo, ferry::serve_options().ping_interval(2s).pong_timeout(2s));
    raw_client client(server);
    client.open_websocket();
    client.send(pings(1000) + masked(0x81, "behind it"));
    for (int second = 0; second < 9; ++second) server.advance(1s);
    CHECK(answered_up_to(client) == 1000);
    server.advance(1s);
    CHECK(client.read_frame() == sent_frame{ws::opcode::text, "behind it"});
}

TEST_CASE("a client that vanishes behind a flood of pings is noticed", "[server][websocket_faults]") {
    std::string seen;
    site server(note_disconnect(seen));
    raw_client client(server);
    client.open_websocket();
    client.send(pings(1000));
    server.turn();
    client.reset();
    server.advance(1s);
    server.advance(1s);
    CHECK(seen == "1006:");
    server.until_empty();
}

TEST_CASE("a flood of pings in front of the answer to a close frame does not outlast close_timeout",
          "[server][websocket_faults]") {
    site server([](app::scope, app::receive, app::send send) -> ferry::task<> {
        co_await send(app::websocket_accept());
        co_await ferry::sleep_for(1s);
    });
    raw_client client(server);
    client.open_websocket();
    client.send(pings(1000) + masked(0x88, close_payload(1000)));
    for (int second = 0; second < 7; ++second) server.advance(1s);
    CHECK(server.server().connections() == 0);
}

TEST_CASE("a ping in front of messages that nobody takes yet is answered at once", "[server][websocket_faults]") {
    site server([](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await send(app::websocket_accept());
        co_await ferry::sleep_for(1s);
        co_await until_disconnect(receive);
    });
    raw_client client(server);
    client.open_websocket();
    std::string octets = masked(0x89, "first");
    for (int message = 0; message < 40; ++message) octets += masked(0x81, "please");
    client.send(octets);
    server.turn();
    CHECK(client.read_frame() == sent_frame{ws::opcode::pong, "first"});
}
