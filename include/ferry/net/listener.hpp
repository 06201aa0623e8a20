// ferry/net/listener.hpp - accepts the connections that come to an address
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/task.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/net/address.hpp>
#include <ferry/net/detail/descriptor.hpp>
#include <ferry/net/socket.hpp>

#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace ferry::inline FERRY_ABI::net {
class listener_options {
public:
    constexpr listener_options() noexcept = default;

    /// Default false. True: several listeners, each on its own loop, share the port (SO_REUSEPORT), and the kernel
    /// spreads connections over them.
    constexpr listener_options& reuse_port(bool shared) noexcept {
        reuse_port_ = shared;
        return *this;
    }
    /// Connections that the kernel keeps ready for accept(). Default 4096; the kernel has a limit too,
    /// net.core.somaxconn.
    constexpr listener_options& backlog(int connections) noexcept {
        backlog_ = connections;
        return *this;
    }

    [[nodiscard]] constexpr bool reuse_port() const noexcept { return reuse_port_; }
    [[nodiscard]] constexpr int backlog() const noexcept { return backlog_; }

private:
    bool reuse_port_ = false;
    int backlog_ = 4096;
};

/// A listening TCP socket. Port 0 lets the kernel choose one, which local() tells.
///
///     ferry::net::listener door(loop, ferry::net::address("127.0.0.1", 8000));
///     for (;;) group.start(greet(co_await door.accept()));
///
/// What it accepts sends small writes at once (TCP_NODELAY).
///
/// When the process has no descriptor left, accept() does not fail: it closes the connection that waits longest, so
/// that its peer is not left hanging, tries again every 100 ms, and reports once, until it succeeds. Whatever else the
/// kernel refuses is met in the same way.
///
/// Ownership      Owns its descriptor and one in reserve. The loop outlives it; destroying it while accept() waits is a
///                bug (asserted).
/// Thread-safety  None. Call every member on the loop's own thread.
/// Errors         The constructor throws std::system_error with the address and a way out; accept() throws cancelled.
class listener {
public:
    listener(event_loop& loop, const address& at, listener_options options = listener_options());
    listener(const listener&) = delete;
    listener& operator=(const listener&) = delete;

    /// Waits for a connection; one task at a time (asserted). A checkpoint: a wait that is cancelled has taken none.
    [[nodiscard]] task<socket> accept();

    [[nodiscard]] const address& local() const noexcept { return local_; }

private:
    class accept_awaiter;

    static constexpr std::chrono::milliseconds pause{100};

    [[nodiscard]] static int open(const address& at, const listener_options& options);
    void fill_reserve() noexcept;
    [[nodiscard]] bool turn_one_away() noexcept;
    void begin_refusal(int error);

    detail::watched_descriptor descriptor_;
    address local_;
    detail::unique_descriptor reserve_;  // given up for a moment when there is no other descriptor
    bool refused_ = false;               // it cannot accept, and has said so
};

// ---- implementation ----------------------------------------------------------------------------------------------
/// Yields a connection, or nothing when the kernel refuses one for a reason that may last.
class listener::accept_awaiter : public detail::slot_awaiter<accept_awaiter> {
public:
    static constexpr const char* what = "listener::accept";
    explicit accept_awaiter(listener& owner) noexcept : slot_awaiter(owner.descriptor_.reader()), owner_(owner) {}
    bool try_complete() noexcept;
    std::optional<socket> finish();

private:
    listener& owner_;
    address peer_;
    int accepted_ = -1;
    int error_ = 0;
};

inline bool listener::accept_awaiter::try_complete() noexcept {
    for (;;) {
        ::sockaddr_storage storage;
        ::socklen_t size = sizeof storage;
        ::sockaddr* const native = reinterpret_cast<::sockaddr*>(&storage);
        accepted_ = ::accept4(owner_.descriptor_.get(), native, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted_ >= 0) {
            peer_ = address::from_native(native, size);  // cannot throw: it is of the listener's family
            return true;
        }
        switch (error_ = errno) {
            case EAGAIN:
                return false;
            case EMFILE:
            case ENFILE:
                return owner_.turn_one_away();
            case EINTR:
            case ECONNABORTED:
            case EPROTO:
            case ENOPROTOOPT:
            case ENETDOWN:
            case ENETUNREACH:
            case ENONET:
            case EHOSTDOWN:
            case EHOSTUNREACH:
                break;  // accept(2): it went wrong before it was accepted, and is gone; there may be another
            default:
                return true;
        }
    }
}

inline std::optional<socket> listener::accept_awaiter::finish() {
    if (accepted_ >= 0) {
        try {
            return socket(owner_.descriptor_.loop(), accepted_, peer_);
        } catch (const std::system_error& refused) {  // by the poller; the descriptor is closed
            error_ = refused.code().value();
        }
    }
    owner_.begin_refusal(error_);
    return std::nullopt;
}

inline listener::listener(event_loop& loop, const address& at, listener_options options)
    : descriptor_(loop, open(at, options)), local_(detail::local_address(descriptor_.get())) {
    fill_reserve();
}

inline int listener::open(const address& at, const listener_options& options) {
    const auto fail = [&at](const char* way_out) {
        const int error = errno;
        throw std::system_error(error, std::system_category(), "ferry: cannot listen on " + at.to_string() + way_out);
    };
    const int domain = at.is_ipv6() ? AF_INET6 : AF_INET;
    detail::unique_descriptor made(::socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (made.get() < 0) fail("");
    const int on = 1;
    ::setsockopt(made.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ::setsockopt(made.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // on Linux, what it accepts inherits it
    if (options.reuse_port() && ::setsockopt(made.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
        fail(" with SO_REUSEPORT");
    }
    if (::bind(made.get(), at.data(), at.size()) != 0 || ::listen(made.get(), options.backlog()) != 0) {
        switch (errno) {
            case EADDRINUSE:
                fail("; stop the other program there or choose another port");
                break;
            case EACCES:
                fail("; choose a port from 1024, or grant the program CAP_NET_BIND_SERVICE");
                break;
            case EADDRNOTAVAIL:
                fail("; choose an address of this machine, or 0.0.0.0 or :: for all of them");
                break;
            default:
                fail("");
        }
    }
    return made.release();
}

inline task<socket> listener::accept() {
    for (;;) {
        std::optional<socket> accepted = co_await accept_awaiter(*this);
        if (accepted) {
            refused_ = false;
            fill_reserve();
            co_return std::move(*accepted);
        }
        co_await sleep_for(pause);
    }
}

inline void listener::fill_reserve() noexcept {
    if (reserve_.get() < 0) reserve_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

/// Accepts and closes one connection by means of the reserve. False when there was none: accept4 wants a descriptor
/// before it looks.
inline bool listener::turn_one_away() noexcept {
    reserve_.reset();
    detail::unique_descriptor refused(::accept4(descriptor_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    const bool nobody = refused.get() < 0 && errno == EAGAIN;
    refused.reset();
    fill_reserve();
    return !nobody;
}

inline void listener::begin_refusal(int error) {
    if (std::exchange(refused_, true)) return;
    std::string text = "ferry: listener " + local_.to_string() +
                       " cannot accept: " + std::system_category().message(error) + "\n  it tries again every 100 ms";
    if (error == EMFILE || error == ENFILE) {
        text += ", and closes a connection each time\n  raise the limit (ulimit -n), or limit the open connections";
    }
    ferry::detail::report(text);
}
}  // namespace ferry::inline FERRY_ABI::net
