// tests/client/http_connection_test.cpp - over a stream that stutters, and ends anywhere
// SPDX-License-Identifier: BSL-1.0
#include <ferry/client/http_connection.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/virtual_clock.hpp>
#include <ferry/net/memory_stream.hpp>

#include "client/scripted_server.hpp"
#include "support/catch.hpp"
#include "support/faulty_stream.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
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
using connection = ferry::http_connection<net::memory_stream>;

/// Sends so many octets each second.
ferry::task<> trickle(net::memory_stream& to, std::string octets, std::size_t each_second = 1) {
    for (std::size_t at = 0; at < octets.size(); at += each_second) {
        co_await ferry::sleep_for(1s);
        co_await to.send_all(std::string_view(octets).substr(at, each_second));
    }
}
ferry::task<std::string> ask(connection& with) {
    co_await with.begin("GET", "/", "a.test");
    co_await with.finish();
    co_await with.response();
    co_return co_await with.read_all();
}
ferry::task<std::string> ask_in_pieces(connection& with) {
    co_await with.begin("GET", "/", "a.test");
    co_await with.finish();
    co_await with.response();
    std::string body;
    for (std::string piece = co_await with.read(); !piece.empty(); piece = co_await with.read()) body += piece;
    co_return body;
}
ferry::task<std::string> post(connection& with, const ferry::client_request& what) {
    const std::string target = "/";
    const std::string host = "a.test";
    ferry::client_response whole = co_await with.exchange(what, target, host);
    co_return whole.take_body();
}
/// Takes so many octets each second.
ferry::task<> sip(net::memory_stream& from, std::size_t octets, std::size_t each_second) {
    std::string buffer(each_second, '\0');
    while (octets > 0) {
        co_await ferry::sleep_for(1s);
        octets -= co_await from.receive(buffer.data(), std::min(octets, each_second));
    }
}

/// A connection whose other end is the test.
struct slow_world {
    explicit slow_world(const ferry::http_client_options& options) : asker(loop, std::move(ends.first), options) {}
    ~slow_world() { loop.close(); }

    /// Lets so much time pass, or as much as `asking` takes.
    void pass(int seconds, const ferry::future<std::string>& asking) {
        for (; seconds > 0 && !asking.is_ready(); --seconds) {
            loop.run_until_idle();
            clock.advance(1s);
        }
        loop.run_until_idle();
    }
    net::memory_stream& there() { return ends.second; }

    ferry::virtual_clock clock;
    ferry::event_loop loop{clock};
    std::pair<net::memory_stream, net::memory_stream> ends = net::memory_pair(loop, 4096);
    connection asker;
};

std::string head_of(std::size_t body) {
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body) + "\r\n\r\n";
}
std::string why_late(slow_world& world, ferry::future<std::string> asking) {
    try {
        return "it has the body: " + world.loop.run(std::move(asking));
    } catch (const ferry::timeout_error& late) {
        return late.what();
    }
}
}  // namespace

TEST_CASE("a head that trickles has its time and no more", "[client][http_connection]") {
    slow_world world(ferry::http_client_options().response_timeout(10s).stall_timeout(2s));
    auto asking = ferry::spawn(world.loop, ask(world.asker));
    const ferry::future<void> sending = ferry::spawn(world.loop, trickle(world.there(), head_of(30)));
    world.pass(9, asking);
    CHECK_FALSE(asking.is_ready());
    world.pass(1, asking);
    REQUIRE(asking.is_ready());
    CHECK_THROWS_AS(world.loop.run(std::move(asking)), ferry::timeout_error);
}

TEST_CASE("a body that trickles is given up where it is taken whole, and may go on in pieces",
          "[client][http_connection]") {
    const std::string body(60, 'x');
    ferry::http_client_options options;
    SECTION("whole") {
        const std::string longer(1000, 'x');
        options.body_grace_time(5s);
        slow_world world(options);
        auto asking = ferry::spawn(world.loop, ask(world.asker));
        const ferry::future<void> sending =
            ferry::spawn(world.loop, trickle(world.there(), head_of(1000) + longer, 40));
        world.pass(6, asking);  // one for the head
        CHECK_FALSE(asking.is_ready());
        world.pass(2, asking);
        REQUIRE(asking.is_ready());
        CHECK(why_late(world, std::move(asking)) ==
              "ferry: GET http://a.test/: the server sends the body too slowly, less than 240 bytes a second");
        CHECK_FALSE(world.asker.reusable());
    }
    SECTION("in pieces") {
        options.stall_timeout(2s);
        slow_world world(options);
        auto asking = ferry::spawn(world.loop, ask_in_pieces(world.asker));
        REQUIRE(world.there().send_some(head_of(60)) == head_of(60).size());
        const ferry::future<void> sending = ferry::spawn(world.loop, trickle(world.there(), body));
        world.pass(61, asking);
        REQUIRE(asking.is_ready());
        CHECK(world.loop.run(std::move(asking)) == body);
    }
    SECTION("without a rate") {
        options.stall_timeout(2s).min_body_rate(0);
        slow_world world(options);
        auto asking = ferry::spawn(world.loop, ask(world.asker));
        REQUIRE(world.there().send_some(head_of(60)) == head_of(60).size());
        const ferry::future<void> sending = ferry::spawn(world.loop, trickle(world.there(), body));
        world.pass(61, asking);
        REQUIRE(asking.is_ready());
        CHECK(world.loop.run(std::move(asking)) == body);
    }
}

