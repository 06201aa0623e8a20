// tests/client/websocket_client_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/client/websocket_client.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/data/base64.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/server/server.hpp>

#include "client/raw_server.hpp"
#include "server/apps.hpp"
#include "support/catch.hpp"
#include "support/site.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

using namespace ferry_test;
using namespace std::chrono_literals;

namespace {
std::string url_of(const site& server, std::string_view target = "/") {
    return "ws://" + server.address().to_string() + std::string(target);
}

/// Runs the task on the server's loop, with it, and returns what it yields.
template <class World, class T>
T run_with(World& world, ferry::task<T> what) {
    ferry::future<T> ended = ferry::spawn(world.loop(), std::move(what));
    world.until([&] { return ended.is_ready(); });
    return ended.get();
}

/// What connecting to this server throws when it answers so.
std::string refusal(std::string_view answer, bool right_key = false, ferry::websocket_options options = {}) {
    raw_server server;
    ferry::future<ferry::websocket_client> opened =
        ferry::spawn(server.loop(), ferry::connect_websocket(server.url(), std::move(options)));
    const std::string request = server.read_request();
    server.send(right_key ? raw_server::answer_to(request, answer) : std::string(answer));
    server.until([&] { return opened.is_ready(); });
    try {
        opened.get();
    } catch (const ferry::websocket_refused& refused) {
        return std::to_string(refused.status()) + (refused.is_final() ? " final" : " again");
    }
    return "opened";
}

/// An open WebSocket to a raw server, and everything it receives.
class conversation {
public:
    explicit conversation(ferry::websocket_options options = {}, std::string_view early = {}) {
        ferry::future<ferry::websocket_client> opening =
            ferry::spawn(server.loop(), ferry::connect_websocket(server.url(), std::move(options)));
        const std::string request = server.read_request();
        server.send(raw_server::answer_to(request) + std::string(early));
        server.until([&] { return opening.is_ready(); });
        client.emplace(opening.get());
    }
    ~conversation() {
        server.hang_up();
        if (listening) server.until([&] { return listening->is_ready(); });
    }
    conversation(const conversation&) = delete;
    conversation& operator=(const conversation&) = delete;

    /// Receives up to the end, from now on.
    void listen() {
        listening.emplace(ferry::spawn(server.loop(), [this]() -> ferry::task<> {
            while (auto next = co_await client->receive()) {
                seen += (next->is_text() ? "text:" : "binary:") + next->data() + (next->more() ? "... " : " ");
            }
            seen += "end:" + std::to_string(client->close_code()) + ":" + client->close_reason();
        }));
        server.turn();
    }
    void until_seen(const std::string& expected) {
        server.until([&] { return seen.size() >= expected.size(); });
        CHECK(seen == expected);
    }

    raw_server server;
    std::optional<ferry::websocket_client> client;
    std::optional<ferry::future<void>> listening;
    std::string seen;
};

ferry::task<std::string> talk(std::string where) {
    ferry::websocket_client client = co_await ferry::connect_websocket(where);
    co_await client.send_text(
        "gr\xC3\xBC\xC3\x9F"
        "e");
    co_await client.send_binary(std::string("\0\xFF", 2));
    co_await client.send_text_piece("in ", true);
    co_await client.send_text_piece("pieces", false);
    std::string heard;
    for (int i = 0; i < 3; ++i) {
        std::optional<ferry::websocket_message> next = co_await client.receive();
        heard += (next->is_text() ? "t" : "b") + next->take_data() + " ";
    }
    co_await client.close(4000, "enough");
    const std::optional<ferry::websocket_message> last = co_await client.receive();
    heard += last ? "more" : "end ";
    co_return heard + std::to_string(client.close_code());
}
}  // namespace

TEST_CASE("a WebSocket client talks with ferry's own server", "[client][websocket_client]") {
    site server(echo);
    CHECK(run_with(server, talk(url_of(server))) == std::string("tgr\xC3\xBC\xC3\x9F"
                                                                "e b\0\xFF tin pieces end 4000",
                                                                32));
    server.until_empty();
}

