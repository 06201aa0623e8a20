// ferry/channels/channel_layer.hpp - messages to named channels and groups of them, wherever their readers run
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/task.hpp>
#include <ferry/data/value.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ferry::inline FERRY_ABI {
/// The channel of a send() holds as many unread messages as it may. The message was not sent.
class channel_full : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// What a layer keeps, and for how long.
class channel_layer_options {
public:
    constexpr channel_layer_options() noexcept = default;

    /// Unread messages of one channel. Default 100. With 0 only a receiver that waits already gets a message.
    constexpr channel_layer_options& capacity(std::size_t messages) noexcept {
        capacity_ = messages;
        return *this;
    }
    /// How long a message may stay unread. Default 60 s; after that it is dropped.
    constexpr channel_layer_options& expiry(std::chrono::nanoseconds lifetime) noexcept {
        expiry_ = lifetime;
        return *this;
    }
    /// How long a membership lasts after the last group_add(). Default one day.
    constexpr channel_layer_options& group_expiry(std::chrono::nanoseconds lifetime) noexcept {
        group_expiry_ = lifetime;
        return *this;
    }

    [[nodiscard]] constexpr std::size_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] constexpr std::chrono::nanoseconds expiry() const noexcept { return expiry_; }
    [[nodiscard]] constexpr std::chrono::nanoseconds group_expiry() const noexcept { return group_expiry_; }

private:
    std::size_t capacity_ = 100;
    std::chrono::nanoseconds expiry_ = std::chrono::seconds(60);
    std::chrono::nanoseconds group_expiry_ = std::chrono::hours(24);
};

/// What became of this layer object's messages since it was made. A group_send() counts once for each member.
struct layer_counters {
    std::uint64_t sent = 0;             // accepted: by a channel's store or by a receiver
    std::uint64_t delivered = 0;        // handed to a receiver
    std::uint64_t dropped_full = 0;     // not accepted: send() threw channel_full, group_send() passed the member over
    std::uint64_t dropped_expired = 0;  // accepted, but nobody read it in time; counted when the layer comes across it

    friend bool operator==(const layer_counters&, const layer_counters&) = default;
};

/// Carries messages between tasks that know each other only by name: consumers, workers, other processes.
///
///     std::string mine = layer.new_channel("chat");
///     co_await layer.group_add("room", mine);
///     co_await layer.group_send("room", value::object().set("type", "say").set("text", "hello"));
///     value message = co_await layer.receive(mine);
///
/// Delivery is at most once: a message goes to one receiver of its channel, or to none. Per channel, messages of one
/// sender arrive in order. No sender ever waits for a reader: what is too much for a channel is refused or dropped, and
/// counted.
///
/// Ownership      Outlives every task that uses it.
/// Thread-safety  Every member: any thread; a task, once it runs, stays on its loop.
/// Errors         From the task when it is awaited: std::invalid_argument for a name that names.hpp does not allow and
///                for a message that check_message() does not; closed_error after close().
class channel_layer {
public:
    channel_layer() = default;
    virtual ~channel_layer() = default;
    channel_layer(const channel_layer&) = delete;
    channel_layer& operator=(const channel_layer&) = delete;

    /// Puts a message, a map, on one channel. Throws channel_full when too many are unread there.
    virtual task<> send(std::string channel, value message) = 0;
    /// The channel's oldest message, when there is one. Of several receivers one gets it. A checkpoint; a receive that
    /// is cancelled has not taken a message.
    virtual task<value> receive(std::string channel) = 0;
    /// A channel name that nobody else has: the prefix, then what makes it unique. Nothing is stored for it. Throws
    /// std::invalid_argument when no channel name can begin with that prefix.
    [[nodiscard]] virtual std::string new_channel(std::string_view prefix) = 0;

    /// Drops what is unread on a channel that nobody will read any more; else it is kept until it expires.
    virtual task<> drop_channel(std::string channel) = 0;

    /// Makes the channel a member, or renews its membership.
    virtual task<> group_add(std::string group, std::string channel) = 0;
    /// Does nothing when the channel is no member.
    virtual task<> group_discard(std::string group, std::string channel) = 0;
    /// Sends to every member. Members whose channel is full do not get it.
    virtual task<> group_send(std::string group, value message) = 0;
    virtual task<std::vector<std::string>> group_members(std::string group) = 0;
    virtual task<std::size_t> group_size(std::string group) = 0;

    /// Drops all messages and all groups. Receivers go on waiting.
    virtual task<> flush() = 0;
    /// Ends the use of this layer object: receivers that wait get closed_error, and so does every later call but
    /// close() and new_channel().
    virtual task<> close() = 0;

    [[nodiscard]] virtual layer_counters counters() const = 0;
};

/// The key by which layers that share a connection tell its channels apart; not for messages.
inline constexpr std::string_view reserved_message_key = "__asgi_channel__";

/// A message is a map without reserved_message_key. Throws std::invalid_argument.
void check_message(const value& message);

// ---- implementation ----------------------------------------------------------------------------------------------
inline void check_message(const value& message) {
    if (message.kind() != value_kind::map) {
        throw std::invalid_argument(std::string("channel layer: a message is a map, not ") + to_string(message.kind()));
    }
    if (message.find(reserved_message_key) != nullptr) {
        throw std::invalid_argument("channel layer: the key \"" + std::string(reserved_message_key) +
                                    "\" of a message is reserved for layers");
    }
}
}  // namespace ferry::inline FERRY_ABI
