// ferry/websocket/session.hpp - one end of a WebSocket, without the connection
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/data/utf8.hpp>
#include <ferry/websocket/detail/frame_input.hpp>
#include <ferry/websocket/encoded_message.hpp>
#include <ferry/websocket/frame.hpp>
#include <ferry/websocket/mask_source.hpp>
#include <ferry/websocket/session_event.hpp>
#include <ferry/websocket/session_options.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace ferry::inline FERRY_ABI::websocket {
enum class session_state : std::uint8_t {
    open,
    closing,  // a close frame was sent; until the peer's arrives, what it sent before is still delivered
    closed,   // nothing is read or written any more: write the output, then end the connection
};

/// RFC 6455 after its handshake, as a function of octets: what the peer sends goes in and comes out as events, what is
/// to be sent is appended to `output`. It knows no socket and no clock, and how the input is cut never matters.
///
///     session.feed(buffer, size);
///     for (auto event = session.next_event(); event.what() != none; event = session.next_event()) take(event);
///     write(output);
///
/// Pings are answered and close frames returned unasked. A failure comes after the messages that were complete before.
///
/// Ownership      Refers to `output`, and to the octets given to feed(), which it unmasks in place: a message that lies
///                in them as one frame is a view of them. Only what their end cuts is copied.
/// Thread-safety  None.
/// Errors         What the peer does wrong is an event. Sending throws closed_error unless the state is open, and
///                std::invalid_argument for text that is not UTF-8 and for what a control frame cannot carry.
/// Cost           Each octet is looked at a bounded number of times. Memory follows what has arrived, not what a header
///                announces, and is given back after each message.
class session {
public:
    /// The server's end.
    explicit session(std::string& output, const session_options& options = session_options()) noexcept
        : output_(output), options_(options) {}
    /// The client's end: each frame it sends draws a key from `masks`.
    session(std::string& output, mask_source masks, const session_options& options = session_options()) noexcept
        : output_(output), masks_(masks), options_(options) {}
    session(const session&) = delete;
    session& operator=(const session&) = delete;

    [[nodiscard]] session_state state() const noexcept { return state_; }

    /// The next octets of the connection. They must stay in place until next_event() has returned `none`, or until
    /// keep_input().
    void feed(char* octets, std::size_t count) noexcept { input_.give(octets, count); }
    [[nodiscard]] session_event next_event();
    /// Copies what next_event() has not read yet, so that the buffer can be used for something else.
    void keep_input() { input_.keep(); }
    /// The data of the last event as a string: moved if it had to be put together, else copied.
    [[nodiscard]] std::string take_data();

    void send_text(std::string_view payload);
    void send_binary(std::string_view payload);
    /// Throws std::logic_error in a client, which has to mask each frame anew.
    void send_encoded(const encoded_message& message);
    void ping(std::string_view payload = {});
    /// Begins the close handshake. Does nothing if it has begun already.
    void close(std::uint16_t code = close_code::normal, std::string_view reason = {});

    /// To be called when `output` has been written. Of more than max_unwritten_pongs pings, only the newest is
    /// answered, and its pong waits for this.
    void output_written();
    static constexpr unsigned max_unwritten_pongs = 64;

private:
    using kind = session_event::kind;

    [[nodiscard]] role own_role() const noexcept { return masks_ ? role::client : role::server; }
    [[nodiscard]] session_event read_control(const frame_header& header);
    [[nodiscard]] session_event read_close(std::string_view payload);
    [[nodiscard]] session_event begin_frame(const frame_header& header);
    [[nodiscard]] session_event read_payload();
    [[nodiscard]] session_event deliver(kind what, std::string_view data, std::uint16_t code = 0) noexcept;
    [[nodiscard]] session_event fail(std::uint16_t code, std::string_view how);
    void release_message() noexcept;

    void require_open() const;
    void append(std::string& out, opcode op, std::string_view payload) const;
    void append_close(std::uint16_t code, std::string_view reason);
    void answer_ping(std::string_view payload);

    std::string& output_;
    std::optional<mask_source> masks_;
    session_options options_;
    session_state state_ = session_state::open;

    detail::frame_input input_;
    frame_header frame_;            // the data frame being read, if any
    std::uint64_t frame_read_ = 0;  // of its payload
    bool in_frame_ = false;

