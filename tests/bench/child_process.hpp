// tests/bench/child_process.hpp - part of a measurement in a process of its own
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <system_error>
#include <type_traits>
#include <utility>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ferry_bench {
/// One end of a line between two processes, for values without pointers.
class process_link {
public:
    explicit process_link(int descriptor) noexcept : descriptor_(descriptor) {}
    process_link(process_link&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    ~process_link() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }

    template <class T>
    void send(const T& what) {
        static_assert(std::is_trivially_copyable_v<T>);
        if (::send(descriptor_, &what, sizeof what, MSG_NOSIGNAL) != static_cast<::ssize_t>(sizeof what)) {
            throw std::system_error(errno, std::system_category(), "send to the other process");
        }
    }
    /// Blocks until it has come.
    template <class T>
    T receive() {
        static_assert(std::is_trivially_copyable_v<T>);
        T what;
        ::ssize_t size = 0;
        do size = ::recv(descriptor_, &what, sizeof what, MSG_WAITALL);
        while (size < 0 && errno == EINTR);
        if (size != static_cast<::ssize_t>(sizeof what)) throw std::runtime_error("the other process has ended");
        return what;
    }

private:
    int descriptor_;
};

/// A copy of this process that runs `body(link)` and exits. Make it before the first thread and the first loop.
///
/// Its end, or the parent's, ends the process.
class child_process {
public:
    template <class Body>
    explicit child_process(Body body) : child_process(make_pair(), std::move(body)) {}
    ~child_process() {
        ::kill(id_, SIGKILL);
        ::waitpid(id_, nullptr, 0);
    }
    child_process(const child_process&) = delete;
    child_process& operator=(const child_process&) = delete;

    [[nodiscard]] process_link& link() noexcept { return link_; }

private:
    struct ends {
        process_link parent;
        process_link child;
    };
    static ends make_pair() {
        int both[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) != 0) {
            throw std::system_error(errno, std::system_category(), "socketpair");
        }
        return {process_link(both[0]), process_link(both[1])};
    }
    template <class Body>
    child_process(ends made, Body body) : link_(std::move(made.parent)), id_(::fork()) {
        if (id_ < 0) throw std::system_error(errno, std::system_category(), "fork");
        if (id_ > 0) return;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        {
            const process_link unused = std::move(link_);  // so that the parent's end is seen
        }
        try {
            body(made.child);
            ::_exit(0);
        } catch (const std::exception& error) {
            std::fprintf(stderr, "child process: %s\n", error.what());
            ::_exit(1);
        }
    }

    process_link link_;
    ::pid_t id_;
};
}  // namespace ferry_bench
