// ferry/net/connect.hpp - opens a connection
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/net/address.hpp>
#include <ferry/net/detail/descriptor.hpp>
#include <ferry/net/socket.hpp>

#include <cerrno>
#include <system_error>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace ferry::inline FERRY_ABI::net {
/// Connects over TCP, on the loop of the task that awaits it. Small writes are sent at once (TCP_NODELAY).
///
/// A checkpoint; a cancelled attempt is given up at once. The kernel tries for minutes: wrap it in timeout().
///
/// Errors  std::system_error that names the address.
[[nodiscard]] task<socket> connect(address to);

// ---- implementation ----------------------------------------------------------------------------------------------
namespace detail {
[[noreturn]] inline void fail_to_connect(int error, const address& to) {
    const char* const way_out = error == ECONNREFUSED ? "; start the program that should listen there" : "";
    throw std::system_error(error, std::system_category(), "ferry: cannot connect to " + to.to_string() + way_out);
}

/// A descriptor that is connected or about to be.
[[nodiscard]] inline int begin_connect(const address& to) {
    const int domain = to.is_ipv6() ? AF_INET6 : AF_INET;
    unique_descriptor made(::socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (made.get() < 0) fail_to_connect(errno, to);
    const int on = 1;
    ::setsockopt(made.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::connect(made.get(), to.data(), to.size()) != 0 && errno != EINPROGRESS) fail_to_connect(errno, to);
    return made.release();
}
}  // namespace detail

inline task<socket> connect(address to) {
    ferry::detail::logical_task& self = co_await ferry::detail::current_task();
    socket made(event_loop::of(self), detail::begin_connect(to), to);
    co_await made.writable();
    int error = 0;
    ::socklen_t size = sizeof error;
    if (::getsockopt(made.descriptor(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error != 0) detail::fail_to_connect(error, to);
    co_return std::move(made);
}
}  // namespace ferry::inline FERRY_ABI::net
