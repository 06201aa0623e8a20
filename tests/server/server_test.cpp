// tests/server/server_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/error.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/net/detail/descriptor.hpp>
#include <ferry/server/server.hpp>

#include "server/apps.hpp"
#include "support/catch.hpp"
#include "support/raw_client.hpp"
#include "support/reports.hpp"
#include "support/site.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace ferry_test;
using namespace std::chrono_literals;
using ferry::detail::frame_allocator;

namespace {
/// HTTP: the path, after as many seconds as it has octets beyond "/". WebSocket: an echo.
ferry::task<> mixed(app::scope scope, app::receive receive, app::send send) {
    if (scope.is_websocket()) {
        co_await echo(scope, receive, send);
    } else {
        co_await ferry::sleep_for(std::chrono::seconds(scope.path().size() - 1));
        co_await respond(send, std::string(scope.path()));
    }
}

/// Memory of this process that is in use; 0 where a sanitizer keeps what was freed.
std::size_t resident_bytes() {
    if (__asan_poison_memory_region != nullptr) return 0;
    unsigned long total = 0, resident = 0;
    std::FILE* const file = std::fopen("/proc/self/statm", "r");
    const int found = std::fscanf(file, "%lu %lu", &total, &resident);
    std::fclose(file);
    return found == 2 ? resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) : 0;
}

bool can_connect(const ferry::net::address& where) {
    const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool connected = ::connect(descriptor, where.data(), where.size()) == 0;
    ::close(descriptor);
    return connected;
}

/// One visit of each kind of client: those who say goodbye, those who vanish, in the middle of this or that.
void visit(site& server, int number) {
    raw_client client(server);
    switch (number % 6) {
        case 0:
            client.request("GET", "/");
            CHECK(client.read_response().status == 200);
            break;
        case 1:
            client.request("GET", "/night");  // does not wait for the answer
            server.turn();
            break;
        case 2:
            client.send("GET / HT");
            break;
        case 3:
            client.open_websocket();
            client.send_text("hello");
            CHECK(client.read_frame().payload == "hello");
            break;
        case 4:
            client.open_websocket();
            client.send(masked(0x81, "half a message").substr(0, 9));
            break;
        default:
            client.open_websocket();
            client.send_close(1000);
            CHECK(client.read_frame().op == ws::opcode::close);
    }
    client.reset();
}

/// Visits, and what they leave behind.
void many_visits(int count) {
    const reports reported;
    site server(mixed, ferry::serve_options().application_close_timeout(1s));
    const auto run = [&](int visits) {
        for (int number = 0; number < visits; ++number) {
            visit(server, number);
            if (number % 600 == 599) server.advance(1s);  // for applications that do not listen
        }
        server.advance(1s);
        server.until_empty();
    };
    run(1200);
    const std::int64_t frames = frame_allocator::live();
    const std::size_t bytes = resident_bytes();
    run(count);
    CHECK(frame_allocator::live() == frames);
    CHECK(resident_bytes() <= bytes + 2 * 1024 * 1024);
}
}  // namespace

TEST_CASE("beyond max_connections clients wait until another leaves", "[server][server]") {
    site server(mixed, ferry::serve_options().max_connections(2));
    raw_client first(server);
    raw_client second(server);
    raw_client third(server);
    third.request("GET", "/");
    CHECK(third.unread().empty());
    CHECK(server.server().connections() == 2);
    first.close();
    CHECK(third.read_response().status == 200);
    CHECK(server.server().connections() == 2);
}

TEST_CASE("a port that is in use is an error that names it", "[server][server]") {
    site first(mixed);
    ferry::event_loop loop;
    try {
        const ferry::server second(loop, mixed, std::vector<ferry::net::address>{first.address()});
        CHECK(false);
    } catch (const std::system_error& error) {
        CHECK(std::string(error.what()).find(first.address().to_string()) != std::string::npos);
    }
}

TEST_CASE("of several addresses the first that can be listened on is taken", "[server][server]") {
    site first(mixed);
    ferry::event_loop loop;
    const ferry::net::address any("127.0.0.1", 0);
    const ferry::server second(loop, mixed, std::vector<ferry::net::address>{first.address(), any});
    CHECK(second.address().port() != first.address().port());
    CHECK_THROWS_AS(ferry::server(loop, mixed, std::vector<ferry::net::address>{first.address(), first.address()}),
                    std::system_error);
    CHECK_THROWS_AS(ferry::server(loop, mixed, std::vector<ferry::net::address>()), std::invalid_argument);
}

