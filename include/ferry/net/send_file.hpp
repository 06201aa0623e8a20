// ferry/net/send_file.hpp - a file into a socket, without a copy in this program
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/net/socket.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>
#include <system_error>

#include <sys/sendfile.h>

namespace ferry::inline FERRY_ABI::net {
/// Sends `count` bytes of an open file from `offset` on, and yields how many: less only where the file ends before.
///
/// A checkpoint before each piece of 256 KiB. If it is cancelled, part of it may have been sent. What is not in memory yet
/// is read from the disk in this loop's turn: for files on slow disks read on a pool's thread instead.
///
/// Ownership  The descriptor stays the caller's; its file offset is not used.
/// Errors     disconnected when the peer is gone; std::system_error for anything else.
[[nodiscard]] task<std::uint64_t> send_file(socket& to, int file, std::uint64_t offset, std::uint64_t count);

// ---- implementation ----------------------------------------------------------------------------------------------
namespace detail {
/// sendfile has no MSG_NOSIGNAL: keeps SIGPIPE from this thread, and takes back the one that its own call raised.
class without_sigpipe {
public:
    without_sigpipe() noexcept {
        ::sigset_t pending;
        ::sigemptyset(&only_);
        ::sigaddset(&only_, SIGPIPE);
        ::sigpending(&pending);
        was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
        ::pthread_sigmask(SIG_BLOCK, &only_, &before_);
    }
    ~without_sigpipe() {
        const int error = errno;
        const ::timespec at_once{};
        if (!was_pending_) ::sigtimedwait(&only_, nullptr, &at_once);
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
        errno = error;
    }
    without_sigpipe(const without_sigpipe&) = delete;
    without_sigpipe& operator=(const without_sigpipe&) = delete;

private:
    ::sigset_t only_;
    ::sigset_t before_;
    bool was_pending_;
};

inline ::ssize_t send_file_quietly(int to, int file, ::off_t* offset, std::size_t count) noexcept {
    const without_sigpipe quiet;
    return ::sendfile(to, file, offset, count);
}
}  // namespace detail

inline task<std::uint64_t> send_file(socket& to, int file, std::uint64_t offset, std::uint64_t count) {
    constexpr std::uint64_t piece = 256 * 1024;
    std::uint64_t sent = 0;
    while (sent < count) {
        co_await to.writable();
        ::off_t at = static_cast<::off_t>(offset + sent);
        const auto wanted = static_cast<std::size_t>(std::min(piece, count - sent));
        const ::ssize_t taken = detail::send_file_quietly(to.descriptor(), file, &at, wanted);
        if (taken == 0) break;
        if (taken > 0) {
            sent += static_cast<std::uint64_t>(taken);
        } else if (errno == EPIPE || errno == ECONNRESET) {
            throw disconnected("ferry: send a file to " + to.peer().to_string() +
                               ": the peer has closed the connection");
        } else if (errno != EAGAIN && errno != EINTR) {
            throw std::system_error(errno, std::system_category(), "ferry: send a file to " + to.peer().to_string());
        }
    }
    co_return sent;
}
}  // namespace ferry::inline FERRY_ABI::net
