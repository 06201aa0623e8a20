// tests/http/response_parser_test.cpp - what the vectors leave open: events, views, limits, keep-alive
// SPDX-License-Identifier: BSL-1.0
#include <ferry/http/response_parser.hpp>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

#include "http/response_log.hpp"
#include "support/catch.hpp"

namespace http = ferry::http;
using ferry_test::field_list;
using ferry_test::response_log;
using http::response_event;

namespace {
const std::string ok = "HTTP/1.1 200 OK\r\n";

/// Why it is refused, the same whole and octet by octet; empty if it is not.
std::string refused(const std::string& octets, const http::response_limits& limits) {
    response_log whole(false, 1, limits), octetwise(false, 1, limits);
    whole.feed(octets);
    for (const char octet : octets) octetwise.feed(std::string_view(&octet, 1));
    REQUIRE(whole.same_as(octetwise));
    return whole.reason();
}
}  // namespace

TEST_CASE("a response is a head, pieces that are views of what was read, and an end", "[http][response_parser]") {
    http::response_parser parser;
    parser.begin();
    CHECK_FALSE(parser.started());
    const std::string received = ok + "Content-Length: 5\r\n\r\nhel";
    std::string_view bytes = received;
    REQUIRE(parser.read(bytes) == response_event::head);
    CHECK(parser.started());
    CHECK(parser.head().status() == 200);
    CHECK(parser.head().reason() == "OK");
    CHECK(parser.head().version() == "1.1");
    CHECK(parser.head().body().how() == http::body_framing::kind::length);
    CHECK(parser.head().body().length() == 5);
    CHECK_FALSE(parser.head().interim());
    REQUIRE(parser.read(bytes) == response_event::body);
    CHECK(parser.body().data() == received.data() + received.size() - 3);
    CHECK(parser.body() == "hel");
    CHECK(parser.read(bytes) == response_event::need_more);
    CHECK_FALSE(parser.keep_alive());
    bytes = "loX";
    REQUIRE(parser.read(bytes) == response_event::body);
    CHECK(parser.body() == "lo");
    REQUIRE(parser.read(bytes) == response_event::end);
    CHECK(bytes == "X");
    CHECK(parser.keep_alive());
    CHECK(parser.read(bytes) == response_event::end);  // it stays there until begin()
}

TEST_CASE("interim responses come before the final one, each with its own head", "[http][response_parser]") {
    http::response_parser parser;
    parser.begin();
    const std::string octets = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 None\r\nX: y\r\n\r\n";
    std::string_view bytes = octets;
    REQUIRE(parser.read(bytes) == response_event::interim);
    CHECK(parser.head().interim());
    CHECK(parser.head().status() == 103);
    CHECK(ferry_test::fields_of(parser.head().headers()) == field_list{{"Link", "</a>"}});
    REQUIRE(parser.read(bytes) == response_event::head);
    CHECK(parser.head().status() == 204);
    CHECK(parser.head().reason() == "None");
    CHECK(ferry_test::fields_of(parser.head().headers()) == field_list{{"X", "y"}});
    CHECK(parser.head().body().how() == http::body_framing::kind::none);
    REQUIRE(parser.read(bytes) == response_event::end);
}

TEST_CASE("interim responses do not share the limits of a head", "[http][response_parser]") {
    const std::string octets = "HTTP/1.1 100 X\r\nA: b\r\n\r\n" + ok + "Content-Length: 0\r\n\r\n";
    const auto limits = http::response_limits().max_status_line_bytes(17).max_header_bytes(21).max_header_fields(1);
    CHECK(refused(octets, limits).empty());
    CHECK(refused(octets, http::response_limits().max_interim_responses(0)) == "too many interim responses");
    CHECK(refused(octets, http::response_limits().max_interim_responses(1)).empty());
}

TEST_CASE("a response that announces nothing lasts until the end of the stream", "[http][response_parser]") {
    http::response_parser parser;
    parser.begin();
    const std::string octets = ok + "\r\nhello";
    std::string_view bytes = octets;
    REQUIRE(parser.read(bytes) == response_event::head);
    CHECK(parser.head().body().how() == http::body_framing::kind::until_close);
    CHECK(parser.head().body().has_body());
    CHECK_FALSE(parser.head().keep_alive());
    REQUIRE(parser.read(bytes) == response_event::body);
    CHECK(parser.body() == "hello");
    CHECK(parser.read(bytes) == response_event::need_more);
    CHECK(parser.end_of_stream() == response_event::end);
    CHECK(parser.end_of_stream() == response_event::end);
    CHECK_FALSE(parser.keep_alive());
    REQUIRE_THROWS_AS(parser.begin(), std::logic_error);
}

