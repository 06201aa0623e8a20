// ferry/middleware/access_log.hpp - one line for each request and each WebSocket
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/middleware.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/websocket/frame.hpp>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace ferry::inline FERRY_ABI {
/// Writes, when a response or a WebSocket has ended, a line such as
///
///     127.0.0.1:53312 "GET /room/lobby" 200 5120 bytes 1.3 ms
///     127.0.0.1:53314 "websocket /ws/lobby" 1000 17 messages 63021.8 ms
///
/// The status is 500, or the close code 1011, where the application failed to send one: the server does so then. It is 0
/// where the client had gone before. Control characters and quotes of the path are escaped, so a client cannot forge a
/// line.
///
/// Ownership  Keeps the function that takes the lines; by default they go to stderr.
class access_log : public app::middleware_tag {
public:
    using line_function = void (*)(const std::string& line);
    explicit access_log(line_function write = &to_stderr) noexcept : write_(write) {}

    template <app::application App>
    class logged;
    template <app::application App>
    logged<App> operator()(App app) const {
        return logged<App>(write_, std::move(app));
    }

private:
    static void to_stderr(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }
    line_function write_;
};

namespace detail {
inline std::string escaped_for_log(std::string_view text) {
    std::string out;
    for (const char letter : text) {
        const auto octet = static_cast<unsigned char>(letter);
        if (octet >= 0x20 && octet < 0x7f && letter != '"' && letter != '\\') {
            out += letter;
        } else {
            char code[5];
            std::snprintf(code, sizeof code, "\\x%02x", static_cast<unsigned>(octet));
            out += code;
        }
    }
    return out;
}

/// Counts what goes out on its way, and writes the line at the end, however the application ends.
class access_record : public app::send_filter<access_record> {
public:
    access_record(const app::scope& what, app::send next, access_log::line_function write)
        : send_filter(next), scope_(what), write_(write), loop_(*event_loop::current()), begin_(loop_.now()) {}
    ~access_record();
    access_record(const access_record&) = delete;
    access_record& operator=(const access_record&) = delete;

    void deliver(app::http_response_start& start) {
        const int status = start.status();
        pass(start);
        status_ = status;
    }
    void deliver(app::http_response_body& piece) {
        const std::size_t bytes = piece.body().size();
        pass(piece);
        count_ += bytes;
    }
    void deliver(app::websocket_accept& accept) {
        pass(accept);
        accepted_ = true;
    }
    void deliver(app::websocket_send& data) {
        pass(data);
        ++count_;
    }
    void deliver(app::websocket_close& close) {
        const int status = accepted_ ? close.code() : 403;
        pass(close);
        status_ = status;
    }
    void closed_by_peer(int code) noexcept {
        client_left_ = true;
        status_ = code;
    }
    void client_left() noexcept { client_left_ = true; }
    /// What the server makes of an application that has ended without an end of its own.
    void ended(bool failed) noexcept {
        if (status_ != 0 || client_left_) return;
        status_ = !accepted_ ? 500 : failed ? websocket::close_code::internal_error : websocket::close_code::normal;
    }

private:
    /// What is thrown here says that the client has gone; the application's own `disconnected` may mean anybody.
    template <class T>
    void pass(T& what) {
        try {
            next().deliver(what);
        } catch (const disconnected&) {
            client_left_ = true;
            throw;
        }
    }

    app::scope scope_;
    access_log::line_function write_;
    event_loop& loop_;
    event_loop::time_point begin_;
    int status_ = 0;
    std::size_t count_ = 0;
    bool accepted_ = false;
    bool client_left_ = false;
};

inline access_record::~access_record() {
    const std::chrono::duration<double, std::milli> took = loop_.now() - begin_;
    char numbers[96];
    std::snprintf(numbers, sizeof numbers, " %d %zu %s %.1f ms", status_, count_,
                  scope_.is_websocket() ? "messages" : "bytes", took.count());
    const std::string_view verb = scope_.is_websocket() ? std::string_view("websocket") : scope_.method();
    write_(scope_.client().to_string() + " \"" + std::string(verb) + " " + escaped_for_log(scope_.raw_path()) + "\"" +
           numbers);
}

/// Notes the peer's end, and its close code, on the way in.
class disconnect_watch : public app::receive_filter<disconnect_watch> {
public:
    disconnect_watch(app::receive next, access_record& record) noexcept : receive_filter(next), record_(record) {}
    void received(app::message& what) noexcept {
        if (const auto* end = std::get_if<app::websocket_disconnect>(&what)) record_.closed_by_peer(end->code());
        if (std::holds_alternative<app::http_disconnect>(what)) record_.client_left();
    }

private:
    access_record& record_;
};
}  // namespace detail

template <app::application App>
class access_log::logged {
public:
    logged(line_function write, App app) : write_(write), app_(std::move(app)) {}
    task<> operator()(app::scope what, app::receive in, app::send out) const {
        detail::access_record record(what, out, write_);
        detail::disconnect_watch watch(in, record);
        try {
            co_await app_(std::move(what), watch.handle(), record.handle());
            record.ended(false);
        } catch (const cancelled&) {
            throw;
        } catch (...) {
            record.ended(true);
            throw;
        }
    }

private:
    line_function write_;
    App app_;
};
}  // namespace ferry::inline FERRY_ABI
