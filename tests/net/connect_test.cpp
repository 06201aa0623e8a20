// tests/net/connect_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>
#include <ferry/net/connect.hpp>
#include <ferry/net/listener.hpp>

#include "net/pair.hpp"
#include "support/catch.hpp"

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace net = ferry::net;

namespace {
int lowest_free_descriptor() {
    const int found = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ::close(found);
    return found;
}

/// Connects until the listener's backlog is full and an attempt hangs, which a deadline then cancels.
ferry::task<bool> give_up_an_attempt(net::address to) {
    std::vector<net::socket> established;
    while (established.size() < 16) {
        const int free_before = lowest_free_descriptor();
        try {
            established.push_back(co_await ferry::timeout(std::chrono::milliseconds(20), net::connect(to)));
        } catch (const ferry::timeout_error&) {
            co_return lowest_free_descriptor() == free_before;
        }
    }
    co_return false;
}
}  // namespace

TEST_CASE("a connection knows both its ends and sends small writes at once", "[net][connect]") {
    ferry::event_loop loop;
    const auto [accepted, connected] = loop.run(ferry_test::connected_pair());
    CHECK(connected.peer() == accepted.local());
    CHECK(connected.local() == accepted.peer());
    for (const int descriptor : {accepted.descriptor(), connected.descriptor()}) {
        int no_delay = 0;
        ::socklen_t size = sizeof no_delay;
        REQUIRE(::getsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &no_delay, &size) == 0);
        CHECK(no_delay != 0);
        CHECK((::fcntl(descriptor, F_GETFL) & O_NONBLOCK) != 0);
        CHECK((::fcntl(descriptor, F_GETFD) & FD_CLOEXEC) != 0);
    }
}

TEST_CASE("a refused connection is a system_error that names the address", "[net][connect]") {
    ferry::event_loop loop;
    const net::address nobody = net::listener(loop, net::address("127.0.0.1", 0)).local();
    const int free_before = lowest_free_descriptor();
    try {
        loop.run(net::connect(nobody));
        FAIL("somebody listens on " + nobody.to_string());
    } catch (const std::system_error& error) {
        CHECK(error.code().value() == ECONNREFUSED);
        CHECK(std::string(error.what()).find(nobody.to_string()) != std::string::npos);
    }
    CHECK(lowest_free_descriptor() == free_before);
}

TEST_CASE("an address that no route leads to fails at once", "[net][connect]") {
    ferry::event_loop loop;
    // TCP refuses broadcast before it sends anything.
    CHECK_THROWS_AS(loop.run(net::connect(net::address("255.255.255.255", 80))), std::system_error);
}

TEST_CASE("a cancelled attempt to connect closes its descriptor", "[net][connect]") {
    ferry::event_loop loop;
    const net::listener full(loop, net::address("127.0.0.1", 0), net::listener_options().backlog(0));
    CHECK(loop.run(give_up_an_attempt(full.local())));
}

TEST_CASE("of several addresses the first that answers is taken", "[net][connect]") {
    ferry::event_loop loop;
    const net::address nobody = net::listener(loop, net::address("127.0.0.1", 0)).local();
    net::listener door(loop, net::address("127.0.0.1", 0)), other(loop, net::address("127.0.0.1", 0));
    const net::socket made = loop.run(net::connect(std::vector<net::address>{nobody, door.local(), other.local()}));
    CHECK(made.peer() == door.local());
}

TEST_CASE("an address that does not answer is left for the next", "[net][connect]") {
    ferry::event_loop loop;
    const net::listener full(loop, net::address("127.0.0.1", 0), net::listener_options().backlog(0));
    REQUIRE(loop.run(give_up_an_attempt(full.local())));  // nobody accepts: it stays full
    const net::listener door(loop, net::address("127.0.0.1", 0));
    const std::vector<net::address> where{full.local(), door.local()};
    CHECK(loop.run(net::connect(where, std::chrono::milliseconds(20))).peer() == door.local());
}

TEST_CASE("when no address answers, each is named with its reason", "[net][connect]") {
    ferry::event_loop loop;
    const net::address nobody = net::listener(loop, net::address("127.0.0.1", 0)).local();
    const net::address nowhere = net::address::of_path("/no/such/door");
    try {
        loop.run(net::connect(std::vector<net::address>{nowhere, nobody}));
        FAIL("somebody answered");
    } catch (const std::system_error& error) {
        CHECK(error.code().value() == ECONNREFUSED);
        const std::string text = error.what();
        CHECK(text == "ferry: cannot connect to any of these:\n  unix:/no/such/door: No such file or directory\n  " +
                          nobody.to_string() + ": Connection refused");
    }
    CHECK_THROWS_AS(loop.run(net::connect(std::vector<net::address>())), std::invalid_argument);
}

TEST_CASE("a name is resolved and connected to", "[net][connect]") {
    ferry::event_loop loop;
    net::listener door(loop, net::address("127.0.0.1", 0));
    CHECK(loop.run(net::connect("localhost", door.local().port())).peer() == door.local());
    CHECK(loop.run(net::connect("127.0.0.1", door.local().port())).peer() == door.local());
}

namespace {
ferry::task<> connect_into(net::address to, std::vector<net::socket>& made) {
    made.push_back(co_await net::connect(to));
}
}  // namespace

TEST_CASE("connecting to a path waits while its listener has no room", "[net][connect]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    const net::address at = net::address::of_path("@ferry-connect-test-" + std::to_string(::getpid()));
    net::listener door(loop, at, net::listener_options().backlog(0));
    std::vector<net::socket> made;
    made.reserve(8);
    ferry::future<void> waiting;
    std::size_t room = 0;
    for (; room < 8; ++room) {  // a backlog of 0 has room for one or two
        waiting = ferry::spawn(loop, connect_into(at, made));
        loop.run_until_idle();
        if (!waiting.is_ready()) break;
    }
    REQUIRE(room < 8);
    clock.advance(std::chrono::milliseconds(10));
    loop.run_until_idle();
    CHECK_FALSE(waiting.is_ready());
    const net::socket accepted = loop.run(door.accept());
    clock.advance(std::chrono::milliseconds(10));
    loop.run_until_idle();
    CHECK(waiting.is_ready());
    CHECK(made.size() == room + 1);
}
