// tests/http/request_parser_test.cpp - what the vectors leave open: events, views, limits, pipelining
// SPDX-License-Identifier: BSL-1.0
#include <ferry/http/request_parser.hpp>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "http/request_log.hpp"
#include "support/catch.hpp"

namespace http = ferry::http;
using ferry_test::field_list;
using ferry_test::read_octetwise;
using ferry_test::read_whole;
using http::request_event;

namespace {
/// A request with these header lines, each with its CRLF.
std::string get(const std::string& lines) { return "GET / HTTP/1.1\r\nHost: a.test\r\n" + lines + "\r\n"; }

const std::string chunked_head = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The status of what must be refused, the same whole and octet by octet; 0 if it is not.
int refused(const std::string& octets, const http::request_limits& limits = {}) {
    const ferry_test::request_log log = read_whole(octets, limits);
    REQUIRE(log.same_as(read_octetwise(octets, limits)));
    CHECK(log.reason().empty() == (log.status() == 0));
    return log.status();
}
}  // namespace

TEST_CASE("a request without a body is a head and an end", "[http][request_parser]") {
    http::request_parser parser;
    CHECK(parser.idle());
    std::string_view bytes = "GET /x?y HTTP/1.1\r\nHost: a.test\r\n\r\n";
    REQUIRE(parser.read(bytes) == request_event::head);
    CHECK(bytes.empty());
    CHECK_FALSE(parser.idle());
    CHECK(parser.head().method() == "GET");
    CHECK(parser.head().target() == "/x?y");
    CHECK(parser.head().uri().path() == "/x");
    CHECK(parser.head().uri().query() == "y");
    CHECK(parser.head().host() == "a.test");
    CHECK(parser.head().body().how() == http::body_framing::kind::none);
    CHECK_FALSE(parser.head().body().has_body());
    REQUIRE(parser.read(bytes) == request_event::end);
    CHECK(parser.read(bytes) == request_event::end);  // it stays there until next()
    parser.next();
    CHECK(parser.idle());
    CHECK(parser.read(bytes) == request_event::need_more);
}

TEST_CASE("pieces of a body are views of the octets given to read", "[http][request_parser]") {
    http::request_parser parser;
    std::string_view head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8\r\n\r\n";
    REQUIRE(parser.read(head) == request_event::head);
    CHECK(parser.head().body().how() == http::body_framing::kind::length);
    CHECK(parser.head().body().length() == 8);
    CHECK(parser.read(head) == request_event::need_more);

    const std::string received = "abc";
    std::string_view bytes = received;
    REQUIRE(parser.read(bytes) == request_event::body);
    CHECK(parser.body().data() == received.data());
    CHECK(parser.body().size() == 3);
    CHECK(parser.read(bytes) == request_event::need_more);

    const std::string rest = "defghGET /";
    bytes = rest;
    REQUIRE(parser.read(bytes) == request_event::body);
    CHECK(parser.body().data() == rest.data());
    CHECK(parser.body() == "defgh");
    REQUIRE(parser.read(bytes) == request_event::end);
    CHECK(bytes == "GET /");
}

TEST_CASE("pieces of a chunked body are views without the chunk framing", "[http][request_parser]") {
    http::request_parser parser;
    const std::string received = chunked_head + "3;x=\"y\"\r\nabc\r\n0002\r\nde\r\n0\r\nX-T: v \r\n\r\nrest";
    std::string_view bytes = received;
    REQUIRE(parser.read(bytes) == request_event::head);
    CHECK(parser.head().body().how() == http::body_framing::kind::chunked);
    CHECK(parser.head().body().has_body());
    std::string body;
    for (int piece = 0; piece < 2; ++piece) {
        REQUIRE(parser.read(bytes) == request_event::body);
        CHECK(parser.body().data() >= received.data());
        CHECK(parser.body().data() + parser.body().size() <= received.data() + received.size());
        body += parser.body();
    }
    CHECK(body == "abcde");
    REQUIRE(parser.read(bytes) == request_event::end);
    CHECK(ferry_test::fields_of(parser.trailers()) == field_list{{"X-T", "v"}});
    CHECK_FALSE(parser.head().headers().contains("x-t"));
    CHECK(bytes == "rest");
}

