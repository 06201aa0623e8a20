// tests/client/scripted_server.hpp - a server that says what a test wrote down, whatever it is asked
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/net/listener.hpp>
#include <ferry/net/stream.hpp>

#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace ferry_test {
/// Answers each head with the next text; an empty one closes the connection instead. The last one closes it, too, unless
/// it is to stay open then.
class script {
public:
    explicit script(std::vector<std::string> answers, bool stays_open = false)
        : answers_(answers.begin(), answers.end()), stays_open_(stays_open) {}

    template <ferry::net::stream Stream>
    ferry::task<> serve(Stream& client) {
        std::string unread;
        try {
            while (stays_open_ || !answers_.empty()) {
                const std::size_t end = unread.find("\r\n\r\n");
                if (end == std::string::npos || answers_.empty()) {
                    const ferry::net::borrowed_bytes bytes = co_await client.receive();
                    if (bytes.empty()) co_return;
                    unread += bytes.view();
                    continue;
                }
                heads_.push_back(unread.substr(0, end + 4));
                unread.erase(0, end + 4);
                const std::string answer = std::move(answers_.front());
                answers_.pop_front();
                if (answer.empty()) break;
                co_await client.send_all(answer);
            }
            unread_ = unread;
            client.close();
        } catch (const ferry::disconnected&) {}
    }
    [[nodiscard]] const std::vector<std::string>& heads() const { return heads_; }
    /// What came behind the last head that it has read.
    [[nodiscard]] const std::string& unread() const { return unread_; }

private:
    std::deque<std::string> answers_;
    bool stays_open_;
    std::vector<std::string> heads_;
    std::string unread_;
};

/// The same over sockets, one connection after another, until its loop closes.
class scripted_server {
public:
    scripted_server(ferry::event_loop& loop, std::vector<std::string> answers)
        : shared_(std::make_shared<state>(loop, std::move(answers))), running_(ferry::spawn(loop, run(shared_))) {}

    [[nodiscard]] std::string url() const { return "http://" + shared_->door.local().to_string() + "/"; }
    [[nodiscard]] const script& said() const { return shared_->lines; }
    [[nodiscard]] int connections() const { return shared_->connections; }

private:
    struct state {
        state(ferry::event_loop& loop, std::vector<std::string> answers)
            : lines(std::move(answers)), door(loop, ferry::net::address("127.0.0.1", 0)) {}
        script lines;
        ferry::net::listener door;
        int connections = 0;
    };

    static ferry::task<> run(std::shared_ptr<state> shared) {
        for (;;) {
            ferry::net::socket client = co_await shared->door.accept();
            ++shared->connections;
            co_await shared->lines.serve(client);
        }
    }

    std::shared_ptr<state> shared_;
    ferry::future<void> running_;
};
}  // namespace ferry_test