    std::string message_;  // what is put together; empty while a message lies in one piece
    kind message_kind_ = kind::none;
    std::size_t fragments_ = 0;
    utf8_validator utf8_;             // complete between messages, as every text that ends is
    std::string_view data_;           // of the last event
    bool message_delivered_ = false;  // data_ is message_

    std::string late_pong_;  // the frame that waits for output_written()
    unsigned unwritten_pongs_ = 0;
};

// ---- implementation ---------------------------------------------------------------
inline session_event session::next_event() {
    if (message_delivered_) release_message();
    data_ = {};
    while (state_ != session_state::closed) {
        if (!in_frame_) {
            const char* octets = input_.gather(2);
            if (octets == nullptr) return {};
            const std::size_t header_bytes = frame_header_bytes(octets);
            octets = input_.gather(header_bytes);
            if (octets == nullptr) return {};
            const frame_header header = decode_frame_header(octets);
            if (const char* violation = find_violation(header, own_role())) {
                return fail(close_code::protocol_error, violation);
            }
            const bool is_control = header.is_control();
            if (is_control && input_.gather(header_bytes + static_cast<std::size_t>(header.payload_bytes)) == nullptr) {
                return {};
            }
            input_.skip(header_bytes);
            const session_event event = is_control ? read_control(header) : begin_frame(header);
            if (event.what() != kind::none) return event;
        } else {
            const session_event event = read_payload();
            if (event.what() != kind::none || in_frame_) return event;
        }
    }
    input_.drop();
    return {};
}

/// A control frame, all of which is there.
inline session_event session::read_control(const frame_header& header) {
    const std::span<char> payload = input_.take(header.payload_bytes);
    if (header.masked) apply_mask(payload.data(), payload.size(), header.key);
    const std::string_view data(payload.data(), payload.size());
    if (header.op == opcode::close) return read_close(data);
    if (header.op == opcode::pong) return deliver(kind::pong, data);
    answer_ping(data);
    return {};
}

/// RFC 6455 5.5.1: nothing, or a code and perhaps a reason.
inline session_event session::read_close(std::string_view payload) {
    std::uint16_t code = close_code::no_code;
    if (!payload.empty()) {
        if (payload.size() == 1) return fail(close_code::protocol_error, "close frame with half a code");
        const auto octet = [payload](std::size_t at) {
            return static_cast<unsigned>(static_cast<unsigned char>(payload[at]));
        };
        code = static_cast<std::uint16_t>(octet(0) << 8 | octet(1));
        payload.remove_prefix(2);
        if (!valid_close_code(code)) return fail(close_code::protocol_error, "invalid close code");
        if (!is_utf8(payload)) return fail(close_code::invalid_text, "close reason is not UTF-8");
    }
    if (state_ == session_state::open) append_close(code, {});
    state_ = session_state::closed;
    release_message();
    return deliver(kind::closed, payload, code);
}

/// The header of a data frame: what RFC 6455 5.4 and the limits say about it, before any of its payload.
inline session_event session::begin_frame(const frame_header& header) {
    const bool continues = header.op == opcode::continuation;
    if (continues && message_kind_ == kind::none) {
        return fail(close_code::protocol_error, "continuation without a beginning");
    }
    if (!continues) {
        if (message_kind_ != kind::none) return fail(close_code::protocol_error, "message within a message");
        message_kind_ = header.op == opcode::text ? kind::text : kind::binary;
        fragments_ = 0;
    }
    if (header.payload_bytes > options_.max_message_bytes() - message_.size()) {
        return fail(close_code::message_too_big, "message too long");
    }
    if (++fragments_ > options_.max_fragments()) return fail(close_code::message_too_big, "message in too many frames");
    frame_ = header;
    frame_read_ = 0;
    in_frame_ = true;
    return {};
}