TEST_CASE("a WebSocket client offers subprotocols and sends its own fields", "[client][websocket_client]") {
    site server([](app::scope scope, app::receive receive, app::send send) -> ferry::task<> {
        const std::string token(scope.headers().find("x-token").value_or("none"));
        app::websocket_accept accept(scope.subprotocols().back());
        accept.headers().add("x-seen", token + std::string(scope.path()));
        co_await send(accept);
        co_await until_disconnect(receive);
    });
    const auto ask = [](std::string where) -> ferry::task<std::string> {
        ferry::websocket_options options;
        options.subprotocol("chat.v2").subprotocol("chat").header("X-Token", "abc");
        ferry::websocket_client client = co_await ferry::connect_websocket(std::move(where), options);
        std::string seen = client.subprotocol() + " " + std::string(client.headers().find("x-seen").value_or(""));
        co_await client.close();
        co_return seen;
    };
    CHECK(run_with(server, ask(url_of(server, "/room"))) == "chat abc/room");
}

TEST_CASE("a WebSocket client tells who is not there, and what is no URL for it", "[client][websocket_client]") {
    site server(echo);
    REQUIRE_THROWS_AS(run_with(server, ferry::connect_websocket("http://127.0.0.1/")), std::invalid_argument);
    REQUIRE_THROWS_AS(run_with(server, ferry::connect_websocket("wss://127.0.0.1/")), std::invalid_argument);
    REQUIRE_THROWS_AS(run_with(server, ferry::connect_websocket("ws://127.0.0.1:1/")), std::system_error);
    ferry::websocket_options broken;
    broken.subprotocol("a b");
    REQUIRE_THROWS_AS(run_with(server, ferry::connect_websocket(url_of(server), broken)), std::invalid_argument);
}

TEST_CASE("a WebSocket client refuses what was not agreed, and says whether asking again may help",
          "[client][websocket_client]") {
    CHECK(refusal("HTTP/1.1 403 Forbidden\r\n\r\n") == "403 final");
    CHECK(refusal("HTTP/1.1 200 OK\r\n\r\n") == "200 final");
    CHECK(refusal("HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n\r\n") == "503 again");
    CHECK(refusal("HTTP/1.1 429 Slowly\r\n\r\n") == "429 again");
    CHECK(refusal("SSH-2.0-server\r\n\r\n") == "0 final");
    CHECK(refusal("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n") == "101 final");
    CHECK(refusal("Sec-WebSocket-Protocol: chat\r\n", true) == "101 final");
    CHECK(refusal("Sec-WebSocket-Extensions: permessage-deflate\r\n", true) == "101 final");
    CHECK(refusal("Sec-WebSocket-Protocol: chat\r\n", true, ferry::websocket_options().subprotocol("chat")) ==
          "opened");
}

TEST_CASE("a WebSocket client waits for the handshake as long as open_timeout", "[client][websocket_client]") {
    raw_server server;
    ferry::future<ferry::websocket_client> opened = ferry::spawn(
        server.loop(), ferry::connect_websocket(server.url(), ferry::websocket_options().open_timeout(3s)));
    (void)server.read_request();
    server.send("HTTP/1.1 101 Switching");
    server.advance(2s);
    CHECK(!opened.is_ready());
    server.advance(1s);
    REQUIRE(opened.is_ready());
    REQUIRE_THROWS_AS(opened.get(), ferry::timeout_error);
    CHECK(server.at_end());

    ferry::future<ferry::websocket_client> again = ferry::spawn(server.loop(), ferry::connect_websocket(server.url()));
    (void)server.read_request();
    server.hang_up();
    server.until([&] { return again.is_ready(); });
    REQUIRE_THROWS_AS(again.get(), ferry::disconnected);
}

TEST_CASE("a WebSocket client takes frames that come with the handshake, and masks its own with changing keys",
          "[client][websocket_client]") {
    conversation with({}, unmasked(0x81, "early") + unmasked(0x89, "p") + unmasked(0x01, "cut "));
    CHECK(with.server.read_frame() == sent_frame{ws::opcode::pong, "p"});  // although nobody receives yet
    with.listen();
    with.server.send(unmasked(0x80, "here"));
    with.until_seen("text:early text:cut here ");
    run_with(with.server, with.client->send_text("aaaa"));
    run_with(with.server, with.client->send_text("aaaa"));
    const std::string first = with.server.read(10);
    const std::string second = with.server.read(10);
    CHECK(first.substr(0, 2) == second.substr(0, 2));
    CHECK(first.substr(2, 4) != second.substr(2, 4));
    CHECK(frames_of(first + second, ws::role::server) ==
          std::vector<sent_frame>{{ws::opcode::text, "aaaa"}, {ws::opcode::text, "aaaa"}});
}

