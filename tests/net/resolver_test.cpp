// tests/net/resolver_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/task.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/net/resolver.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <system_error>
#include <vector>

using ferry::net::address;
using ferry::net::resolve_blocking;

TEST_CASE("localhost resolves to loopback addresses, each once, with the port", "[net][resolver]") {
    const std::vector<address> found = resolve_blocking("localhost", 8000);
    REQUIRE_FALSE(found.empty());
    for (const address& each : found) {
        CHECK((each.host() == "::1" || each.host().substr(0, 4) == "127."));
        CHECK(each.port() == 8000);
        CHECK(std::count(found.begin(), found.end(), each) == 1);
    }
}

TEST_CASE("numeric text resolves to itself", "[net][resolver]") {
    CHECK(resolve_blocking("127.0.0.1", 80) == std::vector<address>(1, address("127.0.0.1", 80)));
    CHECK(resolve_blocking("::1", 0) == std::vector<address>(1, address("::1", 0)));
    CHECK(resolve_blocking("unix:/a/b", 80) == std::vector<address>(1, address::of_path("/a/b")));
}

TEST_CASE("a host that does not resolve is named, with the resolver's reason", "[net][resolver]") {
    const std::string host = "no..such..host";
    try {
        const std::vector<address> found = resolve_blocking(host, 80);
        FAIL("addresses found: " << found.size());
    } catch (const std::system_error& error) {
        const std::string text = error.what();
        CHECK(text.find("\"no..such..host\"") != std::string::npos);
        CHECK(text.find("127.0.0.1") != std::string::npos);
        CHECK(error.code().category() == ferry::net::resolver_category());
        CHECK(text.find(error.code().message()) != std::string::npos);
    }
}

namespace {
ferry::task<std::size_t> resolve_in_a_turn() { co_return resolve_blocking("localhost", 80).size(); }
}  // namespace

TEST_CASE("resolving inside a loop's turn is refused, since it would block the loop", "[net][resolver]") {
    ferry::event_loop loop;
    CHECK_THROWS_AS(loop.run(resolve_in_a_turn()), ferry::blocking_error);
}

TEST_CASE("a task resolves without blocking its loop", "[net][resolver]") {
    ferry::event_loop loop;
    CHECK(loop.run(ferry::net::resolve("localhost", 8000)) == resolve_blocking("localhost", 8000));
    CHECK(loop.run(ferry::net::resolve("::1", 80)) == std::vector<address>(1, address("::1", 80)));
    CHECK(loop.run(ferry::net::resolve("unix:@a", 80)) == std::vector<address>(1, address::of_path("@a")));
    CHECK_THROWS_AS(loop.run(ferry::net::resolve("no..such..host", 80)), std::system_error);
}
