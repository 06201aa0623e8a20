// tests/client/http_connection_test.cpp - over a stream that stutters, and ends anywhere
// SPDX-License-Identifier: BSL-1.0
#include <ferry/client/http_connection.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/virtual_clock.hpp>
#include <ferry/net/memory_stream.hpp>

#include "client/scripted_server.hpp"
#include "support/catch.hpp"
#include "support/faulty_stream.hpp"

#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using ferry_test::faults;
using ferry_test::faulty_stream;
using ferry_test::script;
namespace net = ferry::net;

namespace {
using faulty_connection = ferry::http_connection<faulty_stream<net::memory_stream>>;

const std::string answer =
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x\r\n "
    "world\r\n0\r\nT: u\r\n\r\n";

ferry::task<std::string> converse(faulty_connection& with) {
    co_await with.begin("POST", "/a", "a.test");
    co_await with.send("what is ");
    co_await with.send("sent");
    co_await with.finish();
    const ferry::http::response_head& head = co_await with.response();
    std::string heard = std::to_string(head.status()) + " ";
    for (std::string piece = co_await with.read(); !piece.empty(); piece = co_await with.read()) heard += piece;
    co_return heard + " " + std::string(with.trailers().find("t").value_or("nothing"));
}

/// What comes of a conversation over a stream with these faults: what was heard, or the kind of error.
std::string outcome_with(const faults& plan, bool& reusable) {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    auto [here, there] = net::memory_pair(loop);
    script server({answer}, true);
    auto serving = ferry::spawn(loop, [](script& lines, net::memory_stream& end) -> ferry::task<> {
        co_await lines.serve(end);
    }(server, there));
    faulty_connection connection(loop, faulty_stream(loop, std::move(here), plan));
    auto conversation = ferry::spawn(loop, converse(connection));
    for (int turn = 0; turn < 2000 && !conversation.is_ready(); ++turn) {
        loop.run_until_idle();
        clock.advance(1ms);
    }
    std::string outcome = "it has not ended";
    if (conversation.is_ready()) {
        try {
            outcome = loop.run(std::move(conversation));
        } catch (const ferry::disconnected&) {
            outcome = "disconnected";
        }
    }
    reusable = connection.reusable();
    loop.close();
    return outcome;
}
}  // namespace

TEST_CASE("a conversation is the same over a stream that stutters", "[client][http_connection]") {
    for (const std::size_t bytes : {std::size_t(1), std::size_t(2), std::size_t(7), faults::never}) {
        bool reusable = false;
        CHECK(outcome_with(faults().short_reads(bytes).short_writes(bytes), reusable) == "200 hello world u");
        CHECK(reusable);
        CHECK(outcome_with(faults().short_reads(bytes).delay(1ms), reusable) == "200 hello world u");
    }
}

TEST_CASE("a reset anywhere in a response is disconnected, and ends the connection's use",
          "[client][http_connection]") {
    for (std::size_t received = 0; received < answer.size(); ++received) {
        bool reusable = true;
        CHECK(outcome_with(faults().reset_after_receiving(received), reusable) == "disconnected");
        CHECK_FALSE(reusable);
    }
    bool reusable = false;
    CHECK(outcome_with(faults().reset_after_receiving(answer.size()), reusable) == "200 hello world u");
}

TEST_CASE("a reset anywhere in a request is disconnected, and ends the connection's use", "[client][http_connection]") {
    const std::string request =
        "POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nwhat is \r\n4\r\nsent\r\n0\r\n\r\n";
    for (std::size_t sent = 0; sent < request.size(); ++sent) {
        bool reusable = true;
        CHECK(outcome_with(faults().reset_after_sending(sent).short_writes(9), reusable) == "disconnected");
        CHECK_FALSE(reusable);
    }
}

namespace {
/// Sends an octet each second.
ferry::task<> trickle(net::memory_stream& to, std::string_view octets) {
    for (std::size_t at = 0; at < octets.size(); ++at) {
        co_await ferry::sleep_for(1s);
        co_await to.send_all(octets.substr(at, 1));
    }
}
ferry::task<std::string> ask(ferry::http_connection<net::memory_stream>& with) {
    co_await with.begin("GET", "/", "a.test");
    co_await with.finish();
    co_await with.response();
    co_return co_await with.read_all();
}
}  // namespace

