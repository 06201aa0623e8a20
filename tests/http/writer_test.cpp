// tests/http/writer_test.cpp - framing, connection handling and the refusals of the response writer
// SPDX-License-Identifier: BSL-1.0
#include <ferry/http/request_parser.hpp>
#include <ferry/http/writer.hpp>

#include <stdexcept>
#include <string>
#include <string_view>

#include "support/catch.hpp"

namespace http = ferry::http;
using http::headers;
using http::response_writer;

namespace {
http::request_head request(std::string_view octets) {
    http::request_parser parser;
    REQUIRE(parser.read(octets) == http::request_event::head);
    return parser.take_head();
}

const std::string get_1_1 = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const std::string head_1_1 = "HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const std::string get_1_0 = "GET / HTTP/1.0\r\n\r\n";
const std::string get_1_0_keep_alive = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
const std::string head_1_0_keep_alive = "HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
const std::string get_close = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
}  // namespace

TEST_CASE("a body given at once gets a Content-Length", "[http][writer]") {
    std::string out;
    response_writer writer(out, request(get_1_1));
    CHECK_FALSE(writer.started());
    writer.start(200, headers().add("Content-Type", "text/plain").add("Set-Cookie", "a").add("Set-Cookie", "b"));
    CHECK(writer.started());
    CHECK(writer.head_open());
    writer.body("hello", false);
    CHECK(out ==
          "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
          "Content-Length: 5\r\n\r\nhello");
    CHECK(writer.finished());
    CHECK(writer.keep_alive());
}

