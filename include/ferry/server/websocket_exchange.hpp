// ferry/server/websocket_exchange.hpp - one WebSocket, between a connection and an application
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/message.hpp>
#include <ferry/app/send.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/http/request_head.hpp>
#include <ferry/http/writer.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/server/error_response.hpp>
#include <ferry/server/inbox.hpp>
#include <ferry/server/outbox.hpp>
#include <ferry/server/serve_options.hpp>
#include <ferry/server/server_context.hpp>
#include <ferry/websocket/control_rate.hpp>
#include <ferry/websocket/handshake.hpp>
#include <ferry/websocket/keep_alive.hpp>
#include <ferry/websocket/session.hpp>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// The server's side of an application's receive and send, for a WebSocket scope.
///
/// connecting --accept--> open --close, from either side--> closing --> closed
///            --close---> closed, with 403; or with the response that the application sends instead
class websocket_exchange final : public app::message_sink, private outbox::observer, private inbox::observer {
public:
    websocket_exchange(server_context& server, outbox& out, const http::request_head& head,
                       websocket::handshake opening)
        : server_(server),
          out_(out),
          incoming_(server.options().websocket_limits().max_queued_messages(),
                    server.options().websocket_limits().max_queued_bytes()),
          opening_(std::move(opening)),
          denial_(out.buffer(), head),
          session_(out.buffer(), server.options().websocket_limits()),
          controls_(server.options().websocket_limits().max_control_frames_per_second()),
          alive_(server.options().ping_interval(), server.options().pong_timeout(), server.loop().now()),
          over_(server.loop()) {
        out_.observe(this);
        incoming_.push(app::websocket_connect(), 0);
        incoming_.tell_end(this);
    }
    ~websocket_exchange() { out_.observe(nullptr); }

    [[nodiscard]] inbox& incoming() noexcept { return incoming_; }
    [[nodiscard]] bool accepted() const noexcept { return accepted_; }
    /// Nothing more will be read or written, but for what the outbox holds.
    [[nodiscard]] bool closed() const noexcept { return over_.is_set(); }
    [[nodiscard]] event::awaiter until_closed() noexcept { return over_.wait(); }

    // The connection's side.
    /// Octets that came before the handshake was complete are kept until it is.
    void keep_early(std::string_view octets) { early_.append(octets); }
    [[nodiscard]] std::size_t early_bytes() const noexcept { return early_.size(); }
    void feed(char* octets, std::size_t count) noexcept { session_.feed(octets, count); }
    void heard() noexcept { alive_.heard(server_.loop().now()); }
    /// Takes what was fed, until the inbox is full, or too many pings have come. False when there may be more: call it again
    /// once there is room, and at resumes_at().
    [[nodiscard]] bool take_events();
    [[nodiscard]] event_loop::time_point resumes_at() const noexcept { return controls_.resumes_at(); }
    /// The connection ended without a close frame.
    void lost() { end(websocket::close_code::abnormal, {}); }
    /// Pings a silent peer; false once it has not answered in time either, nor a close frame.
    [[nodiscard]] bool check_alive(event_loop::time_point now);
    /// Has the peer closed, or broken the protocol, while the application was still busy with a message from before? It
    /// may answer that; then the peer is told the end.
    [[nodiscard]] bool answers() const noexcept { return answers_; }
    /// Tells the peer the end.
    void conclude() {
        answers_ = false;
        session_.conclude();
        out_.touch();
    }
    /// The server is about to stop.
    void go_away() {
        if (accepted_) close(websocket::close_code::going_away, "the server stops");
        incoming_.end(app::websocket_disconnect(websocket::close_code::going_away, "the server stops"));
    }
    /// The application has ended: whoever is still connected is told.
    void finish(bool failed) {
        incoming_.ignore();
        if (!accepted_) {
            if (!denial_.started()) deny(500, failed ? "the application failed" : "the application did not answer");
            over_.set();
        } else {
            close(failed ? websocket::close_code::internal_error : websocket::close_code::normal, {});
        }
    }

