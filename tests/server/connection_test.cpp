// tests/server/connection_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/error.hpp>
#include <ferry/http/request_limits.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/server/server.hpp>

#include "server/apps.hpp"
#include "support/catch.hpp"
#include "support/raw_client.hpp"
#include "support/reports.hpp"
#include "support/site.hpp"

#include <chrono>
#include <stdexcept>
#include <string>

using namespace ferry_test;
using namespace std::chrono_literals;

namespace {
/// What a connection gets that sends this and nothing else.
response answer_to(const std::string& octets, ferry::serve_options options = ferry::serve_options()) {
    site server(say_path, options);
    raw_client client(server);
    client.send(octets);
    response answer = client.read_response();
    CHECK(answer.has("Connection: close"));
    CHECK(client.at_end());
    return answer;
}
}  // namespace

TEST_CASE("a malformed request gets 400, and the connection ends", "[server][connection]") {
    CHECK(answer_to("what is this\r\n\r\n").status == 400);
    CHECK(answer_to("GET / HTTP/1.1\r\n\r\n").status == 400);  // no Host
    CHECK(answer_to("GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n").status == 400);
    CHECK(answer_to("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n").status ==
          400);
    CHECK(answer_to("GET / HTTP/2.5\r\nHost: a\r\n\r\n").status == 505);
}

