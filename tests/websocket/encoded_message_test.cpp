// tests/websocket/encoded_message_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/websocket/encoded_message.hpp>

#include "support/catch.hpp"
#include "websocket/peer.hpp"

#include <stdexcept>
#include <string>

using namespace ferry_test;

TEST_CASE("an encoded message is one unmasked frame", "[websocket][encoded_message]") {
    CHECK(hex(ws::encoded_message::text("Hello").bytes()) == "810548656c6c6f");
    CHECK(hex(ws::encoded_message::binary("\xFF").bytes()) == "8201ff");
    CHECK(ws::encoded_message::binary(std::string(65536, 'x')).bytes().size() == 10 + 65536);
    REQUIRE_THROWS_AS(ws::encoded_message::text("\xFF"), std::invalid_argument);
}

TEST_CASE("an encoded message is what each session would have sent", "[websocket][encoded_message]") {
    const ws::encoded_message news = ws::encoded_message::text("news");
    std::string first_output;
    std::string second_output;
    ws::session first(first_output);
    ws::session second(second_output);
    first.send_encoded(news);
    second.send_encoded(news);
    CHECK(first_output == second_output);
    CHECK(frames_of(first_output) == std::vector<sent_frame>{{ws::opcode::text, "news"}});
}
