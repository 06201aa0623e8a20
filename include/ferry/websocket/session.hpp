// ferry/websocket/session.hpp - one end of a WebSocket, without the connection
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/data/utf8.hpp>
#include <ferry/websocket/detail/frame_input.hpp>
#include <ferry/websocket/detail/frame_writer.hpp>
#include <ferry/websocket/encoded_message.hpp>
#include <ferry/websocket/extension.hpp>
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
/// to be sent is appended to `output`. It knows no socket and no clock (see keep_alive), and how the input is cut never
/// matters.
///
///     session.feed(buffer, size);
///     for (auto event = session.next_event(); event.what() != none; event = session.next_event()) take(event);
///     write(output);
///
/// Pings are answered and close frames returned unasked. A failure comes after the messages that were complete before,
/// and these can still be answered: the close frame that a `closed` or `failed` event calls for is written by the next
/// next_event(), or by conclude().
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
        : writer_(output, std::nullopt, options.max_unwritten_pongs()), options_(options) {}
    /// The client's end: each frame it sends draws a key from `masks`.
    session(std::string& output, mask_source masks, const session_options& options = session_options()) noexcept
        : writer_(output, masks, options.max_unwritten_pongs()), options_(options) {}
    session(const session&) = delete;
    session& operator=(const session&) = delete;

    /// What the handshake has agreed on, before the first octet; it must outlive the session.
    void use(extension& agreed) noexcept { extension_ = &agreed; }

    [[nodiscard]] session_state state() const noexcept { return state_; }

    /// The next octets of the connection. They must stay in place until next_event() has returned `none`, or until
    /// keep_input().
    void feed(char* octets, std::size_t count) noexcept { input_.give(octets, count); }
    [[nodiscard]] session_event next_event();
    /// Copies what next_event() has not read yet, so that the buffer can be used for something else.
    void keep_input() { input_.keep(); }
    /// The data of the last event as a string: moved if it had to be put together, else copied.
    [[nodiscard]] std::string take_data() { return data_is_message_ ? std::move(message_) : std::string(data_); }
    /// After a `closed` or `failed` event: writes the close frame, once, and ends the session. Does nothing otherwise.
    void conclude();

    void send_text(std::string_view payload);
    void send_binary(std::string_view payload);
    /// A message in pieces, one frame each; the last has `more` false. Pings may come between, another message may not
    /// (std::logic_error). Code points may be cut.
    void send_text_piece(std::string_view piece, bool more) { send_piece(opcode::text, piece, more); }
    void send_binary_piece(std::string_view piece, bool more) { send_piece(opcode::binary, piece, more); }
    /// Throws std::logic_error in a client, which has to mask each frame anew.
    void send_encoded(const encoded_message& message);
    void ping(std::string_view payload = {});
    /// Begins the close handshake. Does nothing if it has begun already.
    void close(std::uint16_t code = close_code::normal, std::string_view reason = {});

    /// To be called when `output` has been written. Of more pings than max_unwritten_pongs, only the newest is
    /// answered, and its pong waits for this.
    void output_written() { writer_.written(state_ == session_state::open); }

private:
    using kind = session_event::kind;
    using progress = std::optional<session_event>;  // nothing: read on; `none`: more input is needed

    [[nodiscard]] progress read_header();
    [[nodiscard]] progress read_control(const frame_header& header);
    [[nodiscard]] session_event read_close(std::string_view payload);
    [[nodiscard]] progress begin_frame(const frame_header& header);
    [[nodiscard]] progress read_payload();
    [[nodiscard]] const char* decode(std::string_view piece, bool last, std::uint16_t& code);
    [[nodiscard]] session_event end(kind what, std::uint16_t code, std::string_view how) noexcept;
    [[nodiscard]] session_event deliver(kind what, std::string_view data, std::uint16_t code = 0,
                                        bool more = false) noexcept;
    [[nodiscard]] session_event deliver_message(bool more) noexcept;
    void release_message() noexcept;

    void require_open() const;
    void require_no_message() const;
    void send_message(opcode op, std::string_view payload);
    void send_piece(opcode op, std::string_view piece, bool more);

    detail::frame_writer writer_;
    session_options options_;
    extension* extension_ = nullptr;
    session_state state_ = session_state::open;
    bool ended_ = false;                            // `closed` or `failed` was delivered, and not concluded
    std::uint16_t end_code_ = close_code::no_code;  // of the close frame that is due then
    std::string_view end_reason_;

    detail::frame_input input_;
    frame_header frame_;            // the data frame being read, if any
    std::uint64_t frame_read_ = 0;  // of its payload
    bool in_frame_ = false;

    std::string message_;  // what is put together; empty while a message lies in one piece
    kind message_kind_ = kind::none;
    bool encoded_ = false;             // by the extension
    std::uint64_t message_bytes_ = 0;  // announced for the message being read, in the form in which it comes
    std::size_t decoded_bytes_ = 0;    // what they stand for, if encoded
    std::size_t fragments_ = 0;
    utf8_validator utf8_;           // complete between messages, as every text that ends is
    std::string_view data_;         // of the last event
    bool data_is_message_ = false;  // data_ is message_

    opcode sending_ = opcode::continuation;  // the message whose pieces are being sent, if any
    utf8_validator sent_utf8_;
};

