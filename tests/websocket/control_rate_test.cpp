// tests/websocket/control_rate_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/websocket/control_rate.hpp>

#include "support/catch.hpp"

#include <chrono>

using namespace std::chrono_literals;
using ferry::websocket::control_rate;

namespace {
const control_rate::time_point start = control_rate::time_point() + 1h;
}

TEST_CASE("control frames beyond their rate wait for the end of the second", "[websocket][control_rate]") {
    control_rate rate(3);
    CHECK(rate.resumes_at() < start);
    CHECK(rate.count(start));
    CHECK(rate.count(start + 200ms));
    CHECK(rate.resumes_at() < start);
    CHECK(!rate.count(start + 400ms));
    CHECK(rate.resumes_at() == start + 1s);
    CHECK(rate.count(start + 1s));
    CHECK(rate.resumes_at() < start);
}

TEST_CASE("control frames below their rate never wait", "[websocket][control_rate]") {
    control_rate rate(3);
    for (int frame = 0; frame < 100; ++frame) CHECK(rate.count(start + frame * 600ms));
}

TEST_CASE("whoever reads on too early is stopped again after as many control frames", "[websocket][control_rate]") {
    control_rate rate(2);
    CHECK(rate.count(start));
    CHECK(!rate.count(start));
    CHECK(rate.count(start + 1ms));
    CHECK(!rate.count(start + 2ms));
    CHECK(rate.resumes_at() == start + 1s + 1ms);
}

TEST_CASE("a rate of one is one, and a rate of none is no limit", "[websocket][control_rate]") {
    control_rate one(1);
    CHECK(!one.count(start));
    CHECK(!one.count(start + 1s));
    CHECK(one.resumes_at() == start + 2s);
    control_rate none(0);
    for (int frame = 0; frame < 1000; ++frame) CHECK(none.count(start));
    CHECK(none.resumes_at() < start);
}
