// tests/http/body_pace_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/http/body_pace.hpp>

#include "support/catch.hpp"

#include <chrono>

using namespace std::chrono_literals;
using ferry::http::body_pace;

TEST_CASE("a body that comes at its rate may be as late as at the start, for ever", "[http][body_pace]") {
    body_pace pace(100, 5s, 60s);
    CHECK(pace.patience() == 5s);
    for (int second = 0; second < 1000; ++second) pace.waited(1s, 100);
    CHECK(pace.patience() == 5s);
}

TEST_CASE("a body that comes too slowly uses up its patience", "[http][body_pace]") {
    body_pace pace(100, 5s, 60s);
    for (int second = 0; second < 8; ++second) pace.waited(1s, 50);
    CHECK(pace.patience() == 1s);
    pace.waited(1s, 0);
    CHECK(pace.patience() == 0s);
}

TEST_CASE("what comes faster makes up for pauses, but not for longer ones than may be", "[http][body_pace]") {
    body_pace pace(100, 5s, 60s);
    pace.waited(0s, 2000);
    CHECK(pace.patience() == 25s);
    pace.waited(0s, 1'000'000'000);
    CHECK(pace.patience() == 60s);
}

TEST_CASE("a body without a rate has the same time for each octet", "[http][body_pace]") {
    body_pace pace(0, 5s, 60s);
    for (int octet = 0; octet < 100; ++octet) pace.waited(59s, 1);
    CHECK(pace.patience() == 60s);
}