TEST_CASE("a WebSocket client asks with a key that no other handshake had", "[client][websocket_client]") {
    std::vector<std::string> keys;
    for (int visit = 0; visit < 3; ++visit) {
        raw_server server;
        auto opening = ferry::spawn(server.loop(), ferry::connect_websocket(server.url()));
        const std::string request = server.read_request();
        const std::size_t at = request.find("Sec-WebSocket-Key: ") + 19;
        keys.push_back(request.substr(at, request.find("\r\n", at) - at));
        CHECK(ferry::base64::decode(keys.back()).value().size() == 16);
        server.hang_up();
        server.until([&] { return opening.is_ready(); });
        CHECK_THROWS_AS(opening.get(), ferry::disconnected);
    }
    CHECK(keys[0] != keys[1]);
    CHECK(keys[0] != keys[2]);
    CHECK(keys[1] != keys[2]);
}

TEST_CASE("a WebSocket client answers the server's close and reports its code and reason",
          "[client][websocket_client]") {
    conversation with;
    with.listen();
    with.server.send(unmasked(0x81, "last") + unmasked(0x88, close_payload(4001, "bye")) + unmasked(0x81, "too late"));
    CHECK(with.server.read_frame() == sent_frame{ws::opcode::close, close_payload(4001)});
    with.until_seen("text:last end:4001:bye");
    CHECK(!with.client->is_open());
    REQUIRE_THROWS_AS(run_with(with.server, with.client->send_text("hello?")), ferry::disconnected);
    CHECK(with.server.at_end());  // at once, without a time-out
    with.server.hang_up();
    run_with(with.server, with.client->close());
    CHECK(with.client->close_code() == 4001);
}

TEST_CASE("a WebSocket client tells a server what it does wrong, after the messages before",
          "[client][websocket_client]") {
    const std::vector<std::pair<std::string, int>> cases{{masked(0x81, "masked"), 1002},
                                                         {unmasked(0xC1, "reserved bit"), 1002},
                                                         {unmasked(0x80, "continues nothing"), 1002},
                                                         {unmasked(0x81, "\xFF"), 1007},
                                                         {unmasked(0x82, std::string(101, 'x')), 1009},
                                                         {unmasked(0x88, close_payload(1005)), 1002}};
    for (const auto& [octets, code] : cases) {
        ferry::websocket_options options;
        options.limits(ferry::websocket::session_options().max_message_bytes(100));
        conversation with(options);
        with.listen();
        with.server.send(unmasked(0x81, "good") + octets);
        const sent_frame told = with.server.read_frame();
        CHECK(told.op == ws::opcode::close);
        CHECK(told.payload.substr(0, 2) == close_payload(static_cast<std::uint16_t>(code)));
        CHECK(with.server.at_end());
        with.server.until([&] { return with.seen.find("end:") != std::string::npos; });
        CHECK(with.seen.starts_with("text:good end:" + std::to_string(code) + ":"));
    }
}

TEST_CASE("a WebSocket client that loses its server sees 1006", "[client][websocket_client]") {
    conversation with;
    with.listen();
    with.server.hang_up();
    with.until_seen("end:1006:");
    REQUIRE_THROWS_AS(run_with(with.server, with.client->send_text("hello?")), ferry::disconnected);
}

TEST_CASE("a WebSocket client whose messages nobody receives learns by sending that its server is gone",
          "[client][websocket_client]") {
    conversation with;
    for (int i = 0; i < 40; ++i) with.server.send_text("unheard");  // more than it keeps
    with.server.until_delivered();
    with.server.turn();
    with.server.hang_up();
    bool told = false;
    with.server.until([&] {
        try {
            run_with(with.server, with.client->send_text("hello?"));
        } catch (const ferry::disconnected&) {
            told = true;
        }
        return told;
    });
    CHECK_FALSE(with.client->is_open());
    with.listen();
    with.server.until([&] { return with.seen.ends_with("end:1006:"); });
    CHECK(with.seen.starts_with("text:unheard "));
}