TEST_CASE("a body that comes steadily, or after the server has thought for a while, is taken whole",
          "[client][http_connection]") {
    slow_world world(ferry::http_client_options{});
    auto asking = ferry::spawn(world.loop, ask(world.asker));
    const std::string body(30'000, 'x');
    REQUIRE(world.there().send_some(head_of(body.size())) == head_of(body.size()).size());
    world.pass(28, asking);
    const ferry::future<void> sending = ferry::spawn(world.loop, trickle(world.there(), body, 250));
    world.pass(121, asking);
    REQUIRE(asking.is_ready());
    CHECK(world.loop.run(std::move(asking)) == body);
}

TEST_CASE("a body may come slowly while the server still takes the request", "[client][http_connection]") {
    slow_world world(ferry::http_client_options().body_grace_time(5s));
    const auto what = ferry::client_request::post("http://a.test/", std::string(40'000, 'x'));
    auto asking = ferry::spawn(world.loop, post(world.asker, what));
    const ferry::future<void> taking = ferry::spawn(world.loop, sip(world.there(), 40'000, 1000));
    const ferry::future<void> sending =
        ferry::spawn(world.loop, trickle(world.there(), head_of(20) + "begun at once; ", 60));
    world.pass(30, asking);
    CHECK_FALSE(asking.is_ready());
    SECTION("and then comes to its end") {
        const ferry::future<void> rest = ferry::spawn(world.loop, trickle(world.there(), "done.", 5));
        world.pass(15, asking);
        REQUIRE(asking.is_ready());
        CHECK(world.loop.run(std::move(asking)) == "begun at once; done.");
    }
    SECTION("but not for ever") {
        world.pass(20, asking);
        REQUIRE(asking.is_ready());
        CHECK(why_late(world, std::move(asking)).find("too slowly") != std::string::npos);
    }
}

TEST_CASE("tiny chunks that have come together are one piece, and what is behind them is not lost",
          "[client][http_connection]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    auto [here, there] = net::memory_pair(loop);
    const ferry::http_client_options options;
    connection asker(loop, std::move(here), options);
    loop.run(asker.begin("GET", "/", "a.test"));
    loop.run(asker.finish());
    std::string chunks;
    for (int chunk = 0; chunk < 1000; ++chunk) chunks += "1\r\nx\r\n";
    const std::string head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    SECTION("the end") {
        REQUIRE(there.send_some(head + chunks + "0\r\nT: u\r\n\r\n") != 0);
        loop.run(asker.response());
        CHECK(loop.run(asker.read()) == std::string(1000, 'x'));
        CHECK(loop.run(asker.read()).empty());
        CHECK(asker.trailers().find("t") == "u");
        CHECK(asker.reusable());
    }
    SECTION("an error") {
        REQUIRE(there.send_some(head + chunks + "nonsense\r\n") != 0);
        loop.run(asker.response());
        CHECK(loop.run(asker.read()) == std::string(1000, 'x'));
        CHECK_THROWS_AS(loop.run(asker.read()), ferry::bad_response);
        CHECK_FALSE(asker.reusable());
    }
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

namespace {
ferry::task<std::string> give_body(ferry::http_connection<net::memory_stream>& to) {
    const bool wanted = co_await to.send("body");
    co_await to.finish();
    co_return wanted ? "sent" : "kept";
}

ferry::task<int> take_status(ferry::http_connection<net::memory_stream>& from) {
    const ferry::http::response_head& head = co_await from.response();
    co_return head.status();
}

/// What becomes of the body, and when, and the status, where one task sends and another one receives.
std::string agreement(std::string_view first_answer, int order) {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    auto [here, there] = net::memory_pair(loop);
    connection client(loop, std::move(here));
    loop.run(client.begin("PUT", "/", "a.test", ferry::http::headers().add("Expect", "100-continue")));
    std::optional<ferry::future<std::string>> given;
    if (order == 1) given.emplace(ferry::spawn(loop, give_body(client)));
    auto taken = ferry::spawn(loop, take_status(client));
    if (order == 2) given.emplace(ferry::spawn(loop, give_body(client)));
    loop.run_until_idle();
    if (!first_answer.empty()) REQUIRE(there.send_some(first_answer) > 0);
    loop.run_until_idle();
    if (order == 3) given.emplace(ferry::spawn(loop, give_body(client)));
    loop.run_until_idle();
    std::string outcome = given->is_ready() ? "at once " : "late ";
    clock.advance(1s);
    loop.run_until_idle();
    REQUIRE(given->is_ready());
    if (!taken.is_ready()) REQUIRE(there.send_some("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") > 0);
    outcome += loop.run(std::move(*given));
    return outcome + " " + std::to_string(loop.run(std::move(taken)));
}
}  // namespace

TEST_CASE("one task may wait for the response while another waits for 100 Continue", "[client][http_connection]") {
    for (const int order :
         {1, 2, 3}) {  // the body is offered before the other task waits, behind it, or after the answer
        CHECK(agreement("HTTP/1.1 100 Continue\r\n\r\n", order) == "at once sent 200");
        CHECK(agreement("HTTP/1.1 103 Hint\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", order) == "at once sent 200");
        CHECK(agreement("HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 204 Done\r\n\r\n", order) == "at once sent 204");
        CHECK(agreement("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", order) == "at once kept 417");
        CHECK(agreement("HTTP/1.1 103 Hint\r\n\r\n", order) == "late sent 200");
        CHECK(agreement("", order) == "late sent 200");
    }
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

TEST_CASE("without a 101 the stream stays where it is, though it ends with the response", "[client][http_connection]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    auto [here, there] = net::memory_pair(loop);
    ferry::http_connection connection(loop, std::move(here));
    REQUIRE(there.send_some("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody") > 0);
    loop.run(connection.begin("GET", "/", "a.test"));
    loop.run(connection.finish());
    CHECK(loop.run(connection.response()).status() == 200);
    CHECK_THROWS_AS(connection.take_stream(), std::logic_error);
    CHECK(loop.run(connection.read_all()) == "body");
}
