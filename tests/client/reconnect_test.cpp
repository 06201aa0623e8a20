// tests/client/reconnect_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/client/reconnect.hpp>
#include <ferry/loop/sleep.hpp>

#include "client/raw_server.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

using namespace ferry_test;
using namespace std::chrono_literals;

namespace {
std::vector<std::int64_t> delays(ferry::reconnect_options options, int count) {
    ferry::backoff wait(options);
    std::vector<std::int64_t> seen;
    for (int i = 0; i < count; ++i) seen.push_back(wait.next().count());
    return seen;
}

/// Refuses a client with this status, and returns how long after the start it came.
std::int64_t refuse_next(raw_server& server, const std::string& status) {
    server.until([&] {
        server.advance(10ms);
        return server.accept();
    });
    (void)server.read_through("\r\n\r\n");
    const std::int64_t when = server.elapsed() / 1ms;
    server.send("HTTP/1.1 " + status + "\r\n\r\n");
    server.turn();
    return when;
}

ferry::reconnect_options without_lot() { return ferry::reconnect_options().jitter_percent(0); }
}  // namespace

TEST_CASE("a back-off doubles up to its limit, and begins anew when it is reset", "[client][reconnect]") {
    CHECK(delays(without_lot().first_delay(100ms).max_delay(1s), 6) ==
          std::vector<std::int64_t>{100, 200, 400, 800, 1000, 1000});
    CHECK(delays(without_lot().first_delay(5s).max_delay(1s), 2) == std::vector<std::int64_t>{1000, 1000});
    CHECK(delays(without_lot().first_delay(1ms).max_delay(std::chrono::milliseconds::max()), 80).back() ==
          std::chrono::milliseconds::max().count());
    ferry::backoff wait(without_lot().first_delay(100ms));
    (void)wait.next();
    (void)wait.next();
    wait.reset();
    CHECK(wait.next() == 100ms);
}

TEST_CASE("a back-off draws a part of each delay by lot, and no more", "[client][reconnect]") {
    const auto lowest = [] { return std::uint32_t{0}; };
    const auto half = ferry::reconnect_options().first_delay(1000ms).max_delay(4s);
    CHECK(delays(ferry::reconnect_options(half).random(lowest), 3) == std::vector<std::int64_t>{1000, 2000, 4000});
    const auto most = [] { return std::uint32_t{500}; };  // of 0 to 500
    CHECK(delays(ferry::reconnect_options(half).random(most), 1) == std::vector<std::int64_t>{500});
    std::set<std::int64_t> drawn;
    for (int i = 0; i < 200; ++i) {
        const std::int64_t delay = delays(half, 1)[0];
        REQUIRE(delay >= 500);
        REQUIRE(delay <= 1000);
        drawn.insert(delay);
    }
    CHECK(drawn.size() > 20);
    CHECK(delays(ferry::reconnect_options(half).jitter_percent(1000).random([] { return std::uint32_t{1000}; }),
                 1)[0] == 0);
}

TEST_CASE("a client that is refused for now comes back ever later", "[client][reconnect]") {
    raw_server server;
    std::size_t sessions = 0;
    const auto use = [&](ferry::websocket_client&) -> ferry::task<bool> {
        ++sessions;
        co_return false;
    };
    ferry::future<void> kept =
        ferry::spawn(server.loop(), ferry::keep_connected(server.url(), use, {}, without_lot().first_delay(1s)));
    const std::int64_t first = refuse_next(server, "503 Busy");
    const std::int64_t second = refuse_next(server, "503 Busy");
    const std::int64_t third = refuse_next(server, "429 Slowly");
    const auto near = [](std::int64_t seen, std::int64_t expected) {
        return seen >= expected && seen < expected + 900;
    };
    CHECK(near(second - first, 1000));
    CHECK(near(third - second, 2000));
    server.until([&] {
        server.advance(10ms);
        return server.accept();
    });
    CHECK(near(server.elapsed() / 1ms - third, 4000));
    server.send(raw_server::answer_to(server.read_through("\r\n\r\n")));
    server.until([&] { return kept.is_ready(); });
    kept.get();
    CHECK(sessions == 1);
}

TEST_CASE("a connection that lasted makes the delays begin anew, a short one does not", "[client][reconnect]") {
    raw_server server;
    const auto use = [](ferry::websocket_client& client) -> ferry::task<bool> {
        while (co_await client.receive()) continue;
        co_return true;
    };
    ferry::future<void> kept = ferry::spawn(
        server.loop(), ferry::keep_connected(server.url(), use, {}, without_lot().first_delay(1s).reset_after(10s)));
    /// How long the client is away after a connection of this length.
    const auto away_after = [&](std::chrono::seconds lifetime) {
        server.send(raw_server::answer_to(server.read_through("\r\n\r\n")));
        server.turn();
        server.advance(lifetime);
        const std::int64_t hung_up = server.elapsed() / 1ms;
        server.hang_up();
        server.until([&] {
            server.advance(10ms);
            return server.accept();
        });
        return server.elapsed() / 1ms - hung_up;
    };
    server.until([&] { return server.accept(); });
    const std::int64_t first = away_after(1s);
    const std::int64_t second = away_after(1s);
    const std::int64_t third = away_after(15s);
    CHECK(first >= 1000);
    CHECK(second >= 2000);
    CHECK(third >= 1000);
    CHECK(third < second);
    server.loop().cancel_tasks();
    CHECK(kept.is_ready());
}

TEST_CASE("a client gives up what no attempt can mend, and after as many failures as it may have",
          "[client][reconnect]") {
    raw_server server;
    const auto use = [](ferry::websocket_client&) -> ferry::task<bool> { co_return true; };
    ferry::future<void> refused = ferry::spawn(server.loop(), ferry::keep_connected(server.url(), use));
    (void)refuse_next(server, "404 Not Found");
    server.until([&] { return refused.is_ready(); });
    REQUIRE_THROWS_AS(refused.get(), ferry::websocket_refused);

    ferry::future<void> tired =
        ferry::spawn(server.loop(), ferry::keep_connected(server.url(), use, {}, without_lot().max_failures(2)));
    (void)refuse_next(server, "503 Busy");
    CHECK(!tired.is_ready());
    (void)refuse_next(server, "503 Busy");
    server.until([&] { return tired.is_ready(); });
    REQUIRE_THROWS_AS(tired.get(), ferry::websocket_refused);

    ferry::future<void> wrong = ferry::spawn(server.loop(), ferry::keep_connected("http://127.0.0.1/", use));
    server.until([&] { return wrong.is_ready(); });
    REQUIRE_THROWS_AS(wrong.get(), std::invalid_argument);
}

TEST_CASE("what a session throws ends the reconnecting", "[client][reconnect]") {
    raw_server server;
    const auto use = [](ferry::websocket_client&) -> ferry::task<bool> {
        throw std::domain_error("no such room");
        co_return true;
    };
    ferry::future<void> kept = ferry::spawn(server.loop(), ferry::keep_connected(server.url(), use));
    server.open_websocket();
    server.until([&] { return kept.is_ready(); });
    REQUIRE_THROWS_AS(kept.get(), std::domain_error);
}