TEST_CASE("a request that is too large is refused with the status that says what", "[server][connection]") {
    CHECK(answer_to("GET /" + std::string(9000, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n").status == 414);
    CHECK(answer_to("GET / HTTP/1.1\r\nHost: a\r\nCookie: " + std::string(40'000, 'x') + "\r\n\r\n").status == 431);
    const ferry::serve_options small =
        ferry::serve_options().http_limits(ferry::http::request_limits().max_body_bytes(10));
    CHECK(answer_to("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world", small).status == 413);
}

TEST_CASE("a refused HEAD gets no body", "[server][connection]") {
    for (const std::string fields : {"bad header\r\n", "Upgrade: websocket\r\n", "Expect: wonders\r\n"}) {
        site server(say_path);
        raw_client client(server);
        client.request("HEAD", "/", fields);
        const response answer = client.read_response(true);
        CHECK(answer.status >= 400);
        CHECK(answer.has("Connection: close"));
        CHECK(client.at_end());
    }
}

TEST_CASE("what was answered before a malformed request is not lost", "[server][connection]") {
    site server(say_path);
    raw_client client(server);
    client.send("GET /good HTTP/1.1\r\nHost: a\r\n\r\nbad\r\n\r\n");
    CHECK(client.read_response().body == "/good");
    CHECK(client.read_response().status == 400);
    CHECK(client.at_end());
}

TEST_CASE("a malformed body is answered once, and ends the request for the application", "[server][connection]") {
    const reports reported;
    bool refused = false;
    site server([&](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await until_disconnect(receive);
        try {
            co_await respond(send, "and another answer");
        } catch (const ferry::disconnected&) {
            refused = true;
        }
    });
    raw_client client(server);
    client.request("POST", "/", "Transfer-Encoding: chunked\r\n");
    client.send("5\r\nhello\r\nnonsense\r\n");
    CHECK(client.read_response().status == 400);
    CHECK(client.at_end());
    CHECK(refused);
    CHECK(reported.count() == 0);
}

TEST_CASE("a malformed body after the response began ends the connection behind it", "[server][connection]") {
    site server([](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await send(app::http_response_start(200));
        co_await send(app::http_response_body("begun, ", true));
        co_await until_disconnect(receive);
        co_await send(app::http_response_body("ended"));
    });
    raw_client client(server);
    client.request("POST", "/", "Transfer-Encoding: chunked\r\n");
    client.send("nonsense\r\n\r\n");
    CHECK(client.read_response().body == "begun, ended");
    CHECK(client.at_end());
}

TEST_CASE("a client that expects 100 Continue is told to go on", "[server][connection]") {
    site server(echo_body);
    raw_client client(server);
    client.request("POST", "/", "Content-Length: 4\r\nExpect: 100-continue\r\n");
    CHECK(client.read_response().status == 100);
    client.send("body");
    CHECK(client.read_response().body == "body");
}

TEST_CASE("a client that expects 100 Continue can be answered at once", "[server][connection]") {
    site server(say_path);
    raw_client client(server);
    client.request("POST", "/no", "Content-Length: 4\r\nExpect: 100-continue\r\n");
    const response answer = client.read_response();
    CHECK(answer.status == 200);
    CHECK(answer.body == "/no");
    CHECK(client.at_end());  // whether the body comes is unknown, so nothing can follow
}

TEST_CASE("a body that the application does not read does not spoil the next request", "[server][connection]") {
    site server(say_path);
    raw_client client(server);
    client.send("POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nunreadGET /two HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(client.read_response().body == "/one");
    CHECK(client.read_response().body == "/two");

    client.request("POST", "/three", "Content-Length: 1000000\r\n");  // and sends nothing: nobody waits for it
    CHECK(client.read_response().body == "/three");
    CHECK(client.at_end());
}

TEST_CASE("a response reaches a client that is still sending a body nobody reads", "[server][connection]") {
    site server(say_path);
    raw_client client(server);
    client.request("POST", "/big", "Content-Length: 10000000\r\n");
    for (int piece = 0; piece < 20; ++piece) client.send(std::string(500'000, 'x'));
    CHECK(client.read_response().body == "/big");
    CHECK(client.at_end());
}

TEST_CASE("a head that does not arrive in time gets 408", "[server][connection]") {
    site server(say_path, ferry::serve_options().header_timeout(3s).keep_alive_timeout(60s));
    raw_client client(server);
    client.send("GET / HTTP/1.1\r\n");
    for (int second = 0; second < 2; ++second) {
        server.advance(1s);
        client.send("X-Slow: loris\r\n");  // octets do not extend it
    }
    CHECK(client.unread().empty());
    server.advance(1s);
    CHECK(client.read_response().status == 408);
    CHECK(client.at_end());
}

TEST_CASE("a connection that asks for nothing is closed without a word", "[server][connection]") {
    site server(say_path, ferry::serve_options().keep_alive_timeout(4s));
    raw_client silent(server);
    raw_client served(server);
    served.request("GET", "/");
    CHECK(served.read_response().body == "/");
    server.advance(3s);
    CHECK(server.server().connections() == 2);
    server.advance(1s);
    CHECK(silent.at_end());
    CHECK(served.at_end());
}

TEST_CASE("empty lines before a request do not keep a connection open", "[server][connection]") {
    site server(say_path, ferry::serve_options().header_timeout(3s).keep_alive_timeout(60s));
    raw_client client(server);
    for (int second = 0; second < 3; ++second) {
        client.send("\r\n");
        server.advance(1s);
    }
    client.send("\r\n");
    CHECK(client.at_end());
    CHECK(client.unread().empty());
}

TEST_CASE("the keep-alive time begins with each response anew", "[server][connection]") {
    site server(say_path, ferry::serve_options().keep_alive_timeout(4s));
    raw_client client(server);
    for (int request = 0; request < 3; ++request) {
        client.request("GET", "/");
        CHECK(client.read_response().status == 200);
        server.advance(3s);
    }
    CHECK(client.unread().empty());
    server.advance(1s);
    CHECK(client.at_end());
}

TEST_CASE("a client that does not close is dropped after close_timeout", "[server][connection]") {
    site server(say_path, ferry::serve_options().close_timeout(2s));
    raw_client client(server);
    client.request("GET", "/", "Connection: close\r\n");
    CHECK(client.read_response().body == "/");
    CHECK(client.at_end());
    CHECK(server.server().connections() == 1);  // it waits for the client's end
    server.advance(2s);
    CHECK(server.server().connections() == 0);
}

TEST_CASE("a client that never reads its last response is dropped after stall_timeout", "[server][connection]") {
    site server([](app::scope, app::receive,
                   app::send send) -> ferry::task<> { co_await respond(send, std::string(30'000'000, 'x')); },
                ferry::serve_options().stall_timeout(10s));
    raw_client client(server);
    client.request("GET", "/", "Connection: close\r\n");
    client.until_delivered();
    for (int second = 0; second < 9; ++second) server.advance(1s);  // the kernel has taken some of it meanwhile
    CHECK(server.server().connections() == 1);
    for (int second = 0; second < 3; ++second) server.advance(1s);
    CHECK(server.server().connections() == 0);
}

TEST_CASE("a reader who takes his time gets all of a large response", "[server][connection]") {
    site server([](app::scope, app::receive,
                   app::send send) -> ferry::task<> { co_await respond(send, std::string(60'000'000, 'x')); },
                ferry::serve_options().close_timeout(2s).keep_alive_timeout(5s));
    raw_client client(server);
    for (const std::string connection : {"keep-alive", "close"}) {
        client.request("GET", "/", "Connection: " + connection + "\r\n");
        static_cast<void>(client.read_through("\r\n\r\n"));
        for (int seconds = 0; seconds < 20; ++seconds) {
            CHECK(client.read(3'000'000).size() == 3'000'000);
            server.advance(1s);
        }
    }
    CHECK(client.at_end());
}

TEST_CASE("a body that trickles gets 408", "[server][connection]") {
    bool told = false;
    site server([&](app::scope, app::receive receive, app::send) -> ferry::task<> {
        co_await until_disconnect(receive);
        told = true;
    });
    raw_client client(server);
    client.request("POST", "/", "Content-Length: 100000\r\n");
    for (int second = 0; second < 7; ++second) {  // 5 s late is allowed
        client.send(std::string(100, 'x'));
        server.advance(1s);
    }
    CHECK_FALSE(told);
    for (int second = 0; second < 3; ++second) server.advance(1s);
    CHECK(told);
    CHECK(client.read_response().status == 408);
    CHECK(client.at_end());
}

TEST_CASE("a body that comes slowly but steadily is taken", "[server][connection]") {
    site server(echo_body);
    raw_client client(server);
    client.request("POST", "/", "Content-Length: 100000\r\n");
    for (int second = 0; second < 100; ++second) {
        client.send(std::string(250, 'x'));
        server.advance(1s);
    }
    client.send(std::string(74'000, 'x'));  // what comes at once may be followed by a pause
    for (int second = 0; second < 58; ++second) server.advance(1s);
    client.send(std::string(1000, 'x'));
    CHECK(client.read_response().body.size() == 100'000);
}

TEST_CASE("after a pause of stall_timeout a body is given up, however much had come", "[server][connection]") {
    site server(echo_body, ferry::serve_options().stall_timeout(20s).min_body_rate(0));
    raw_client client(server);
    client.request("POST", "/", "Content-Length: 100000\r\n");
    client.send(std::string(99'999, 'x'));
    for (int second = 0; second < 19; ++second) server.advance(1s);
    CHECK(client.unread().empty());
    for (int second = 0; second < 2; ++second) server.advance(1s);
    CHECK(client.read_response().status == 408);
}

TEST_CASE("a client whose body the application does not take is not late", "[server][connection]") {
    site server([](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await ferry::sleep_for(200s);
        const std::string body = co_await whole_body(receive);
        co_await respond(send, std::to_string(body.size()));
    });
    raw_client client(server);
    client.request("POST", "/", "Content-Length: 4000000\r\n");
    std::string body(4'000'000, 'x');
    for (int stalled = 0; stalled < 100; ++stalled) {
        const std::size_t taken = client.send_some(body);
        if (taken != 0) stalled = 0;
        body.erase(0, taken);
        server.turn();
    }
    for (int second = 0; second < 200; ++second) server.advance(1s);
    client.send(body);
    CHECK(client.read_response().body == "4000000");
}

TEST_CASE("no more of a body is read than body_high_water_mark, until the application takes some",
          "[server][connection]") {
    for (const std::size_t mark : {std::size_t{1000}, std::size_t{1001}}) {
        site server(
            [](app::scope, app::receive receive, app::send send) -> ferry::task<> {
                co_await ferry::sleep_for(200s);
                const std::string body = co_await whole_body(receive);
                co_await respond(send, std::to_string(body.size()));
            },
            ferry::serve_options().body_high_water_mark(mark));
        raw_client client(server);
        client.request("POST", "/", "Content-Length: 2000\r\n");
        client.send(std::string(1000, 'x'));
        client.until_delivered();
        for (int second = 0; second < 200; ++second) server.advance(1s);
        if (mark == 1001) {  // the rest was waited for, too long
            CHECK(client.read_response().status == 408);
            continue;
        }
        client.send(std::string(1000, 'x'));
        CHECK(client.read_response().body == "2000");
    }
}

TEST_CASE("a body that trickles while it is being answered ends for the application", "[server][connection]") {
    site server([](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await send(app::http_response_start(200));
        co_await send(app::http_response_body("begun, ", true));
        co_await until_disconnect(receive);
        co_await send(app::http_response_body("ended"));
    });
    raw_client client(server);
    client.request("POST", "/", "Content-Length: 100000\r\n");
    for (int second = 0; second < 7; ++second) server.advance(1s);
    CHECK(client.read_response().body == "begun, ended");
    CHECK(client.at_end());
}

TEST_CASE("a client that takes nothing of its response is dropped after stall_timeout", "[server][connection]") {
    bool refused = false;
    site server([&](app::scope, app::receive, app::send send) -> ferry::task<> {
        co_await send(app::http_response_start(200));
        try {
            for (;;) co_await send(app::http_response_body(std::string(64 * 1024, 'x'), true));
        } catch (const ferry::disconnected&) {
            refused = true;
            throw;
        }
    });
    raw_client client(server);
    client.request("GET", "/");
    for (int second = 0; second < 60; ++second) server.advance(1s);
    CHECK_FALSE(refused);
    for (int second = 0; second < 3; ++second) server.advance(1s);
    CHECK(refused);
    server.until_empty();
    CHECK(client.was_reset());
}

TEST_CASE("a client that vanishes without a word before it has taken an octet is dropped after stall_timeout",
          "[server][connection]") {
    site server([](app::scope, app::receive, app::send send) -> ferry::task<> {
        co_await send(app::http_response_start(200));
        for (;;) co_await send(app::http_response_body(std::string(64 * 1024, 'x'), true));
    });
    raw_client client(server);
    client.request("GET", "/");
    client.fall_silent();
    for (int second = 0; second < 59; ++second) server.advance(1s);
    CHECK(server.server().connections() == 1);
    for (int second = 0; second < 3; ++second) server.advance(1s);
    server.until_empty();
}

TEST_CASE("a client that takes a little of its response now and then is not dropped", "[server][connection]") {
    constexpr std::size_t body_bytes = 30'000'000;
    site server([](app::scope, app::receive, app::send send) -> ferry::task<> {
        co_await respond(send, std::string(body_bytes, 'x'));
    });
    for (const std::string connection : {"keep-alive", "close"}) {  // the application has ended long before
        raw_client client(server, 64 * 1024);
        client.request("GET", "/", "Connection: " + connection + "\r\n");
        static_cast<void>(client.read_through("\r\n\r\n"));
        std::size_t left = body_bytes;
        for (int pause = 0; pause < 20; ++pause) {  // the kernel's buffer has no room for more for as long as that
            for (int second = 0; second < 40; ++second) server.advance(1s);
            static_cast<void>(client.read(100'000));
            left -= 100'000;
        }
        CHECK(client.read(left).size() == left);
        if (connection == "close") CHECK(client.at_end());
    }
}

TEST_CASE("a client that pauses gets all of its response, wherever the rest of it waits", "[server][connection]") {
    constexpr std::size_t piece_bytes = 100'000;
    for (std::size_t pieces = 1; pieces < 80;
         pieces += 4) {  // the kernel has room for so many, and the server for ten more
        site server(
            [pieces](app::scope, app::receive, app::send send) -> ferry::task<> {
                co_await send(
                    app::http_response_start(200).header("content-length", std::to_string(pieces * piece_bytes)));
                for (std::size_t piece = 1; piece <= pieces; ++piece) {
                    co_await send(app::http_response_body(std::string(piece_bytes, 'x'), piece < pieces));
                }
            },
            ferry::serve_options().high_water_mark(10 * piece_bytes));
        raw_client client(server, 64 * 1024);
        client.request("GET", "/");
        static_cast<void>(client.read_through("\r\n\r\n"));
        for (int second = 0; second < 40; ++second) server.advance(1s);
        REQUIRE(client.read(pieces * piece_bytes).size() == pieces * piece_bytes);
    }
}

TEST_CASE("a failure that is not the client's leaving is reported", "[server][connection]") {
    const reports reported;
    site server([](app::scope, app::receive, app::send) -> ferry::task<> {
        throw ferry::disconnected("the database has gone");
        co_return;
    });
    raw_client client(server);
    client.request("GET", "/");
    CHECK(client.read_response().status == 500);
    CHECK(reported.mention("the database has gone"));
}