// ---- implementation ---------------------------------------------------------------
inline session_event session::next_event() {
    if (data_is_message_) release_message();
    data_ = {};
    conclude();
    while (state_ != session_state::closed) {
        const progress found = in_frame_ ? read_payload() : read_header();
        if (found) return *found;
    }
    input_.drop();
    return {};
}

/// A frame's header; of a control frame, all of it.
inline session::progress session::read_header() {
    const char* octets = input_.gather(2);
    if (octets == nullptr) return session_event();
    const std::size_t header_bytes = frame_header_bytes(octets);
    octets = input_.gather(header_bytes);
    if (octets == nullptr) return session_event();
    const frame_header header = decode_frame_header(octets);
    const unsigned claimed = extension_ == nullptr ? 0 : extension_->reserved_bits();
    if (const char* violation = find_violation(header, writer_.own_role(), claimed)) {
        return end(kind::failed, close_code::protocol_error, violation);
    }
    const bool is_control = header.is_control();
    if (is_control && input_.gather(header_bytes + static_cast<std::size_t>(header.payload_bytes)) == nullptr) {
        return session_event();
    }
    input_.skip(header_bytes);
    return is_control ? read_control(header) : begin_frame(header);
}

inline session::progress session::read_control(const frame_header& header) {
    const std::span<char> payload = input_.take(header.payload_bytes);
    if (header.masked) apply_mask(payload.data(), payload.size(), header.key);
    const std::string_view data(payload.data(), payload.size());
    if (header.op == opcode::close) return read_close(data);
    if (header.op == opcode::pong) return deliver(kind::pong, data);
    if (state_ == session_state::open) writer_.pong(data);
    return deliver(kind::ping, data);
}

/// RFC 6455 5.5.1: nothing, or a code and perhaps a reason.
inline session_event session::read_close(std::string_view payload) {
    std::uint16_t code = close_code::no_code;
    if (!payload.empty()) {
        if (payload.size() == 1) return end(kind::failed, close_code::protocol_error, "close frame with half a code");
        const auto octet = [payload](std::size_t at) {
            return static_cast<unsigned>(static_cast<unsigned char>(payload[at]));
        };
        code = static_cast<std::uint16_t>(octet(0) << 8 | octet(1));
        payload.remove_prefix(2);
        if (!valid_close_code(code)) return end(kind::failed, close_code::protocol_error, "invalid close code");
        if (!is_utf8(payload)) return end(kind::failed, close_code::invalid_text, "close reason is not UTF-8");
    }
    return end(kind::closed, code, payload);
}

/// The header of a data frame: what RFC 6455 5.4 and the limits say about it, before any of its payload.
inline session::progress session::begin_frame(const frame_header& header) {
    const bool continues = header.op == opcode::continuation;
    if (continues && message_kind_ == kind::none) {
        return end(kind::failed, close_code::protocol_error, "continuation without a beginning");
    }
    if (!continues) {
        if (message_kind_ != kind::none) {
            return end(kind::failed, close_code::protocol_error, "message within a message");
        }
        message_kind_ = header.op == opcode::text ? kind::text : kind::binary;
        encoded_ = header.reserved_bits != 0;
        message_bytes_ = decoded_bytes_ = fragments_ = 0;
    }
    if (header.payload_bytes > options_.max_message_bytes() - message_bytes_) {
        return end(kind::failed, close_code::message_too_big, "message too long");
    }
    if (++fragments_ > options_.max_fragments()) {
        return end(kind::failed, close_code::message_too_big, "message in too many frames");
    }
    message_bytes_ += header.payload_bytes;
    frame_ = header;
    frame_read_ = 0;
    in_frame_ = true;
    return std::nullopt;
}

/// The next piece of the current frame's payload; in_frame_ stays true if some is missing.
inline session::progress session::read_payload() {
    const std::span<char> piece = input_.take(frame_.payload_bytes - frame_read_);
    if (frame_.masked) apply_mask(piece.data(), piece.size(), frame_.key, frame_read_);
    frame_read_ += piece.size();
    if (piece.empty() && frame_read_ != frame_.payload_bytes) return session_event();
    in_frame_ = frame_read_ != frame_.payload_bytes;
    const bool last = frame_.fin && !in_frame_;
    std::string_view data(piece.data(), piece.size());
    if (encoded_) {
        const std::size_t before = message_.size();
        std::uint16_t code = 0;
        if (const char* const error = decode(data, last, code)) return end(kind::failed, code, error);
        data = std::string_view(message_).substr(before);
    }
    if (message_kind_ == kind::text && (!utf8_.feed(data) || (last && !utf8_.complete()))) {
        return end(kind::failed, close_code::invalid_text, "text is not UTF-8");
    }
    const bool whole = last && message_.empty();  // it lies in the input as it is
    const bool as_piece = options_.deliver_pieces() && (last || !data.empty());
    if (!encoded_) {
        if (whole || as_piece) {
            const kind what = last ? std::exchange(message_kind_, kind::none) : message_kind_;
            return deliver(what, data, 0, !last);
        }
        message_.append(data);
    }
    if (!last && !as_piece) return std::nullopt;
    return deliver_message(!last);
}

