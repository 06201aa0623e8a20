// ferry/net/socket.hpp - one connection's bytes, in and out
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/net/address.hpp>
#include <ferry/net/borrowed_bytes.hpp>
#include <ferry/net/detail/descriptor.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

namespace ferry::inline FERRY_ABI::net {
/// A connected stream: what listener::accept() and connect() yield.
///
///     for (;;) {
///         const ferry::net::borrowed_bytes bytes = co_await peer.receive();
///         if (bytes.empty()) break;                       // the peer has sent everything
///         parser.feed(bytes.view());
///     }
///
/// Every syscall is tried at once, and the task waits only if it would block. A wait that is cancelled has taken
/// nothing: the next receive() yields the bytes. At most one task receives and one sends (asserted).
///
/// Ownership      Owns its descriptor; destroying it closes it. Move-only, also while a task waits for it. The loop
///                outlives it; closing or destroying it while a task waits is a bug (asserted).
/// Thread-safety  None. Call every member on the loop's own thread.
/// Errors         The end of the stream is a value. disconnected when the peer has reset the connection, or when bytes
///                are sent to one that has closed it; std::system_error with the peer's address for anything else;
///                awaiting throws cancelled.
/// Cost           One recycled block and one epoll registration each; an idle socket holds no buffer.
class socket {
public:
    class receive_awaiter;
    class receive_into_awaiter;
    class readable_awaiter;
    class writable_awaiter;
    class send_all_awaiter;
    class send_pieces_awaiter;

    /// Takes over a connected, non-blocking stream descriptor, also when it throws. `peer` is what reports call it.
    socket(event_loop& loop, int descriptor, const address& peer);

    /// Waits for bytes and receives them into the loop's shared buffer right before the task goes on. A checkpoint.
    [[nodiscard]] receive_awaiter receive();
    /// The same into a buffer of the caller's, of at least one byte; yields how many, 0 at the end of the stream.
    [[nodiscard]] receive_into_awaiter receive(char* buffer, std::size_t size) noexcept;
    /// Waits until receive() has something to tell: bytes, the end of the stream or an error. A checkpoint.
    [[nodiscard]] readable_awaiter readable() noexcept;
    /// Whether readable() would end at once.
    [[nodiscard]] bool is_readable() const noexcept;

    /// Hands the kernel what it takes at once, and returns how much; 0 when it takes nothing before writable().
    [[nodiscard]] std::size_t send_some(std::string_view bytes);
    /// Waits until send_some() has something to tell: room or an error. A checkpoint.
    [[nodiscard]] writable_awaiter writable() noexcept;
    /// Hands all of it to the kernel; the bytes are the caller's until then. A checkpoint. If it is cancelled, part of
    /// it may have been sent: count with send_some() where the connection is to be used further.
    [[nodiscard]] send_all_awaiter send_all(std::string_view bytes) noexcept;
    /// The same with pieces that need not be joined, in as few syscalls as the kernel lets it be. Pieces and bytes are
    /// the caller's until then. See also send_file.hpp.
    [[nodiscard]] send_pieces_awaiter send_all(std::span<const std::string_view> pieces) noexcept;

    /// Tells the peer that nothing more will be sent; receiving goes on. Does nothing if the connection is gone.
    void shutdown_send() noexcept;
    /// Closes. The kernel still delivers what was sent, but if bytes came that were not received it resets the
    /// connection. Calling it again does nothing.
    void close() noexcept;
    /// Closes at once and drops what was not delivered: the peer sees a reset.
    void abort() noexcept;

    [[nodiscard]] const address& peer() const noexcept;
    [[nodiscard]] address local() const;
    /// -1 once closed.
    [[nodiscard]] int descriptor() const noexcept;

private:
    class connection;

    struct deleter {
        void operator()(connection* dead) const noexcept;
    };
    [[nodiscard]] connection& open() const noexcept;

    std::unique_ptr<connection, deleter> connection_;  // does not move, since the loop and awaiters refer to it
};

// ---- implementation ----------------------------------------------------------------------------------------------
class socket::connection final : public detail::watched_descriptor {
public:
    /// What one syscall came to.
    class outcome {
    public:
        explicit outcome(::ssize_t returned = 0) noexcept
            : count_(returned < 0 ? 0 : static_cast<std::size_t>(returned)), error_(returned < 0 ? errno : 0) {}
        [[nodiscard]] bool would_block() const noexcept { return error_ == EAGAIN || error_ == EWOULDBLOCK; }
        [[nodiscard]] std::size_t count() const noexcept { return count_; }
        [[nodiscard]] int error() const noexcept { return error_; }

