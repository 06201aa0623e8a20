// tests/server/http_exchange_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/core/error.hpp>
#include <ferry/loop/latch.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/server/server.hpp>

#include "server/apps.hpp"
#include "support/catch.hpp"
#include "support/raw_client.hpp"
#include "support/reports.hpp"
#include "support/site.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

using namespace ferry_test;
using namespace std::chrono_literals;

TEST_CASE("a connection serves one request after another", "[server][http_exchange]") {
    site server(say_path);
    raw_client client(server);
    for (const std::string path : {"/first", "/second", "/third"}) {
        client.request("GET", path);
        const response answer = client.read_response();
        CHECK(answer.status == 200);
        CHECK(answer.body == path);
        CHECK(answer.has("content-type: text/plain"));
        CHECK(answer.head.find("\r\nDate: ") != std::string::npos);
    }
    CHECK(server.server().connections() == 1);
}

TEST_CASE("pipelined requests are answered in their order", "[server][http_exchange]") {
    site server(echo_body);
    raw_client client(server);
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfirst"
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nthi\r\n2\r\nrd\r\n0\r\n\r\n");
    CHECK(client.read_response().body == "first");
    CHECK(client.read_response().body.empty());
    CHECK(client.read_response().body == "third");
}

TEST_CASE("HEAD gets the head that GET would get, and no body", "[server][http_exchange]") {
    site server(say_path);
    raw_client client(server);
    client.request("HEAD", "/four");
    CHECK(client.read_response(true).has("Content-Length: 5"));
    client.request("GET", "/");
    CHECK(client.read_response().body == "/");
}

TEST_CASE("an HTTP/1.0 connection ends with its response unless the client asks to keep it",
          "[server][http_exchange]") {
    site server(say_path);
    raw_client client(server);
    client.send("GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    CHECK(client.read_response().body == "/old");
    client.send("GET /last HTTP/1.0\r\n\r\n");
    const response last = client.read_response();
    CHECK(last.body == "/last");
    CHECK(last.has("Connection: close"));
    CHECK(client.at_end());
}

TEST_CASE("a request body reaches the application in order, however it is cut", "[server][http_exchange]") {
    site server(echo_body);
    const std::string request =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n";
    for (std::size_t cut = 1; cut < request.size(); cut += 3) {
        raw_client client(server);
        client.send(request.substr(0, cut));
        server.turn();
        client.send(request.substr(cut));
        CHECK(client.read_response().body == "hello world");
    }
    raw_client client(server);
    const std::string big(3'000'000, 'x');
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + big);
    CHECK(client.read_response().body == big);
}

