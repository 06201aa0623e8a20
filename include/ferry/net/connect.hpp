// ferry/net/connect.hpp - opens a connection
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/net/address.hpp>
#include <ferry/net/detail/descriptor.hpp>
#include <ferry/net/resolver.hpp>
#include <ferry/net/socket.hpp>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace ferry::inline FERRY_ABI::net {
/// Connects over TCP, or to a path, on the loop of the task that awaits it. Small writes are sent at once (TCP_NODELAY).
///
/// A checkpoint; a cancelled attempt is given up at once. The kernel tries for minutes: wrap it in timeout().
///
/// Errors  std::system_error that names the address.
[[nodiscard]] task<socket> connect(address to);

/// The same with the first of these addresses that answers, tried in turn. One that has not answered for as long as
/// `patience` is left for the next; the last one has all the time there is.
///
/// Errors  std::system_error that names each address with what went wrong there, and has the code of the last one;
///         std::invalid_argument without an address.
[[nodiscard]] task<socket> connect(std::vector<address> to,
                                   std::chrono::milliseconds patience = std::chrono::seconds(3));

/// The same with what resolve() finds.
[[nodiscard]] task<socket> connect(std::string host, std::uint16_t port);

// ---- implementation ----------------------------------------------------------------------------------------------
namespace detail {
[[noreturn]] inline void fail_to_connect(int error, const address& to) {
    const bool nobody = error == ECONNREFUSED || (to.is_path() && error == ENOENT);
    const char* const way_out = nobody ? "; start the program that should listen there" : "";
    throw std::system_error(error, std::system_category(), "ferry: cannot connect to " + to.to_string() + way_out);
}

/// A descriptor that is connected or about to be; none when a unix-domain listener has no room at the moment.
inline void begin_connect(unique_descriptor& made, const address& to) {
    made.reset(::socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (made.get() < 0) fail_to_connect(errno, to);
    const int on = 1;
    if (!to.is_path()) ::setsockopt(made.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::connect(made.get(), to.data(), to.size()) == 0 || errno == EINPROGRESS) return;
    if (errno != EAGAIN || !to.is_path()) fail_to_connect(errno, to);
    made.reset();
}
}  // namespace detail

inline task<socket> connect(address to) {
    ferry::detail::logical_task& self = co_await ferry::detail::current_task();
    detail::unique_descriptor begun;
    for (;;) {
        detail::begin_connect(begun, to);
        if (begun.get() >= 0) break;
        co_await sleep_for(std::chrono::milliseconds(10));  // nothing would tell when there is room
    }
    socket made(event_loop::of(self), begun.release(), to);
    co_await made.writable();
    int error = 0;
    ::socklen_t size = sizeof error;
    if (::getsockopt(made.descriptor(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error != 0) detail::fail_to_connect(error, to);
    co_return std::move(made);
}

inline task<socket> connect(std::vector<address> to, std::chrono::milliseconds patience) {
    if (to.empty()) throw std::invalid_argument("ferry: connect needs an address");
    std::string attempts;
    for (std::size_t at = 0; at + 1 < to.size(); ++at) {
        std::string failure = "no answer";
        try {
            std::optional<socket> made = co_await try_timeout(patience, connect(to[at]));
            if (made) co_return std::move(*made);
        } catch (const std::system_error& error) {
            failure = error.code().message();
        }
        attempts += "\n  " + to[at].to_string() + ": " + failure;
    }
    if (attempts.empty()) co_return co_await connect(to.back());
    try {
        co_return co_await connect(to.back());
    } catch (const std::system_error& error) {
        // system_error adds what went wrong there.
        attempts += "\n  " + to.back().to_string();
        throw std::system_error(error.code(), "ferry: cannot connect to any of these:" + attempts);
    }
}

inline task<socket> connect(std::string host, std::uint16_t port) {
    std::vector<address> where = co_await resolve(std::move(host), port);
    co_return co_await connect(std::move(where));
}
}  // namespace ferry::inline FERRY_ABI::net
