// ferry/client/websocket_message.hpp - what a WebSocket client receives
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <string>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// A whole message: text, which is valid UTF-8, or binary. Or a piece of one: see more().
class websocket_message {
public:
    websocket_message(std::string data, bool is_text, bool more) noexcept
        : data_(std::move(data)), is_text_(is_text), more_(more) {}

    [[nodiscard]] const std::string& data() const noexcept { return data_; }
    [[nodiscard]] std::string take_data() noexcept { return std::move(data_); }
    [[nodiscard]] bool is_text() const noexcept { return is_text_; }
    /// Further pieces of the same message follow: only where the limits ask for pieces.
    [[nodiscard]] bool more() const noexcept { return more_; }

private:
    std::string data_;
    bool is_text_;
    bool more_;
};
}  // namespace ferry::inline FERRY_ABI
