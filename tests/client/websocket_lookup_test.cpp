// tests/client/websocket_lookup_test.cpp - names that are slow to look up, and addresses that do not answer
// SPDX-License-Identifier: BSL-1.0
#include <ferry/client/websocket_client.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>
#include <ferry/net/connect.hpp>
#include <ferry/net/listener.hpp>

#include "support/catch.hpp"

#include <atomic>
#include <chrono>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dlfcn.h>
#include <netdb.h>

using namespace std::chrono_literals;
namespace net = ferry::net;

namespace {
std::binary_semaphore name_server_may_answer(0);
std::atomic<bool> asked{false};
std::atomic<bool> answered{false};
}  // namespace

/// In place of the C library's: "slow.test" is not found, once the test lets that be known; "two.test" is 127.0.0.1, and
/// then 127.0.0.2; whatever else is looked up as always.
extern "C" int getaddrinfo(const char* host, const char* port, const ::addrinfo* hints, ::addrinfo** found) {
    using lookup = int(const char*, const char*, const ::addrinfo*, ::addrinfo**);
    static lookup* const usual = reinterpret_cast<lookup*>(::dlsym(RTLD_NEXT, "getaddrinfo"));
    const std::string_view name = host == nullptr ? std::string_view() : host;
    if (name == "slow.test") {
        asked = true;
        static_cast<void>(name_server_may_answer.try_acquire_for(20s));
        answered = true;
        answered.notify_all();
        return EAI_NONAME;
    }
    if (name != "two.test") return usual(host, port, hints, found);
    const int code = usual("127.0.0.1", port, hints, found);
    return code != 0 ? code : usual("127.0.0.2", port, hints, &(*found)->ai_next);
}

namespace {
/// Connects until the listener's backlog is full, and an attempt is not answered.
ferry::task<> fill(net::address at) {
    std::vector<net::socket> established;
    for (;;) established.push_back(co_await ferry::timeout(20ms, net::connect(at)));
}
}  // namespace

TEST_CASE("a WebSocket client does not wait longer for a name server than open_timeout", "[client][websocket_lookup]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    const auto options = ferry::websocket_options().open_timeout(2s);
    auto opening = ferry::spawn(loop, ferry::connect_websocket("ws://slow.test/", options));
    while (!asked) loop.run_once(0s);
    clock.advance(2s);
    while (!opening.is_ready() && !answered) loop.run_once(0s);
    CHECK_FALSE(answered);
    name_server_may_answer.release();
    answered.wait(false);
    CHECK_THROWS_AS(loop.run(std::move(opening)), ferry::timeout_error);
}

TEST_CASE("a WebSocket client leaves an address that does not answer for the next", "[client][websocket_lookup]") {
    ferry::event_loop plain;
    const net::listener full(plain, net::address("127.0.0.1", 0), net::listener_options().backlog(0));
    CHECK_THROWS_AS(plain.run(fill(full.local())), ferry::timeout_error);

    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    const std::string port = std::to_string(full.local().port());
    net::listener door(loop, net::address("127.0.0.2", full.local().port()));
    const auto opening = ferry::spawn(loop, ferry::connect_websocket("ws://two.test:" + port + "/"));
    const auto arrival = ferry::spawn(loop, door.accept());
    const auto give_up = std::chrono::steady_clock::now() + 20s;
    for (loop.run_until_idle(); !arrival.is_ready(); loop.run_until_idle()) {
        if (std::chrono::steady_clock::now() > give_up) throw std::runtime_error("nobody came");
        if (clock.elapsed() < 3s) clock.advance(3s);
    }
    CHECK_FALSE(opening.is_ready());  // it waits for the answer to its handshake
    loop.close();
}
