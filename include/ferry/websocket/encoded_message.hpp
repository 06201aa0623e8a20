// ferry/websocket/encoded_message.hpp - a message that is framed once and sent to many
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/data/utf8.hpp>
#include <ferry/websocket/frame.hpp>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace ferry::inline FERRY_ABI::websocket {
/// The frame of a server's message. Servers do not mask, so the same octets serve every receiver: a broadcast checks
/// and frames its text once, and each session only appends them.
class encoded_message {
public:
    /// Throws std::invalid_argument if the payload is not UTF-8.
    [[nodiscard]] static encoded_message text(std::string_view payload);
    [[nodiscard]] static encoded_message binary(std::string_view payload);

    [[nodiscard]] std::string_view bytes() const noexcept { return bytes_; }

private:
    explicit encoded_message(std::string bytes) noexcept : bytes_(std::move(bytes)) {}

    std::string bytes_;
};

// ---- implementation ---------------------------------------------------------------
namespace detail {
inline void require_utf8(std::string_view text, const char* what) {
    if (!is_utf8(text)) throw std::invalid_argument(std::string("websocket: ") + what + " is not UTF-8");
}

inline std::string frame_of(opcode op, std::string_view payload) {
    std::string bytes;
    bytes.reserve(10 + payload.size());  // the longest unmasked header
    append_frame(bytes, op, payload);
    return bytes;
}
}  // namespace detail

inline encoded_message encoded_message::text(std::string_view payload) {
    detail::require_utf8(payload, "the payload of a text message");
    return encoded_message(detail::frame_of(opcode::text, payload));
}

inline encoded_message encoded_message::binary(std::string_view payload) {
    return encoded_message(detail::frame_of(opcode::binary, payload));
}
}  // namespace ferry::inline FERRY_ABI::websocket