TEST_CASE("an empty body is announced as such", "[http][writer]") {
    std::string out;
    response_writer writer(out, request(get_1_1));
    writer.start(404);
    writer.body("", false);
    CHECK(out == "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
}

TEST_CASE("a body in pieces is chunked, and empty pieces do not end it", "[http][writer]") {
    std::string out;
    response_writer writer(out, request(get_1_1));
    writer.start(200);
    writer.body("", true);
    CHECK_FALSE(writer.head_open());
    CHECK_FALSE(writer.finished());
    writer.body("hello, this is chunked", true);
    writer.body("", true);
    writer.body("x", false);
    CHECK(out ==
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
          "16\r\nhello, this is chunked\r\n1\r\nx\r\n0\r\n\r\n");
    CHECK(writer.keep_alive());
}

TEST_CASE("a declared length is kept and the body is not chunked", "[http][writer]") {
    std::string out;
    response_writer writer(out, request(get_1_1));
    writer.start(200, headers().add("content-length", "6"));
    writer.body("abc", true);
    CHECK_FALSE(writer.keep_alive());  // not before it is complete
    writer.body("def", true);
    writer.body("", false);
    CHECK(out == "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabcdef");
    CHECK(writer.keep_alive());
}

TEST_CASE("a body that breaks its declared length is refused and the connection cannot go on", "[http][writer]") {
    std::string out;
    response_writer writer(out, request(get_1_1));
    writer.start(200, headers().add("Content-Length", "4"));
    writer.body("abc", true);
    const std::string before = out;
    SECTION("too long") { REQUIRE_THROWS_AS(writer.body("de", true), std::logic_error); }
    SECTION("too short") { REQUIRE_THROWS_AS(writer.body("", false), std::logic_error); }
    CHECK(out == before);
    CHECK_FALSE(writer.finished());
    CHECK_FALSE(writer.keep_alive());
}

TEST_CASE("flush_head shows the client a head whose body is not known yet", "[http][writer]") {
    std::string out;
    response_writer writer(out, request(get_1_1));
    writer.start(200, headers().add("Content-Type", "text/event-stream"));
    writer.flush_head();
    CHECK(out == "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    CHECK_FALSE(writer.head_open());
    writer.flush_head();  // nothing left to do
    out.clear();
    writer.body("", false);
    CHECK(out == "0\r\n\r\n");
}

TEST_CASE("HTTP/1.0 clients get no chunks", "[http][writer]") {
    std::string out;
    SECTION("a body in pieces ends with the connection") {
        response_writer writer(out, request(get_1_0_keep_alive));
        writer.start(200);
        writer.body("abc", true);
        writer.body("def", false);
        CHECK(out == "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcdef");
        CHECK_FALSE(writer.keep_alive());
    }
    SECTION("a known length keeps the connection open, if that was asked for") {
        response_writer writer(out, request(get_1_0_keep_alive));
        writer.start(200);
        writer.body("abc", false);
        CHECK(out == "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc");
        CHECK(writer.keep_alive());
    }
    SECTION("without keep-alive it closes") {
        response_writer writer(out, request(get_1_0));
        writer.start(200);
        writer.body("abc", false);
        CHECK(out == "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
        CHECK_FALSE(writer.keep_alive());
    }
    SECTION("HEAD does not need the connection's end") {
        response_writer writer(out, request(head_1_0_keep_alive));
        writer.start(200);
        writer.body("abc", true);
        writer.body("def", false);
        CHECK(out == "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n");
        CHECK(writer.keep_alive());
    }
}

TEST_CASE("HEAD is answered by the head that GET would get, as far as it is known", "[http][writer]") {
    std::string out;
    response_writer writer(out, request(head_1_1));
    SECTION("declared") {
        writer.start(200, headers().add("Content-Length", "7"));
        writer.body("", false);
        CHECK(out == "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
    }
    SECTION("given at once") {
        writer.start(200);
        writer.body("abc", false);
        CHECK(out == "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
    }
    SECTION("an empty body proves nothing") {
        writer.start(200);
        writer.body("", false);
        CHECK(out == "HTTP/1.1 200 OK\r\n\r\n");
    }
    SECTION("in pieces") {
        writer.start(200);
        writer.body("abc", true);
        writer.body("def", false);
        CHECK(out == "HTTP/1.1 200 OK\r\n\r\n");
    }
    CHECK(writer.keep_alive());
}

TEST_CASE("statuses without a body get none, and no framing that speaks of one", "[http][writer]") {
    std::string out;
    response_writer writer(out, request(get_1_1));
    SECTION("204") {
        writer.start(204, headers().add("Content-Length", "0"));
        writer.body("", false);
        CHECK(out == "HTTP/1.1 204 No Content\r\n\r\n");
    }
    SECTION("205") {
        writer.start(205, headers().add("Content-Length", "5"));
        writer.body("", false);
        CHECK(out == "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n");
    }
    SECTION("304 may say how long the other body is") {
        writer.start(304, headers().add("Content-Length", "5"));
        writer.body("", true);
        writer.body("", false);
        CHECK(out == "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n");
    }
    SECTION("a body for one is refused") {
        writer.start(204);
        REQUIRE_THROWS_AS(writer.body("x", false), std::logic_error);
        writer.body("", false);
        CHECK(out == "HTTP/1.1 204 No Content\r\n\r\n");
    }
    CHECK(writer.keep_alive());
}

TEST_CASE("a connection that ends with the response says so once", "[http][writer]") {
    std::string out;
    SECTION("because the client asked") {
        response_writer writer(out, request(get_close));
        writer.start(200, headers().add("Connection", "close"));
        writer.body("", false);
        CHECK_FALSE(writer.keep_alive());
    }
    SECTION("because the application asked") {
        response_writer writer(out, request(get_1_1));
        writer.start(200, headers().add("connection", "Close"));
        writer.body("", false);
        CHECK_FALSE(writer.keep_alive());
    }
    SECTION("because the server does") {
        response_writer writer(out, request(get_1_1));
        writer.start(200, headers().add("Connection", "keep-alive"));
        writer.close_connection();
        writer.body("", false);
        CHECK_FALSE(writer.keep_alive());
    }
    SECTION("because there was no request") {
        response_writer writer(out);
        writer.start(200);
        writer.body("", false);
        CHECK_FALSE(writer.keep_alive());
    }
    CHECK(out == "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

TEST_CASE("fields of the application pass, but the framing is the writer's", "[http][writer]") {
    std::string out;
    response_writer writer(out, request(get_1_1));
    writer.start(
        426,
        headers().add("Transfer-Encoding", "gzip, chunked").add("Upgrade", "websocket").add("Connection", "upgrade"));
    writer.body("", false);
    CHECK(out ==
          "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n");
}

TEST_CASE("Date is added unless the application has one", "[http][writer]") {
    const std::string now = "Thu, 01 Jan 1970 00:00:00 GMT";
    std::string out;
    response_writer writer(out, request(get_1_1));
    writer.date(now);
    SECTION("added") {
        writer.start(200);
        CHECK(out == "HTTP/1.1 200 OK\r\nDate: " + now + "\r\n");
    }
    SECTION("kept") {
        writer.start(200, headers().add("date", "then"));
        CHECK(out == "HTTP/1.1 200 OK\r\ndate: then\r\n");
    }
}

TEST_CASE("a reason replaces the registered phrase, and an unknown status has none", "[http][writer]") {
    std::string out;
    SECTION("own") {
        response_writer(out, request(get_1_1)).start(200, headers(), "All Well");
        CHECK(out == "HTTP/1.1 200 All Well\r\n");
    }
    SECTION("none") {
        response_writer(out, request(get_1_1)).start(599);
        CHECK(out == "HTTP/1.1 599 \r\n");
    }
}

TEST_CASE("what would break out of its line is refused and nothing is written", "[http][writer]") {
    std::string out;
    response_writer writer(out, request(get_1_1));
    REQUIRE_THROWS_AS(writer.start(200, headers().add("X-A", "v\r\nX-B: w")), std::invalid_argument);
    REQUIRE_THROWS_AS(writer.start(200, headers().add("X-A: v\r\nX-B", "w")), std::invalid_argument);
    REQUIRE_THROWS_AS(writer.start(200, headers(), "OK\r\nX-B: w"), std::invalid_argument);
    REQUIRE_THROWS_AS(writer.date("now\r\nX-B: w"), std::invalid_argument);
    for (const int status : {-1, 0, 99, 100, 101, 199, 600, 1000}) {
        REQUIRE_THROWS_AS(writer.start(status), std::invalid_argument);
    }
    for (const char* length : {"", "-1", "+1", "1, 1", "0x1", "1 1", "9223372036854775808"}) {
        REQUIRE_THROWS_AS(writer.start(200, headers().add("Content-Length", length)), std::invalid_argument);
    }
    const headers twice = headers().add("Content-Length", "1").add("content-length", "1");
    REQUIRE_THROWS_AS(writer.start(200, twice), std::invalid_argument);
    CHECK(out.empty());
    CHECK_FALSE(writer.started());
}

TEST_CASE("calls out of order are refused and nothing is written", "[http][writer]") {
    std::string out;
    response_writer writer(out, request(get_1_1));
    REQUIRE_THROWS_AS(writer.body("x", true), std::logic_error);
    REQUIRE_THROWS_AS(writer.flush_head(), std::logic_error);
    CHECK(out.empty());
    writer.start(200);
    const std::string started = out;
    REQUIRE_THROWS_AS(writer.start(200), std::logic_error);
    REQUIRE_THROWS_AS(writer.interim(103), std::logic_error);
    REQUIRE_THROWS_AS(writer.switch_protocols(headers().add("Upgrade", "x").add("Connection", "upgrade")),
                      std::logic_error);
    CHECK(out == started);
    writer.body("x", false);
    const std::string finished = out;
    REQUIRE_THROWS_AS(writer.body("", false), std::logic_error);
    REQUIRE_THROWS_AS(writer.start(200), std::logic_error);
    writer.flush_head();
    CHECK(out == finished);
}

TEST_CASE("interim responses come before the final one, for clients that know them", "[http][writer]") {
    std::string out;
    response_writer writer(out, request(get_1_1));
    writer.interim(100);
    writer.interim(103, headers().add("Link", "</a.css>; rel=preload"));
    CHECK(out == "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
    CHECK_FALSE(writer.started());
    for (const int status : {99, 101, 200}) REQUIRE_THROWS_AS(writer.interim(status), std::invalid_argument);
    REQUIRE_THROWS_AS(writer.interim(103, headers().add("Content-Length", "0")), std::invalid_argument);

    std::string old;
    response_writer(old, request(get_1_0)).interim(100);
    CHECK(old.empty());
}

TEST_CASE("switch_protocols writes a head without framing and ends HTTP", "[http][writer]") {
    std::string out;
    response_writer writer(out, request(get_1_1));
    const headers fields = headers().add("Upgrade", "websocket").add("Connection", "Upgrade").add("X-A", "v");
    writer.switch_protocols(fields);
    CHECK(out == "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-A: v\r\n\r\n");
    CHECK(writer.finished());
    CHECK_FALSE(writer.keep_alive());
    REQUIRE_THROWS_AS(writer.start(200), std::logic_error);
}

TEST_CASE("switch_protocols refuses what is no upgrade", "[http][writer]") {
    std::string out;
    response_writer writer(out, request(get_1_1));
    REQUIRE_THROWS_AS(writer.switch_protocols(headers().add("Upgrade", "x")), std::invalid_argument);
    REQUIRE_THROWS_AS(writer.switch_protocols(headers().add("Connection", "upgrade")), std::invalid_argument);
    const headers framed = headers().add("Upgrade", "x").add("Connection", "upgrade").add("Content-Length", "0");
    REQUIRE_THROWS_AS(writer.switch_protocols(framed), std::invalid_argument);
    response_writer old(out, request(get_1_0));
    REQUIRE_THROWS_AS(old.switch_protocols(headers().add("Upgrade", "x").add("Connection", "upgrade")),
                      std::logic_error);
    CHECK(out.empty());
}