/// As much of the current frame's payload as there is; in_frame_ stays true if some is missing.
inline session_event session::read_payload() {
    for (;;) {
        const std::span<char> piece = input_.take(frame_.payload_bytes - frame_read_);
        if (frame_.masked) apply_mask(piece.data(), piece.size(), frame_.key, frame_read_);
        frame_read_ += piece.size();
        in_frame_ = frame_read_ != frame_.payload_bytes;
        const bool ends = frame_.fin && !in_frame_;
        const std::string_view data(piece.data(), piece.size());
        if (message_kind_ == kind::text && (!utf8_.feed(data) || (ends && !utf8_.complete()))) {
            return fail(close_code::invalid_text, "text is not UTF-8");
        }
        if (ends && message_.empty()) return deliver(std::exchange(message_kind_, kind::none), data);
        message_.append(data);
        if (ends) {
            message_delivered_ = true;
            return deliver(std::exchange(message_kind_, kind::none), message_);
        }
        if (!in_frame_ || piece.empty()) return {};
    }
}

inline session_event session::deliver(kind what, std::string_view data, std::uint16_t code) noexcept {
    data_ = data;
    return session_event(what, data, code);
}

/// RFC 6455 7.1.7: tell the peer why, once, and read no more.
inline session_event session::fail(std::uint16_t code, std::string_view how) {
    if (state_ == session_state::open) append_close(code, how);
    state_ = session_state::closed;
    release_message();
    return deliver(kind::failed, how, code);
}

inline void session::release_message() noexcept {
    std::string().swap(message_);
    message_delivered_ = false;
}

inline std::string session::take_data() { return message_delivered_ ? std::move(message_) : std::string(data_); }

inline void session::require_open() const {
    if (state_ == session_state::open) return;
    throw closed_error(state_ == session_state::closing
                           ? "websocket: nothing can be sent after close()"
                           : "websocket: nothing can be sent any more, the peer has closed or broken the protocol");
}

inline void session::append(std::string& out, opcode op, std::string_view payload) const {
    if (masks_) {
        append_masked_frame(out, op, payload, masks_->draw());
    } else {
        append_frame(out, op, payload);
    }
}

inline void session::send_text(std::string_view payload) {
    require_open();
    detail::require_utf8(payload, "the payload of a text message");
    append(output_, opcode::text, payload);
}

inline void session::send_binary(std::string_view payload) {
    require_open();
    append(output_, opcode::binary, payload);
}

inline void session::send_encoded(const encoded_message& message) {
    if (masks_)
        throw std::logic_error("websocket: an encoded_message is not masked; a client sends the payload instead");
    require_open();
    output_.append(message.bytes());
}

inline void session::ping(std::string_view payload) {
    require_open();
    if (payload.size() > max_control_bytes) throw std::invalid_argument("websocket: a ping carries 125 bytes at most");
    append(output_, opcode::ping, payload);
}

inline void session::close(std::uint16_t code, std::string_view reason) {
    if (!valid_close_code(code)) {
        throw std::invalid_argument("websocket: close code " + std::to_string(code) + " may not be sent");
    }
    if (reason.size() > max_control_bytes - 2) {
        throw std::invalid_argument("websocket: a close reason has 123 bytes at most");
    }
    detail::require_utf8(reason, "the close reason");
    if (state_ != session_state::open) return;
    append_close(code, reason);
    state_ = session_state::closing;
}

inline void session::append_close(std::uint16_t code, std::string_view reason) {
    std::string payload;
    if (code != close_code::no_code) {
        payload += static_cast<char>(static_cast<unsigned char>(code >> 8));
        payload += static_cast<char>(static_cast<unsigned char>(code & 0xFF));
        payload += reason;
    }
    append(output_, opcode::close, payload);
}

inline void session::answer_ping(std::string_view payload) {
    if (state_ != session_state::open) return;
    if (output_.empty()) {
        unwritten_pongs_ = 0;
        late_pong_.clear();  // the one for this ping is newer
    }
    if (unwritten_pongs_ < max_unwritten_pongs) {
        ++unwritten_pongs_;
        append(output_, opcode::pong, payload);
    } else {
        late_pong_.clear();
        append(late_pong_, opcode::pong, payload);
    }
}

inline void session::output_written() {
    unwritten_pongs_ = 0;
    if (late_pong_.empty()) return;
    if (state_ == session_state::open) {
        output_.append(late_pong_);
        unwritten_pongs_ = 1;
    }
    std::string().swap(late_pong_);
}
}  // namespace ferry::inline FERRY_ABI::websocket