TEST_CASE("servers share a port where each asks for it, and the kernel spreads the clients", "[server][server]") {
    site first(say_path, ferry::serve_options().reuse_port(true));
    const auto say_second = [](app::scope, app::receive, app::send send) -> ferry::task<> {
        co_await respond(send, "second");
    };
    const std::vector<ferry::net::address> there{first.address()};
    const auto quiet = ferry::serve_options().on_listening([](const ferry::net::address&) {});
    CHECK_THROWS_AS(ferry::server(first.loop(), say_second, there, quiet), std::system_error);
    ferry::server second(first.loop(), say_second, there, ferry::serve_options(quiet).reuse_port(true));
    const auto running = ferry::spawn(first.loop(), second.run());
    int of_first = 0;
    int of_second = 0;
    for (int visit = 0; visit < 64; ++visit) {
        raw_client client(first);
        client.request("GET", "/first");
        ++(client.read_response().body == "second" ? of_second : of_first);
    }
    CHECK(of_first > 0);
    CHECK(of_second > 0);
    second.stop();
    first.until([&] { return running.is_ready(); });
    for (int visit = 0; visit < 8; ++visit) {  // all that come now are the first one's
        raw_client client(first);
        client.request("GET", "/first");
        CHECK(client.read_response().body == "/first");
    }
}

TEST_CASE("the kernel keeps as many connections ready as backlog says", "[server][server]") {
    const auto kept_ready = [](ferry::serve_options options) {
        ferry::event_loop loop;  // which does not run: nobody accepts
        const ferry::server server(loop, mixed, {ferry::net::address("127.0.0.1", 0)}, std::move(options));
        std::deque<ferry::net::detail::unique_descriptor> clients;
        int established = 0;
        for (int client = 0; client < 20; ++client) {
            clients.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
            static_cast<void>(::connect(clients.back().get(), server.address().data(), server.address().size()));
            ::pollfd made{clients.back().get(), POLLOUT, 0};
            established += ::poll(&made, 1, 0) == 1 ? 1 : 0;
        }
        return established;
    };
    CHECK(kept_ready(ferry::serve_options()) == 20);
    CHECK(kept_ready(ferry::serve_options().backlog(3)) == 4);  // Linux keeps one more
}

TEST_CASE("a server without connections sleeps", "[server][server]") {
    site server(mixed);
    CHECK(server.loop().next_deadline() == ferry::event_loop::time_point::max());
    {
        raw_client client(server);
        client.request("GET", "/");
        CHECK(client.read_response().status == 200);
        CHECK(server.loop().next_deadline() <= server.loop().now() + 1s);
    }
    server.until_empty();
    server.advance(1s);
    CHECK(server.loop().next_deadline() == ferry::event_loop::time_point::max());
    raw_client again(server);
    again.open_websocket();
    CHECK(server.loop().next_deadline() <= server.loop().now() + 1s);
}

TEST_CASE("stopping refuses new connections and closes idle ones", "[server][server]") {
    site server(mixed);
    raw_client served(server);
    served.request("GET", "/");
    CHECK(served.read_response().status == 200);
    raw_client fresh(server);
    raw_client halfway(server);
    halfway.send("GET / HTTP/1.1\r\nHos");
    server.turn();
    server.server().stop();
    CHECK(served.at_end());
    CHECK(fresh.at_end());
    CHECK(halfway.at_end());
    CHECK_FALSE(can_connect(server.address()));
    CHECK_FALSE(server.ended());
    for (raw_client* client : {&served, &fresh, &halfway}) client->close();
    server.until([&] { return server.ended(); });
    CHECK(server.elapsed() == 0s);
}

TEST_CASE("stopping does not wait for clients that have asked for nothing", "[server][server]") {
    site server(mixed);
    raw_client served(server);
    served.request("GET", "/");
    CHECK(served.read_response().status == 200);
    raw_client fresh(server);
    server.until([&] { return server.server().connections() == 2; });
    server.server().stop();
    server.turn();  // time stands still, and neither client has closed its end
    CHECK(server.ended());
    CHECK(served.at_end());
    CHECK(fresh.at_end());
    CHECK(server.elapsed() == 0s);
}

