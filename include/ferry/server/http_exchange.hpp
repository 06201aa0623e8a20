// ferry/server/http_exchange.hpp - one HTTP request and its response, between a connection and an application
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/message.hpp>
#include <ferry/app/send.hpp>
#include <ferry/bridge/thread_sensitive.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/http/request_head.hpp>
#include <ferry/http/writer.hpp>
#include <ferry/server/error_response.hpp>
#include <ferry/server/inbox.hpp>
#include <ferry/server/outbox.hpp>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// The server's side of an application's receive and send, for an HTTP scope: the state machine of the response is
/// http::response_writer's. It is made by the task that runs the application, whose thread-sensitive calls have one thread
/// for as long as it lives.
class http_exchange final : public app::message_sink, private outbox::observer {
public:
    /// `body_high_water_mark` is serve_options'.
    http_exchange(outbox& out, const http::request_head& head, std::size_t body_high_water_mark, std::string_view date)
        : out_(out),
          incoming_(max_pieces, body_high_water_mark),
          writer_(out.buffer(), head),
          date_(date),
          wants_continue_(head.expects_continue()) {
        out_.observe(this);
    }
    ~http_exchange() { out_.observe(nullptr); }

    [[nodiscard]] inbox& incoming() noexcept { return incoming_; }
    /// Does the client wait for "100 Continue" before it sends the body?
    [[nodiscard]] bool wants_continue() const noexcept { return wants_continue_; }
    [[nodiscard]] http::response_writer& writer() noexcept { return writer_; }

    /// The client has sent its last octet. It may still read: what is sent now is still tried.
    void disconnect() { incoming_.end(app::http_disconnect()); }
    /// The same in the middle of the request's body (RFC 9112 8). An application that does not respond then is right.
    void cut() {
        cut_ = true;
        disconnect();
    }
    /// Whether the request's body did not come to its end, through the client's fault.
    [[nodiscard]] bool was_cut() const noexcept { return cut_; }
    /// The request's body is malformed: the application is told that the client is gone, the client why, if it can be.
    void refuse(int status, std::string_view why) {
        cut();
        if (writer_.started()) return;
        refused_ = true;
        respond(status, why);
    }

    void deliver(app::http_response_start& start) override {
        require_client();
        writer_.date(date_).start(start.status(), start.headers());
        out_.touch();
    }
    void deliver(app::http_response_body& piece) override {
        require_client();
        writer_.body(piece.body(), piece.more_body());
        out_.touch();
        if (writer_.finished()) incoming_.end(app::http_disconnect());
    }
    void deliver(app::websocket_accept&) override { misplaced("websocket_accept"); }
    void deliver(app::websocket_send&) override { misplaced("websocket_send"); }
    void deliver(app::websocket_close&) override { misplaced("websocket_close"); }
    void deliver(app::custom_message& what) override { misplaced(what.name().c_str()); }

    /// The application has ended. False when the response cannot be completed and the connection must be cut.
    [[nodiscard]] bool finish(bool failed) {
        if (writer_.finished() || out_.broken()) return true;
        if (writer_.started()) return false;
        if (cut_ && !failed) {
            respond(400, "the request ended before its body did");
        } else {
            respond(500, failed ? "the application failed" : "the application did not respond");
        }
        return true;
    }

private:
    static constexpr std::size_t max_pieces = 16;  // of a body that comes in small ones

    void require_client() const {
        if (out_.broken() || refused_) throw client_gone("send: the client is gone");
    }
    void respond(int status, std::string_view why) {
        write_error_response(writer_, date_, status, why);
        out_.touch();
    }
    [[noreturn]] static void misplaced(const char* what) {
        throw std::logic_error(std::string("send: ") + what + " does not belong to an http scope");
    }
    void above_mark(bool above) noexcept override { set_above_high_water_mark(above); }
    void all_written() noexcept override {
        if (out_.broken()) disconnect();
    }

    const thread_sensitive_scope one_thread_;
    outbox& out_;
    inbox incoming_;
    http::response_writer writer_;
    std::string_view date_;
    bool wants_continue_;
    bool refused_ = false;
    bool cut_ = false;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
