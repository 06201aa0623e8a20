// tests/net/memory_stream_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/combine.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/net/memory_stream.hpp>
#include <ferry/net/socket.hpp>
#include <ferry/net/stream.hpp>

#include "net/aborts.hpp"
#include "support/catch.hpp"
#include "support/faulty_stream.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace net = ferry::net;
using net::memory_stream;

static_assert(net::stream<net::socket>);
static_assert(net::stream<memory_stream>);
static_assert(net::stream<ferry_test::faulty_stream<memory_stream>>);
static_assert(net::stream<ferry_test::faulty_stream<net::socket>>);
static_assert(!net::stream<std::string>);

namespace {
ferry::task<std::string> receive_text(memory_stream& from) {
    const net::borrowed_bytes bytes = co_await from.receive();
    co_return std::string(bytes.view());
}
ferry::task<std::string> collect(memory_stream& from) {
    std::string all;
    char some[3];
    for (;;) {
        const std::size_t count = co_await from.receive(some, sizeof some);
        if (count == 0) co_return all;
        all.append(some, count);
    }
}
ferry::task<> send_and_finish(memory_stream& to, std::string_view bytes) {
    co_await to.send_all(bytes);
    to.shutdown_send();
}
}  // namespace

TEST_CASE("what one end of a memory stream sends the other receives, both ways", "[net][memory_stream]") {
    ferry::event_loop loop;
    auto [first, second] = net::memory_pair(loop);
    CHECK_FALSE(second.is_readable());
    REQUIRE(first.send_some("hello") == 5);
    CHECK(second.is_readable());
    CHECK(loop.run(receive_text(second)) == "hello");
    auto later = ferry::spawn(loop, receive_text(first));
    loop.run_until_idle();
    REQUIRE(second.send_some("back") == 4);
    CHECK(loop.run(std::move(later)) == "back");
    first.shutdown_send();
    CHECK(loop.run(receive_text(second)).empty());
    REQUIRE(second.send_some("still") == 5);  // half-closed: the other way goes on
    CHECK(loop.run(receive_text(first)) == "still");
}

TEST_CASE("a memory stream holds its capacity and no more", "[net][memory_stream]") {
    ferry::event_loop loop;
    auto [first, second] = net::memory_pair(loop, 4);
    CHECK(first.send_some("abcdef") == 4);
    CHECK(first.send_some("ef") == 0);
    CHECK(loop.run(receive_text(second)) == "abcd");
    CHECK(first.send_some("ef") == 2);
    CHECK(loop.run(receive_text(second)) == "ef");
    const std::string bytes(1000, 'x');
    const auto [nothing, received] = loop.run(ferry::when_all(send_and_finish(first, bytes), collect(second)));
    CHECK(received == bytes);
}

TEST_CASE("pieces pass through a memory stream in their order", "[net][memory_stream]") {
    ferry::event_loop loop;
    auto [first, second] = net::memory_pair(loop);
    const std::string_view pieces[] = {"", "a", "", "bc", ""};
    loop.run(first.send_all(pieces));
    CHECK(loop.run(receive_text(second)) == "abc");
}

TEST_CASE("the end of a memory stream comes behind what was sent; a reset overtakes it", "[net][memory_stream]") {
    ferry::event_loop loop;
    auto [first, second] = net::memory_pair(loop);
    REQUIRE(first.send_some("last") == 4);
    SECTION("closed") {
        first.close();
        first.close();
        CHECK(loop.run(receive_text(second)) == "last");
        CHECK(loop.run(receive_text(second)).empty());
    }
    SECTION("aborted") {
        first.abort();
        CHECK_THROWS_AS(loop.run(receive_text(second)), ferry::disconnected);
    }
    CHECK_THROWS_AS(second.send_some("x"), ferry::disconnected);
    CHECK_THROWS_AS(loop.run(second.send_all("x")), ferry::disconnected);
}

TEST_CASE("a sender that waits learns that its receiver has gone", "[net][memory_stream]") {
    ferry::event_loop loop;
    auto [first, second] = net::memory_pair(loop, 1);
    auto sending = ferry::spawn(loop, send_and_finish(first, "abc"));
    loop.run_until_idle();
    CHECK_FALSE(sending.is_ready());
    second.close();
    CHECK_THROWS_AS(loop.run(std::move(sending)), ferry::disconnected);
}

namespace {
/// Takes what comes, and is cancelled after so many turns of the loop.
ferry::task<> receive_for(memory_stream& from, std::string& into, int turns) {
    co_await ferry::with_task_group([&](ferry::task_group& tasks) -> ferry::task<> {
        tasks.start([](memory_stream& stream, std::string& text) -> ferry::task<> {
            for (;;) {
                char some[3];
                const std::size_t count = co_await stream.receive(some, sizeof some);
                if (count == 0) co_return;
                text.append(some, count);
            }
        }(from, into));
        for (int turn = 0; turn < turns; ++turn) co_await ferry::yield_now();
        tasks.cancel();
    });
}
ferry::task<> trickle(memory_stream& to, std::string_view bytes) {
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        co_await to.send_all(bytes.substr(at, 1));
        co_await ferry::yield_now();
    }
    to.shutdown_send();
}
ferry::task<std::string> receive_in_two_parts(memory_stream& from, int turns) {
    std::string all;
    co_await receive_for(from, all, turns);
    all += co_await collect(from);
    co_return all;
}
}  // namespace

TEST_CASE("a receive from a memory stream that is cancelled anywhere loses no byte", "[net][memory_stream]") {
    ferry::event_loop loop;
    const std::string bytes = "0123456789abcdefghijklmnopqrstuvwxyz";
    for (int turns = 0; turns < 60; ++turns) {
        auto [first, second] = net::memory_pair(loop, 5);
        const auto [nothing, received] =
            loop.run(ferry::when_all(trickle(first, bytes), receive_in_two_parts(second, turns)));
        CHECK(received == bytes);
    }
}

TEST_CASE("a bug in the use of a memory stream is an assertion", "[net][memory_stream]") {
    CHECK(ferry_test::aborts([] {
        ferry::event_loop loop;
        auto [first, second] = net::memory_pair(loop);
        memory_stream& from = second;
        const auto waiting = ferry::spawn(loop, receive_text(from));
        loop.run_until_idle();
        second.close();
    }));
    CHECK(ferry_test::aborts([] {
        ferry::event_loop loop;
        auto [first, second] = net::memory_pair(loop);
        first.close();
        static_cast<void>(first.send_some("x"));
    }));
}
