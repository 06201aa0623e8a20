// ferry/websocket/session_options.hpp - what a peer's message may cost
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <cstddef>
#include <cstdint>
#include <stdexcept>

namespace ferry::inline FERRY_ABI::websocket {
class session_options {
public:
    constexpr session_options() noexcept = default;

    /// Default 1 MiB. A longer message fails the connection with 1009, as soon as a header announces it.
    constexpr session_options& max_message_bytes(std::size_t bytes) noexcept {
        message_bytes_ = bytes;
        return *this;
    }
    /// Frames of one message. Default 16384; more fail the connection with 1009.
    constexpr session_options& max_fragments(std::size_t frames) noexcept {
        fragments_ = frames;
        return *this;
    }
    /// Pings and pongs in a second. Default 100; 0 is no limit. Beyond it nothing is read for the rest of the second, which
    /// is for whoever drives the session to do: see control_rate.
    constexpr session_options& max_control_frames_per_second(std::size_t frames) noexcept {
        control_frames_ = frames;
        return *this;
    }
    /// Pongs that wait to be written; then only the newest ping is answered. Default 64; std::invalid_argument for 0.
    constexpr session_options& max_unwritten_pongs(std::size_t pongs) {
        unwritten_pongs_ = at_least_one(pongs);
        return *this;
    }
    /// Messages, or octets of them, that have come and were not received yet, from which on nothing more is read; that, too, is
    /// for whoever drives the session to do. Default 16 and 1 MiB; std::invalid_argument for 0.
    constexpr session_options& max_queued_messages(std::size_t messages) {
        queued_messages_ = at_least_one(messages);
        return *this;
    }
    constexpr session_options& max_queued_bytes(std::size_t bytes) {
        queued_bytes_ = at_least_one(bytes);
        return *this;
    }
    /// Default false. True: messages are delivered piece by piece as they arrive, instead of being put together; the
    /// limits are the same.
    constexpr session_options& deliver_pieces(bool in_pieces) noexcept {
        pieces_ = in_pieces;
        return *this;
    }

    [[nodiscard]] constexpr std::size_t max_message_bytes() const noexcept { return message_bytes_; }
    [[nodiscard]] constexpr std::size_t max_fragments() const noexcept { return fragments_; }
    [[nodiscard]] constexpr std::size_t max_control_frames_per_second() const noexcept { return control_frames_; }
    [[nodiscard]] constexpr std::size_t max_unwritten_pongs() const noexcept { return unwritten_pongs_; }
    [[nodiscard]] constexpr std::size_t max_queued_messages() const noexcept { return queued_messages_; }
    [[nodiscard]] constexpr std::size_t max_queued_bytes() const noexcept { return queued_bytes_; }
    [[nodiscard]] constexpr bool deliver_pieces() const noexcept { return pieces_; }

private:
    static constexpr std::size_t at_least_one(std::size_t room) {
        if (room == 0)
            throw std::invalid_argument("websocket: a queue without room, through which nothing would ever come");
        return room;
    }

    std::size_t message_bytes_ = 1024 * 1024;
    std::size_t fragments_ = 16384;
    std::size_t control_frames_ = 100;
    std::size_t unwritten_pongs_ = 64;
    std::size_t queued_messages_ = 16;
    std::size_t queued_bytes_ = 1024 * 1024;
    bool pieces_ = false;
};
}  // namespace ferry::inline FERRY_ABI::websocket