TEST_CASE("a WebSocket client that closes waits for the answer, and takes what was under way",
          "[client][websocket_client]") {
    conversation with;
    ferry::future<void> closing = ferry::spawn(with.server.loop(), with.client->close(4002, "enough"));
    CHECK(with.server.read_frame() == sent_frame{ws::opcode::close, close_payload(4002, "enough")});
    REQUIRE_THROWS_AS(run_with(with.server, with.client->send_text("late")), ferry::closed_error);
    for (int i = 0; i < 40; ++i) with.server.send(unmasked(0x81, std::to_string(i)));  // more than it keeps
    CHECK(!closing.is_ready());
    with.server.send(unmasked(0x88, close_payload(4002)));
    CHECK(with.server.at_end());
    with.server.hang_up();
    with.server.until([&] { return closing.is_ready(); });
    closing.get();
    CHECK(with.client->close_code() == 4002);
    with.listen();
    with.server.until([&] { return with.seen.find("end") != std::string::npos; });
    CHECK(with.seen.starts_with("text:0 text:1 "));
    CHECK(with.seen.ends_with("text:15 end:4002:"));
}

TEST_CASE("a WebSocket client cuts a server that does not answer its close", "[client][websocket_client]") {
    conversation with(ferry::websocket_options().close_timeout(2s));
    ferry::future<void> closing = ferry::spawn(with.server.loop(), with.client->close());
    (void)with.server.read_frame();
    with.server.advance(1s);
    CHECK(!closing.is_ready());
    with.server.advance(1s);
    with.server.until([&] { return closing.is_ready(); });
    CHECK(with.client->close_code() == 1006);
    CHECK(with.server.at_end());

    conversation lingers(ferry::websocket_options().close_timeout(2s));  // it answers, and leaves the connection open
    ferry::future<void> waiting = ferry::spawn(lingers.server.loop(), lingers.client->close());
    (void)lingers.server.read_frame();
    lingers.server.send(unmasked(0x88, close_payload(1000)));
    CHECK(lingers.server.at_end());
    lingers.server.advance(1s);
    CHECK(!waiting.is_ready());
    lingers.server.advance(1s);
    lingers.server.until([&] { return waiting.is_ready(); });
    CHECK(lingers.client->close_code() == 1000);
}

TEST_CASE("a WebSocket client that closes lets a slow server take what was sent before", "[client][websocket_client]") {
    constexpr std::size_t message_bytes = 30'000'000;
    conversation with;
    run_with(with.server, with.client->send_binary(std::string(message_bytes, 'x')));
    ferry::future<void> closing = ferry::spawn(with.server.loop(), with.client->close(1000));
    static_cast<void>(with.server.read(14));  // the header
    for (std::size_t left = message_bytes; left != 0; left -= 1'500'000) {
        with.server.advance(2s);
        REQUIRE(with.server.read(1'500'000).size() == 1'500'000);
    }
    CHECK(with.server.read_frame() == sent_frame{ws::opcode::close, close_payload(1000)});
    with.server.send(unmasked(0x88, close_payload(1000)));
    with.server.hang_up();
    with.server.until([&] { return closing.is_ready(); });
    CHECK(with.client->close_code() == 1000);
}

