// ferry/websocket/session_event.hpp - what a session found in its input
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <cstdint>
#include <string_view>

namespace ferry::inline FERRY_ABI::websocket {
/// Its data is a view that the next feed(), next_event() or keep_input() of its session ends.
class session_event {
public:
    enum class kind : std::uint8_t {
        none,    // all input is used up
        text,    // data() is a whole message, valid UTF-8; or a piece of one, see more()
        binary,  // likewise
        ping,    // data() is its payload; it has been answered, if it is to be
        pong,    // data() is its payload
        closed,  // the peer sent a close frame: code(), 1005 if it had none, and its reason in data()
        failed,  // the peer broke the protocol: code() is what it is told, data() says how
    };

    session_event() noexcept = default;
    session_event(kind what, std::string_view data, std::uint16_t code = 0, bool more = false) noexcept
        : what_(what), more_(more), code_(code), data_(data) {}

    [[nodiscard]] kind what() const noexcept { return what_; }
    [[nodiscard]] std::string_view data() const noexcept { return data_; }
    [[nodiscard]] std::uint16_t code() const noexcept { return code_; }
    /// Further pieces of this message follow: only where session_options ask for pieces. The end of a piece may be
    /// inside a code point.
    [[nodiscard]] bool more() const noexcept { return more_; }

private:
    kind what_ = kind::none;
    bool more_ = false;
    std::uint16_t code_ = 0;
    std::string_view data_;
};
}  // namespace ferry::inline FERRY_ABI::websocket
