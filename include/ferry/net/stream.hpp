// ferry/net/stream.hpp - what a connection's bytes have in common, whatever carries them
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/net/borrowed_bytes.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>

namespace ferry::inline FERRY_ABI::net {
namespace detail {
template <class T, class Result>
concept yields = awaitable<T> && std::same_as<ferry::detail::await_result<T>, Result>;
}  // namespace detail

/// Bytes both ways, in order, each way with an end of its own: socket says what each member does. memory_stream is
/// another one; a layer over a stream, such as TLS, is one again. What is written for a stream runs over all of them.
///
/// Errors  Those of socket: the end is a value, disconnected tells that the peer is gone. Cancelling a wait to receive
///         loses no byte.
template <class T>
concept stream = std::movable<T> && requires(T& it, const T& unchanged, char* buffer, std::size_t size,
                                             std::string_view bytes, std::span<const std::string_view> pieces) {
    { it.receive() } -> detail::yields<borrowed_bytes>;
    { it.receive(buffer, size) } -> detail::yields<std::size_t>;
    { it.readable() } -> detail::yields<void>;
    { unchanged.is_readable() } -> std::same_as<bool>;
    { it.send_some(bytes) } -> std::same_as<std::size_t>;
    { it.writable() } -> detail::yields<void>;
    { it.send_all(bytes) } -> detail::yields<void>;
    { it.send_all(pieces) } -> detail::yields<void>;
    it.shutdown_send();
    it.close();
    it.abort();
};

/// Ends a connection so that what was sent last still arrives: tells the peer that nothing more comes, reads what it has
/// under way until it closes too, or for as long as `limit`, and closes. (Closing at once resets the connection if bytes
/// come that nobody reads, and a reset overtakes what the peer has not read yet.) Yields whether the peer has closed.
template <stream Stream>
[[nodiscard]] task<bool> lingering_close(Stream& connection, std::chrono::milliseconds limit);

// ---- implementation ----------------------------------------------------------------------------------------------
namespace detail {
template <class Stream>
task<bool> read_to_end(Stream& connection) {
    try {
        for (bool more = true; more;) {
            const borrowed_bytes bytes = co_await connection.receive();
            more = !bytes.empty();
        }
        co_return true;
    } catch (const disconnected&) {
        co_return false;
    }
}
}  // namespace detail

template <stream Stream>
task<bool> lingering_close(Stream& connection, std::chrono::milliseconds limit) {
    connection.shutdown_send();
    const auto ended = co_await try_timeout(limit, detail::read_to_end(connection));
    connection.close();
    co_return ended.value_or(false);
}
}  // namespace ferry::inline FERRY_ABI::net