TEST_CASE("tiny chunks that come together reach the application together", "[server][http_exchange]") {
    int pieces = 0;
    site server([&](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        std::size_t bytes = 0;
        for (bool more = true; more; ++pieces) {
            const app::message next = co_await receive();
            const auto& piece = std::get<app::http_request>(next);
            bytes += piece.body().size();
            more = piece.more_body();
        }
        co_await respond(send, std::to_string(bytes));
    });
    raw_client client(server);
    std::string request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (int chunk = 0; chunk < 100'000; ++chunk) request += "1\r\nx\r\n";
    client.send(request + "0\r\n\r\n");
    CHECK(client.read_response().body == "100000");
    CHECK(pieces < 1000);
}

TEST_CASE("what a request says of its sender is a header and nothing else", "[server][http_exchange]") {
    site server([](app::scope what, app::receive, app::send send) -> ferry::task<> {
        co_await respond(send, what.client().to_string().substr(0, 10) + " " + std::string(what.header("remote_addr")) +
                                   " " + std::string(what.header("x-forwarded-for")));
    });
    raw_client client(server);
    client.request("GET", "/",
                   "Remote-Addr: 192.0.2.1\r\nX_Forwarded_For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n"
                   "X-Real-IP: 192.0.2.1\r\n");
    CHECK(client.read_response().body == "127.0.0.1:  ");  // and "_" in a name is not "-"
}

TEST_CASE("trailers reach the application behind the body, and apart from the headers", "[server][http_exchange]") {
    site server([](app::scope scope, app::receive receive, app::send send) -> ferry::task<> {
        std::string said;
        for (bool more = true; more;) {
            const app::message next = co_await receive();
            const auto& piece = std::get<app::http_request>(next);
            more = piece.more_body();
            said += more ? piece.body() : "|";
            if (piece.trailers() == nullptr) continue;
            for (const ferry::http::header field : *piece.trailers())
                said.append(field.name).append("=").append(field.value).append(";");
        }
        co_await respond(send, said.append(scope.header("x-t")));
    });
    raw_client client(server);
    const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n";
    client.send(head + "X-T: v\r\nHost: b\r\n\r\n" + head + "\r\n");
    CHECK(client.read_response().body == "hi|X-T=v;Host=b;");
    CHECK(client.read_response().body == "hi|");
}

TEST_CASE("an upload waits while the application takes nothing", "[server][http_exchange]") {
    site server([](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await ferry::sleep_for(1s);
        const std::string body = co_await whole_body(receive);
        co_await respond(send, std::to_string(body.size()));
    });
    raw_client client(server);
    const std::string body(32'000'000, 'x');
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 32000000\r\n\r\n");
    std::size_t sent = 0;
    for (int stalled = 0; stalled < 100; ++stalled) {
        const std::size_t taken = client.send_some(std::string_view(body).substr(sent));
        if (taken != 0) stalled = 0;
        sent += taken;
        server.turn();
    }
    CHECK(sent < body.size() / 2);  // the kernel's buffers, and the inbox
    server.advance(1s);
    client.send(std::string_view(body).substr(sent));
    CHECK(client.read_response().body == "32000000");
}

TEST_CASE("sending waits for a slow reader, and loses nothing", "[server][http_exchange]") {
    constexpr std::size_t piece_bytes = 16 * 1024, pieces = 2048;
    std::size_t accepted = 0;
    site server([&](app::scope, app::receive, app::send send) -> ferry::task<> {
        co_await send(app::http_response_start(200).header("content-length", std::to_string(piece_bytes * pieces)));
        for (; accepted < pieces; ++accepted) {
            co_await send(app::http_response_body(std::string(piece_bytes, static_cast<char>('a' + accepted % 26)),
                                                  accepted + 1 < pieces));
        }
    });
    raw_client client(server);
    client.request("GET", "/");
    server.advance(1s);
    const std::size_t before_reading = accepted;
    CHECK(before_reading < pieces / 2);  // the rest of the memory is the kernel's
    server.advance(50s);
    CHECK(accepted == before_reading);
    const response answer = client.read_response();
    REQUIRE(answer.body.size() == piece_bytes * pieces);
    CHECK(answer.body.back() == static_cast<char>('a' + (pieces - 1) % 26));
    CHECK(accepted == pieces);
}

TEST_CASE("an application that fails before its response costs a 500 and a report", "[server][http_exchange]") {
    const reports reported;
    site server([](app::scope, app::receive, app::send) -> ferry::task<> {
        throw std::runtime_error("no database");
        co_return;
    });
    raw_client client(server);
    client.request("GET", "/account");
    const response answer = client.read_response();
    CHECK(answer.status == 500);
    CHECK(answer.body.find("database") == std::string::npos);  // clients are told nothing about the inside
    CHECK(client.at_end());
    CHECK(reported.mention("the application for /account failed: no database"));
}

TEST_CASE("a path cannot forge a report", "[server][http_exchange]") {
    const reports reported;
    site server([](app::scope what, app::receive, app::send) -> ferry::task<> {
        CHECK(what.path() == "/x\nferry: all is well");
        throw std::runtime_error("no database");
        co_return;
    });
    raw_client client(server);
    client.request("GET", "/x%0Aferry:%20all%20is%20well");
    CHECK(client.read_response().status == 500);
    CHECK(reported.mention("the application for /x%0Aferry:%20all%20is%20well failed: no database"));
    CHECK_FALSE(reported.mention("\n"));
}

TEST_CASE("an application that throws `cancelled` by itself costs a 500 and not the server",
          "[server][http_exchange]") {
    const reports reported;
    site server([](app::scope what, app::receive, app::send send) -> ferry::task<> {
        if (what.path() == "/bad") throw ferry::cancelled();
        co_await send(app::http_response_start(200));
        co_await send(app::http_response_body("fine"));
    });
    raw_client client(server);
    client.request("GET", "/bad");
    CHECK(client.read_response().status == 500);
    CHECK(reported.mention("the application for /bad failed"));
    raw_client next(server);
    next.request("GET", "/good");
    CHECK(next.read_response().body == "fine");
}

TEST_CASE("an application that fails in its response has its connection cut", "[server][http_exchange]") {
    const reports reported;
    site server([](app::scope, app::receive, app::send send) -> ferry::task<> {
        co_await send(app::http_response_start(200));
        co_await send(app::http_response_body("half", true));
        throw 42;
    });
    raw_client client(server);
    client.request("GET", "/");
    CHECK(client.was_reset());
    CHECK(reported.mention("exception of unknown type"));
    server.until_empty();
}

TEST_CASE("a response that its application does not end is cut, also while it is being written",
          "[server][http_exchange]") {
    const reports reported;
    site server([](app::scope, app::receive, app::send send) -> ferry::task<> {
        co_await send(app::http_response_start(200));
        co_await send(app::http_response_body(std::string(30'000'000, 'x'), true));
        co_await ferry::sleep_for(1s);
    });
    raw_client client(server);
    client.request("GET", "/half");
    server.advance(1s);
    CHECK(client.was_reset());
    CHECK(reported.mention("the application for /half ended before its response did"));
    server.until_empty();
}

TEST_CASE("an application that returns without a response costs a 500", "[server][http_exchange]") {
    site server([](app::scope, app::receive, app::send) -> ferry::task<> { co_return; });
    raw_client client(server);
    client.request("GET", "/");
    CHECK(client.read_response().status == 500);
    CHECK(client.at_end());
}

TEST_CASE("a request that its client cuts is the client's fault, unless the application fails",
          "[server][http_exchange]") {
    const reports reported;
    bool fails = false;
    site server([&](app::scope, app::receive receive, app::send) -> ferry::task<> {
        co_await until_disconnect(receive);
        if (fails) throw std::runtime_error("on half a body");
    });
    for (const int status : {400, 500}) {
        fails = status == 500;
        raw_client client(server);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell");
        client.finish_sending();
        const response answer = client.read_response();
        CHECK(answer.status == status);
        CHECK(answer.has("Connection: close"));
        CHECK(client.at_end());
    }
}

TEST_CASE("an application that leaves its response unfinished since its client has cut the request is not blamed",
          "[server][http_exchange]") {
    const reports reported;
    site server([](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await send(app::http_response_start(200));
        co_await send(app::http_response_body("begun", true));
        co_await until_disconnect(receive);
    });
    for (const bool malformed : {false, true}) {
        raw_client client(server);
        client.request("POST", "/", "Transfer-Encoding: chunked\r\n");
        client.send("5\r\nhello\r\n");
        if (malformed) client.send("no chunk\r\n");
        if (!malformed) client.finish_sending();
        CHECK(client.was_reset());
        server.until_empty();
    }
    CHECK(!reported.mention("ended before its response did"));
}

TEST_CASE("messages out of place throw into the application", "[server][http_exchange]") {
    int refused = 0;
    site server([&](app::scope, app::receive, app::send send) -> ferry::task<> {
        const auto refuses = [&](auto message) -> ferry::task<> {
            try {
                co_await send(message);
            } catch (const std::logic_error&) {
                ++refused;
            }
        };
        co_await refuses(app::http_response_body("early"));
        co_await refuses(app::websocket_accept());
        co_await refuses(app::websocket_send::text("x"));
        co_await refuses(app::websocket_close());
        co_await refuses(app::custom_message("lights.off"));
        co_await respond(send, "fine");
        co_await refuses(app::http_response_body("late"));
    });
    raw_client client(server);
    client.request("GET", "/");
    CHECK(client.read_response().body == "fine");
    CHECK(refused == 6);
}

TEST_CASE("after its response an application receives http_disconnect and may go on working",
          "[server][http_exchange]") {
    bool worked = false;
    site server([&](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await respond(send, "done");
        co_await until_disconnect(receive);
        co_await ferry::sleep_for(5s);
        worked = true;
    });
    raw_client client(server);
    client.request("GET", "/");
    CHECK(client.read_response().body == "done");
    CHECK_FALSE(worked);
    server.advance(5s);
    CHECK(worked);
}

TEST_CASE("a client that has sent everything still gets its response", "[server][http_exchange]") {
    site server([](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        co_await until_disconnect(receive);
        co_await respond(send, "for you");
    });
    raw_client client(server);
    client.request("GET", "/");
    client.finish_sending();
    CHECK(client.read_response().body == "for you");
    CHECK(client.at_end());
}

TEST_CASE("a client that vanishes is told to the application again and again", "[server][http_exchange]") {
    const reports reported;
    int disconnects = 0;
    bool refused = false;
    site server([&](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        for (; disconnects < 100; ++disconnects) co_await until_disconnect(receive);
        try {
            co_await respond(send, "hello?");
        } catch (const ferry::disconnected&) {
            refused = true;
            throw;
        }
    });
    raw_client client(server);
    client.request("GET", "/");
    server.turn();
    client.reset();
    server.until_empty();
    CHECK(disconnects == 100);
    CHECK(refused);
    CHECK(reported.count() == 0);  // a client that leaves is no fault
}

TEST_CASE("a client that vanishes behind a pipelined request is told to the application", "[server][http_exchange]") {
    int calls = 0;
    site server([&](app::scope, app::receive receive, app::send) -> ferry::task<> {
        ++calls;
        co_await until_disconnect(receive);
    });
    raw_client client(server);
    client.send("GET /one HTTP/1.1\r\nHost: a\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\n\r\n");
    server.until([&] { return calls == 1; });
    client.reset();
    server.until_empty();
    CHECK(calls == 1);
}

TEST_CASE("a client that sends one request after another and reads nothing is not read for ever",
          "[server][http_exchange]") {
    const reports reported;
    site server(
        [](app::scope, app::receive receive, app::send) -> ferry::task<> { co_await until_disconnect(receive); });
    raw_client client(server);
    std::string requests;
    while (requests.size() < 100'000'000) requests += "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    std::size_t sent = 0;
    for (std::size_t more = 1; more > 0; sent += more) {
        more = client.send_some(std::string_view(requests).substr(sent));
        server.turn();
    }
    CHECK(sent < requests.size());  // the rest of it waits in the client
    client.reset();
    server.advance(1s);  // its end is behind what is not read, and is noticed all the same
    server.until_empty();
    CHECK(reported.count() == 0);
}

TEST_CASE("a client that has pipelined much and sent its last octet is told to the application, and answered",
          "[server][http_exchange]") {
    bool ended = false;
    site server([&](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        if (!ended) co_await until_disconnect(receive);
        ended = true;
        co_await respond(send, "goodbye");
    });
    raw_client client(server);
    std::string requests;
    while (requests.size() < 100'000) requests += "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(requests);
    client.finish_sending();
    server.turn();
    CHECK_FALSE(ended);
    server.advance(1s);
    CHECK(ended);
    for (std::size_t at = 0; at < requests.size(); at += 27) REQUIRE(client.read_response().body == "goodbye");
    CHECK(client.at_end());
}

TEST_CASE("a client that vanishes behind an upload that nobody takes is noticed", "[server][http_exchange]") {
    const reports reported;
    bool refused = false;
    site server([&](app::scope, app::receive, app::send send) -> ferry::task<> {
        co_await ferry::sleep_for(3s);
        try {
            co_await respond(send, "too late");
        } catch (const ferry::disconnected&) {
            refused = true;
        }
        co_await ferry::sleep_for(24h);
    });
    raw_client client(server);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 32000000\r\n\r\n");
    for (int piece = 0; piece < 64; ++piece) {
        static_cast<void>(client.send_some(std::string(64 * 1024, 'x')));
        server.turn();
    }
    client.reset();
    for (int second = 0; second < 4; ++second) server.advance(1s);
    CHECK(refused);
    server.advance(10s);
    CHECK(reported.mention("still runs 10 s after its client has gone"));
    server.until_empty();
}

TEST_CASE("an application that ignores the disconnect is cancelled after a while, with a report",
          "[server][http_exchange]") {
    const reports reported;
    bool cancelled = false;
    site server(
        [&](app::scope, app::receive, app::send) -> ferry::task<> {
            try {
                co_await ferry::sleep_for(24h);
            } catch (const ferry::cancelled&) {
                cancelled = true;
                throw;
            }
        },
        ferry::serve_options().application_close_timeout(3s));
    raw_client client(server);
    client.request("GET", "/night");
    server.turn();
    client.close();
    server.advance(2900ms);
    CHECK_FALSE(cancelled);
    server.advance(200ms);
    server.until([&] { return cancelled; });
    CHECK(reported.mention("/night still runs 3 s after its client has gone"));
    server.until_empty();
}

TEST_CASE("the thread-sensitive calls of one request run on one thread, those of another on another",
          "[server][http_exchange][mt]") {
    std::vector<std::thread::id> seen;
    std::unique_ptr<ferry::latch> both;
    const auto note = [&](app::scope, app::receive, app::send send) -> ferry::task<> {
        const std::thread::id first = co_await ferry::to_thread(ferry::thread_sensitive, &std::this_thread::get_id);
        co_await both->arrive_and_wait();  // now each of the two requests has its thread
        const std::thread::id second = co_await ferry::to_thread(ferry::thread_sensitive, &std::this_thread::get_id);
        seen.push_back(first == second ? first : std::thread::id());
        co_await respond(send, "noted");
    };
    site server(note);
    raw_client one(server);
    raw_client two(server);
    for (int round = 0; round < 3; ++round) {
        both = std::make_unique<ferry::latch>(server.loop(), 2);
        one.request("GET", "/");
        two.request("GET", "/");
        CHECK(one.read_response().body == "noted");
        CHECK(two.read_response().body == "noted");
    }
    REQUIRE(seen.size() == 6);
    for (std::size_t i = 0; i < seen.size(); i += 2) {
        CHECK(seen[i] != seen[i + 1]);
        CHECK(seen[i] != std::thread::id());
        CHECK(seen[i] != std::this_thread::get_id());
    }
}