    // The application's side.
    void deliver(app::websocket_accept& accept) override {
        if (accepted_ || denial_.started()) throw std::logic_error("send: websocket_accept comes first, and once");
        require_client();
        denial_.switch_protocols(opening_.response(accept.subprotocol(), accept.headers()));
        accepted_ = true;
        out_.touch();
        session_.feed(early_.data(), early_.size());
        while (!take_events()) {  // at most what early_ may hold, so beyond the inbox's limit only by that
        }
        std::string().swap(early_);
    }
    void deliver(app::websocket_send& data) override {
        if (!accepted_) throw std::logic_error("send: websocket_send before websocket_accept");
        require_client();
        if (session_.state() != websocket::session_state::open) throw client_gone("send: the WebSocket is closed");
        if (above_ && server_.options().when_slow() != slow_reader::wait) return spare(data);
        if (data.encoded() != nullptr) {
            session_.send_encoded(*data.encoded());
        } else if (data.is_piece()) {
            if (data.is_text()) session_.send_text_piece(data.data(), data.more());
            if (!data.is_text()) session_.send_binary_piece(data.data(), data.more());
        } else if (data.is_text()) {
            session_.send_text(data.data());
        } else {
            session_.send_binary(data.data());
        }
        out_.touch();
    }
    void deliver(app::websocket_close& what) override {
        if (accepted_) return close(what.code(), what.reason());
        if (denial_.started()) throw std::logic_error("send: websocket_close after a response was started");
        deny(403, "this WebSocket was refused");
        end(websocket::close_code::abnormal, {});
    }
    void deliver(app::http_response_start& start) override {
        if (accepted_) throw std::logic_error("send: http_response_start after websocket_accept");
        require_client();
        denial_.date(server_.date()).close_connection().start(start.status(), start.headers());
        out_.touch();
    }
    void deliver(app::http_response_body& piece) override {
        if (accepted_) throw std::logic_error("send: http_response_body after websocket_accept");
        require_client();
        denial_.body(piece.body(), piece.more_body());
        out_.touch();
        if (denial_.finished()) end(websocket::close_code::abnormal, {});
    }
    void deliver(app::custom_message& what) override {
        throw std::logic_error("send: " + what.name() + " is unknown to a websocket scope");
    }

private:
    void look_at_output(event_loop::time_point now) noexcept;
    void require_client() const {
        if (out_.broken()) throw client_gone("send: the client is gone");
    }
    void close(std::uint16_t code, std::string_view reason) {
        if (session_.state() == websocket::session_state::open) closing_since_ = server_.loop().now();
        session_.close(code, reason);
        out_.touch();
    }
    void deny(int status, std::string_view why) {
        write_error_response(denial_, server_.date(), status, why);
        out_.touch();
    }
    void end(std::uint16_t code, std::string reason) {
        incoming_.end(app::websocket_disconnect(code, std::move(reason)));
        over_.set();
    }
    void above_mark(bool above) noexcept override {
        above_ = above;
        if (server_.options().when_slow() == slow_reader::wait) set_above_high_water_mark(above);
    }
    /// The client reads too slowly, and this message is not for it. A message cannot miss one of its pieces.
    void spare(const app::websocket_send& data) {
        server_.count_dropped_message();
        if (server_.options().when_slow() == slow_reader::drop && !data.is_piece()) return;
        close(websocket::close_code::policy_violation, "too slow");
        end(websocket::close_code::policy_violation, "too slow");
    }
    void end_taken() override {
        if (answers_) conclude();
    }
    void all_written() noexcept override {
        if (out_.broken()) return lost();
        session_.output_written();
        if (!out_.buffer().empty()) out_.touch();
    }

    server_context& server_;
    outbox& out_;
    inbox incoming_;
    websocket::handshake opening_;
    http::response_writer denial_;
    websocket::session session_;
    websocket::control_rate controls_;
    websocket::keep_alive alive_;
    std::string early_;
    event over_;
    event_loop::time_point closing_since_;  // unless the peer was first; or since it was last seen to read on
    std::uint64_t taken_bytes_ = 0;         // of the output, at the last check
    bool accepted_ = false;
    bool answers_ = false;
    bool above_ = false;  // the high-water mark
};

inline bool websocket_exchange::check_alive(event_loop::time_point now) {
    using action = websocket::keep_alive::action;
    if (!accepted_) return true;
    look_at_output(now);
    if (incoming_.full()) {  // it is the application that does not listen
        alive_.heard(now);
        closing_since_ = now;
    }
    if (session_.state() == websocket::session_state::closing) {  // the application may wait for the answer
        const bool written = out_.unwritten_bytes() == 0;
        const auto limit = written ? server_.options().close_timeout() : server_.options().stall_timeout();
        if (now - closing_since_ >= limit) return false;  // however much the peer still sends
    }
    const action due = alive_.check(now);
    if (due == action::ping && session_.state() == websocket::session_state::open) {
        session_.ping();
        out_.touch();
    }
    return due != action::lost;
}

/// A peer that still reads what is in front of a ping or a close frame cannot answer it yet, and is not silent. No
/// syscall once it has taken everything.
inline void websocket_exchange::look_at_output(event_loop::time_point now) noexcept {
    if (taken_bytes_ == out_.offered_bytes()) return;
    const std::uint64_t taken = out_.taken_bytes();
    if (taken == std::exchange(taken_bytes_, taken)) return;
    if (taken == out_.offered_bytes()) return;
    alive_.heard(now);
    closing_since_ = now;
}

inline bool websocket_exchange::take_events() {
    using kind = websocket::session_event::kind;
    for (;;) {
        const websocket::session_event event = session_.next_event();
        switch (event.what()) {
            case kind::none:
                if (!out_.buffer().empty()) out_.touch();  // a pong
                return true;
            case kind::text:
            case kind::binary: {
                const std::size_t bytes = event.data().size();
                incoming_.push(app::websocket_receive(session_.take_data(), event.what() == kind::text, event.more()),
                               bytes);
                break;
            }
            case kind::ping:
            case kind::pong:
                heard();  // it may be long since it came, if it was one of many
                if (controls_.count(server_.loop().now())) break;
                session_.keep_input();
                out_.touch();
                return false;
            case kind::closed:
            case kind::failed:
                answers_ = incoming_.busy();
                end(event.code(), std::string(event.data()));
                if (!answers_) conclude();
                out_.touch();
                return true;
        }
        if (incoming_.full()) {
            session_.keep_input();
            if (!out_.buffer().empty()) out_.touch();
            return false;
        }
    }
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
