// tests/middleware/access_log_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/virtual_clock.hpp>
#include <ferry/middleware/access_log.hpp>

#include "app/ends.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

using namespace ferry_test;
using namespace std::chrono_literals;

namespace {
std::vector<std::string>& logged() {
    static std::vector<std::string> kept;
    return kept;
}
const ferry::access_log to_memory([](const std::string& line) { logged().push_back(line); });

/// The line that an application's call leaves, in virtual time; "none" if there is not exactly one.
template <class App>
std::string line_of(const App& application, const app::scope& what, std::vector<app::message> incoming = {},
                    bool client_is_gone = false) {
    logged().clear();
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    manual_source source;
    for (app::message& one : incoming) source.push(std::move(one));
    recording_sink sink;
    sink.is_gone = client_is_gone;
    const auto site = to_memory | application;
    try {
        loop.run(site(what, app::receive(source), app::send(sink)));
    } catch (const std::runtime_error&) {  // the application's own
    }
    return logged().size() == 1 ? logged()[0] : "none";
}

ferry::task<> page(app::scope, app::receive, app::send send) {
    co_await ferry::sleep_for(1500us);
    co_await send(app::http_response_start(201));
    co_await send(app::http_response_body("hello, ", true));
    co_await send(app::http_response_body("world"));
}
ferry::task<> silent(app::scope, app::receive, app::send) { co_return; }
ferry::task<> broken(app::scope, app::receive, app::send) {
    throw std::runtime_error("broken");
    co_return;
}
ferry::task<> listen_once(app::scope, app::receive receive, app::send) { static_cast<void>(co_await receive()); }
ferry::task<> without_its_database(app::scope, app::receive, app::send) {
    throw ferry::disconnected("the database is gone");
    co_return;
}
ferry::task<> accept_without_its_database(app::scope, app::receive, app::send send) {
    co_await send(app::websocket_accept());
    throw ferry::disconnected("the database is gone");
}
ferry::task<> greet_and_return(app::scope, app::receive, app::send send) {
    co_await send(app::websocket_accept());
    co_await send(app::websocket_send::text("hello"));
}
ferry::task<> accept_and_fail(app::scope, app::receive, app::send send) {
    co_await send(app::websocket_accept());
    throw std::runtime_error("broken");
}
/// Accepts, sends two messages, and waits for the end.
ferry::task<> chat(app::scope, app::receive receive, app::send send) {
    static_cast<void>(co_await receive());
    co_await send(app::websocket_accept());
    co_await send(app::websocket_send::text("one"));
    co_await send(app::websocket_send::text("two"));
    co_await ferry::sleep_for(2s);
    static_cast<void>(co_await receive());
}
ferry::task<> kick_out(app::scope, app::receive, app::send send) {
    co_await send(app::websocket_accept());
    co_await send(app::websocket_close(4001));
}
ferry::task<> turn_away(app::scope, app::receive, app::send send) { co_await send(app::websocket_close(4001)); }
}  // namespace

TEST_CASE("a request is logged with its status, the size of its body and its time", "[middleware][access_log]") {
    CHECK(line_of(&page, scope_for("/room/lobby?secret=1")) ==
          "192.0.2.7:50000 \"GET /room/lobby\" 201 12 bytes 1.5 ms");
}

TEST_CASE("a request whose application fails to respond is logged as the 500 that its client gets",
          "[middleware][access_log]") {
    CHECK(line_of(&silent, scope_for("/")) == "192.0.2.7:50000 \"GET /\" 500 0 bytes 0.0 ms");
    CHECK(line_of(&broken, scope_for("/")) == "192.0.2.7:50000 \"GET /\" 500 0 bytes 0.0 ms");
}

TEST_CASE("a request whose client has gone before the response is logged with status 0", "[middleware][access_log]") {
    CHECK(line_of(&listen_once, scope_for("/"), {app::http_disconnect()}) ==
          "192.0.2.7:50000 \"GET /\" 0 0 bytes 0.0 ms");
    CHECK(line_of(&page, scope_for("/"), {}, true) == "192.0.2.7:50000 \"GET /\" 0 0 bytes 1.5 ms");
}

TEST_CASE("an application that somebody else than its client has left is logged with what its client gets",
          "[middleware][access_log]") {
    CHECK(line_of(&without_its_database, scope_for("/")) == "192.0.2.7:50000 \"GET /\" 500 0 bytes 0.0 ms");
    CHECK(line_of(&accept_without_its_database, scope_for("/ws", app::protocol::websocket)) ==
          "192.0.2.7:50000 \"websocket /ws\" 1011 0 messages 0.0 ms");
}

TEST_CASE("a WebSocket whose application just ends is logged with the code that its client gets",
          "[middleware][access_log]") {
    const app::scope what = scope_for("/ws/lobby", app::protocol::websocket);
    CHECK(line_of(&greet_and_return, what) == "192.0.2.7:50000 \"websocket /ws/lobby\" 1000 1 messages 0.0 ms");
    CHECK(line_of(&accept_and_fail, what) == "192.0.2.7:50000 \"websocket /ws/lobby\" 1011 0 messages 0.0 ms");
    CHECK(line_of(&silent, what) == "192.0.2.7:50000 \"websocket /ws/lobby\" 500 0 messages 0.0 ms");
}

TEST_CASE("a WebSocket is logged with its close code and the messages sent", "[middleware][access_log]") {
    const app::scope what = scope_for("/ws/lobby", app::protocol::websocket);
    const std::vector<app::message> visit{app::websocket_connect(), app::websocket_disconnect(1001)};
    CHECK(line_of(&chat, what, visit) == "192.0.2.7:50000 \"websocket /ws/lobby\" 1001 2 messages 2000.0 ms");
    CHECK(line_of(&kick_out, what) == "192.0.2.7:50000 \"websocket /ws/lobby\" 4001 0 messages 0.0 ms");
    CHECK(line_of(&turn_away, what) == "192.0.2.7:50000 \"websocket /ws/lobby\" 403 0 messages 0.0 ms");
}

TEST_CASE("a path cannot forge a line of the log", "[middleware][access_log]") {
    CHECK(ferry::detail::escaped_for_log("/a\"b\\c\n\r\x1b[2J\x7f\xc3\xa9") ==
          "/a\\x22b\\x5cc\\x0a\\x0d\\x1b[2J\\x7f\\xc3\\xa9");
    CHECK(line_of(&silent, scope_for("/%0A%22")) == "192.0.2.7:50000 \"GET /%0A%22\" 500 0 bytes 0.0 ms");
}

TEST_CASE("what is logged is what was sent on, unchanged", "[middleware][access_log]") {
    CHECK(lines_of(to_memory | &page, scope_for("/")) ==
          std::vector<std::string>{"start 201", "body hello, ...", "body world"});
}
