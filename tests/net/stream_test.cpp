// tests/net/stream_test.cpp - what is written for any stream, over sockets, memory, and a stream full of faults
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/combine.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/virtual_clock.hpp>
#include <ferry/net/memory_stream.hpp>
#include <ferry/net/stream.hpp>

#include "net/pair.hpp"
#include "support/catch.hpp"
#include "support/faulty_stream.hpp"

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace net = ferry::net;
using ferry_test::faults;
using ferry_test::faulty_stream;
using namespace std::chrono_literals;

namespace {
template <net::stream Stream>
ferry::task<std::string> collect(Stream& from) {
    std::string all;
    for (;;) {
        const net::borrowed_bytes bytes = co_await from.receive();
        if (bytes.empty()) co_return all;
        all += bytes.view();
    }
}
template <net::stream Stream>
ferry::task<> send_and_finish(Stream& to, std::string_view bytes) {
    co_await to.send_all(bytes);
    to.shutdown_send();
}
template <net::stream Stream>
ferry::task<> send_last(Stream& to, std::string_view bytes, bool& peer_closed) {
    co_await to.send_all(bytes);
    peer_closed = co_await net::lingering_close(to, 5s);
}
/// Sends although nobody will read it, then reads to the end.
template <net::stream Stream>
ferry::task<std::string> talk_over(Stream& with) {
    co_await with.send_all("a word too many");
    std::string heard = co_await collect(with);
    with.close();
    co_return heard;
}
}  // namespace

TEST_CASE("a lingering close lets the peer read what was sent last", "[net][stream]") {
    ferry::event_loop loop;
    bool closed = false;
    SECTION("over sockets") {
        auto [server, client] = loop.run(ferry_test::connected_pair());
        const auto [nothing, heard] =
            loop.run(ferry::when_all(send_last(server, "goodbye", closed), talk_over(client)));
        CHECK(heard == "goodbye");
    }
    SECTION("in memory") {
        auto [server, client] = net::memory_pair(loop);
        const auto [nothing, heard] =
            loop.run(ferry::when_all(send_last(server, "goodbye", closed), talk_over(client)));
        CHECK(heard == "goodbye");
    }
    CHECK(closed);
}

TEST_CASE("a lingering close waits no longer than it may", "[net][stream]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    auto [server, client] = net::memory_pair(loop);
    bool closed = true;
    const auto closing = ferry::spawn(loop, [](net::memory_stream& end, bool& peer_closed) -> ferry::task<> {
        peer_closed = co_await net::lingering_close(end, 5s);
    }(server, closed));
    loop.run_until_idle();
    clock.advance(4999ms);
    loop.run_until_idle();
    CHECK_FALSE(closing.is_ready());
    clock.advance(1ms);
    loop.run_until_idle();
    CHECK(closing.is_ready());
    CHECK_FALSE(closed);
    CHECK_THROWS_AS(client.send_some("x"), ferry::disconnected);
}

TEST_CASE("a lingering close that meets a reset says that the peer did not close", "[net][stream]") {
    ferry::event_loop loop;
    auto [server, client] = net::memory_pair(loop);
    client.abort();
    CHECK_FALSE(loop.run(net::lingering_close(server, 5s)));
}

TEST_CASE("short reads and writes and delays lose nothing", "[net][stream]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    auto [first, second] = net::memory_pair(loop);
    faulty_stream slow(loop, std::move(first), faults().short_writes(3).delay(1ms));
    faulty_stream stuttering(loop, std::move(second), faults().short_reads(2).delay(1s));
    const std::string bytes = "what is sent is received, in its order and to its end";
    auto sending = ferry::spawn(loop, send_and_finish(slow, bytes));
    auto receiving = ferry::spawn(loop, collect(stuttering));
    for (int seconds = 0; seconds < 100 && !receiving.is_ready(); ++seconds) {
        loop.run_until_idle();
        clock.advance(1s);
    }
    CHECK(loop.run(std::move(receiving)) == bytes);
    CHECK(clock.elapsed() >= 27s);  // 53 octets in pieces of 2
}

TEST_CASE("a faulty stream resets where it was told to", "[net][stream]") {
    ferry::event_loop loop;
    auto [first, second] = net::memory_pair(loop);
    faulty_stream sender(loop, std::move(first), faults().reset_after_sending(4));
    CHECK_THROWS_AS(loop.run(sender.send_all("hello")), ferry::disconnected);
    CHECK_THROWS_AS(loop.run(collect(second)), ferry::disconnected);

    auto [third, fourth] = net::memory_pair(loop);
    faulty_stream receiver(loop, std::move(fourth), faults().reset_after_receiving(4));
    REQUIRE(third.send_some("hello") == 5);
    char text[8];
    CHECK(loop.run(receiver.receive(text, sizeof text)) == 4);
    CHECK_THROWS_AS(loop.run(receiver.receive(text, sizeof text)), ferry::disconnected);
    CHECK_THROWS_AS(third.send_some("x"), ferry::disconnected);
}
