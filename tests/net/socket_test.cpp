// tests/net/socket_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/awaitable.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/epoll_poller.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/poller.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/net/socket.hpp>

#include "net/aborts.hpp"
#include "net/pair.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace net = ferry::net;
using ferry_test::connected_pair;
using namespace std::chrono_literals;

namespace {
constexpr std::size_t big = 4 * 1024 * 1024;

/// Bytes of which every stretch looks different.
std::string pattern(std::size_t size, unsigned seed) {
    std::string text(size, '\0');
    unsigned state = seed;
    for (char& octet : text) {
        state = state * 1664525u + 1013904223u;
        octet = static_cast<char>(state >> 24);
    }
    return text;
}

ferry::task<> send_and_finish(net::socket& to, std::string_view bytes) {
    co_await to.send_all(bytes);
    to.shutdown_send();
}

enum class how { borrowed, own_buffer, readable_first };

/// Appends what it receives until the end of the stream.
ferry::task<> collect(net::socket& from, std::string& into, how way = how::borrowed) {
    char buffer[100];
    for (;;) {
        if (way == how::readable_first) co_await from.readable();
        if (way == how::own_buffer) {
            const std::size_t count = co_await from.receive(buffer, sizeof buffer);
            if (count == 0) co_return;
            into.append(buffer, count);
        } else {
            const net::borrowed_bytes bytes = co_await from.receive();
            if (bytes.empty()) co_return;
            into += bytes.view();
        }
    }
}

/// Sends with send_some and writable, from `sent` on.
ferry::task<> send_counted(net::socket& to, std::string_view bytes, std::size_t& sent) {
    while (sent < bytes.size()) {
        const std::size_t count = to.send_some(bytes.substr(sent));
        sent += count;
        if (count == 0) co_await to.writable();
    }
}

/// Starts the task and cancels it some turns of the loop later.
ferry::task<> cancel_later(ferry::task_group& group, ferry::task<>& what, int turns) {
    group.start(std::move(what));
    for (int turn = 0; turn < turns; ++turn) co_await ferry::sleep_for(0ns);
    group.cancel();
}

ferry::task<> collect_in_two_parts(net::socket& from, std::string& into, how way, int turns) {
    ferry::task<> first = collect(from, into, way);
    co_await ferry::with_task_group(&cancel_later, std::ref(first), turns);
    co_await collect(from, into, way);
}
ferry::task<> send_in_two_parts(net::socket& to, std::string_view bytes, int turns) {
    std::size_t sent = 0;
    ferry::task<> first = send_counted(to, bytes, sent);
    co_await ferry::with_task_group(&cancel_later, std::ref(first), turns);
    co_await send_counted(to, bytes, sent);
    to.shutdown_send();
}

/// A few bytes each turn.
ferry::task<> trickle(net::socket& to, std::string_view bytes) {
    for (; !bytes.empty(); bytes.remove_prefix(std::min<std::size_t>(bytes.size(), 3))) {
        co_await to.send_all(bytes.substr(0, 3));
        co_await ferry::sleep_for(0ns);
    }
    to.shutdown_send();
}

ferry::task<std::size_t> fill(net::socket& to) {
    const std::string block(64 * 1024, 'x');
    std::size_t total = 0;
    while (const std::size_t count = to.send_some(block)) total += count;
    co_return total;
}
ferry::task<std::size_t> drain(net::socket& from, std::size_t bytes) {
    std::size_t total = 0;
    while (total < bytes) {
        const net::borrowed_bytes some = co_await from.receive();
        total += some.size();
    }
    co_return total;
}
void shrink_send_buffer(net::socket& of) {
    const int small = 4096;
    ::setsockopt(of.descriptor(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
}

ferry::task<std::string> receive_text(net::socket& from) {
    const net::borrowed_bytes bytes = co_await from.receive();
    co_return std::string(bytes.view());
}
ferry::task<> keep_text(net::socket& from, std::string& into) { into = co_await receive_text(from); }

ferry::task<> send_pieces(net::socket& to, const std::vector<std::string_view>& pieces) {
    co_await to.send_all(pieces);
    to.shutdown_send();
}

ferry::task<net::borrowed_bytes> pass_up(net::socket& from) { co_return co_await from.receive(); }
ferry::task<std::string> receive_through_layers(net::socket& from) {
    const net::borrowed_bytes bytes = co_await ferry::timeout(1h, pass_up(from));
    co_return std::string(bytes.view());
}

/// Says each time that every descriptor is ready.
class nervous_poller final : public ferry::poller {
public:
    time_point now() const noexcept override { return descriptors_.now(); }
    std::size_t wait(time_point, bool work_outside) override {
        for (ferry::io_watch* watch : watches_) watch->on_ready(true, true);
        return watches_.size() + descriptors_.wait(time_point::min(), work_outside);
    }
    void add(ferry::io_watch& watch) override {
        descriptors_.add(watch);
        watches_.push_back(&watch);
    }
    void remove(ferry::io_watch& watch) noexcept override {
        descriptors_.remove(watch);
        watches_.erase(std::find(watches_.begin(), watches_.end(), &watch));
    }
    int native_handle() override { return descriptors_.native_handle(); }

private:
    ferry::epoll_poller descriptors_;
    std::vector<ferry::io_watch*> watches_;
};

ferry::task<> wait_readable(net::socket& on) { co_await on.readable(); }
ferry::task<> wait_writable(net::socket& on) { co_await on.writable(); }
ferry::task<> send_until_refused(net::socket& to) {
    for (;;) {
        co_await to.send_all("more");
        co_await ferry::yield_now();
    }
}
ferry::task<> receive_in_time(net::socket& from) {
    const net::borrowed_bytes bytes = co_await ferry::timeout(0ns, from.receive());
    CHECK(bytes.empty());
}
}  // namespace

static_assert(!std::is_copy_constructible_v<net::socket> && std::is_nothrow_move_constructible_v<net::socket>);
static_assert(ferry::detail::borrowed_result<net::borrowed_bytes>);
static_assert(!std::is_copy_constructible_v<net::borrowed_bytes>);
static_assert(std::is_nothrow_move_constructible_v<net::borrowed_bytes>);

TEST_CASE("what one end sends the other receives, up to the end of the stream", "[net][socket]") {
    ferry::event_loop loop;
    for (const how way : {how::borrowed, how::own_buffer, how::readable_first}) {
        auto [from, to] = loop.run(connected_pair());
        const std::string bytes = pattern(1000, 1);
        std::string received;
        loop.run(ferry::when_all(collect(from, received, way), send_and_finish(to, bytes)));
        CHECK(received == bytes);
    }
}

TEST_CASE("an end that has finished sending still receives", "[net][socket]") {
    ferry::event_loop loop;
    auto [server, client] = loop.run(connected_pair());
    std::string request, reply;
    loop.run(send_and_finish(client, "request"));
    loop.run(collect(server, request));
    loop.run(send_and_finish(server, "reply"));
    loop.run(collect(client, reply));
    CHECK(request == "request");
    CHECK(reply == "reply");
}

TEST_CASE("megabytes pass both ways at once through small send buffers", "[net][socket]") {
    ferry::event_loop loop;
    auto [server, client] = loop.run(connected_pair());
    shrink_send_buffer(server);
    shrink_send_buffer(client);
    const std::string down = pattern(big, 1), up = pattern(big, 2);
    std::string got_down, got_up;
    loop.run(ferry::when_all(send_and_finish(server, down), send_and_finish(client, up), collect(client, got_down),
                             collect(server, got_up)));
    CHECK(got_down == down);
    CHECK(got_up == up);
}

TEST_CASE("send_some takes nothing when the kernel is full, and writable waits until it is not", "[net][socket]") {
    ferry::event_loop loop;
    auto [server, client] = loop.run(connected_pair());
    const std::size_t sent = loop.run(fill(client));
    REQUIRE(sent > 0);
    CHECK(client.send_some("x") == 0);
    const auto waiting = ferry::spawn(loop, wait_writable(client));
    loop.run_until_idle();
    CHECK_FALSE(waiting.is_ready());
    CHECK(loop.run(drain(server, sent)) == sent);
    while (!waiting.is_ready()) loop.run_once(1s);
    CHECK(client.send_some("x") == 1);
}

TEST_CASE("a receive that is cancelled anywhere loses no byte", "[net][socket]") {
    ferry::event_loop loop;
    const std::string bytes = pattern(100, 1);
    for (const how way : {how::borrowed, how::own_buffer, how::readable_first}) {
        for (int turns = 0; turns < 40; ++turns) {
            auto [server, client] = loop.run(connected_pair());
            std::string received;
            loop.run(ferry::when_all(trickle(client, bytes), collect_in_two_parts(server, received, way, turns)));
            CHECK(received == bytes);
        }
    }
}

TEST_CASE("a sender that is cancelled anywhere knows what it has sent", "[net][socket]") {
    ferry::event_loop loop;
    const std::string bytes = pattern(256 * 1024, 1);
    for (int turns = 0; turns < 40; ++turns) {
        auto [server, client] = loop.run(connected_pair());
        shrink_send_buffer(server);
        shrink_send_buffer(client);
        std::string received;
        loop.run(ferry::when_all(send_in_two_parts(client, bytes, turns), collect(server, received, how::own_buffer)));
        CHECK(received == bytes);
    }
}

TEST_CASE("pieces are sent in their order, empty ones too, however little the kernel takes", "[net][socket]") {
    ferry::event_loop loop;
    auto [server, client] = loop.run(connected_pair());
    shrink_send_buffer(client);
    const std::string bytes = pattern(big, 3);
    std::vector<std::string_view> pieces;
    std::size_t at = 0;
    for (std::size_t size = 0; at < bytes.size(); size = (size * 7 + 3) % 5003) {
        pieces.push_back(std::string_view(bytes).substr(at, size));
        at += pieces.back().size();
    }
    REQUIRE(pieces.size() > 1000);
    std::string received;
    loop.run(ferry::when_all(send_pieces(client, pieces), collect(server, received)));
    CHECK(received == bytes);
}

TEST_CASE("pieces are handed over together", "[net][socket]") {
    ferry::event_loop loop;
    auto [server, client] = loop.run(connected_pair());
    const std::string_view few[] = {"", "head", "", "body", ""};
    loop.run(client.send_all(few));
    CHECK(loop.run(receive_text(server)) == "headbody");  // one segment, so one receive
    loop.run(client.send_all(std::span<const std::string_view>()));
    CHECK_FALSE(server.is_readable());
    client.abort();
    CHECK_THROWS_AS(loop.run(server.send_all(few)), ferry::disconnected);
}

TEST_CASE("a socket is readable when receive has something to tell", "[net][socket]") {
    ferry::event_loop loop;
    auto [server, client] = loop.run(connected_pair());
    CHECK_FALSE(server.is_readable());
    REQUIRE(client.send_some("x") == 1);
    loop.run(wait_readable(server));
    CHECK(server.is_readable());
    CHECK(loop.run(receive_text(server)) == "x");
    CHECK_FALSE(server.is_readable());
    client.shutdown_send();
    loop.run(wait_readable(server));
    CHECK(server.is_readable());
}

TEST_CASE("a wake-up with nothing behind it does not end a wait", "[net][socket]") {
    nervous_poller poller;
    ferry::event_loop loop(poller);
    auto [server, client] = loop.run(connected_pair());
    const std::size_t sent = loop.run(fill(server));
    std::string text;
    const auto receiving = ferry::spawn(loop, keep_text(server, text));
    const auto waiting = ferry::spawn(loop, wait_writable(server));
    for (int turn = 0; turn < 8; ++turn) loop.run_once();
    CHECK_FALSE(receiving.is_ready());
    CHECK_FALSE(waiting.is_ready());
    REQUIRE(client.send_some("now") == 3);
    while (!receiving.is_ready()) loop.run_once();
    CHECK(text == "now");
    CHECK(loop.run(drain(client, sent)) == sent);
    while (!waiting.is_ready()) loop.run_once();
}

TEST_CASE("readable takes nothing", "[net][socket]") {
    ferry::event_loop loop;
    auto [server, client] = loop.run(connected_pair());
    const auto waiting = ferry::spawn(loop, wait_readable(server));
    loop.run_until_idle();
    CHECK_FALSE(waiting.is_ready());
    REQUIRE(client.send_some("x") == 1);
    while (!waiting.is_ready()) loop.run_once(1s);
    loop.run(wait_readable(server));
    CHECK(loop.run(receive_text(server)) == "x");
}

TEST_CASE("borrowed bytes pass up through tasks and a timeout", "[net][socket]") {
    ferry::event_loop loop;
    auto [server, client] = loop.run(connected_pair());
    std::string text;
    REQUIRE(client.send_some("at once") == 7);
    CHECK(loop.run(receive_through_layers(server)) == "at once");
    auto later = ferry::spawn(loop, receive_through_layers(server));
    loop.run_until_idle();
    REQUIRE(client.send_some("after a wait") == 12);
    CHECK(loop.run(std::move(later)) == "after a wait");
}

namespace {
ferry::task<std::string> receive_in_capitals(net::socket& from) {
    const net::borrowed_bytes bytes = co_await from.receive();
    for (std::size_t at = 0; at < bytes.size(); ++at)
        bytes.data()[at] = static_cast<char>(bytes.data()[at] - 'a' + 'A');
    co_return std::string(bytes.view());
}
}  // namespace

TEST_CASE("borrowed bytes can be changed in place", "[net][socket]") {
    ferry::event_loop loop;
    auto [server, client] = loop.run(connected_pair());
    REQUIRE(client.send_some("ferry") == 5);
    CHECK(loop.run(receive_in_capitals(server)) == "FERRY");
}

#if defined(FERRY_DEBUG)
namespace {
ferry::task<> use_too_late(net::socket& from) {
    const net::borrowed_bytes first = co_await from.receive();
    const net::borrowed_bytes second = co_await from.receive();
    co_await ferry::sleep_for(std::chrono::nanoseconds(first.view().size() + second.size()));
}
}  // namespace

TEST_CASE("borrowed bytes that are used after the next receive are an assertion", "[net][socket]") {
    ferry::event_loop loop;
    auto [server, client] = loop.run(connected_pair());
    net::socket& from = server;
    loop.run(send_and_finish(client, "x"));
    CHECK(ferry_test::aborts([&loop, &from] { loop.run(use_too_late(from)); }));
}
#endif

TEST_CASE("a connection that the peer has reset ends receive and send in disconnected", "[net][socket]") {
    ferry::event_loop loop;
    auto [server, client] = loop.run(connected_pair());
    std::string received;
    SECTION("while receive waits") {
        net::socket& from = server;
        auto receiving = ferry::spawn(loop, receive_text(from));
        loop.run_until_idle();
        client.abort();
        CHECK_THROWS_AS(loop.run(std::move(receiving)), ferry::disconnected);
    }
    SECTION("before receive") {
        client.abort();
        CHECK_THROWS_AS(loop.run(receive_text(server)), ferry::disconnected);
    }
    SECTION("and readable leaves that for receive to tell") {
        client.abort();
        loop.run(wait_readable(server));
        CHECK_THROWS_AS(loop.run(receive_text(server)), ferry::disconnected);
    }
    SECTION("while send_all waits") {
        const std::string bytes = pattern(big, 1);
        net::socket& to = server;
        auto sending = ferry::spawn(loop, send_and_finish(to, bytes));
        loop.run_until_idle();
        client.abort();
        CHECK_THROWS_AS(loop.run(std::move(sending)), ferry::disconnected);
    }
    SECTION("before send_some") {
        client.abort();
        CHECK_THROWS_AS(server.send_some("x"), ferry::disconnected);
        CHECK_THROWS_AS(server.send_some("x"), ferry::disconnected);
    }
    SECTION("and the text names the peer") {
        const std::string peer = client.local().to_string();
        client.abort();
        try {
            const std::size_t sent = server.send_some("x");
            FAIL("sent: " << sent);
        } catch (const ferry::disconnected& error) {
            CHECK(std::string(error.what()).find(peer) != std::string::npos);
        }
    }
}

TEST_CASE("sending to a peer that has closed ends in disconnected, not in a signal", "[net][socket]") {
    ferry::event_loop loop;
    auto [server, client] = loop.run(connected_pair());
    client.close();
    CHECK_THROWS_AS(loop.run(send_until_refused(server)), ferry::disconnected);
}

TEST_CASE("another failure is a system_error with the peer's address", "[net][socket]") {
    ferry::event_loop loop;
    net::socket unconnected(loop, ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
                            net::address("192.0.2.1", 80));
    try {
        loop.run(receive_text(unconnected));
        FAIL("it received");
    } catch (const std::system_error& error) {
        CHECK(error.code().value() == ENOTCONN);
        CHECK(std::string(error.what()).find("192.0.2.1:80") != std::string::npos);
    }
}

TEST_CASE("a descriptor that the loop cannot watch is closed", "[net][socket][epoll]") {
    ferry::event_loop loop;
    const int file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    REQUIRE(file >= 0);
    CHECK_THROWS_AS(net::socket(loop, file, net::address()), std::system_error);
    CHECK(::fcntl(file, F_GETFD) == -1);
}

TEST_CASE("a socket can be moved while a task waits for it", "[net][socket]") {
    ferry::event_loop loop;
    auto [server, client] = loop.run(connected_pair());
    net::socket& before = server;
    auto receiving = ferry::spawn(loop, [&before]() -> ferry::task<std::string> {
        const net::borrowed_bytes bytes = co_await before.receive();
        co_return std::string(bytes.view());
    });
    loop.run_until_idle();
    const net::socket after(std::move(server));
    CHECK(before.descriptor() == -1);
    REQUIRE(client.send_some("still here") == 10);
    CHECK(loop.run(std::move(receiving)) == "still here");
    CHECK(after.descriptor() >= 0);
}

TEST_CASE("a closed socket has no descriptor and can be closed again", "[net][socket]") {
    ferry::event_loop loop;
    auto [server, client] = loop.run(connected_pair());
    const int descriptor = server.descriptor();
    const net::address peer = server.peer();
    server.close();
    server.close();
    server.abort();
    CHECK(server.descriptor() == -1);
    CHECK(::fcntl(descriptor, F_GETFD) == -1);
    CHECK(server.peer() == peer);
    CHECK(loop.run(receive_text(client)).empty());
}

TEST_CASE("a timeout ends a receive that waits", "[net][socket]") {
    ferry::event_loop loop;
    auto [server, client] = loop.run(connected_pair());
    CHECK_THROWS_AS(loop.run(receive_in_time(server)), ferry::timeout_error);
    client.shutdown_send();
    loop.run(wait_readable(server));
    loop.run(receive_in_time(server));  // what is there already is delivered
}

TEST_CASE("a bug in the use of a socket is an assertion", "[net][socket]") {
    // Everything is made in the process that aborts: a forked child may not run its parent's loop.
    const auto aborts_with_pair = [](auto misuse) {
        return ferry_test::aborts([&misuse] {
            ferry::event_loop loop;
            auto [server, client] = loop.run(connected_pair());
            misuse(loop, server);
        });
    };
    CHECK(!aborts_with_pair([](ferry::event_loop&, net::socket&) {}));
    SECTION("two tasks that receive") {
        CHECK(aborts_with_pair([](ferry::event_loop& loop, net::socket& server) {
            const auto first = ferry::spawn(loop, wait_readable(server));
            const auto second = ferry::spawn(loop, wait_readable(server));
            loop.run_until_idle();
        }));
    }
    SECTION("closing it while a task waits") {
        CHECK(aborts_with_pair([](ferry::event_loop& loop, net::socket& server) {
            const auto waiting = ferry::spawn(loop, wait_readable(server));
            loop.run_until_idle();
            server.close();
        }));
    }
    SECTION("using it after it was closed") {
        CHECK(aborts_with_pair([](ferry::event_loop&, net::socket& server) {
            server.close();
            server.shutdown_send();
        }));
    }
    SECTION("receiving into no room") {
        CHECK(aborts_with_pair([](ferry::event_loop& loop, net::socket& server) {
            char buffer = 0;
            loop.run(server.receive(&buffer, 0));
        }));
    }
}
