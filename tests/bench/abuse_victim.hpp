// tests/bench/abuse_victim.hpp - a server in a process of its own, how much memory it has, and how well it serves others
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/ferry.hpp>

#include "child_process.hpp"
#include "delays.hpp"
#include "soak_client.hpp"

#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <malloc.h>
#include <poll.h>
#include <unistd.h>

namespace ferry_bench {
namespace app = ferry::app;

/// Sends every WebSocket message back, and answers every request when its body has come.
inline ferry::task<> echo_all(app::scope scope, app::receive receive, app::send send) {
    if (!scope.is_websocket()) {
        for (bool more = true; more;) {
            const app::message next = co_await receive();
            const auto* piece = std::get_if<app::http_request>(&next);
            if (piece == nullptr) co_return;
            more = piece->more_body();
        }
        co_await send(app::http_response_start(200));
        co_await send(app::http_response_body("hello\n"));
        co_return;
    }
    for (;;) {
        app::message incoming = co_await receive();
        if (std::holds_alternative<app::websocket_connect>(incoming)) co_await send(app::websocket_accept());
        if (std::holds_alternative<app::websocket_disconnect>(incoming)) co_return;
        if (auto* message = std::get_if<app::websocket_receive>(&incoming)) {
            app::websocket_send answer = app::websocket_send::binary(message->take_data());
            if (message->is_text()) answer = app::websocket_send::text(std::string(answer.data()));
            co_await send(answer);
        }
    }
}

/// The server's process. It answers each word of the parent's with its number of connections.
inline void be_victim(process_link& parent, const ferry::serve_options& options) {
    ferry::event_loop loop;
    ferry::server server(loop, &echo_all, {ferry::net::address("127.0.0.1", 0)}, options);
    parent.send(server.address().port());
    parent.send(::getpid());
    ferry::set_report_sink([](const char*) noexcept {});
    loop.run(ferry::with_task_group([&](ferry::task_group& tasks) -> ferry::task<> {
        tasks.start(server.run());
        for (;;) {
            const char word =
                co_await ferry::to_thread([](process_link* from) { return from->receive<char>(); }, &parent);
            if (word == 'q') break;
            ::malloc_trim(0);
            parent.send(server.connections());
        }
        tasks.cancel();
    }));
}

class victim {
public:
    explicit victim(const ferry::serve_options& options)
        : process_([&options](process_link& parent) { be_victim(parent, options); }),
          port_(process_.link().receive<std::uint16_t>()),
          id_(process_.link().receive<::pid_t>()) {}

    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    /// Connections, after it has given back what memory it can.
    [[nodiscard]] std::size_t connections() {
        process_.link().send('c');
        return process_.link().receive<std::size_t>();
    }
    [[nodiscard]] double resident_mib() const { return status("VmRSS:"); }
    /// The most there was since forget_peak().
    [[nodiscard]] double peak_mib() const { return status("VmHWM:"); }
    void forget_peak() const { std::ofstream("/proc/" + std::to_string(id_) + "/clear_refs") << 5; }

private:
    [[nodiscard]] double status(const std::string& name) const {
        std::ifstream file("/proc/" + std::to_string(id_) + "/status");
        for (std::string word; file >> word;) {
            std::uint64_t kib = 0;
            if (word == name && file >> kib) return static_cast<double>(kib) / 1024;
        }
        throw std::runtime_error("the server has ended");
    }

    child_process process_;
    std::uint16_t port_;
    ::pid_t id_;
};

/// A client that does nothing wrong, in a thread of its own: 200 times a second it says something and waits for the echo.
class bystander {
public:
    explicit bystander(std::uint16_t port) : client_(port), thread_([this] { talk(); }) {}
    ~bystander() { stop(); }
    bystander(const bystander&) = delete;
    bystander& operator=(const bystander&) = delete;

    /// How long it waited; what went wrong is thrown.
    delay_summary stop() {
        done_ = true;
        if (thread_.joinable()) thread_.join();
        if (!failure_.empty()) throw std::runtime_error("the bystander: " + failure_);
        return waits_.summary();
    }

private:
    void talk() {
        try {
            client_.open_websocket("/");
            while (!client_.accepted()) wait([](std::string_view) {});
            for (std::size_t number = 0; !done_; ++number) {
                const std::string said = "message " + std::to_string(number);
                const auto since = std::chrono::steady_clock::now();
                bool heard = false;
                client_.send_text(said);
                while (!heard) wait([&](std::string_view text) { heard = text == said; });
                waits_.add(std::chrono::steady_clock::now() - since);
                std::this_thread::sleep_for(std::chrono::milliseconds(5));
            }
        } catch (const std::exception& error) {
            failure_ = error.what();
        }
    }
    template <class OnText>
    void wait(OnText on_text) {
        ::pollfd question{};
        question.fd = client_.descriptor();
        question.events = POLLIN;
        if (::poll(&question, 1, 20'000) <= 0) throw std::runtime_error("no answer for 20 s");
        client_.receive(on_text);
        if (client_.ended()) throw std::runtime_error("the server has closed the connection");
    }

    soak_client client_;
    delays waits_;
    std::string failure_;
    std::atomic<bool> done_{false};
    std::thread thread_;
};
}  // namespace ferry_bench
