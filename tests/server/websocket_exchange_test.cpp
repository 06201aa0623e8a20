// tests/server/websocket_exchange_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/app/router.hpp>
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
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

using namespace ferry_test;
using namespace std::chrono_literals;

TEST_CASE("accepting completes the handshake with the chosen subprotocol and headers", "[server][websocket_exchange]") {
    site server([](app::scope scope, app::receive receive, app::send send) -> ferry::task<> {
        if (!scope.is_websocket()) throw std::logic_error("not a WebSocket");
        const app::message first = co_await receive();
        static_cast<void>(std::get<app::websocket_connect>(first));
        co_await send(app::websocket_accept("chat.v2").header("x-room", std::string(scope.path())));
        co_await until_disconnect(receive);
    });
    raw_client client(server);
    client.ask_for_websocket("/lobby", "Sec-WebSocket-Protocol: chat.v1, chat.v2\r\n");
    const response answer = client.read_response();
    CHECK(answer.status == 101);
    CHECK(answer.has("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    CHECK(answer.has("Sec-WebSocket-Protocol: chat.v2"));
    CHECK(answer.has("x-room: /lobby"));
    CHECK(client.unread().empty());
}

TEST_CASE("an application chooses among the subprotocols that its client offers", "[server][websocket_exchange]") {
    std::vector<std::string> offered;
    site server([&](app::scope scope, app::receive receive, app::send send) -> ferry::task<> {
        offered = scope.subprotocols();
        app::websocket_accept accept(offered.empty() ? std::string() : offered.back());
        co_await send(accept);
        co_await until_disconnect(receive);
    });
    raw_client client(server);
    client.ask_for_websocket("/", "Sec-WebSocket-Protocol: chat.v2, chat.v1\r\nSec-WebSocket-Protocol: mqtt\r\n");
    CHECK(client.read_response().has("Sec-WebSocket-Protocol: mqtt"));
    CHECK(offered == std::vector<std::string>{"chat.v2", "chat.v1", "mqtt"});
    raw_client plain(server);
    plain.open_websocket();
    CHECK(offered.empty());
}

TEST_CASE("whole messages are received and sent, however the client cuts them", "[server][websocket_exchange]") {
    site server(echo);
    raw_client client(server);
    client.open_websocket();
    client.send_text("grüße");
    CHECK(client.read_frame() == sent_frame{ws::opcode::text, "grüße"});
    client.send(masked(0x82, std::string("\0\xff", 2)));
    CHECK(client.read_frame() == sent_frame{ws::opcode::binary, std::string("\0\xff", 2)});
    client.send(masked(0x01, "in ") + masked(0x00, "three ") + masked(0x89, "between") + masked(0x80, "pieces"));
    CHECK(client.read_frame() == sent_frame{ws::opcode::pong, "between"});
    CHECK(client.read_frame() == sent_frame{ws::opcode::text, "in three pieces"});
    client.send_text("");
    CHECK(client.read_frame() == sent_frame{ws::opcode::text, ""});
    const std::string big(900'000, 'x');
    const std::string octets = masked(0x81, big);
    client.send(octets.substr(0, 400'000));
    server.turn();
    client.send(octets.substr(400'000));
    CHECK(client.read_frame() == sent_frame{ws::opcode::text, big});
}

TEST_CASE("messages are received and sent in pieces where the application wants it", "[server][websocket_exchange]") {
    site server(
        [](app::scope, app::receive receive, app::send send) -> ferry::task<> {
            co_await send(app::websocket_accept());
            for (;;) {
                app::message next = co_await receive();
                if (std::holds_alternative<app::websocket_disconnect>(next)) co_return;
                auto* piece = std::get_if<app::websocket_receive>(&next);
                if (piece == nullptr) continue;  // websocket_connect
                const bool more = piece->more();
                app::websocket_send answer = app::websocket_send::binary_piece(piece->data(), more);
                if (piece->is_text()) answer = app::websocket_send::text_piece(piece->take_data(), more);
                co_await send(answer);
            }
        },
        ferry::serve_options().websocket_limits(ferry::websocket::session_options().deliver_pieces(true)));
    raw_client client(server);
    client.open_websocket();
    client.send(masked(0x01, "one \xE2"));
    CHECK(client.read(7) == unmasked(0x01, "one \xE2"));  // before the rest has come
    client.send(masked(0x00, "\x82\xAC") + masked(0x80, ""));
    CHECK(client.read(6) == unmasked(0x00, "\x82\xAC") + unmasked(0x80, ""));
    client.send(masked(0x82, "whole"));
    CHECK(client.read_frame() == sent_frame{ws::opcode::binary, "whole"});
}

TEST_CASE("a ping is answered while the application does something else", "[server][websocket_exchange]") {
    const reports reported;  // of the application that has to be cancelled in the end
    site server([](app::scope, app::receive, app::send send) -> ferry::task<> {
        co_await send(app::websocket_accept());
        co_await ferry::sleep_for(1h);
    });
    raw_client client(server);
    client.open_websocket();
    client.send(masked(0x89, "are you there"));
    CHECK(client.read_frame() == sent_frame{ws::opcode::pong, "are you there"});
}

TEST_CASE("messages in the packet of the handshake are not lost", "[server][websocket_exchange]") {
    site server(echo);
    raw_client client(server);
    std::string octets =
        "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (int number = 0; number < 40; ++number) octets += masked(0x81, std::to_string(number));
    client.send(octets + masked(0x81, "cut in two").substr(0, 9));
    CHECK(client.read_response().status == 101);
    client.send(masked(0x81, "cut in two").substr(9));
    for (int number = 0; number < 40; ++number) CHECK(client.read_frame().payload == std::to_string(number));
    CHECK(client.read_frame().payload == "cut in two");
}

TEST_CASE("messages that come before the handshake is answered are kept", "[server][websocket_exchange]") {
    site server([](app::scope scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await ferry::sleep_for(1s);
        co_await echo(scope, receive, send);
    });
    raw_client client(server);
    client.ask_for_websocket();
    client.send(masked(0x81, "early").substr(0, 5));
    server.turn();
    client.send(masked(0x81, "early").substr(5) + masked(0x81, "bird"));
    server.advance(1s);
    CHECK(client.read_response().status == 101);
    CHECK(client.read_frame().payload == "early");
    CHECK(client.read_frame().payload == "bird");
}

TEST_CASE("a client's close reaches the application with its code and reason", "[server][websocket_exchange]") {
    std::string seen;
    site server(note_disconnect(seen));
    const auto close_with = [&](const std::string& payload) {
        raw_client client(server);
        client.open_websocket();
        client.send(masked(0x88, payload));
        const sent_frame answer = client.read_frame();
        CHECK(answer.op == ws::opcode::close);
        CHECK(client.at_end());
        server.until([&] { return !seen.empty(); });
        CHECK(std::exchange(seen, "") == (payload.empty() ? "1005:" : "4001:bye"));
        return answer.payload;
    };
    CHECK(close_with(close_payload(4001, "bye")) == close_payload(4001));
    CHECK(close_with("").empty());
}

TEST_CASE("an application's close carries its code and reason, and waits for the answer",
          "[server][websocket_exchange]") {
    std::string seen;
    bool refused = false;
    site server([&](app::scope scope, app::receive receive, app::send send) -> ferry::task<> {
        static_cast<void>(co_await receive());  // websocket_connect
        co_await send(app::websocket_accept());
        co_await send(app::websocket_close(4002, "enough"));
        try {
            co_await send(app::websocket_send::text("one more thing"));
        } catch (const ferry::disconnected&) {
            refused = true;
        }
        co_await note_disconnect(seen)(scope, receive, send);
    });
    raw_client client(server);
    client.open_websocket();
    CHECK(client.read_frame() == sent_frame{ws::opcode::close, close_payload(4002, "enough")});
    CHECK(refused);
    server.advance(1s);
    CHECK(server.server().connections() == 1);
    client.send_close(4002, "fine");
    CHECK(client.at_end());
    CHECK(seen == "4002:fine");
}

TEST_CASE("a WebSocket whose peer does not answer the close frame ends after close_timeout",
          "[server][websocket_exchange]") {
    site server(
        [](app::scope, app::receive, app::send send) -> ferry::task<> { co_await send(app::websocket_accept()); },
        ferry::serve_options().close_timeout(2s));
    raw_client client(server);
    client.open_websocket();
    CHECK(client.read_frame() == sent_frame{ws::opcode::close, close_payload(1000)});
    server.advance(1s);
    CHECK(server.server().connections() == 1);
    int seconds = 1;
    for (; seconds < 10 && server.server().connections() != 0; ++seconds) server.advance(1s);
    CHECK(seconds < 10);
    CHECK(client.at_end());
}

TEST_CASE("a WebSocket whose peer talks on instead of answering the close frame ends after close_timeout",
          "[server][websocket_exchange]") {
    std::size_t heard = 0;
    std::string seen;
    site server([&](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await send(app::websocket_accept());
        co_await send(app::websocket_close(4000, "enough"));
        for (;;) {
            const app::message next = co_await receive();
            if (std::holds_alternative<app::websocket_receive>(next)) ++heard;
            const auto* end = std::get_if<app::websocket_disconnect>(&next);
            if (end == nullptr) continue;
            seen = std::to_string(end->code());
            co_return;
        }
    });
    raw_client client(server);
    client.open_websocket();
    while (heard < 20 && seen.empty()) {
        const std::size_t before = heard;
        client.send_text("and another thing");
        server.until([&] { return heard > before; });
        server.advance(1s);
    }
    CHECK(heard >= 5);
    CHECK(seen == "1006");
    server.until_empty();
}

TEST_CASE("a peer's answer to the close frame may wait for the application to take what was before it",
          "[server][websocket_exchange]") {
    std::string seen;
    site server([&](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await send(app::websocket_accept());
        co_await ferry::sleep_for(1s);
        co_await send(app::websocket_close(4000, "enough"));
        co_await ferry::sleep_for(20s);
        for (;;) {
            const app::message next = co_await receive();
            const auto* end = std::get_if<app::websocket_disconnect>(&next);
            if (end == nullptr) continue;
            seen = std::to_string(end->code());
            co_return;
        }
    });
    raw_client client(server);
    client.open_websocket();
    for (int message = 0; message < 40; ++message) client.send_text("please");
    client.send_close(4000);
    client.until_delivered();
    for (int second = 0; second < 21; ++second) server.advance(1s);
    server.until([&] { return !seen.empty(); });
    CHECK(seen == "4000");
}

TEST_CASE("what an application has sent before it ended reaches a slow reader, and the close frame behind it",
          "[server][websocket_exchange]") {
    constexpr std::size_t message_bytes = 30'000'000;
    site server([](app::scope, app::receive, app::send send) -> ferry::task<> {
        co_await send(app::websocket_accept());
        co_await send(app::websocket_send::binary(std::string(message_bytes, 'x')));
    });
    raw_client client(server, 64 * 1024);
    client.open_websocket();
    static_cast<void>(client.read(10));  // the header
    for (std::size_t left = message_bytes; left != 0; left -= 1'500'000) {
        server.advance(2s);
        REQUIRE(client.read(1'500'000).size() == 1'500'000);
    }
    CHECK(client.read_frame() == sent_frame{ws::opcode::close, close_payload(1000)});
    client.send_close(1000);
    CHECK(client.at_end());
}

TEST_CASE("an application that returns closes with 1000, one that throws with 1011", "[server][websocket_exchange]") {
    const reports reported;
    site server([](app::scope scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await send(app::websocket_accept());
        static_cast<void>(co_await receive());
        static_cast<void>(co_await receive());
        if (scope.path() == "/bad") throw std::runtime_error("no such room");
    });
    for (const std::string path : {"/good", "/bad"}) {
        raw_client client(server);
        client.open_websocket(path);
        client.send_text("go");
        const sent_frame answer = client.read_frame();
        CHECK(answer == sent_frame{ws::opcode::close, close_payload(path == "/bad" ? 1011 : 1000)});
        client.send(masked(0x88, answer.payload));
        CHECK(client.at_end());
    }
    CHECK(reported.count() == 1);
    CHECK(reported.mention("the application for /bad failed: no such room"));
}

TEST_CASE("an application that has returned need not read what the client still sends",
          "[server][websocket_exchange]") {
    site server([](app::scope, app::receive, app::send send) -> ferry::task<> {
        co_await send(app::websocket_accept());
        co_await ferry::sleep_for(1s);
    });
    raw_client client(server);
    client.open_websocket();
    for (int message = 0; message < 100; ++message) client.send_text("are you listening?");
    server.advance(1s);
    CHECK(client.read_frame() == sent_frame{ws::opcode::close, close_payload(1000)});
    client.send_close(1000);
    CHECK(client.at_end());  // at once, without close_timeout
}

TEST_CASE("before accepting, close refuses with 403, and failing or returning with 500",
          "[server][websocket_exchange]") {
    const reports reported;
    std::string seen;
    site server([&](app::scope scope, app::receive receive, app::send send) -> ferry::task<> {
        static_cast<void>(co_await receive());
        if (scope.path() == "/throw") throw std::runtime_error("broken");
        if (scope.path() == "/return") co_return;
        co_await send(app::websocket_close(4003, "not you"));
        const app::message last = co_await receive();
        seen = std::to_string(std::get<app::websocket_disconnect>(last).code());
    });
    const std::vector<std::pair<std::string, int>> cases{{"/close", 403}, {"/throw", 500}, {"/return", 500}};
    for (const auto& [path, status] : cases) {
        raw_client client(server);
        client.ask_for_websocket(path);
        const response answer = client.read_response();
        CHECK(answer.status == status);
        CHECK(answer.has("Connection: close"));
        CHECK(client.at_end());
    }
    CHECK(seen == "1006");
    CHECK(reported.count() == 1);
}

TEST_CASE("an application can deny a WebSocket with a response of its own", "[server][websocket_exchange]") {
    site server([](app::scope, app::receive, app::send send) -> ferry::task<> {
        co_await send(app::http_response_start(401).header("www-authenticate", "Basic"));
        co_await send(app::http_response_body("who ", true));
        co_await send(app::http_response_body("are you?"));
    });
    raw_client client(server);
    client.ask_for_websocket();
    const response answer = client.read_response();
    CHECK(answer.status == 401);
    CHECK(answer.has("www-authenticate: Basic"));
    CHECK(answer.body == "who are you?");
    CHECK(client.at_end());
}

TEST_CASE("a router has no WebSocket at an unknown path: 404", "[server][websocket_exchange]") {
    app::router routes;
    routes.websocket("/ws", echo).http("/page", say_path);
    site server(routes);
    for (const std::string path : {"/other", "/page"}) {
        raw_client client(server);
        client.ask_for_websocket(path);
        CHECK(client.read_response().status == 404);
        CHECK(client.at_end());
    }
    raw_client client(server);
    client.open_websocket("/ws");
}

TEST_CASE("WebSocket messages out of place throw into the application", "[server][websocket_exchange]") {
    int refused = 0;
    site server([&](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        const auto refuses = [&](auto message) -> ferry::task<> {
            try {
                co_await send(message);
            } catch (const std::logic_error&) {
                ++refused;
            }
        };
        co_await refuses(app::websocket_send::text("early"));
        co_await refuses(app::websocket_accept("never offered"));
        co_await refuses(app::websocket_accept().header("sec-websocket-protocol", "x"));
        co_await send(app::websocket_accept());
        co_await refuses(app::websocket_accept());
        co_await refuses(app::websocket_send::text("\xff"));
        co_await refuses(app::websocket_close(1006));
        co_await refuses(app::http_response_start(200));
        co_await refuses(app::custom_message("lights.off"));
        co_await send(app::websocket_send::text("fine"));
        co_await until_disconnect(receive);
    });
    raw_client client(server);
    client.open_websocket();
    CHECK(client.read_frame() == sent_frame{ws::opcode::text, "fine"});
    CHECK(refused == 8);
}
