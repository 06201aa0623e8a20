// ferry/server/connection.hpp - one accepted connection, from its first octet to its last
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/application.hpp>
#include <ferry/core/cancellation.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/http/request_parser.hpp>
#include <ferry/http/writer.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/net/socket.hpp>
#include <ferry/net/stream.hpp>
#include <ferry/server/application_call.hpp>
#include <ferry/server/http_exchange.hpp>
#include <ferry/server/outbox.hpp>
#include <ferry/server/peer_watch.hpp>
#include <ferry/server/serve_options.hpp>
#include <ferry/server/server_context.hpp>
#include <ferry/server/shown.hpp>
#include <ferry/server/websocket_exchange.hpp>
#include <ferry/websocket/handshake.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <sys/socket.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Reads requests one after another and runs the application for each; a WebSocket is the last of them.
///
/// While an application runs, a second task reads: the body, or the WebSocket's messages, and the end of the client.
/// That task ends with the application. All output goes through the outbox.
class connection : public list_hook<connection> {
public:
    connection(server_context& server, net::socket socket)
        : server_(server), options_(server.options()), socket_(std::move(socket)), parser_(options_.http_limits()) {}

    /// The whole life of the connection. Throws nothing but `cancelled`.
    task<> run();

    /// Ends it if it is between two requests; tells a WebSocket that the server goes away; lets a request finish, whose
    /// response says, if its head is still to come, that it is the last.
    void begin_shutdown();
    /// Called about once a second: pings a silent WebSocket, and drops one that does not answer; see also peer_watch.
    void check_liveness(event_loop::time_point now);

private:
    enum class next_step { exchange, close };

    /// Of what the client sends before it has been answered: a next request, or messages before the handshake.
    static constexpr std::size_t max_early_bytes = 64 * 1024;
    /// Of `pending_`, while the connection waits for a request.
    static constexpr std::size_t max_idle_bytes = 4 * 1024;

    task<> serve();
    task<next_step> read_head();
    task<next_step> try_read_head();
    task<bool> serve_request();
    task<> read_body(http_exchange& exchange, application_call& application, task_group& tasks);
    task<> serve_websocket();
    task<> read_messages(websocket_exchange& exchange, application_call& application, task_group& tasks);
    task<> close_gently();
    http::request_event take_body(std::string& piece);
    bool skip_body();

    /// More octets into `pending_`; false at the end of the stream.
    task<bool> receive_more();
    void refuse(int status, std::string_view why, const http::headers& fields = http::headers());

