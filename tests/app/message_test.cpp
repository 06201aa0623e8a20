// tests/app/message_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/app/message.hpp>

#include "support/catch.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace app = ferry::app;
namespace ws = ferry::websocket;

TEST_CASE("an empty message means an empty, last piece", "[app][message]") {
    CHECK(app::http_request().body().empty());
    CHECK_FALSE(app::http_request().more_body());
    CHECK(app::http_request().trailers() == nullptr);
    CHECK(app::http_request::end(ferry::http::headers()).trailers() == nullptr);
    CHECK_FALSE(app::http_request::end(ferry::http::headers().add("a", "b")).more_body());
    CHECK(app::http_request::end(ferry::http::headers().add("a", "b")).trailers()->find("a") == "b");
    CHECK_FALSE(app::http_response_body().more_body());
    CHECK(app::websocket_close().code() == 1000);
    CHECK(app::websocket_accept().subprotocol().empty());
    static_assert(std::is_nothrow_move_constructible_v<app::message>);
}

TEST_CASE("headers are checked where they are written", "[app][message]") {
    CHECK_THROWS_AS(app::http_response_start(200).header("bad name", "x"), std::invalid_argument);
    CHECK_THROWS_AS(app::http_response_start(200).header("x", "two\r\nlines: 1"), std::invalid_argument);
    CHECK_THROWS_AS(app::websocket_accept().header("", "x"), std::invalid_argument);
    app::http_response_start start(204);
    start.header("a", "1").header("A", "2");
    CHECK(start.headers().count("a") == 2);
}

TEST_CASE("a received message gives its data away", "[app][message]") {
    app::websocket_receive data(std::string(100, 'x'), true);
    CHECK(data.is_text());
    CHECK(data.take_data() == std::string(100, 'x'));
    app::http_request piece("body", true);
    CHECK(piece.take_body() == "body");
    CHECK(piece.more_body());
}

TEST_CASE("a message for many is encoded once and shared", "[app][message]") {
    const auto encoded = std::make_shared<const ws::encoded_message>(ws::encoded_message::text("to all"));
    const app::websocket_send first(encoded), second(encoded);
    CHECK(first.encoded() == encoded.get());
    CHECK(second.encoded() == encoded.get());
    CHECK(app::websocket_send::text("to one").encoded() == nullptr);
    CHECK(app::websocket_send::text("t").is_text());
    CHECK_FALSE(app::websocket_send::binary("b").is_text());
}

TEST_CASE("a custom message carries a value by name", "[app][message]") {
    const app::custom_message what("lights", ferry::value(3));
    CHECK(what.name() == "lights");
    CHECK(what.payload() == ferry::value(3));
    const app::message held = what;
    CHECK(std::holds_alternative<app::custom_message>(held));
}
