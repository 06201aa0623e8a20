// tests/server/serve_options_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/server/serve_options.hpp>

#include "support/catch.hpp"

#include <stdexcept>
#include <string>
#include <vector>

namespace {
/// The options, and what is left of the arguments.
class parsed {
public:
    explicit parsed(std::vector<const char*> arguments) {
        arguments.insert(arguments.begin(), "program");
        rest = options.take_arguments(static_cast<int>(arguments.size()), arguments.data());
    }
    ferry::serve_options options;
    std::vector<std::string> rest;
};
std::string refusal(const std::vector<const char*>& arguments) {
    try {
        const parsed taken(arguments);
        return "taken";
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
}
}  // namespace

TEST_CASE("a server listens on this machine only unless it is told otherwise", "[server][serve_options]") {
    CHECK(parsed({}).options.host() == "127.0.0.1");
    CHECK(parsed({}).options.port() == 8000);
}

TEST_CASE("host and port come from a program's arguments, the last one wins", "[server][serve_options]") {
    CHECK(parsed({"--host", "::1"}).options.host() == "::1");
    CHECK(parsed({"--port", "0"}).options.port() == 0);
    const parsed both({"--port", "65535", "--host", "a", "--host", "b"});
    CHECK(both.options.host() == "b");
    CHECK(both.options.port() == 65535);
    CHECK(both.rest.empty());
}

TEST_CASE("arguments that a server does not know are left in their order", "[server][serve_options]") {
    const parsed mixed({"--history", "/tmp", "--port", "1", "x", "--host=y"});
    CHECK(mixed.rest == std::vector<std::string>{"--history", "/tmp", "x", "--host=y"});
    CHECK(mixed.options.port() == 1);
    CHECK(mixed.options.host() == "127.0.0.1");
}

TEST_CASE("a value that means nothing is refused, with the way out", "[server][serve_options]") {
    CHECK(refusal({"--host"}) == "--host needs a value");
    CHECK_THROWS_AS(ferry::serve_options().max_connections(0), std::invalid_argument);  // nobody would ever be served
    CHECK_THROWS_AS(ferry::serve_options().body_high_water_mark(0), std::invalid_argument);
    for (const char* const number : {"65536", "-1", "80x", "x", "", " 1"}) {
        CHECK(refusal({"--port", number}).find("a port is a number from 0 to 65535") != std::string::npos);
    }
}
