// tests/websocket/keep_alive_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/websocket/keep_alive.hpp>

#include "support/catch.hpp"

#include <chrono>

using namespace std::chrono_literals;
using ferry::websocket::keep_alive;
using action = keep_alive::action;

namespace {
const keep_alive::time_point start = keep_alive::time_point() + 1h;
}

TEST_CASE("a keep-alive pings once after a silence, and gives up after a second one", "[websocket][keep_alive]") {
    keep_alive alive(20s, 10s, start);
    CHECK(alive.check(start) == action::none);
    CHECK(alive.check(start + 19s) == action::none);
    CHECK(alive.check(start + 20s) == action::ping);
    CHECK(alive.check(start + 21s) == action::none);
    CHECK(alive.check(start + 29s) == action::none);
    CHECK(alive.check(start + 30s) == action::lost);
}

TEST_CASE("a keep-alive takes every octet for a sign of life", "[websocket][keep_alive]") {
    keep_alive alive(20s, 10s, start);
    CHECK(alive.check(start + 20s) == action::ping);
    alive.heard(start + 25s);
    CHECK(alive.check(start + 44s) == action::none);
    CHECK(alive.check(start + 45s) == action::ping);
}

TEST_CASE("a keep-alive that is checked late leaves the peer its whole time", "[websocket][keep_alive]") {
    keep_alive alive(20s, 10s, start);
    CHECK(alive.check(start + 500s) == action::ping);
    CHECK(alive.check(start + 509s) == action::none);
    CHECK(alive.check(start + 510s) == action::lost);
}