TEST_CASE("trailers never frame and never become headers", "[http][request_parser]") {
    const auto log = read_whole(chunked_head + "0\r\nContent-Length: 9\r\nHost: b.test\r\n\r\n" + get(""));
    REQUIRE(log.requests().size() == 2);
    CHECK(log.requests()[0].trailers == field_list{{"Content-Length", "9"}, {"Host", "b.test"}});
    CHECK(log.requests()[0].headers == field_list{{"Host", "a.test"}, {"Transfer-Encoding", "chunked"}});
    CHECK(log.requests()[1].trailers.empty());
}

TEST_CASE("the head can be moved out while the body goes on", "[http][request_parser]") {
    http::request_parser parser;
    std::string_view bytes =
        "POST /first HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nxGET /second HTTP/1.0\r\n\r\n";
    REQUIRE(parser.read(bytes) == request_event::head);
    const http::request_head first = parser.take_head();
    REQUIRE(parser.read(bytes) == request_event::body);
    REQUIRE(parser.read(bytes) == request_event::end);
    parser.next();
    REQUIRE(parser.read(bytes) == request_event::head);
    CHECK(parser.head().target() == "/second");
    CHECK(parser.head().headers().empty());
    CHECK(parser.head().host().empty());
    CHECK(first.target() == "/first");
    CHECK(first.headers().find("content-length") == "1");
}

TEST_CASE("one request after another is read however they are cut", "[http][request_parser]") {
    const std::string octets = "\r\n" + chunked_head + "1\r\na\r\n0\r\n\r\n" + get("X-A: 1\r\n") +
                               "PUT /p HTTP/1.1\r\nHost: b.test\r\nContent-Length: 3\r\n\r\nxyz" + get("");
    const auto whole = read_whole(octets);
    REQUIRE(whole.requests().size() == 4);
    CHECK(whole.requests()[0].body == "a");
    CHECK(whole.requests()[1].headers == field_list{{"Host", "a.test"}, {"X-A", "1"}});
    CHECK(whole.requests()[2].body == "xyz");
    CHECK(whole.requests()[3].body.empty());
    CHECK(whole.idle());
    CHECK(whole.consumed() == octets.size());
    CHECK(whole.same_as(read_octetwise(octets)));
    std::size_t differing = 0;
    for (std::size_t cut = 1; cut < octets.size(); ++cut)
        differing += !whole.same_as(ferry_test::read_cut(octets, {cut}));
    CHECK(differing == 0);
}

TEST_CASE("next is refused before the end and after a request that closes", "[http][request_parser]") {
    http::request_parser parser;
    REQUIRE_THROWS_AS(parser.next(), std::logic_error);
    const std::string octets = get("Connection: close\r\n") + get("");
    std::string_view bytes = octets;
    REQUIRE(parser.read(bytes) == request_event::head);
    CHECK_FALSE(parser.head().keep_alive());
    REQUIRE_THROWS_AS(parser.next(), std::logic_error);
    REQUIRE(parser.read(bytes) == request_event::end);
    CHECK(bytes == get(""));
    REQUIRE_THROWS_AS(parser.next(), std::logic_error);
    CHECK(parser.read(bytes) == request_event::end);
    CHECK(bytes == get(""));
}

TEST_CASE("after an error nothing more is read", "[http][request_parser]") {
    http::request_parser parser;
    std::string_view bytes = "GET /\x01 HTTP/1.1\r\n";
    REQUIRE(parser.read(bytes) == request_event::error);
    CHECK(parser.error().status() == 400);
    CHECK(bytes == "\x01 HTTP/1.1\r\n");
    const std::string good = get("");
    bytes = good;
    CHECK(parser.read(bytes) == request_event::error);
    CHECK(bytes == good);
    REQUIRE_THROWS_AS(parser.next(), std::logic_error);
}

TEST_CASE("an upgrade leaves every octet after the head to the new protocol", "[http][request_parser]") {
    const std::string octets = get("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n") + "\x81\x85GET /";
    http::request_parser parser;
    std::string_view bytes = octets;
    REQUIRE(parser.read(bytes) == request_event::head);
    CHECK(parser.head().wants_upgrade());
    CHECK(bytes == "\x81\x85GET /");
}

