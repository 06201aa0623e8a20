// tests/server/serve_until_signal_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/error.hpp>
#include <ferry/core/shield.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/virtual_clock.hpp>
#include <ferry/net/address.hpp>
#include <ferry/server/serve_options.hpp>
#include <ferry/server/server.hpp>

#include "server/apps.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

#include <sys/socket.h>
#include <unistd.h>

using namespace ferry_test;
using namespace std::chrono_literals;

namespace {
std::atomic<int> handled{0};
void count_signal(int) { ++handled; }

/// What the process does with a signal, as long as it lives.
class handling {
public:
    handling(int number, void (*handler)(int)) : number_(number) {
        handled = 0;
        struct sigaction action {};
        action.sa_handler = handler;
        ::sigaction(number_, &action, &before_);
    }
    ~handling() { ::sigaction(number_, &before_, nullptr); }
    handling(const handling&) = delete;
    handling& operator=(const handling&) = delete;

    /// Whoever set it last.
    [[nodiscard]] static auto of(int number) {
        struct sigaction now {};
        ::sigaction(number, nullptr, &now);
        return now.sa_handler;
    }

private:
    int number_;
    struct sigaction before_ {};
};

/// What a program does that serves until a signal, on the test's thread; time stands still. Each request is answered
/// once it may be; a refusing program's requests do not end before that, whoever cancels them.
class program {
public:
    explicit program(bool refuses = false)
        : refuses_(refuses),
          loop_(clock_),
          may_answer_(loop_),
          serving_(ferry::spawn(loop_, ferry::serve_until_signal(
                                           [this](app::scope, app::receive, app::send send) { return answer(send); },
                                           ferry::serve_options().port(0).on_listening(
                                               [](const ferry::net::address& at) { where() = at; })))) {
        turn();
    }
    ~program() {
        may_answer_.set();
        loop_.close();
    }
    program(const program&) = delete;
    program& operator=(const program&) = delete;

    [[nodiscard]] static ferry::net::address& where() {
        static ferry::net::address listening;
        return listening;
    }
    void turn() { loop_.run_until_idle(); }
    /// Sends this process a signal, and runs until nothing more comes of it.
    void get(int number) {
        std::raise(number);
        turn();
    }
    /// Turns until that is so; throws after 20 seconds of real time.
    template <class Condition>
    void until(Condition is_so) {
        const auto give_up = std::chrono::steady_clock::now() + 20s;
        for (turn(); !is_so(); turn()) {
            if (std::chrono::steady_clock::now() > give_up) throw std::runtime_error("it did not come to that");
        }
    }
    void let_answer() { may_answer_.set(); }
    [[nodiscard]] bool ended() const { return serving_.is_ready(); }
    /// Throws what serve_until_signal threw.
    void result() { serving_.get(); }

    int running = 0;
    int cancelled = 0;

private:
    ferry::task<> answer(app::send send) {
        ++running;
        try {
            co_await may_answer_.wait();
        } catch (const ferry::cancelled&) {
            ++cancelled;
            if (!refuses_) throw;
        }
        co_await ferry::shield(may_answer_.wait());
        co_await respond(send, "answered");
    }

    const bool refuses_;
    ferry::virtual_clock clock_;
    ferry::event_loop loop_;
    ferry::event may_answer_;
    ferry::future<void> serving_;
};

class client {
public:
    client() : descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        connected_ = ::connect(descriptor_, program::where().data(), program::where().size()) == 0;
    }
    ~client() { ::close(descriptor_); }
    client(const client&) = delete;
    client& operator=(const client&) = delete;

    [[nodiscard]] bool connected() const { return connected_; }
    void ask() {
        constexpr std::string_view request = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        REQUIRE(::send(descriptor_, request.data(), request.size(), MSG_NOSIGNAL) == ::ssize_t(request.size()));
    }
    void leave() { ::shutdown(descriptor_, SHUT_RDWR); }
    /// All that has come up to now.
    [[nodiscard]] const std::string& received() {
        char buffer[4096];
        for (;;) {
            const ::ssize_t count = ::recv(descriptor_, buffer, sizeof buffer, MSG_DONTWAIT);
            if (count <= 0) return received_;
            received_.append(buffer, static_cast<std::size_t>(count));
        }
    }

private:
    int descriptor_;
    bool connected_;
    std::string received_;
};
}  // namespace

TEST_CASE("the first signal refuses new clients, and lets requests finish", "[server][serve_until_signal][mt]") {
    for (const int number : {SIGINT, SIGTERM}) {
        const handling own(number, &count_signal);
        program server;
        client asking;
        asking.ask();
        server.until([&] { return server.running == 1; });
        server.get(number);
        CHECK_FALSE(client().connected());
        CHECK_FALSE(server.ended());
        CHECK(server.cancelled == 0);
        server.let_answer();
        server.until([&] { return asking.received().find("answered") != std::string::npos; });
        CHECK(asking.received().substr(0, 13) == "HTTP/1.1 200 ");
        asking.leave();
        server.until([&] { return server.ended(); });
        CHECK_NOTHROW(server.result());
        CHECK(handled == 0);
    }
}

TEST_CASE("the second signal cancels the applications that run", "[server][serve_until_signal][mt]") {
    const handling interrupt(SIGINT, &count_signal);
    const handling terminate(SIGTERM, &count_signal);
    program server;
    client asking;
    client another;
    asking.ask();
    another.ask();
    server.until([&] { return server.running == 2; });
    server.get(SIGTERM);
    CHECK(server.cancelled == 0);
    server.get(SIGINT);
    CHECK(server.cancelled == 2);
    REQUIRE(server.ended());
    CHECK_NOTHROW(server.result());
    CHECK(handled == 0);
}

TEST_CASE("the third signal does what it does without a server, whatever refuses to end",
          "[server][serve_until_signal][mt]") {
    const handling interrupt(SIGINT, &count_signal);
    const handling terminate(SIGTERM, &count_signal);
    program server(true);
    client asking;
    asking.ask();
    server.until([&] { return server.running == 1; });
    server.get(SIGTERM);
    server.get(SIGTERM);
    CHECK(server.cancelled == 1);
    CHECK_FALSE(server.ended());
    CHECK(handled == 0);
    server.get(SIGTERM);
    CHECK(handled == 1);
    server.get(SIGINT);
    CHECK(handled == 2);
    server.let_answer();
    server.until([&] { return server.ended(); });
    CHECK_NOTHROW(server.result());
}

TEST_CASE("a server ignores SIGPIPE where the program has no handler for it", "[server][serve_until_signal][mt]") {
    SECTION("nothing is set: it stays ignored when the server has ended") {
        const handling none(SIGPIPE, SIG_DFL);
        {
            const program server;
            CHECK(handling::of(SIGPIPE) == SIG_IGN);
        }
        CHECK(handling::of(SIGPIPE) == SIG_IGN);
    }
    SECTION("the program's handler stays") {
        const handling own(SIGPIPE, &count_signal);
        const program server;
        CHECK(handling::of(SIGPIPE) == &count_signal);
    }
}