/// Appends what a piece stands for to message_. What is wrong with it, and the code for that; else nullptr.
inline const char* session::decode(std::string_view piece, bool last, std::uint16_t& code) {
    const std::size_t before = message_.size();
    const std::size_t room = options_.max_message_bytes() - decoded_bytes_;
    const extension::outcome result = extension_->decode(piece, last, room, message_);
    FERRY_ASSERT(message_.size() - before <= room, "an extension wrote more than it was given room for");
    decoded_bytes_ += message_.size() - before;
    code = result == extension::outcome::too_big ? close_code::message_too_big : close_code::protocol_error;
    if (result == extension::outcome::too_big) return "message too long";
    return result == extension::outcome::malformed ? "message cannot be decoded" : nullptr;
}

inline session_event session::deliver(kind what, std::string_view data, std::uint16_t code, bool more) noexcept {
    data_ = data;
    return session_event(what, data, code, more);
}

inline session_event session::deliver_message(bool more) noexcept {
    data_is_message_ = true;
    return deliver(more ? message_kind_ : std::exchange(message_kind_, kind::none), message_, 0, more);
}

/// Nothing is read after this event. RFC 6455 5.5.1, 7.1.7: the peer is told why, once, when it is concluded.
inline session_event session::end(kind what, std::uint16_t code, std::string_view how) noexcept {
    ended_ = true;
    end_code_ = code;
    if (what == kind::failed) end_reason_ = how;  // static text; a peer's own reason is not sent back
    release_message();
    return deliver(what, how, code);
}

inline void session::conclude() {
    if (!ended_ || state_ == session_state::closed) return;
    if (state_ == session_state::open) writer_.append_close(end_code_, end_reason_);
    state_ = session_state::closed;
}

inline void session::release_message() noexcept {
    std::string().swap(message_);
    data_is_message_ = false;
}

inline void session::require_open() const {
    if (state_ == session_state::open) return;
    throw closed_error(state_ == session_state::closing
                           ? "websocket: nothing can be sent after close()"
                           : "websocket: nothing can be sent any more, the peer has closed or broken the protocol");
}

inline void session::require_no_message() const {
    if (sending_ == opcode::continuation) return;
    throw std::logic_error("websocket: the last piece of the message before has not been sent yet");
}

inline void session::send_text(std::string_view payload) {
    require_open();
    detail::require_utf8(payload, "the payload of a text message");
    send_message(opcode::text, payload);
}

inline void session::send_binary(std::string_view payload) {
    require_open();
    send_message(opcode::binary, payload);
}

inline void session::send_message(opcode op, std::string_view payload) {
    require_no_message();
    std::string encoded;
    const unsigned bits = extension_ == nullptr ? 0 : extension_->encode(payload, encoded);
    writer_.append(op, bits != 0 ? std::string_view(encoded) : payload, true, bits);
}

inline void session::send_piece(opcode op, std::string_view piece, bool more) {
    require_open();
    if (sending_ != op) require_no_message();
    if (op == opcode::text) {
        utf8_validator checked = sent_utf8_;
        if (!checked.feed(piece) || (!more && !checked.complete())) {
            throw std::invalid_argument("websocket: the payload of a text message is not UTF-8");
        }
        sent_utf8_ = checked;
    }
    writer_.append(sending_ == opcode::continuation ? op : opcode::continuation, piece, !more);
    sending_ = more ? op : opcode::continuation;
}

inline void session::send_encoded(const encoded_message& message) {
    if (writer_.own_role() == role::client)
        throw std::logic_error("websocket: an encoded_message is not masked; a client sends the payload instead");
    require_open();
    require_no_message();
    writer_.append_octets(message.bytes());
}

inline void session::ping(std::string_view payload) {
    require_open();
    if (payload.size() > max_control_bytes) throw std::invalid_argument("websocket: a ping carries 125 bytes at most");
    writer_.append(opcode::ping, payload);
}

inline void session::close(std::uint16_t code, std::string_view reason) {
    if (!valid_close_code(code)) {
        throw std::invalid_argument("websocket: close code " + std::to_string(code) + " may not be sent");
    }
    if (reason.size() > max_control_bytes - 2) {
        throw std::invalid_argument("websocket: a close reason has 123 bytes at most");
    }
    detail::require_utf8(reason, "the close reason");
    conclude();  // if the peer was first, its code is the answer
    if (state_ != session_state::open) return;
    writer_.append_close(code, reason);
    state_ = session_state::closing;
}
}  // namespace ferry::inline FERRY_ABI::websocket
