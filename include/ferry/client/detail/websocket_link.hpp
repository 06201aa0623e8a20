// ferry/client/detail/websocket_link.hpp - a client's WebSocket, and the task that keeps it going
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/client/detail/message_queue.hpp>
#include <ferry/client/detail/random_words.hpp>
#include <ferry/client/websocket_options.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/condition.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/net/socket.hpp>
#include <ferry/server/outbox.hpp>
#include <ferry/websocket/control_rate.hpp>
#include <ferry/websocket/keep_alive.hpp>
#include <ferry/websocket/session.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <sys/socket.h>

namespace ferry::inline FERRY_ABI::detail {
/// What a websocket_client refers to. A task of the loop's own reads, answers pings and writes, whether somebody receives
/// or not; it ends with the connection.
///
/// open --close() or the server's close--> closing --> ended: the connection is gone
///
/// Ownership      Shared by the handle, its sends and the task.
/// Thread-safety  None: its loop's thread.
class websocket_link final : private outbox::observer {
public:
    websocket_link(event_loop& loop, net::socket connected, websocket_options options, std::string early)
        : loop_(loop),
          socket_(std::move(connected)),
          options_(std::move(options)),
          early_(std::move(early)),
          incoming_(options_.limits()),
          controls_(options_.limits().max_control_frames_per_second()),
          alive_(options_.ping_interval(), options_.pong_timeout(), loop.now()),
          changed_(loop),
          started_(loop),
          answered_(loop),
          ended_(loop) {}

    /// Its whole life. Throws nothing but `cancelled`, when the loop closes.
    static task<> run(std::shared_ptr<websocket_link> self);

    [[nodiscard]] event::awaiter started() noexcept { return started_.wait(); }
    /// The server has sent its close frame, or the connection is lost.
    [[nodiscard]] event::awaiter answered() noexcept { return answered_.wait(); }
    [[nodiscard]] event::awaiter ended() noexcept { return ended_.wait(); }
    /// What the server has taken of the output.
    [[nodiscard]] std::uint64_t taken_bytes() const noexcept { return out_ ? out_->taken_bytes() : 0; }
    /// Is there more that it could take?
    [[nodiscard]] bool is_behind() const noexcept { return out_ && taken_bytes() != out_->offered_bytes(); }

    [[nodiscard]] message_queue& incoming() noexcept { return incoming_; }
    [[nodiscard]] const websocket_options& options() const noexcept { return options_; }
    [[nodiscard]] bool is_open() const noexcept {
        return session_ && session_->state() == websocket::session_state::open && !ended_.is_set() && !out_->broken();
    }
    /// 0 while neither side has closed.
    [[nodiscard]] std::uint16_t close_code() const noexcept { return code_; }
    [[nodiscard]] const std::string& close_reason() const noexcept { return reason_; }

    /// Waits while the output is above its high-water mark, then hands the session to `send`. Throws `disconnected` when
    /// the WebSocket is closed.
    template <class Send>
    static task<> send(std::shared_ptr<websocket_link> self, std::string data, Send send);
    void close(std::uint16_t code, std::string_view reason);
    /// Ends the connection at once.
    void abandon() noexcept;

private:
    task<> live(task_group& tasks);
    task<> read();
    [[nodiscard]] bool take_events();
    task<> watch();
    task<> close_gently();
    void finish(std::uint16_t code, std::string_view reason);
    void over() noexcept;
    void above_mark(bool above) noexcept override {
        above_ = above;
        if (!above) changed_.notify_all();
    }
    void all_written() noexcept override {
        if (out_->broken()) return changed_.notify_all();
        session_->output_written();
        if (!out_->buffer().empty()) out_->touch();
    }