    private:
        std::size_t count_;
        int error_;
    };

    connection(event_loop& loop, int descriptor, const address& peer)
        : watched_descriptor(loop, descriptor), peer_(peer) {}
    static void* operator new(std::size_t size) { return ferry::detail::frame_allocator::allocate(size); }
    static void operator delete(void* block, std::size_t size) noexcept {
        ferry::detail::frame_allocator::deallocate(block, size);
    }

    [[nodiscard]] const address& peer() const noexcept { return peer_; }

    outcome receive(char* buffer, std::size_t size) const noexcept {
        outcome result;
        do result = outcome(::recv(get(), buffer, size, 0));
        while (result.error() == EINTR);
        return result;
    }
    outcome send(std::string_view bytes) const noexcept {
        outcome result;
        do result = outcome(::send(get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
        while (result.error() == EINTR);
        return result;
    }
    outcome send(const ::iovec* pieces, std::size_t count) const noexcept {
        ::msghdr message{};
        message.msg_iov = const_cast<::iovec*>(pieces);
        message.msg_iovlen = count;
        outcome result;
        do result = outcome(::sendmsg(get(), &message, MSG_NOSIGNAL));
        while (result.error() == EINTR);
        return result;
    }
    /// Unlike a peeking recv, poll leaves a pending error where it is.
    [[nodiscard]] bool is_ready(short events) const noexcept {
        ::pollfd question{};
        question.fd = get();
        question.events = events;
        return ::poll(&question, 1, 0) > 0;
    }

    void check(outcome result, const char* doing) const {
        if (result.error() != 0) fail(result.error(), doing);
    }

private:
    [[noreturn]] void fail(int error, const char* doing) const {
        const std::string what = std::string("ferry: ") + doing + " " + peer_.to_string();
        if (error == EPIPE || error == ECONNRESET) throw disconnected(what + ": the peer has closed the connection");
        throw std::system_error(error, std::system_category(), what);
    }

    address peer_;
};

class socket::receive_awaiter : public detail::slot_awaiter<receive_awaiter> {
public:
    static constexpr const char* what = "socket::receive";
    explicit receive_awaiter(connection& owner)
        : slot_awaiter(owner.reader()), connection_(owner), buffer_(owner.loop()) {}
    bool try_complete() noexcept {
        buffer_.begin_generation();
        result_ = connection_.receive(buffer_.data(), buffer_.size);
        return !result_.would_block();
    }
    borrowed_bytes finish() const {
        connection_.check(result_, "receive from");
        return borrowed_bytes(buffer_, result_.count());
    }

private:
    connection& connection_;
    detail::shared_buffer buffer_;
    connection::outcome result_;
};

class socket::receive_into_awaiter : public detail::slot_awaiter<receive_into_awaiter> {
public:
    static constexpr const char* what = "socket::receive";
    receive_into_awaiter(connection& owner, char* buffer, std::size_t size) noexcept
        : slot_awaiter(owner.reader()), connection_(owner), buffer_(buffer), size_(size) {}
    bool try_complete() noexcept {
        result_ = connection_.receive(buffer_, size_);
        return !result_.would_block();
    }
    std::size_t finish() const {
        connection_.check(result_, "receive from");
        return result_.count();
    }

private:
    connection& connection_;
    char* buffer_;
    std::size_t size_;
    connection::outcome result_;
};

class socket::readable_awaiter : public detail::slot_awaiter<readable_awaiter> {
public:
    static constexpr const char* what = "socket::readable";
    explicit readable_awaiter(connection& owner) noexcept : slot_awaiter(owner.reader()), connection_(owner) {}
    bool try_complete() noexcept { return connection_.is_ready(POLLIN); }
    void finish() const noexcept {}

private:
    connection& connection_;
};

class socket::writable_awaiter : public detail::slot_awaiter<writable_awaiter> {
public:
    static constexpr const char* what = "socket::writable";
    explicit writable_awaiter(connection& owner) noexcept : slot_awaiter(owner.writer()), connection_(owner) {}
    bool try_complete() noexcept { return connection_.is_ready(POLLOUT); }
    void finish() const noexcept {}

private:
    connection& connection_;
};

class socket::send_all_awaiter : public detail::slot_awaiter<send_all_awaiter> {
public:
    static constexpr const char* what = "socket::send_all";
    send_all_awaiter(connection& owner, std::string_view bytes) noexcept
        : slot_awaiter(owner.writer()), connection_(owner), left_(bytes) {}
    bool try_complete() noexcept {
        while (!left_.empty()) {
            result_ = connection_.send(left_);
            if (result_.error() != 0) return !result_.would_block();
            left_.remove_prefix(result_.count());
        }
        return true;
    }
    void finish() const { connection_.check(result_, "send to"); }

private:
    connection& connection_;
    std::string_view left_;
    connection::outcome result_;
};

class socket::send_pieces_awaiter : public detail::slot_awaiter<send_pieces_awaiter> {
public:
    static constexpr const char* what = "socket::send_all";
    send_pieces_awaiter(connection& owner, std::span<const std::string_view> pieces) noexcept
        : slot_awaiter(owner.writer()), connection_(owner), pieces_(pieces) {}
    bool try_complete() noexcept {
        for (skip(0); !pieces_.empty(); skip(result_.count())) {
            constexpr std::size_t at_once = 64;
            ::iovec views[at_once];
            const std::size_t count = std::min(at_once, pieces_.size());
            for (std::size_t at = 0; at < count; ++at) {
                views[at].iov_base = const_cast<char*>(pieces_[at].data());
                views[at].iov_len = pieces_[at].size();
            }
            views[0].iov_base = const_cast<char*>(pieces_[0].data() + sent_of_first_);
            views[0].iov_len -= sent_of_first_;
            result_ = connection_.send(views, count);
            if (result_.error() != 0) return !result_.would_block();
        }
        return true;
    }
    void finish() const { connection_.check(result_, "send to"); }

private:
    /// Leaves behind what was sent, and empty pieces.
    void skip(std::size_t bytes) noexcept {
        sent_of_first_ += bytes;
        while (!pieces_.empty() && sent_of_first_ >= pieces_[0].size()) {
            sent_of_first_ -= pieces_[0].size();
            pieces_ = pieces_.subspan(1);
        }
    }

    connection& connection_;
    std::span<const std::string_view> pieces_;
    std::size_t sent_of_first_ = 0;
    connection::outcome result_;
};

inline void socket::deleter::operator()(connection* dead) const noexcept { delete dead; }

inline socket::socket(event_loop& loop, int descriptor, const address& peer) {
    detail::unique_descriptor owner(descriptor);
    // The block is allocated before the descriptor is released, and the connection owns it before it can throw.
    connection_.reset(new connection(loop, owner.release(), peer));
}

inline socket::connection& socket::open() const noexcept {
    FERRY_ASSERT(connection_ != nullptr, "use of a socket that was moved from");
    FERRY_ASSERT(connection_->get() >= 0, "use of a socket that was closed");
    return *connection_;
}

inline socket::receive_awaiter socket::receive() { return receive_awaiter(open()); }
inline socket::receive_into_awaiter socket::receive(char* buffer, std::size_t size) noexcept {
    FERRY_ASSERT(size > 0, "receive into an empty buffer would look like the end of the stream");
    return receive_into_awaiter(open(), buffer, size);
}
inline socket::readable_awaiter socket::readable() noexcept { return readable_awaiter(open()); }
inline bool socket::is_readable() const noexcept { return open().is_ready(POLLIN); }

inline std::size_t socket::send_some(std::string_view bytes) {
    const connection& to = open();
    const connection::outcome result = to.send(bytes);
    if (!result.would_block()) to.check(result, "send to");
    return result.count();
}
inline socket::writable_awaiter socket::writable() noexcept { return writable_awaiter(open()); }
inline socket::send_all_awaiter socket::send_all(std::string_view bytes) noexcept {
    return send_all_awaiter(open(), bytes);
}

inline socket::send_pieces_awaiter socket::send_all(std::span<const std::string_view> pieces) noexcept {
    return send_pieces_awaiter(open(), pieces);
}

inline void socket::shutdown_send() noexcept { ::shutdown(open().get(), SHUT_WR); }
inline void socket::close() noexcept {
    if (connection_ != nullptr) connection_->close();
}
inline void socket::abort() noexcept {
    if (descriptor() < 0) return;
    ::linger at_once{};
    at_once.l_onoff = 1;
    ::setsockopt(descriptor(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close();
}

inline const address& socket::peer() const noexcept {
    FERRY_ASSERT(connection_ != nullptr, "use of a socket that was moved from");
    return connection_->peer();
}
inline address socket::local() const { return detail::local_address(open().get()); }
inline int socket::descriptor() const noexcept { return connection_ == nullptr ? -1 : connection_->get(); }
}  // namespace ferry::inline FERRY_ABI::net
