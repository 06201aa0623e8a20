// tests/http/request_writer_test.cpp - what is written is what the request parser reads
// SPDX-License-Identifier: BSL-1.0
#include <ferry/http/request_writer.hpp>

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "http/request_log.hpp"
#include "support/catch.hpp"

namespace http = ferry::http;
using ferry_test::field_list;
using ferry_test::received_request;

namespace {
/// What a server reads of a request that is sent in these pieces.
received_request sent(std::string_view method, const http::headers& fields, const std::vector<std::string>& pieces) {
    std::string out;
    http::request_writer writer(out);
    writer.start(method, "/", "a.test", fields);
    for (const std::string& piece : pieces) writer.body(piece, true);
    writer.body({}, false);
    REQUIRE(writer.finished());
    const auto log = ferry_test::read_whole(out);
    REQUIRE(log.status() == 0);
    REQUIRE(log.requests().size() == 1);
    return log.requests()[0];
}
received_request sent_whole(std::string_view method, std::string_view body) {
    std::string out;
    http::request_writer writer(out);
    writer.start(method, "/", "a.test");
    writer.body(body, false);
    const auto log = ferry_test::read_whole(out);
    REQUIRE(log.requests().size() == 1);
    return log.requests()[0];
}
}  // namespace

TEST_CASE("a request is its line, its host, its fields in their order", "[http][request_writer]") {
    std::string out;
    http::request_writer writer(out);
    CHECK_FALSE(writer.started());
    writer.start("GET", "/a?b=c", "a.test:81", http::headers().add("Accept", "x").add("accept", "y"));
    CHECK(writer.head_open());
    writer.body({}, false);
    CHECK(out == "GET /a?b=c HTTP/1.1\r\nHost: a.test:81\r\nAccept: x\r\naccept: y\r\n\r\n");
    CHECK(writer.finished());
}

TEST_CASE("a whole URL and the asterisk are targets, and a Host of one's own is the only one",
          "[http][request_writer]") {
    for (const std::string_view target : {"http://b.test/x", "*"}) {
        std::string out;
        http::request_writer writer(out);
        writer.start("OPTIONS", target, "a.test", http::headers().add("Host", "c.test"));
        writer.body({}, false);
        const auto log = ferry_test::read_whole(out);
        REQUIRE(log.requests().size() == 1);
        CHECK(log.requests()[0].target == target);
        CHECK(log.requests()[0].headers == field_list{{"Host", "c.test"}});
    }
}

TEST_CASE("a body that is known whole is announced, an empty one where its method comes with one",
          "[http][request_writer]") {
    CHECK(sent_whole("POST", "hi").headers == field_list{{"Host", "a.test"}, {"Content-Length", "2"}});
    CHECK(sent_whole("POST", "hi").body == "hi");
    for (const std::string_view method : {"POST", "PUT", "PATCH"}) {
        CHECK(sent_whole(method, "").headers == field_list{{"Host", "a.test"}, {"Content-Length", "0"}});
    }
    for (const std::string_view method : {"GET", "HEAD", "DELETE", "OPTIONS"}) {
        CHECK(sent_whole(method, "").headers == field_list{{"Host", "a.test"}});
    }
    CHECK(sent_whole("GET", "odd").body == "odd");
}

TEST_CASE("a body of unknown size goes in chunks, a declared one as it is", "[http][request_writer]") {
    const auto chunked = sent("PUT", http::headers().add("transfer-encoding", "gzip"), {"hel", "", "lo"});
    CHECK(chunked.headers == field_list{{"Host", "a.test"}, {"Transfer-Encoding", "chunked"}});
    CHECK(chunked.body == "hello");
    const auto declared = sent("PUT", http::headers().add("Content-Length", "5"), {"hel", "lo"});
    CHECK(declared.headers == field_list{{"Host", "a.test"}, {"Content-Length", "5"}});
    CHECK(declared.body == "hello");
}

TEST_CASE("a head can be sent before its body begins", "[http][request_writer]") {
    std::string out;
    http::request_writer writer(out);
    writer.start("POST", "/", "a.test", http::headers().add("Expect", "100-continue"));
    writer.flush_head();
    CHECK_FALSE(writer.head_open());
    CHECK(out == "POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
    writer.flush_head();
    writer.body("x", false);
    CHECK(ferry_test::read_whole(out).requests().at(0).expects_continue);
}

TEST_CASE("a head that is sent early announces the body, if its size is known", "[http][request_writer]") {
    std::string out;
    http::request_writer known(out);
    known.start("GET", "/", "a.test");
    known.flush_head(2);
    REQUIRE_THROWS_AS(known.body("abc", true), std::logic_error);
    known.body("ab", false);
    CHECK(out == "GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nab");
    out.clear();
    http::request_writer none(out);
    none.start("GET", "/", "a.test");
    none.flush_head(0);
    REQUIRE_THROWS_AS(none.body("a", true), std::logic_error);
    none.body("", false);
    CHECK(out == "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
}

TEST_CASE("nothing breaks out of the request line or the Host", "[http][request_writer]") {
    const auto refused = [](std::string_view method, std::string_view target, std::string_view host) {
        std::string out;
        http::request_writer writer(out);
        REQUIRE_THROWS_AS(writer.start(method, target, host), std::invalid_argument);
        CHECK(out.empty());
        CHECK_FALSE(writer.started());
    };
    for (const std::string_view method : {"", "GET /", "GET\r\n", "G\tT", "CONNECT"}) refused(method, "/", "a.test");
    for (const std::string_view target :
         {"", "a", "/ b", "/\r\nX: y", "/#f", "/\x01", "/caf\xC3\xA9", "ftp://a/", "*"}) {
        refused("GET", target, "a.test");
    }
    for (const std::string_view host : {"", "a b", "a\r\nX: y", "a/b", "u@a", "a:99999"}) refused("GET", "/", host);
    std::string out;
    http::request_writer writer(out);
    for (const http::headers& fields :
         {http::headers().add("Host", "a").add("Host", "a"), http::headers().add("Host", ""),
          http::headers().add("Content-Length", "1").add("Content-Length", "1"),
          http::headers().add("Content-Length", "+1")}) {
        REQUIRE_THROWS_AS(writer.start("GET", "/", "a.test", fields), std::invalid_argument);
    }
    CHECK(out.empty());
}

TEST_CASE("a request that is written out of order, or not as declared, throws and writes nothing",
          "[http][request_writer]") {
    std::string out;
    http::request_writer writer(out);
    REQUIRE_THROWS_AS(writer.body("x", true), std::logic_error);
    REQUIRE_THROWS_AS(writer.flush_head(), std::logic_error);
    writer.start("POST", "/", "a.test", http::headers().add("Content-Length", "2"));
    REQUIRE_THROWS_AS(writer.start("POST", "/", "a.test"), std::logic_error);
    const std::string head = out;
    REQUIRE_THROWS_AS(writer.body("abc", true), std::logic_error);
    REQUIRE_THROWS_AS(writer.body("a", false), std::logic_error);
    CHECK(out == head);
    writer.body("ab", false);
    REQUIRE_THROWS_AS(writer.body("", false), std::logic_error);
    CHECK(ferry_test::read_whole(out).requests().at(0).body == "ab");
}
