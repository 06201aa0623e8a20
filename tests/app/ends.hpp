// tests/app/ends.hpp - what is at the other end of an application's receive and send
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/application.hpp>
#include <ferry/app/message.hpp>
#include <ferry/app/receive.hpp>
#include <ferry/app/scope.hpp>
#include <ferry/app/send.hpp>
#include <ferry/core/error.hpp>
#include <ferry/http/request_parser.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/net/address.hpp>

#include <deque>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ferry_test {
namespace app = ferry::app;

/// A scope as a server would make it of this request.
inline app::scope scope_of(const std::string& request, app::protocol type = app::protocol::http) {
    ferry::http::request_parser parser;
    std::string_view octets = request;
    if (parser.read(octets) != ferry::http::request_event::head) throw std::invalid_argument("not a request");
    return app::scope(type, parser.take_head(), ferry::net::address("192.0.2.7", 50000),
                      ferry::net::address("127.0.0.1", 8000));
}
inline app::scope scope_for(const std::string& target, app::protocol type = app::protocol::http) {
    return scope_of("GET " + target + " HTTP/1.1\r\nHost: test\r\n\r\n", type);
}

/// Yields what the test pushes.
class manual_source final : public app::message_source {
public:
    void push(app::message what) {
        queue_.push_back(std::move(what));
        notify();
    }
    [[nodiscard]] bool has_message() const noexcept override { return !queue_.empty(); }
    [[nodiscard]] app::message take() override {
        app::message next = std::move(queue_.front());
        queue_.pop_front();
        return next;
    }

private:
    std::deque<app::message> queue_;
};

/// Writes down what is delivered, one line each.
class recording_sink final : public app::message_sink {
public:
    void deliver(app::http_response_start& what) override {
        if (is_gone) throw ferry::disconnected("send: the client is gone");
        std::string line = "start " + std::to_string(what.status());
        for (const ferry::http::header field : what.headers()) {
            line.append(" ").append(field.name).append("=").append(field.value);
        }
        lines.push_back(line);
    }
    void deliver(app::http_response_body& what) override {
        lines.push_back("body " + std::exchange(what.body(), std::string()) + (what.more_body() ? "..." : ""));
    }
    void deliver(app::websocket_accept& what) override { lines.push_back("accept " + what.subprotocol()); }
    void deliver(app::websocket_send& what) override { lines.push_back("send " + what.data()); }
    void deliver(app::websocket_close& what) override {
        lines.push_back("close " + std::to_string(what.code()) + " " + what.reason());
    }
    void deliver(app::custom_message& what) override { lines.push_back("custom " + what.name()); }
    void above(bool is_above) noexcept { set_above_high_water_mark(is_above); }

    std::vector<std::string> lines;
    bool is_gone = false;  // nobody reads the responses
};

/// What an application sends in answer to this scope, when it receives nothing.
template <class App>
std::vector<std::string> lines_of(const App& application, const app::scope& what) {
    ferry::event_loop loop;
    manual_source source;
    recording_sink sink;
    loop.run(application(what, app::receive(source), app::send(sink)));
    return sink.lines;
}
}  // namespace ferry_test