TEST_CASE("stopping lets a running request finish", "[server][server]") {
    site server(mixed);
    raw_client client(server);
    client.request("GET", "/12");
    server.turn();
    server.server().stop();
    server.advance(1s);
    CHECK(client.unread().empty());
    server.advance(1s);
    CHECK(client.read_response().body == "/12");
    CHECK(client.at_end());
    client.close();
    server.until([&] { return server.ended(); });
}

TEST_CASE("a response whose head is still to come when the server stops says that it is the last", "[server][server]") {
    site server([](app::scope scope, app::receive, app::send send) -> ferry::task<> {
        if (scope.path() == "/begun") {
            co_await send(app::http_response_start(200));
            co_await send(app::http_response_body("begun, ", true));
        }
        co_await ferry::sleep_for(1s);
        if (scope.path() == "/later") co_await send(app::http_response_start(200));
        co_await send(app::http_response_body("ended"));
    });
    raw_client later(server);
    later.request("GET", "/later");
    raw_client begun(server);
    begun.request("GET", "/begun");
    server.until([&] { return !begun.unread().empty(); });
    server.server().stop();
    server.advance(1s);
    CHECK(later.read_response().has("Connection: close"));
    CHECK(later.at_end());
    CHECK(begun.read_response().body == "begun, ended");  // it had said otherwise
    CHECK(begun.at_end());
}

TEST_CASE("stopping closes WebSockets with 1001 and tells their applications", "[server][server]") {
    std::string seen;
    site server(note_disconnect(seen));
    raw_client client(server);
    client.open_websocket();
    raw_client undecided(server);
    server.server().stop();
    const sent_frame farewell = client.read_frame();
    CHECK(farewell.op == ws::opcode::close);
    CHECK(farewell.payload.substr(0, 2) == close_payload(1001));
    CHECK(seen.substr(0, 5) == "1001:");
    CHECK_FALSE(server.ended());
    client.send_close(1001);
    CHECK(client.at_end());
    client.close();
    undecided.close();
    server.until([&] { return server.ended(); });
    CHECK(server.elapsed() == 0s);
}

TEST_CASE("what does not end within shutdown_timeout is cancelled, with a report", "[server][server]") {
    const reports reported;
    site server(mixed, ferry::serve_options().shutdown_timeout(3s));
    raw_client slow(server);
    slow.request("GET", "/0123456789");
    server.turn();
    server.server().stop();
    server.advance(2s);
    CHECK_FALSE(server.ended());
    server.advance(1s);
    server.until([&] { return server.ended(); });
    CHECK(reported.mention("did not end within 3 s"));
    CHECK_THROWS_AS(slow.read_response(), std::runtime_error);
}

TEST_CASE("a server that waits for room stops at once", "[server][server]") {
    site server(mixed, ferry::serve_options().max_connections(1));
    raw_client only(server);
    server.turn();
    CHECK(server.server().connections() == 1);
    server.server().stop();
    only.close();
    server.until([&] { return server.ended(); });
}

TEST_CASE("a shutdown that waits for clients can be cut short", "[server][server]") {
    const std::int64_t frames = frame_allocator::live();
    {
        site server(mixed);
        raw_client running(server);
        running.request("GET", "/0123456789");
        raw_client open(server);
        open.open_websocket();
        server.server().stop();
        server.turn();
        CHECK(server.server().connections() == 2);
        server.loop().cancel_tasks();
        CHECK(server.ended());
        CHECK(server.server().connections() == 0);
    }
    CHECK(frame_allocator::live() == frames);
}

TEST_CASE("a client that dies in the middle leaves no task and no frame", "[server][server]") { many_visits(60); }

TEST_CASE("a connection that waits for its next request holds no buffer of the last one", "[server][server]") {
    site server([](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        const std::string body = co_await whole_body(receive);
        co_await respond(send, std::to_string(body.size()));
    });
    const std::string post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + std::string(60'000, 'x');
    std::deque<raw_client> clients;
    const auto serve = [&](int count) {
        for (int number = 0; number < count; ++number) {
            raw_client& client = clients.emplace_back(server);
            client.send(post);
            CHECK(client.read_response().body == "60000");
        }
    };
    serve(100);
    const std::size_t bytes = resident_bytes();
    serve(300);
    CHECK(resident_bytes() <= bytes + 300 * 10'000);
}

TEST_CASE("ten thousand visits leave memory where it was", "[server][server][.slow]") { many_visits(10'000); }