TEST_CASE("the end of the stream cuts a response anywhere else, and says what was missing", "[http][response_parser]") {
    const std::string whole = ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n";
    for (std::size_t cut = 0; cut < whole.size(); ++cut) {
        response_log log(false);
        log.feed(std::string_view(whole).substr(0, cut));
        log.end_of_stream();
        CHECK(log.responses().empty());
        CHECK(log.reason() == (cut == 0 ? "there was no response" : "the response was cut"));
    }
    response_log log(false);
    log.feed(whole);
    log.end_of_stream();
    CHECK(log.responses().size() == 1);
    CHECK(log.reason().empty());
}

TEST_CASE("one response after another is read, each for its request", "[http][response_parser]") {
    const std::string one = "HTTP/1.1 100 Continue\r\n\r\n" + ok + "Content-Length: 1\r\n\r\na";
    const std::string octets = one + ok + "Transfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nT: u\r\n\r\n" + one;
    response_log whole(false, 3);
    whole.feed(octets);
    REQUIRE(whole.responses().size() == 3);
    CHECK(whole.responses()[0].body == "a");
    CHECK(whole.responses()[1].body == "b");
    CHECK(whole.responses()[1].interim.empty());
    CHECK(whole.responses()[1].trailers == field_list{{"T", "u"}});
    CHECK(whole.responses()[2] == whole.responses()[0]);
    std::size_t differing = 0;
    for (std::size_t cut = 1; cut < octets.size(); ++cut) {
        response_log log(false, 3);
        log.feed(std::string_view(octets).substr(0, cut));
        log.feed(std::string_view(octets).substr(cut));
        differing += !whole.same_as(log);
    }
    CHECK(differing == 0);
}

TEST_CASE("octets that no request has asked for are an error", "[http][response_parser]") {
    http::response_parser parser;
    std::string_view bytes;
    CHECK(parser.read(bytes) == response_event::need_more);
    bytes = "HTTP/1.1 200 OK\r\n";
    REQUIRE(parser.read(bytes) == response_event::error);
    CHECK(parser.error().status() == 502);
    CHECK(parser.error().reason() == "a response that nobody asked for");
    CHECK(bytes == "HTTP/1.1 200 OK\r\n");
    REQUIRE_THROWS_AS(parser.begin(), std::logic_error);
}

TEST_CASE("the next response cannot begin before the end of one, nor after one that closes",
          "[http][response_parser]") {
    http::response_parser parser;
    parser.begin();
    REQUIRE_THROWS_AS(parser.begin(), std::logic_error);
    const std::string octets = ok + "Connection: close\r\nContent-Length: 0\r\n\r\n";
    std::string_view bytes = octets;
    REQUIRE(parser.read(bytes) == response_event::head);
    const http::response_head head = parser.take_head();
    REQUIRE(parser.read(bytes) == response_event::end);
    CHECK(head.headers().contains("connection"));
    CHECK_FALSE(parser.keep_alive());
    REQUIRE_THROWS_AS(parser.begin(), std::logic_error);
}

TEST_CASE("the limits of a response are its options", "[http][response_parser]") {
    CHECK(refused(ok + "A: 345\r\n\r\n", http::response_limits().max_header_bytes(10)).empty());
    CHECK(refused(ok + "A: 3456\r\n\r\n", http::response_limits().max_header_bytes(10)) != "");
    CHECK(refused(ok + "A: 1\r\nB: 2\r\n\r\n", http::response_limits().max_header_fields(2)).empty());
    CHECK(refused(ok + "A: 1\r\nB: 2\r\n\r\n", http::response_limits().max_header_fields(1)) ==
          "too many header fields");
    CHECK(refused(ok + "\r\n", http::response_limits().max_status_line_bytes(17)).empty());
    CHECK(refused(ok + "\r\n", http::response_limits().max_status_line_bytes(16)) == "the status line is too long");
    const std::string chunked = ok + "Transfer-Encoding: chunked\r\n\r\n1;ab\r\nx\r\n0\r\n\r\n";
    CHECK(refused(chunked, http::response_limits().max_chunk_extension_bytes(2)).empty());
    CHECK(refused(chunked, http::response_limits().max_chunk_extension_bytes(1)) ==
          "the chunk extensions are too long");
}

TEST_CASE("a body is limited however its end is found", "[http][response_parser]") {
    const auto limits = http::response_limits().max_body_bytes(5);
    CHECK(refused(ok + "Content-Length: 5\r\n\r\nhello", limits).empty());
    CHECK(refused(ok + "Content-Length: 6\r\n\r\n", limits) == "the body is too large");  // before its first octet
    CHECK(refused(ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n4\r\n", limits) == "the body is too large");
    CHECK(refused(ok + "\r\nhello", limits).empty());
    CHECK(refused(ok + "\r\nhello!", limits) == "the body is too large");
}