TEST_CASE("a WebSocket client does not take a server for silent that still takes what was sent before",
          "[client][websocket_client]") {
    constexpr std::size_t message_bytes = 30'000'000;
    conversation with;
    run_with(with.server, with.client->send_binary(std::string(message_bytes, 'x')));
    static_cast<void>(with.server.read(14));  // the header
    for (std::size_t left = message_bytes; left != 0; left -= 300'000) {
        with.server.advance(1s);
        REQUIRE(with.server.read(300'000).size() == 300'000);
    }
    CHECK(with.client->is_open());
}

TEST_CASE("a WebSocket client pings a silent server, and gives it up when it stays silent",
          "[client][websocket_client]") {
    conversation with(ferry::websocket_options().ping_interval(10s).pong_timeout(5s));
    with.listen();
    with.server.advance(9s);
    CHECK(with.server.unread().empty());
    with.server.advance(1s);
    CHECK(with.server.read_frame().op == ws::opcode::ping);
    with.server.send(unmasked(0x8A, ""));
    with.server.send_text("alive");
    with.until_seen("text:alive ");
    with.server.advance(5s);
    with.server.advance(5s);
    CHECK(with.server.read_frame().op == ws::opcode::ping);
    CHECK(with.seen == "text:alive ");
    with.server.advance(5s);
    with.until_seen("text:alive end:1006:");
    CHECK(with.server.at_end());
}

TEST_CASE("a WebSocket client keeps as many messages and octets as it may, and lets its server wait then",
          "[client][websocket_client]") {
    // A server that is silent is pinged only while more could be read.
    const auto check = [](ws::session_options limits, bool reads_on) {
        conversation with(ferry::websocket_options().limits(limits));
        for (int i = 0; i < 2; ++i) with.server.send_text("please");
        with.server.until_delivered();
        with.server.advance(25s);
        if (reads_on) CHECK(with.server.read_frame().op == ws::opcode::ping);
        CHECK(with.server.unread().empty());
    };
    check(ws::session_options().max_queued_messages(3), true);
    check(ws::session_options().max_queued_messages(2), false);
    check(ws::session_options().max_queued_bytes(13), true);
    check(ws::session_options().max_queued_bytes(12), false);
}

TEST_CASE("a WebSocket client reads a server's flood of pings at a hundred a second", "[client][websocket_client]") {
    std::string flood;
    for (int number = 0; number < 1000; ++number) flood += unmasked(0x89, std::to_string(number));
    conversation with(ferry::websocket_options().ping_interval(2s).pong_timeout(2s));
    with.listen();
    with.server.send(flood + unmasked(0x81, "behind it"));
    for (int second = 1; second <= 10; ++second) {
        with.server.turn();
        int last = -1;
        while (!with.server.unread().empty()) last = std::stoi(with.server.read_frame().payload);
        CHECK(last == 100 * second - 1);
        CHECK(with.seen.empty());
        with.server.advance(1s);
    }
    with.until_seen("text:behind it ");
}

TEST_CASE("a WebSocket client that is given up in a server's flood of pings ends at once",
          "[client][websocket_client]") {
    std::string flood;
    for (int number = 0; number < 1000; ++number) flood += unmasked(0x89, "");
    conversation with;
    with.server.send(flood);
    while (!with.server.unread().empty()) CHECK(with.server.read_frame().op == ws::opcode::pong);
    with.client.reset();
    with.server.advance(1s);
    CHECK(with.server.at_end());
    with.server.until([&] { return with.server.loop().next_deadline() == ferry::event_loop::time_point::max(); });
}

TEST_CASE("a WebSocket client keeps little of what nobody receives, and loses nothing",
          "[client][websocket_client][long]") {
    conversation with;
    std::string octets;
    for (int i = 0; i < 800; ++i) octets += unmasked(0x82, std::string(16 * 1024, static_cast<char>('a' + i % 26)));
    // A server that sends all of it would wait for ever; so it is sent as the client takes it.
    std::size_t received = 0;
    bool in_order = true;
    ferry::future<void> sending = ferry::spawn(with.server.loop(), [&]() -> ferry::task<> {
        co_await ferry::sleep_for(1s);
        while (received < 800) {
            const std::optional<ferry::websocket_message> next = co_await with.client->receive();
            if (!next) co_return;
            in_order = in_order && next->data() == std::string(16 * 1024, static_cast<char>('a' + received % 26));
            ++received;
        }
    });
    bool started = false;
    std::size_t calls = 0;
    with.server.until([&] {
        if (!started && ++calls > 50) {
            CHECK(received == 0);
            with.server.advance(1s);
            started = true;
        }
        return started;
    });
    with.server.send(octets);
    with.server.until([&] { return sending.is_ready(); });
    CHECK(received == 800);
    CHECK(in_order);
}

TEST_CASE("a WebSocket client's sends wait for a server that does not read", "[client][websocket_client][long]") {
    conversation with(ferry::websocket_options().high_water_mark(32 * 1024));
    std::size_t sent = 0;
    ferry::future<void> sending = ferry::spawn(with.server.loop(), [&]() -> ferry::task<> {
        for (; sent < 800; ++sent) co_await with.client->send_binary(std::string(16 * 1024, 'x'));
    });
    for (int i = 0; i < 50; ++i) with.server.turn();
    CHECK(sent < 700);
    for (int i = 0; i < 800; ++i) REQUIRE(with.server.read_frame().payload.size() == 16 * 1024);
    with.server.until([&] { return sending.is_ready(); });
    CHECK(sent == 800);

    ferry::future<void> hanging = ferry::spawn(with.server.loop(), [&]() -> ferry::task<> {
        for (;;) co_await with.client->send_binary(std::string(16 * 1024, 'x'));
    });
    for (int i = 0; i < 50; ++i) with.server.turn();
    CHECK(!hanging.is_ready());
    with.server.hang_up();
    with.server.until([&] { return hanging.is_ready(); });
    REQUIRE_THROWS_AS(hanging.get(), ferry::disconnected);
}

TEST_CASE("a WebSocket client delivers pieces where it is asked to", "[client][websocket_client]") {
    ferry::websocket_options options;
    options.limits(ferry::websocket::session_options().deliver_pieces(true));
    conversation with(options);
    with.listen();
    with.server.send(unmasked(0x01, "one "));
    with.until_seen("text:one ... ");
    with.server.send(unmasked(0x80, "two") + unmasked(0x82, ""));
    with.until_seen("text:one ... text:two binary: ");
}

TEST_CASE("a cancelled receive of a WebSocket client loses no message", "[client][websocket_client]") {
    conversation with;
    bool timed_out = false;
    std::string heard;
    ferry::future<void> receiving = ferry::spawn(with.server.loop(), [&]() -> ferry::task<> {
        const auto none = co_await ferry::try_timeout(1s, with.client->receive());
        timed_out = !none.has_value();
        std::optional<ferry::websocket_message> next = co_await with.client->receive();
        heard = next->take_data();
    });
    with.server.advance(1s);
    CHECK(timed_out);
    with.server.send_text("here");
    with.server.until([&] { return receiving.is_ready(); });
    CHECK(heard == "here");
}

TEST_CASE("a WebSocket client that is destroyed, or whose opening is cancelled, leaves nothing behind",
          "[client][websocket_client]") {
    conversation with;
    with.client.reset();
    CHECK(with.server.at_end());
    with.server.until([&] { return with.server.loop().next_deadline() == ferry::event_loop::time_point::max(); });

    raw_server server;
    bool gave_up = false;
    ferry::future<void> trying = ferry::spawn(server.loop(), [&]() -> ferry::task<> {
        try {
            co_await ferry::timeout(1s, ferry::connect_websocket(server.url()));
        } catch (const ferry::timeout_error&) {
            gave_up = true;
        }
    });
    (void)server.read_request();
    server.advance(1s);
    server.until([&] { return trying.is_ready(); });
    CHECK(gave_up);
    CHECK(server.at_end());
}

TEST_CASE("a WebSocket client ends with its loop", "[client][websocket_client]") {
    std::string end;
    {
        conversation with;
        with.server.loop().close();
        CHECK(!with.client->is_open());
        CHECK(with.client->close_code() == 1006);
        CHECK(with.server.at_end());
    }
}

TEST_CASE("a WebSocket client serves blocking code, and lives from call to call", "[client][websocket_client][mt]") {
    ferry::loop_thread background;
    ferry::server* serving = nullptr;
    std::unique_ptr<ferry::server> made;
    ferry::block_on(background.loop(), [&]() -> ferry::task<> {
        made = std::make_unique<ferry::server>(*ferry::event_loop::current(), echo,
                                               std::vector<ferry::net::address>{ferry::net::address("127.0.0.1", 0)},
                                               ferry::serve_options().on_listening([](const ferry::net::address&) {}));
        serving = made.get();
        co_return;
    }());
    ferry::future<void> running = ferry::spawn(background.loop(), serving->run());
    const std::string where = "ws://" + serving->address().to_string() + "/";
    std::optional<ferry::websocket_client> client(ferry::block_on(background.loop(), ferry::connect_websocket(where)));
    for (const std::string text : {"one", "two"}) {
        ferry::block_on(background.loop(), client->send_text(text));
        const auto receive_one = [&]() -> ferry::task<std::string> {
            const std::optional<ferry::websocket_message> next = co_await client->receive();
            co_return next->data();
        };
        CHECK(ferry::block_on(background.loop(), receive_one()) == text);
    }
    const auto finish = [&]() -> ferry::task<> {
        co_await client->close();
        client.reset();
        serving->stop();
    };
    ferry::block_on(background.loop(), finish());
    running.get();
    const auto destroy = [&]() -> ferry::task<> {
        made.reset();
        co_return;
    };
    ferry::block_on(background.loop(), destroy());
}
