// ferry/net/memory_stream.hpp - a connection inside of one loop
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/net/borrowed_bytes.hpp>
#include <ferry/net/detail/descriptor.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace ferry::inline FERRY_ABI::net {
namespace detail {
/// The bytes under way from one end to the other.
class memory_pipe {
public:
    explicit memory_pipe(std::size_t capacity) noexcept : capacity_(capacity) {}

    [[nodiscard]] bool has_news() const noexcept { return reset_ || ended_ || !bytes_.empty(); }
    [[nodiscard]] bool has_room() const noexcept { return gone_ || bytes_.size() < capacity_; }
    /// The sender will send nothing more, or has vanished, or the receiver has.
    void end() noexcept { set(ended_); }
    void reset() noexcept { set(reset_); }
    void leave() noexcept { set(gone_); }
    [[nodiscard]] bool is_reset() const noexcept { return reset_; }
    [[nodiscard]] bool is_gone() const noexcept { return gone_; }

    std::size_t take(char* into, std::size_t size) noexcept {
        const std::size_t taken = std::min(size, bytes_.size());
        std::memcpy(into, bytes_.data(), taken);
        bytes_.erase(0, taken);
        if (taken != 0) sender_.wake();
        return taken;
    }
    std::size_t put(std::string_view bytes) {
        const std::size_t taken = std::min(bytes.size(), capacity_ - std::min(capacity_, bytes_.size()));
        bytes_.append(bytes.substr(0, taken));
        if (taken != 0) receiver_.wake();
        return taken;
    }
    [[nodiscard]] wait_slot& receiver() noexcept { return receiver_; }
    [[nodiscard]] wait_slot& sender() noexcept { return sender_; }

private:
    void set(bool& what) noexcept {
        what = true;
        receiver_.wake();
        sender_.wake();
    }

    std::size_t capacity_;
    std::string bytes_;
    bool ended_ = false;
    bool reset_ = false;
    bool gone_ = false;
    wait_slot receiver_;
    wait_slot sender_;
};
}  // namespace detail

/// One end of a connection without a descriptor: for tests, and for a client and a server in one loop. Has the members
/// of socket, and satisfies the concept stream.
///
///     auto [client, server] = ferry::net::memory_pair(loop);
///
/// Ownership      The ends share the bytes under way; each may go first. Closing or destroying an end while a task waits
///                for it is a bug (asserted). The loop outlives both.
/// Thread-safety  None: its loop's thread.
/// Errors         As those of socket.
class memory_stream {
public:
    class receive_awaiter;
    class receive_into_awaiter;
    class readable_awaiter;
    class writable_awaiter;
    class send_all_awaiter;

    memory_stream(event_loop& loop, std::shared_ptr<detail::memory_pipe> in,
                  std::shared_ptr<detail::memory_pipe> out) noexcept
        : loop_(&loop), in_(std::move(in)), out_(std::move(out)) {}
    ~memory_stream() { close(); }
    memory_stream(memory_stream&&) noexcept = default;
    memory_stream& operator=(memory_stream&& other) noexcept {
        close();
        loop_ = other.loop_;
        in_ = std::move(other.in_);
        out_ = std::move(other.out_);
        return *this;
    }

    [[nodiscard]] receive_awaiter receive();
    [[nodiscard]] receive_into_awaiter receive(char* buffer, std::size_t size) noexcept;
    [[nodiscard]] readable_awaiter readable() noexcept;
    [[nodiscard]] bool is_readable() const noexcept { return in().has_news(); }

    [[nodiscard]] std::size_t send_some(std::string_view bytes);
    [[nodiscard]] writable_awaiter writable() noexcept;
    [[nodiscard]] send_all_awaiter send_all(std::string_view bytes) noexcept;
    [[nodiscard]] send_all_awaiter send_all(std::span<const std::string_view> pieces) noexcept;

    void shutdown_send() noexcept { out().end(); }
    void close() noexcept { leave(false); }
    void abort() noexcept { leave(true); }

private:
    [[nodiscard]] detail::memory_pipe& in() const noexcept {
        FERRY_ASSERT(in_ != nullptr, "use of a memory_stream that was closed or moved from");
        return *in_;
    }
    [[nodiscard]] detail::memory_pipe& out() const noexcept {
        FERRY_ASSERT(out_ != nullptr, "use of a memory_stream that was closed or moved from");
        return *out_;
    }
    static void check_receiver(const detail::memory_pipe& from) {
        if (from.is_reset())
            throw disconnected("ferry: receive from a memory_stream: the peer has closed the connection");
    }
    static void check_sender(const detail::memory_pipe& to) {
        if (to.is_gone()) throw disconnected("ferry: send to a memory_stream: the peer has closed the connection");
    }
    void leave(bool at_once) noexcept;

    event_loop* loop_;
    std::shared_ptr<detail::memory_pipe> in_;
    std::shared_ptr<detail::memory_pipe> out_;
};