TEST_CASE("an upgrade needs both fields, HTTP/1.1 and no body", "[http][request_parser]") {
    const auto wants_upgrade = [](const std::string& octets) {
        const auto log = read_whole(octets);
        REQUIRE(log.requests().size() == 1);
        return log.requests()[0].wants_upgrade;
    };
    const std::string both = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    CHECK(wants_upgrade(get(both)));
    CHECK(wants_upgrade(get(both + "Content-Length: 0\r\n")));
    CHECK_FALSE(wants_upgrade(get("Upgrade: websocket\r\n")));
    CHECK_FALSE(wants_upgrade(get("Connection: upgrade\r\n")));
    CHECK_FALSE(wants_upgrade(get(both + "Content-Length: 1\r\n") + "x"));
    CHECK_FALSE(wants_upgrade(get(both + "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n"));
    CHECK_FALSE(wants_upgrade("GET / HTTP/1.0\r\n" + both + "\r\n"));
}

TEST_CASE("keep_alive follows the version and the Connection field", "[http][request_parser]") {
    const auto keep_alive = [](const std::string& octets) { return read_whole(octets).requests().at(0).keep_alive; };
    CHECK(keep_alive(get("")));
    CHECK_FALSE(keep_alive(get("Connection: keep-alive\r\nConnection: x, CLOSE\r\n")));
    CHECK_FALSE(keep_alive("GET / HTTP/1.0\r\n\r\n"));
    CHECK(keep_alive("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
    CHECK_FALSE(keep_alive("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n"));
}

TEST_CASE("100-continue is expected only for a body, and by HTTP/1.1", "[http][request_parser]") {
    const auto expects = [](const std::string& octets) { return read_whole(octets).requests().at(0).expects_continue; };
    CHECK(expects(get("Expect: 100-Continue\r\nContent-Length: 1\r\n") + "x"));
    CHECK_FALSE(expects(get("Expect: 100-continue\r\n")));
    CHECK_FALSE(expects(get("Content-Length: 1\r\n") + "x"));
    CHECK_FALSE(expects("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"));
    CHECK(refused(get("Expect: 100-continue, magic\r\n")) == 417);
    CHECK(refused(get("Expect: 100-continue\r\nExpect: 100-continue\r\n")) == 417);
}

TEST_CASE("the authority of an absolute target overrides the Host field", "[http][request_parser]") {
    http::request_parser parser;
    std::string_view bytes = "GET http://b.test:81/x HTTP/1.1\r\nHost: a.test\r\n\r\n";
    REQUIRE(parser.read(bytes) == request_event::head);
    CHECK(parser.head().host() == "b.test:81");
    CHECK(parser.head().uri().path() == "/x");
}

TEST_CASE("Host may be empty or missing only where the RFC says so", "[http][request_parser]") {
    CHECK(refused("GET / HTTP/1.1\r\nHost:\r\n\r\n") == 0);
    CHECK(refused("GET / HTTP/1.0\r\n\r\n") == 0);
    CHECK(refused("GET / HTTP/1.0\r\nHost: a b\r\n\r\n") == 400);
    CHECK(refused("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n") == 400);
    CHECK(refused("GET / HTTP/1.2\r\n\r\n") == 400);
}

TEST_CASE("what could be framed in two ways is refused", "[http][request_parser]") {
    CHECK(refused(get("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n")) == 400);
    CHECK(refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n") == 400);
    CHECK(refused(get("Transfer-Encoding: gzip, chunked\r\n")) == 501);
    CHECK(refused(get("Transfer-Encoding: gzip\r\n")) == 400);
    CHECK(refused(get("Transfer-Encoding: chunked, gzip, chunked\r\n")) == 400);
    CHECK(refused(get("Transfer-Encoding: ,chunked\r\n")) == 400);
    CHECK(refused(get("Content-Length: 1\r\nContent-Length: 1\r\n")) == 400);
    CHECK(refused(get("Content-Length: 1, 1\r\n")) == 400);
    CHECK(refused(get("Content-Length: 9223372036854775807\r\n")) == 0);
    CHECK(refused(get("Content-Length: 9223372036854775808\r\n")) == 400);
    CHECK(refused(get("Content-Length: 00000000000000000001\r\n")) == 400);
}

TEST_CASE("targets are refused by what they are for", "[http][request_parser]") {
    const auto status_of = [](const std::string& line) { return refused(line + " HTTP/1.1\r\nHost: a.test\r\n\r\n"); };
    CHECK(status_of("GET *") == 400);
    CHECK(status_of("OPTIONS *") == 0);
    CHECK(status_of("CONNECT a.test:443") == 501);
    CHECK(status_of("GET ftp://a.test/") == 400);
    CHECK(status_of("GET /%zz") == 400);
    CHECK(status_of("GET /?%zz|{}^") == 0);
}

TEST_CASE("the request line is limited, empty lines before it included", "[http][request_parser]") {
    const auto limits = http::request_limits().max_request_line_bytes(30);
    const auto line = [](std::size_t bytes) {
        const std::string rest = "GET / HTTP/1.1\r\n";
        return "GET /" + std::string(bytes - rest.size(), 'a') + rest.substr(5) + "Host: a.test\r\n\r\n";
    };
    CHECK(refused(line(30), limits) == 0);
    CHECK(refused(line(31), limits) == 414);
    CHECK(refused("\r\n" + line(28), limits) == 0);
    CHECK(refused("\r\n" + line(29), limits) == 414);
    CHECK(refused(std::string(100, 'A'), limits) == 414);
    CHECK(refused(line(8192)) == 0);
    CHECK(refused(line(8193)) == 414);
}

TEST_CASE("headers and trailers share the limits on octets and fields", "[http][request_parser]") {
    const std::string host = "Host: a.test\r\n";  // 14 octets
    const auto limits = http::request_limits().max_header_bytes(26).max_header_fields(100);
    CHECK(refused("GET / HTTP/1.1\r\n" + host + "X: 45678\r\n\r\n", limits) == 0);
    CHECK(refused("GET / HTTP/1.1\r\n" + host + "X: 456789\r\n\r\n", limits) == 431);

    std::string lines;
    for (int i = 0; i < 99; ++i) lines += "X: y\r\n";
    CHECK(refused(get(lines)) == 0);
    CHECK(refused(get(lines + "X: y\r\n")) == 431);

    const auto four = http::request_limits().max_header_fields(4);
    CHECK(refused(chunked_head + "0\r\nA: 1\r\nB: 2\r\n\r\n", four) == 0);
    CHECK(refused(chunked_head + "0\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n", four) == 431);

    const auto tight = http::request_limits().max_header_bytes(14 + 28 + 2 + 10);
    CHECK(refused(chunked_head + "0\r\nA: 345\r\n\r\n", tight) == 0);
    CHECK(refused(chunked_head + "0\r\nA: 3456\r\n\r\n", tight) == 431);
}

TEST_CASE("limits begin anew with each request", "[http][request_parser]") {
    const auto limits = http::request_limits().max_request_line_bytes(16).max_header_bytes(16).max_header_fields(1);
    const auto log = read_whole(get("") + get("") + get(""), limits);
    CHECK(log.requests().size() == 3);
    CHECK(log.status() == 0);
}

TEST_CASE("chunk extensions are limited for the body as a whole", "[http][request_parser]") {
    const auto limits = http::request_limits().max_chunk_extension_bytes(6);
    CHECK(refused(chunked_head + "1;abc\r\nx\r\n1;def\r\nx\r\n0\r\n\r\n", limits) == 0);
    CHECK(refused(chunked_head + "1;abc\r\nx\r\n1;defg\r\nx\r\n0\r\n\r\n", limits) == 413);
    CHECK(refused(chunked_head + "1;ab\x01\r\nx\r\n0\r\n\r\n", limits) == 400);
    CHECK(refused(chunked_head + "00000001\r\nx\r\n0\r\n\r\n", limits) == 0);
    CHECK(refused(chunked_head + "000000001\r\nx\r\n0\r\n\r\n", limits) == 413);
}

TEST_CASE("a chunk's extension ends with its line, whatever quotes it opens", "[http][request_parser]") {
    CHECK(refused(chunked_head + "1;a=\"\r\nx\r\n0;b=\"\r\n\r\n") == 0);
    const auto smuggled = ferry_test::read_whole(chunked_head + "1;a=\"\r\nx\r\n0\r\n\r\nGET /\"\r\n");
    REQUIRE(smuggled.requests().size() == 1);
    CHECK(smuggled.requests().front().body == "x");
    CHECK(refused(chunked_head + "1;a=\"\n\"\r\nx\r\n0\r\n\r\n") == 400);
    CHECK(refused(chunked_head + "1;a=\"\rb\"\r\nx\r\n0\r\n\r\n") == 400);
}
TEST_CASE("framing fields that are folded or named by halves are refused", "[http][request_parser]") {
    for (const std::string fields :
         {"Transfer-Encoding:\r\n chunked\r\n", "Transfer-Encoding: chunked\r\n ,identity\r\n",
          "Transfer-Encoding\r\n: chunked\r\n", "Content-Length: 1\r\n 0\r\n", "Content-Length\r\n:5\r\n",
          "\tContent-Length: 5\r\n", "Transfer-Encoding: chunked\x0B\r\n", "Transfer-Encoding:\x0B chunked\r\n",
          "Transfer-Encoding\xA0: chunked\r\n", "Content-Length: 5\x85\r\n"}) {
        const int status = refused("POST / HTTP/1.1\r\nHost: a.test\r\n" + fields + "\r\n5\r\nhello\r\n0\r\n\r\n");
        CHECK((status == 400 || status == 501));
    }
}
TEST_CASE("a megabyte of a head or a trailer is read octet by octet, each of them once", "[http][request_parser]") {
    // Whoever began anew with each read would look at half a million times as many octets.
    constexpr std::size_t size = 1 << 20;
    const auto limits = http::request_limits().max_request_line_bytes(2 * size).max_header_bytes(2 * size);
    for (const std::string& octets : {"GET /" + std::string(size, 'x') + " HTTP/1.1\r\nHost: a.test\r\n\r\n",
                                      "GET / HTTP/1.1\r\nHost: a.test\r\nX: " + std::string(size, 'x') + "\r\n\r\n",
                                      "GET / HTTP/1.1\r\nHost: a.test\r\n" + std::string(size, 'x') + ": y\r\n\r\n",
                                      chunked_head + "0\r\nX: " + std::string(size, ' ') + "y\r\n\r\n"}) {
        http::request_parser parser(limits);
        http::request_event last = http::request_event::need_more;
        for (const char octet : octets) {
            std::string_view one(&octet, 1);
            last = parser.read(one);
            if (last == http::request_event::head) last = parser.read(one);
        }
        CHECK(last == http::request_event::end);
    }
}
TEST_CASE("chunk sizes never wrap", "[http][request_parser]") {
    CHECK(refused(chunked_head + "FFFFFFFFFFFFFFFF\r\nx") == 0);  // waits for that much
    CHECK(refused(chunked_head + "10000000000000000\r\nx") == 413);
    CHECK(refused(chunked_head + "1\r\nx\r\nFFFFFFFFFFFFFFFF\r\nx") == 413);  // the sum does not fit
}

TEST_CASE("the body is limited by what is announced", "[http][request_parser]") {
    const auto limits = http::request_limits().max_body_bytes(5);
    CHECK(refused(get("Content-Length: 5\r\n") + "hello", limits) == 0);
    const auto log = read_whole(get("Content-Length: 6\r\n"), limits);  // before the first octet of it
    CHECK(log.status() == 413);
    CHECK(log.requests().empty());
    CHECK(refused(chunked_head + "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", limits) == 0);
    CHECK(refused(chunked_head + "2\r\nhe\r\n4\r\n", limits) == 413);
}

TEST_CASE("empty lines before a request leave the parser idle", "[http][request_parser]") {
    http::request_parser parser;
    std::string_view bytes = "\r\n\r\n\r";
    CHECK(parser.read(bytes) == request_event::need_more);
    CHECK(parser.idle());
    bytes = "\nG";
    CHECK(parser.read(bytes) == request_event::need_more);
    CHECK_FALSE(parser.idle());
    CHECK(refused("\rGET / HTTP/1.1\r\n") == 400);
    CHECK(refused("\nGET / HTTP/1.1\r\n") == 400);
}
