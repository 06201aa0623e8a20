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
#include <sys/stat.h>
#include <unistd.h>

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

/// A listening TCP or unix-domain socket. Port 0 lets the kernel choose one, which local() tells.
///
///     ferry::net::listener door(loop, ferry::net::address("127.0.0.1", 8000));
///     for (;;) group.start(greet(co_await door.accept()));
///
/// What it accepts sends small writes at once (TCP_NODELAY). A path is removed with the listener; one that a program
/// which has ended left behind is taken over.
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
    ~listener() { path_.remove(); }
    listener(const listener&) = delete;
    listener& operator=(const listener&) = delete;

    /// Waits for a connection; one task at a time (asserted). A checkpoint: a wait that is cancelled has taken none.
    [[nodiscard]] task<socket> accept();

    [[nodiscard]] const address& local() const noexcept { return local_; }

private:
    class accept_awaiter;

    /// The file of a unix-domain socket, so long as it is the one that was made here.
    class socket_file {
    public:
        void remember(std::string path) noexcept;
        void remove() const noexcept;

    private:
        std::string path_;  // empty without a file
        ::dev_t device_ = 0;
        ::ino_t inode_ = 0;
    };

    static constexpr std::chrono::milliseconds pause{100};

    [[nodiscard]] static int open(const address& at, const listener_options& options);
    [[nodiscard]] static bool bind(int descriptor, const address& at) noexcept;
    [[nodiscard]] static bool nobody_listens(const address& at) noexcept;
    void fill_reserve() noexcept;
    [[nodiscard]] bool turn_one_away() noexcept;
    void begin_refusal(int error);

    detail::watched_descriptor descriptor_;
    address local_;
    socket_file path_;
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
            peer_ = address::from_native(native, size);  // does not throw: it is of the listener's family
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
    path_.remember(local_.path());
    fill_reserve();
}

inline void listener::socket_file::remember(std::string path) noexcept {
    struct ::stat found {};
    if (path.empty() || path.front() == '@' || ::stat(path.c_str(), &found) != 0) return;
    path_ = std::move(path);
    device_ = found.st_dev;
    inode_ = found.st_ino;
}

inline void listener::socket_file::remove() const noexcept {
    struct ::stat found {};
    if (path_.empty() || ::lstat(path_.c_str(), &found) != 0) return;
    if (found.st_dev == device_ && found.st_ino == inode_) ::unlink(path_.c_str());
}

inline int listener::open(const address& at, const listener_options& options) {
    const auto fail = [&at](const char* way_out) {
        const int error = errno;
        throw std::system_error(error, std::system_category(), "ferry: cannot listen on " + at.to_string() + way_out);
    };
    detail::unique_descriptor made(::socket(at.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (made.get() < 0) fail("");
    const int on = 1;
    ::setsockopt(made.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    // On Linux, what it accepts inherits it. A unix-domain socket has no such option.
    ::setsockopt(made.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (options.reuse_port() && ::setsockopt(made.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
        fail(" with SO_REUSEPORT");
    }
    if (!bind(made.get(), at) || ::listen(made.get(), options.backlog()) != 0) {
        switch (errno) {
            case EADDRINUSE:
                fail(at.is_path() ? "; stop the other program there or choose another path"
                                  : "; stop the other program there or choose another port");
                break;
            case EACCES:
                fail(at.is_path() ? "; choose a directory in which this user may make files"
                                  : "; choose a port from 1024, or grant the program CAP_NET_BIND_SERVICE");
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

inline bool listener::bind(int descriptor, const address& at) noexcept {
    if (::bind(descriptor, at.data(), at.size()) == 0) return true;
    if (errno != EADDRINUSE || !nobody_listens(at)) return false;
    return ::unlink(at.path().c_str()) == 0 && ::bind(descriptor, at.data(), at.size()) == 0;
}

/// Is this the path of a socket that a program left behind? Keeps errno if it is not.
inline bool listener::nobody_listens(const address& at) noexcept {
    const int before = errno;
    struct ::stat found {};
    bool nobody = false;
    if (at.is_path() && ::lstat(at.path().c_str(), &found) == 0 && S_ISSOCK(found.st_mode)) {
        const detail::unique_descriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        nobody = ::connect(probe.get(), at.data(), at.size()) != 0 && errno == ECONNREFUSED;
    }
    errno = before;
    return nobody;
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
