// tests/net/connect_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/net/connect.hpp>
#include <ferry/net/listener.hpp>

#include "net/pair.hpp"
#include "support/catch.hpp"

#include <cerrno>
#include <chrono>
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
