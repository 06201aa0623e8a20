// tests/server/slow_reader_test.cpp - what becomes of messages that a client does not read, and of late answers
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/error.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/server/server.hpp>

#include "server/apps.hpp"
#include "support/catch.hpp"
#include "support/raw_client.hpp"
#include "support/reports.hpp"
#include "support/site.hpp"

#include <chrono>
#include <cstddef>
#include <string>
#include <variant>

using namespace ferry_test;
using namespace std::chrono_literals;

namespace {
constexpr std::size_t message_bytes = 16 * 1024;
constexpr std::size_t messages = 2048;

/// Sends them all, numbered by their first letters, and then waits; counts those that send() took.
auto send_many(std::size_t& sent, bool& refused, std::string& end) {
    return [&sent, &refused, &end](app::scope scope, app::receive receive, app::send send) -> ferry::task<> {
        static_cast<void>(co_await receive());
        co_await send(app::websocket_accept());
        try {
            for (; sent < messages; ++sent) {
                std::string payload(message_bytes, 'x');
                payload.replace(0, 5, std::to_string(10000 + sent));
                co_await send(app::websocket_send::binary(std::move(payload)));
            }
        } catch (const ferry::disconnected&) {
            refused = true;
        }
        co_await note_disconnect(end)(scope, receive, send);
    };
}
}  // namespace

TEST_CASE("where slow readers miss messages, send() never waits, and what arrives is in order",
          "[server][slow_reader]") {
    std::size_t sent = 0;
    bool refused = false;
    std::string end;
    site server(send_many(sent, refused, end), ferry::serve_options().when_slow(ferry::slow_reader::drop));
    raw_client client(server, 64 * 1024);
    client.open_websocket();
    server.turn();
    CHECK(sent == messages);
    const std::uint64_t dropped = server.server().dropped_messages();
    CHECK(dropped > 0);
    CHECK(dropped < messages);
    std::string last;
    for (std::size_t message = 0; message < messages - dropped; ++message) {
        const sent_frame frame = client.read_frame();
        REQUIRE(frame.payload.size() == message_bytes);
        REQUIRE(frame.payload.substr(0, 5) > last);
        last = frame.payload.substr(0, 5);
    }
    server.turn();
    CHECK(client.unread().empty());
    client.send_close(1000);
    CHECK(client.read_frame().op == ws::opcode::close);
    CHECK(end == "1000:");
    CHECK(!refused);
}

TEST_CASE("where slow readers are closed, they get 1008 behind what they have not read", "[server][slow_reader]") {
    std::size_t sent = 0;
    bool refused = false;
    std::string end;
    site server(send_many(sent, refused, end), ferry::serve_options().when_slow(ferry::slow_reader::close));
    raw_client client(server, 64 * 1024);
    client.open_websocket();
    server.turn();
    CHECK(sent < messages);
    CHECK(refused);
    CHECK(end == "1008:too slow");
    CHECK(server.server().dropped_messages() == 1);
    sent_frame frame = client.read_frame();
    while (frame.op == ws::opcode::binary) frame = client.read_frame();
    CHECK(frame == sent_frame{ws::opcode::close, close_payload(1008, "too slow")});
    CHECK(client.at_end());
}

TEST_CASE("where slow readers miss messages, one in pieces misses none: it is closed", "[server][slow_reader]") {
    std::string end;
    std::size_t sent = 0;
    site server(
        [&](app::scope scope, app::receive receive, app::send send) -> ferry::task<> {
            static_cast<void>(co_await receive());
            co_await send(app::websocket_accept());
            try {
                for (; sent < messages; ++sent) {
                    co_await send(app::websocket_send::binary_piece(std::string(message_bytes, 'x'), true));
                }
            } catch (const ferry::disconnected&) {  // what is received next says why
            }
            co_await note_disconnect(end)(scope, receive, send);
        },
        ferry::serve_options().when_slow(ferry::slow_reader::drop));
    raw_client client(server, 64 * 1024);
    client.open_websocket();
    server.turn();
    CHECK(sent < messages);
    CHECK(end == "1008:too slow");
}

