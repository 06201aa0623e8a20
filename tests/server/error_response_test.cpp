// tests/server/error_response_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/http/headers.hpp>
#include <ferry/http/writer.hpp>
#include <ferry/server/error_response.hpp>

#include "support/catch.hpp"

#include <string>

using namespace ferry;

TEST_CASE("an error response is complete and ends the connection", "[server][error_response]") {
    std::string out = "before ";
    http::response_writer writer(out);
    detail::write_error_response(writer, "now", 405, "a handshake is a GET", http::headers().add("Allow", "GET"));
    CHECK(writer.finished());
    CHECK_FALSE(writer.keep_alive());
    CHECK(out ==
          "before HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\ncontent-type: text/plain; charset=utf-8\r\n"
          "Date: now\r\nContent-Length: 26\r\nConnection: close\r\n\r\n405: a handshake is a GET\n");
}