    event_loop& loop_;
    net::socket socket_;
    websocket_options options_;
    std::string early_;  // what came with the handshake
    random_words random_;
    std::optional<outbox> out_;  // both from the start of run()
    std::optional<websocket::session> session_;
    message_queue incoming_;
    websocket::control_rate controls_;
    websocket::keep_alive alive_;
    condition changed_;  // there is room for output, or there never will be
    event started_;
    event answered_;
    event ended_;
    std::uint16_t code_ = 0;
    std::string reason_;
    bool above_ = false;  // the high-water mark
    bool lost_ = false;   // there is nobody to say goodbye to
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline task<> websocket_link::run(std::shared_ptr<websocket_link> self) {
    class ending {
    public:
        explicit ending(websocket_link& link) noexcept : link_(link) {}
        ~ending() { link_.over(); }
        ending(const ending&) = delete;
        ending& operator=(const ending&) = delete;

    private:
        websocket_link& link_;
    };
    const ending at_the_end(*self);
    try {
        co_await with_task_group([&self](task_group& tasks) -> task<> { co_await self->live(tasks); });
    } catch (const std::runtime_error&) {  // reset by the server, or a server that takes no end
    }
}

inline task<> websocket_link::live(task_group& tasks) {
    out_.emplace(loop_, socket_, tasks, options_.high_water_mark());
    session_.emplace(out_->buffer(), websocket::mask_source(random_), options_.limits());
    out_->observe(this);
    started_.set();
    tasks.start(watch());
    co_await read();
    if (!lost_) co_await close_gently();
    out_->set_broken();
    tasks.cancel();
}

inline task<> websocket_link::read() {
    try {
        session_->feed(early_.data(), early_.size());
        while (!take_events()) {
            if (incoming_.full()) {
                co_await incoming_.room();
                continue;
            }
            if (controls_.resumes_at() > loop_.now()) {
                co_await sleep_until(controls_.resumes_at());
                if (!lost_) continue;  // else abandoned, with the rest of a flood
            }
            std::string().swap(early_);
            const net::borrowed_bytes octets = co_await socket_.receive();
            alive_.heard(loop_.now());
            if (octets.empty()) {
                lost_ = true;
                finish(websocket::close_code::abnormal, {});
                co_return;
            }
            session_->feed(octets.data(), octets.size());
        }
    } catch (const std::runtime_error&) {  // reset by the server, or a network that fails
        lost_ = true;
        finish(websocket::close_code::abnormal, {});
    }
}

/// Takes what was fed, until the queue is full or too many pings have come. True at the end.
inline bool websocket_link::take_events() {
    using kind = websocket::session_event::kind;
    for (;;) {
        const websocket::session_event event = session_->next_event();
        switch (event.what()) {
            case kind::none:
                if (!out_->buffer().empty()) out_->touch();  // a pong
                return false;
            case kind::text:
            case kind::binary:
                incoming_.push(websocket_message(session_->take_data(), event.what() == kind::text, event.more()));
                break;
            case kind::ping:
            case kind::pong:
                alive_.heard(loop_.now());  // it may be long since it came, if it was one of many
                if (controls_.count(loop_.now())) break;
                session_->keep_input();
                out_->touch();
                return false;
            case kind::closed:
            case kind::failed:
                if (!out_->buffer().empty()) out_->touch();
                finish(event.code(), event.data());
                return true;
        }
        if (incoming_.full()) {
            session_->keep_input();
            if (!out_->buffer().empty()) out_->touch();
            return false;
        }
    }
}

inline void websocket_link::finish(std::uint16_t code, std::string_view reason) {
    if (code_ != 0) return;
    code_ = code;
    reason_ = reason;
    incoming_.end();
    answered_.set();
    changed_.notify_all();
}

/// Pings a silent server, and gives up one that stays silent.
inline task<> websocket_link::watch() {
    using action = websocket::keep_alive::action;
    std::uint64_t taken = 0;
    bool behind = false;
    for (;;) {
        co_await sleep_until(alive_.due());
        if (incoming_.full()) alive_.heard(loop_.now());  // it is this side that does not listen
        // A server that still reads what was sent before the ping cannot answer it yet, and is not silent.
        const std::uint64_t before = std::exchange(taken, taken_bytes());
        if (behind && taken != before) alive_.heard(loop_.now());
        behind = is_behind();
        const action due = alive_.check(loop_.now());
        if (due == action::ping && is_open()) {
            session_->ping();
            out_->touch();
        }
        if (due == action::lost) co_return abandon();
    }
}

/// What came before the end may still be answered; then the close frame goes out, and the server closes the connection
/// (RFC 6455 7.1.1).
inline task<> websocket_link::close_gently() {
    static_cast<void>(co_await try_timeout(options_.close_timeout(), incoming_.answered()));
    session_->conclude();
    out_->touch();
    changed_.notify_all();
    const bool written = co_await out_->drained(options_.close_timeout());
    if (!written) co_return;
    socket_.shutdown_send();
    const auto until = loop_.now() + options_.close_timeout();
    for (bool more = true; more && loop_.now() < until;) {
        const auto octets = co_await try_timeout(until - loop_.now(), socket_.receive());
        more = octets && !octets->empty();
    }
}

/// The task ends.
inline void websocket_link::over() noexcept {
    lost_ = true;
    finish(websocket::close_code::abnormal, {});
    if (out_) {
        out_->set_broken();
        out_->observe(nullptr);
    }
    socket_.close();
    started_.set();
    ended_.set();
}

template <class Send>
task<> websocket_link::send(std::shared_ptr<websocket_link> self, std::string data, Send send) {
    co_await self->changed_.wait([&] { return !self->above_ || !self->is_open(); });
    if (!self->is_open() && self->code_ != 0) {
        throw disconnected("websocket: the server has closed it, with code " + std::to_string(self->code_));
    }
    // Nobody may have read so far, if what came before has not been received.
    if (self->out_->broken() && self->session_->state() == websocket::session_state::open) {
        throw disconnected("websocket: the connection to the server is lost");
    }
    send(*self->session_, data);
    self->out_->touch();
}

inline void websocket_link::close(std::uint16_t code, std::string_view reason) {
    if (!ended_.is_set()) {
        session_->close(code, reason);
        out_->touch();
    }
    incoming_.leave();
    changed_.notify_all();
}

inline void websocket_link::abandon() noexcept {
    incoming_.leave();
    if (ended_.is_set()) return;
    lost_ = true;
    if (out_) out_->set_broken();
    ::shutdown(socket_.descriptor(), SHUT_RDWR);  // the task that reads sees the end
}
}  // namespace ferry::inline FERRY_ABI::detail
