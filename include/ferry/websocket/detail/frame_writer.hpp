// ferry/websocket/detail/frame_writer.hpp - the frames that one end sends
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/websocket/frame.hpp>
#include <ferry/websocket/mask_source.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI::websocket::detail {
/// Appends frames to the output, masked if this end is a client, and bounds the pongs among them.
///
/// Ownership  Refers to the output, which whoever writes it empties.
class frame_writer {
public:
    frame_writer(std::string& output, std::optional<mask_source> masks, std::size_t max_unwritten_pongs) noexcept
        : output_(output), masks_(masks), max_unwritten_pongs_(max_unwritten_pongs) {}

    [[nodiscard]] role own_role() const noexcept { return masks_ ? role::client : role::server; }

    void append(opcode op, std::string_view payload, bool fin = true, unsigned reserved_bits = 0) {
        append_to(output_, op, payload, fin, reserved_bits);
    }
    void append_octets(std::string_view frame) { output_.append(frame); }
    void append_close(std::uint16_t code, std::string_view reason);
    /// Answers a ping now, or later if too many pongs are unwritten.
    void pong(std::string_view payload);
    /// The output has been written: the pong that had to wait is next, if pongs may still be sent.
    void written(bool may_pong);

private:
    void append_to(std::string& out, opcode op, std::string_view payload, bool fin, unsigned reserved_bits) const {
        if (masks_) {
            append_masked_frame(out, op, payload, masks_->draw(), fin, reserved_bits);
        } else {
            append_frame(out, op, payload, fin, reserved_bits);
        }
    }

    std::string& output_;
    std::optional<mask_source> masks_;
    std::string late_pong_;  // the frame that waits for written()
    std::size_t max_unwritten_pongs_;
    std::size_t unwritten_pongs_ = 0;
};

// ---- implementation ---------------------------------------------------------------
inline void frame_writer::append_close(std::uint16_t code, std::string_view reason) {
    std::string payload;
    if (code != close_code::no_code) {
        payload += static_cast<char>(static_cast<unsigned char>(code >> 8));
        payload += static_cast<char>(static_cast<unsigned char>(code & 0xFF));
        payload += reason;
    }
    append(opcode::close, payload);
}

inline void frame_writer::pong(std::string_view payload) {
    if (output_.empty()) {
        unwritten_pongs_ = 0;
        late_pong_.clear();  // the one for this ping is newer
    }
    if (unwritten_pongs_ < max_unwritten_pongs_) {
        ++unwritten_pongs_;
        append(opcode::pong, payload);
    } else {
        late_pong_.clear();
        append_to(late_pong_, opcode::pong, payload, true, 0);
    }
}

inline void frame_writer::written(bool may_pong) {
    unwritten_pongs_ = 0;
    if (late_pong_.empty()) return;
    if (may_pong) {
        output_.append(late_pong_);
        unwritten_pongs_ = 1;
    }
    std::string().swap(late_pong_);
}
}  // namespace ferry::inline FERRY_ABI::websocket::detail