TEST_CASE("a head that trickles has its time, a body that trickles may go on", "[client][http_connection]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    const auto options = ferry::http_client_options().response_timeout(10s).stall_timeout(2s);
    auto [here, there] = net::memory_pair(loop);
    ferry::http_connection connection(loop, std::move(here), options);
    auto asking = ferry::spawn(loop, ask(connection));
    const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n";
    ferry::future<void> sending;
    const auto pass = [&](int seconds) {
        for (; seconds > 0 && !asking.is_ready(); --seconds) {
            loop.run_until_idle();
            clock.advance(1s);
        }
        loop.run_until_idle();
    };
    SECTION("the head") {
        sending = ferry::spawn(loop, trickle(there, head));
        pass(9);
        CHECK_FALSE(asking.is_ready());
        pass(1);
        REQUIRE(asking.is_ready());
        CHECK_THROWS_AS(loop.run(std::move(asking)), ferry::timeout_error);
    }
    SECTION("the body") {
        REQUIRE(there.send_some(head) == head.size());
        const std::string body(30, 'x');
        sending = ferry::spawn(loop, trickle(there, body));
        pass(29);
        CHECK_FALSE(asking.is_ready());
        pass(2);
        REQUIRE(asking.is_ready());
        CHECK(loop.run(std::move(asking)) == body);
    }
    loop.close();
}

TEST_CASE("calls out of order are refused", "[client][http_connection]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    auto [here, there] = net::memory_pair(loop);
    ferry::http_connection connection(loop, std::move(here));
    CHECK_THROWS_AS(loop.run(connection.send("x")), std::logic_error);
    CHECK_THROWS_AS(loop.run(connection.response()), std::logic_error);
    CHECK_THROWS_AS(loop.run(connection.read()), std::logic_error);
    CHECK_THROWS_AS(connection.take_stream(), std::logic_error);
    loop.run(connection.begin("GET", "/", "a.test"));
    CHECK_THROWS_AS(loop.run(connection.begin("GET", "/", "a.test")), std::logic_error);
    CHECK_FALSE(connection.reusable());
    loop.run(connection.finish());
    CHECK_THROWS_AS(loop.run(connection.begin("GET", "/", "a.test")), std::logic_error);
}

namespace {
/// What send() said, twice, and the status.
ferry::task<std::string> offer(ferry::http_connection<net::memory_stream>& with) {
    co_await with.begin("PUT", "/", "a.test", ferry::http::headers().add("Expect", "100-continue"));
    const bool first = co_await with.send("not");
    const bool second = co_await with.send("wanted");
    co_await with.finish();
    const ferry::http::response_head& head = co_await with.response();
    co_return std::to_string(first) + std::to_string(second) + std::to_string(head.status());
}
}  // namespace

TEST_CASE("of a body that is not wanted no octet is sent", "[client][http_connection]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    auto [here, there] = net::memory_pair(loop);
    ferry::http_connection connection(loop, std::move(here));
    REQUIRE(there.send_some("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n") > 0);
    CHECK(loop.run(offer(connection)) == "00417");
    char octets[1000];
    const std::size_t count = loop.run(there.receive(octets, sizeof octets));
    CHECK(std::string_view(octets, count).ends_with("\r\n\r\n"));
    CHECK_FALSE(there.is_readable());
    CHECK(loop.run(connection.read()).empty());
    CHECK_FALSE(connection.reusable());
}

TEST_CASE("a request that cannot be written changes nothing", "[client][http_connection]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    auto [here, there] = net::memory_pair(loop);
    ferry::http_connection connection(loop, std::move(here));
    CHECK_THROWS_AS(loop.run(connection.begin("GET", "no path", "a.test")), std::invalid_argument);
    CHECK_FALSE(there.is_readable());
    loop.run(connection.begin("GET", "/", "a.test"));
    CHECK(there.is_readable());
}

TEST_CASE("after a 101 the stream goes to the new protocol, with what has come of it", "[client][http_connection]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    auto [here, there] = net::memory_pair(loop);
    ferry::http_connection connection(loop, std::move(here));
    REQUIRE(there.send_some("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nnew") > 0);
    loop.run(connection.begin("GET", "/", "a.test",
                              ferry::http::headers().add("Connection", "upgrade").add("Upgrade", "x")));
    loop.run(connection.finish());
    CHECK(loop.run(connection.response()).status() == 101);
    auto [stream, early] = connection.take_stream();
    CHECK(early == "new");
    REQUIRE(there.send_some("er") == 2);
    char text[8];
    CHECK(loop.run(stream.receive(text, sizeof text)) == 2);
    CHECK_FALSE(connection.reusable());
}