    server_context& server_;
    const serve_options& options_;
    net::socket socket_;
    std::optional<outbox> out_;  // both from the start of run()
    std::optional<peer_watch> watch_;
    http::request_parser parser_;
    std::string pending_;           // received, not read by the parser yet
    cancel_scope* idle_ = nullptr;  // what runs at the moment, if anything: the wait for a request, or an application
    http_exchange* http_ = nullptr;
    websocket_exchange* websocket_ = nullptr;
    bool cut_ = false;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline task<> connection::run() {
    co_await with_task_group([this](task_group& tasks) -> task<> {
        out_.emplace(server_.loop(), socket_, tasks, options_.high_water_mark());
        watch_.emplace(server_.loop(), socket_, *out_, options_);
        try {
            co_await serve();
            if (!cut_) co_await close_gently();
        } catch (const disconnected&) {
        } catch (const std::exception& error) {
            report("ferry: connection of " + socket_.peer().to_string() + ": " + error.what());
        }
        out_->set_broken();
        tasks.cancel();  // the task that still drains, if any: nobody reads at the other end
    });
    if (cut_ || watch_->gave_up()) socket_.abort();  // only now does no task wait for it
}

inline task<> connection::serve() {
    for (;;) {
        if (co_await read_head() == next_step::close) co_return;
        if (options_.websockets() && websocket::wants_websocket(parser_.head())) {
            co_await serve_websocket();
            co_return;
        }
        const bool goes_on = co_await serve_request();
        if (cut_) co_return;
        // Whoever takes his time over a response is neither idle nor late to close.
        if (!goes_on || out_->unwritten_bytes() > options_.high_water_mark()) {
            const bool written = co_await out_->drained(options_.stall_timeout());
            if (!written) co_return;
        }
        if (!goes_on || server_.stopping()) co_return;
        parser_.next();
    }
}

inline task<connection::next_step> connection::read_head() {
    logical_task& self = co_await current_task();
    entered_scope idle(self);
    const shown<cancel_scope> for_shutdown(idle_, idle);
    if (server_.stopping()) idle.cancel();
    try {
        co_return co_await try_read_head();
    } catch (const cancelled&) {
        if (!idle.cancelled_here()) throw;
    }
    co_return next_step::close;
}

inline task<connection::next_step> connection::try_read_head() {
    auto deadline = event_loop::time_point::max();
    bool first = true;
    for (;;) {
        std::string_view unread = pending_;
        const http::request_event found = parser_.read(unread);
        pending_.erase(0, pending_.size() - unread.size());
        if (found == http::request_event::head) co_return next_step::exchange;
        if (found == http::request_event::error) {
            refuse(parser_.error().status(), parser_.error().reason());
            co_return next_step::close;
        }
        if (pending_.capacity() > max_idle_bytes) std::string().swap(pending_);  // empty now, and perhaps for long
        const event_loop::time_point now = server_.loop().now();
        const bool idle = parser_.idle();
        // Empty lines may come before a request, and leave the parser idle: they have their time, too.
        if ((!idle || !first) && deadline == event_loop::time_point::max()) deadline = now + options_.header_timeout();
        const auto limit = first && idle ? std::chrono::nanoseconds(options_.keep_alive_timeout())
                                         : std::chrono::nanoseconds(deadline - now);
        first = false;
        bool alive = false;
        bool late = false;
        try {
            alive = co_await timeout(limit, receive_more());
        } catch (const timeout_error&) {
            late = true;
        }
        if (late && deadline == event_loop::time_point::max() && out_->unwritten_bytes() != 0) {
            // It still has to take what is left of the response before: its time to ask again begins then.
            const bool written = co_await out_->drained(options_.stall_timeout());
            late = !written;
            alive = first = written;
        }
        if (late && !idle) refuse(408, "the request head did not arrive in time");
        if (late || !alive) co_return next_step::close;
    }
}

inline task<bool> connection::receive_more() {
    const net::borrowed_bytes octets = co_await socket_.receive();
    pending_.append(octets.view());
    co_return !octets.empty();
}

inline task<bool> connection::serve_request() {
    http_exchange exchange(*out_, parser_.head(), options_.body_high_water_mark(), server_.date());
    const shown<http_exchange> for_shutdown(http_, exchange);
    if (server_.stopping()) exchange.writer().close_connection();
    app::scope what(app::protocol::http, parser_.take_head(), socket_.peer(), socket_.local());
    application_call application(server_, what.raw_path());
    bool failed = false;
    co_await with_task_group([&](task_group& tasks) -> task<> {
        tasks.start(read_body(exchange, application, tasks));
        failed = !co_await application.run(what, app::receive(exchange.incoming()), app::send(exchange));
        tasks.cancel();
    });
    if (!exchange.finish(failed)) {
        if (!exchange.was_cut()) application.report(" ended before its response did; the connection is cut");
        cut_ = true;
        co_return false;
    }
    co_return exchange.writer().keep_alive() && skip_body();
}

/// What has come of the body in one piece, however many chunks it came in, and what is behind it.
inline http::request_event connection::take_body(std::string& piece) {
    std::string_view unread = pending_;
    http::request_event found = parser_.read(unread);
    for (; found == http::request_event::body; found = parser_.read(unread)) piece.append(parser_.body());
    pending_.erase(0, pending_.size() - unread.size());
    return found;
}

/// What the application left unread of the body comes before the next request. True if all of it is here already;
/// otherwise the connection ends rather than wait for it.
inline bool connection::skip_body() {
    std::string unwanted;
    return take_body(unwanted) == http::request_event::end;
}

/// Feeds the application with the body, then waits for the client to go away.
inline task<> connection::read_body(http_exchange& exchange, application_call& application, task_group& tasks) {
    try {
        if (exchange.wants_continue() && !exchange.writer().started()) {
            exchange.writer().interim(100);
            out_->touch();
        }
        watch_->begin_body();
        for (bool complete = false; !complete;) {
            std::string piece;
            const http::request_event found = take_body(piece);
            if (const std::size_t bytes = piece.size(); bytes != 0) {
                exchange.incoming().push(app::http_request(std::move(piece), true), bytes);
                if (exchange.incoming().full()) co_await watch_->room(exchange.incoming());
                if (out_->broken()) break;
            }
            switch (found) {
                case http::request_event::end:
                    exchange.incoming().push(app::http_request::end(parser_.trailers()), 0);
                    complete = true;
                    break;
                case http::request_event::error:
                    exchange.refuse(parser_.error().status(), parser_.error().reason());
                    complete = true;
                    break;
                default:
                    if (!co_await watch_->more_body(receive_more(), pending_)) {
                        if (watch_->trickles()) exchange.refuse(408, "the request body comes too slowly");
                        exchange.cut();
                        complete = true;
                    }
            }
        }
        // The next request may come early. It is kept until this one has been answered; as the client's end comes behind
        // it, reading goes on for a while.
        while (!exchange.incoming().ended() && pending_.size() < max_early_bytes) {
            if (!co_await receive_more()) exchange.disconnect();
        }
        if (!exchange.incoming().ended()) {
            co_await watch_->end();
            exchange.disconnect();
        }
    } catch (const std::runtime_error&) {  // reset by the client, or a network that fails
        out_->set_broken();
    }
    if (!exchange.writer().finished()) co_await application.give_time(tasks);
}

inline task<> connection::serve_websocket() {
    auto checked = websocket::check_handshake(parser_.head(), options_.websocket_origins());
    if (const auto* refusal = std::get_if<websocket::handshake_refusal>(&checked)) {
        refuse(refusal->status(), refusal->reason(), refusal->headers());
        co_return;
    }
    websocket::handshake& opening = std::get<websocket::handshake>(checked);
    std::vector<std::string> offered = opening.subprotocols();
    websocket_exchange exchange(server_, *out_, parser_.head(), std::move(opening));
    app::scope what(app::protocol::websocket, parser_.take_head(), socket_.peer(), socket_.local(), std::move(offered));
    application_call application(server_, what.raw_path());
    exchange.keep_early(pending_);
    std::string().swap(pending_);
    const shown<websocket_exchange> for_shutdown(websocket_, exchange);
    if (server_.stopping()) exchange.go_away();
    co_await with_task_group([&](task_group& tasks) -> task<> {
        tasks.start(read_messages(exchange, application, tasks));
        const bool failed = !co_await application.run(what, app::receive(exchange.incoming()), app::send(exchange));
        exchange.finish(failed);
        co_await exchange.until_closed();  // for as long as check_liveness() lets it
        tasks.cancel();
    });
}

inline task<> connection::read_messages(websocket_exchange& exchange, application_call& application,
                                        task_group& tasks) {
    try {
        while (!exchange.closed()) {
            net::borrowed_bytes octets = co_await socket_.receive();
            exchange.heard();
            if (exchange.closed()) break;  // by what had come before the handshake was complete
            if (octets.empty()) {
                exchange.lost();
            } else if (!exchange.accepted()) {
                exchange.keep_early(octets.view());
                if (exchange.early_bytes() > max_early_bytes) exchange.lost();
            } else {
                exchange.feed(octets.data(), octets.size());
                while (!exchange.take_events()) {
                    co_await watch_->room(exchange.incoming());
                    if (!exchange.closed()) co_await watch_->pause(exchange.resumes_at());
                }
            }
        }
    } catch (const std::runtime_error&) {  // reset by the client, or a network that fails
        out_->set_broken();
        exchange.lost();
    }
    if (exchange.answers()) {
        co_await sleep_for(options_.close_timeout());
        exchange.conclude();
    }
    co_await application.give_time(tasks);
}

inline void connection::refuse(int status, std::string_view why, const http::headers& fields) {
    http::response_writer writer(out_->buffer(), parser_.head());
    write_error_response(writer, server_.date(), status, why, fields);
    out_->touch();
}

/// Writes what is left, says that nothing follows, and waits a little for the client to close: closing a socket with
/// unread octets would reset it, and the client might lose the response (RFC 9112 9.6).
inline task<> connection::close_gently() {
    const bool written = co_await out_->drained(options_.close_timeout());
    if (!written) co_return;
    // A client that owes nothing, and is sent away between two requests, has nothing to lose.
    if (server_.stopping() && pending_.empty() && parser_.idle()) co_return;
    co_await net::lingering_close(socket_, options_.close_timeout());
}

inline void connection::begin_shutdown() {
    if (idle_ != nullptr) idle_->cancel();
    if (http_ != nullptr) http_->writer().close_connection();
    if (websocket_ != nullptr) websocket_->go_away();
}

inline void connection::check_liveness(event_loop::time_point now) {
    if (watch_) watch_->check(now);
    if (websocket_ == nullptr || websocket_->check_alive(now)) return;
    out_->set_broken();
    websocket_->lost();
    ::shutdown(socket_.descriptor(), SHUT_RDWR);  // the task that reads sees the end
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
