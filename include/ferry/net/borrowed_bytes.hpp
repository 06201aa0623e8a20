// ferry/net/borrowed_bytes.hpp - received bytes in the one buffer that all sockets of a loop share
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/loop/event_loop.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace ferry::inline FERRY_ABI::net {
namespace detail {
/// A loop's read buffer. In FERRY_DEBUG builds its last bytes count how often it was lent.
class shared_buffer {
public:
    explicit shared_buffer(event_loop& loop) : data_(loop.read_buffer()) {}
    [[nodiscard]] char* data() const noexcept { return data_; }

#if defined(FERRY_DEBUG)
    static constexpr std::size_t size = event_loop::read_buffer_size - sizeof(std::uint64_t);
    [[nodiscard]] std::uint64_t generation() const noexcept {
        std::uint64_t count = 0;
        std::memcpy(&count, data_ + size, sizeof count);
        return count;
    }
    void begin_generation() const noexcept {
        const std::uint64_t count = generation() + 1;
        std::memcpy(data_ + size, &count, sizeof count);
    }
#else
    static constexpr std::size_t size = event_loop::read_buffer_size;
    void begin_generation() const noexcept {}
#endif

private:
    char* data_;
};
}  // namespace detail

/// What socket::receive() yields: bytes that stay valid until the next co_await. Empty at the end of the stream.
///
/// They may be changed in place (unmasking), and passed up through `co_await task` and timeout. Copy what has to stay.
///
/// Ownership      Owns nothing: the bytes are in the loop's read buffer.
/// Thread-safety  None: its loop's thread.
/// Errors         Bytes that are used after another receive() had the buffer: asserted in FERRY_DEBUG builds.
class borrowed_bytes {
public:
    using borrowed_until_next_await = void;

    borrowed_bytes(detail::shared_buffer buffer, std::size_t size) noexcept : buffer_(buffer), size_(size) {}
    borrowed_bytes(borrowed_bytes&& other) noexcept = default;
    borrowed_bytes& operator=(borrowed_bytes&& other) noexcept = default;

    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] char* data() const noexcept {
#if defined(FERRY_DEBUG)
        FERRY_ASSERT(generation_ == buffer_.generation(), "borrowed bytes are valid until the next co_await only");
#endif
        return buffer_.data();
    }
    [[nodiscard]] std::string_view view() const noexcept { return std::string_view(data(), size_); }

private:
    detail::shared_buffer buffer_;
    std::size_t size_;
#if defined(FERRY_DEBUG)
    std::uint64_t generation_ = buffer_.generation();
#endif
};
}  // namespace ferry::inline FERRY_ABI::net