/// The two ends of a connection. Each way, `capacity` bytes at most are under way; then sending waits.
[[nodiscard]] inline std::pair<memory_stream, memory_stream> memory_pair(event_loop& loop,
                                                                         std::size_t capacity = 64 * 1024) {
    auto there = std::make_shared<detail::memory_pipe>(capacity);
    auto back = std::make_shared<detail::memory_pipe>(capacity);
    memory_stream first(loop, back, there);
    return {std::move(first), memory_stream(loop, std::move(there), std::move(back))};
}

// ---- implementation ----------------------------------------------------------------------------------------------
class memory_stream::receive_awaiter : public detail::slot_awaiter<receive_awaiter> {
public:
    static constexpr const char* what = "memory_stream::receive";
    receive_awaiter(event_loop& loop, detail::memory_pipe& from)
        : slot_awaiter(from.receiver()), from_(from), buffer_(loop) {}
    bool try_complete() noexcept {
        if (!from_.has_news()) return false;
        buffer_.begin_generation();
        if (!from_.is_reset()) count_ = from_.take(buffer_.data(), buffer_.size);
        return true;
    }
    borrowed_bytes finish() const {
        check_receiver(from_);
        return borrowed_bytes(buffer_, count_);
    }

private:
    detail::memory_pipe& from_;
    detail::shared_buffer buffer_;
    std::size_t count_ = 0;
};

class memory_stream::receive_into_awaiter : public detail::slot_awaiter<receive_into_awaiter> {
public:
    static constexpr const char* what = "memory_stream::receive";
    receive_into_awaiter(detail::memory_pipe& from, char* buffer, std::size_t size) noexcept
        : slot_awaiter(from.receiver()), from_(from), buffer_(buffer), size_(size) {}
    bool try_complete() noexcept {
        if (!from_.has_news()) return false;
        if (!from_.is_reset()) count_ = from_.take(buffer_, size_);
        return true;
    }
    std::size_t finish() const {
        check_receiver(from_);
        return count_;
    }

private:
    detail::memory_pipe& from_;
    char* buffer_;
    std::size_t size_;
    std::size_t count_ = 0;
};

class memory_stream::readable_awaiter : public detail::slot_awaiter<readable_awaiter> {
public:
    static constexpr const char* what = "memory_stream::readable";
    explicit readable_awaiter(detail::memory_pipe& from) noexcept : slot_awaiter(from.receiver()), from_(from) {}
    bool try_complete() noexcept { return from_.has_news(); }
    void finish() const noexcept {}

private:
    detail::memory_pipe& from_;
};

class memory_stream::writable_awaiter : public detail::slot_awaiter<writable_awaiter> {
public:
    static constexpr const char* what = "memory_stream::writable";
    explicit writable_awaiter(detail::memory_pipe& to) noexcept : slot_awaiter(to.sender()), to_(to) {}
    bool try_complete() noexcept { return to_.has_room(); }
    void finish() const noexcept {}

private:
    detail::memory_pipe& to_;
};

class memory_stream::send_all_awaiter : public detail::slot_awaiter<send_all_awaiter> {
public:
    static constexpr const char* what = "memory_stream::send_all";
    send_all_awaiter(detail::memory_pipe& to, std::string_view bytes, std::span<const std::string_view> pieces) noexcept
        : slot_awaiter(to.sender()), to_(to), left_(bytes), pieces_(pieces) {}
    bool try_complete() noexcept {
        while (!to_.is_gone()) {
            left_.remove_prefix(to_.put(left_));
            if (!left_.empty()) return false;
            if (pieces_.empty()) return true;
            left_ = pieces_[0];
            pieces_ = pieces_.subspan(1);
        }
        return true;
    }
    void finish() const {
        if (!left_.empty() || !pieces_.empty()) check_sender(to_);
    }

private:
    detail::memory_pipe& to_;
    std::string_view left_;
    std::span<const std::string_view> pieces_;
};

inline memory_stream::receive_awaiter memory_stream::receive() { return receive_awaiter(*loop_, in()); }
inline memory_stream::receive_into_awaiter memory_stream::receive(char* buffer, std::size_t size) noexcept {
    FERRY_ASSERT(size > 0, "receive into an empty buffer would look like the end of the stream");
    return receive_into_awaiter(in(), buffer, size);
}
inline memory_stream::readable_awaiter memory_stream::readable() noexcept { return readable_awaiter(in()); }

inline std::size_t memory_stream::send_some(std::string_view bytes) {
    check_sender(out());
    return out().put(bytes);
}
inline memory_stream::writable_awaiter memory_stream::writable() noexcept { return writable_awaiter(out()); }
inline memory_stream::send_all_awaiter memory_stream::send_all(std::string_view bytes) noexcept {
    return send_all_awaiter(out(), bytes, {});
}
inline memory_stream::send_all_awaiter memory_stream::send_all(std::span<const std::string_view> pieces) noexcept {
    return send_all_awaiter(out(), {}, pieces);
}

inline void memory_stream::leave(bool at_once) noexcept {
    if (in_ == nullptr) return;
    FERRY_ASSERT(in_->receiver().empty() && out_->sender().empty(),
                 "a memory_stream was closed while a task waits for it");
    if (at_once) {
        out_->reset();
    } else {
        out_->end();
    }
    in_->leave();
    in_.reset();
    out_.reset();
}
}  // namespace ferry::inline FERRY_ABI::net