TEST_CASE("a client that closes early is answered at once, though the application has not received yet",
          "[server][slow_reader]") {
    bool refused = false;
    site server([&](app::scope, app::receive, app::send send) -> ferry::task<> {
        co_await ferry::sleep_for(1s);
        co_await send(app::websocket_accept());
        try {
            co_await send(app::websocket_send::text("hello?"));
        } catch (const ferry::disconnected&) {
            refused = true;
        }
    });
    raw_client client(server);
    client.ask_for_websocket();
    server.turn();
    client.send(masked(0x88, close_payload(1000)));
    server.until([&] {
        server.advance(100ms);
        return refused;
    });
    CHECK(client.read_response().status == 101);
    CHECK(client.read_frame() == sent_frame{ws::opcode::close, close_payload(1000)});
}

TEST_CASE("a slow reader that is closed and reads nothing at all is dropped in time", "[server][slow_reader]") {
    std::size_t sent = 0;
    bool refused = false;
    std::string end;
    site server(send_many(sent, refused, end), ferry::serve_options().when_slow(ferry::slow_reader::close));
    raw_client client(server, 64 * 1024);
    client.open_websocket();
    server.turn();
    for (int second = 0; second < 12; ++second) server.advance(1s);
    CHECK(server.server().connections() == 0);
}

TEST_CASE("an application that is busy with a message delays the answer to a close, but not for long",
          "[server][slow_reader]") {
    const reports reported;
    bool refused = false;
    std::string taken;
    site server(
        [&](app::scope, app::receive receive, app::send send) -> ferry::task<> {
            static_cast<void>(co_await receive());
            co_await send(app::websocket_accept());
            for (;;) {
                const app::message next = co_await receive();
                const auto* what = std::get_if<app::websocket_receive>(&next);
                if (what == nullptr) co_return;
                taken = what->data();
                co_await ferry::sleep_for(std::chrono::seconds(std::stoi(taken)));
                try {
                    co_await send(app::websocket_send::text("done"));
                } catch (const ferry::disconnected&) {
                    refused = true;
                }
            }
        },
        ferry::serve_options().close_timeout(3s));
    const std::string ping = masked(0x89, "");
    raw_client quick(server);
    quick.open_websocket();
    quick.send(masked(0x81, "2") + ping + masked(0x88, close_payload(1000)));
    CHECK(quick.read_frame().op == ws::opcode::pong);  // so the server has read that far, and the close with it
    CHECK(quick.unread().empty());
    server.advance(2s);
    CHECK(quick.read_frame() == sent_frame{ws::opcode::text, "done"});
    CHECK(quick.read_frame() == sent_frame{ws::opcode::close, close_payload(1000)});
    CHECK(quick.at_end());
    CHECK(!refused);

    raw_client slow(server);
    slow.open_websocket();
    slow.send_text("4");
    server.until([&] { return taken == "4"; });
    slow.send(ping + unmasked(0x81, "a violation"));
    CHECK(slow.read_frame().op == ws::opcode::pong);
    server.advance(2s);
    CHECK(slow.unread().empty());
    server.advance(1s);
    CHECK(slow.read_frame().payload.substr(0, 2) == close_payload(1002));
    CHECK(!refused);
    server.advance(1s);
    CHECK(refused);
    CHECK(slow.at_end());
    CHECK(reported.count() == 0);
}

TEST_CASE("a client that closes before it was accepted may go on sending: it is not read", "[server][slow_reader]") {
    site server([](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await ferry::sleep_for(1s);
        co_await send(app::websocket_accept());
        co_await ferry::sleep_for(1s);
        co_await until_disconnect(receive);
    });
    raw_client client(server);
    client.ask_for_websocket();
    server.turn();
    client.send(masked(0x88, close_payload(1000)) + masked(0x81, "and more"));
    server.turn();
    server.advance(1s);
    CHECK(client.read_response().status == 101);
    client.send(masked(0x81, "and more"));
    server.advance(1s);
    CHECK(client.read_frame() == sent_frame{ws::opcode::close, close_payload(1000)});
    CHECK(client.at_end());
}
