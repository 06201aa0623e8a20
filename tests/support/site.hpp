// tests/support/site.hpp - a server under test, and the virtual time it lives in
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/application.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/virtual_clock.hpp>
#include <ferry/server/server.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace ferry_test {
/// A server on a port of its own. It runs while the test waits for something, on the test's thread; its time moves only
/// by advance().
class site {
public:
    explicit site(ferry::app::any_application app, ferry::serve_options options = ferry::serve_options())
        : loop_(clock_),
          server_(loop_, std::move(app), std::vector<ferry::net::address>{ferry::net::address("127.0.0.1", 0)},
                  options.on_listening([](const ferry::net::address&) {})),
          running_(ferry::spawn(loop_, server_.run())) {
        turn();
    }
    /// Stops it, however long its time limits are.
    ~site() {
        server_.stop();
        for (int seconds = 0; seconds < 100 && !running_.is_ready(); ++seconds) advance(std::chrono::seconds(1));
        if (!running_.is_ready()) loop_.close();
    }
    site(const site&) = delete;
    site& operator=(const site&) = delete;

    [[nodiscard]] ferry::server& server() noexcept { return server_; }
    [[nodiscard]] ferry::event_loop& loop() noexcept { return loop_; }
    [[nodiscard]] const ferry::net::address& address() const noexcept { return server_.address(); }
    /// Has run() returned?
    [[nodiscard]] bool ended() const { return running_.is_ready(); }
    [[nodiscard]] std::chrono::nanoseconds elapsed() const noexcept { return clock_.elapsed(); }

    void turn() { loop_.run_until_idle(); }
    void advance(std::chrono::nanoseconds by) {
        turn();
        clock_.advance(by);
        turn();
    }
    /// Turns until that is so; throws after 20 seconds of real time.
    template <class Condition>
    void until(Condition is_so) {
        const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        for (turn(); !is_so(); turn()) {
            if (std::chrono::steady_clock::now() > give_up) throw std::runtime_error("it did not come to that");
        }
    }
    /// Turns until no connection is left.
    void until_empty() {
        until([this] { return server_.connections() == 0; });
    }

private:
    ferry::virtual_clock clock_;
    ferry::event_loop loop_;
    ferry::server server_;
    ferry::future<void> running_;
};
}  // namespace ferry_test
