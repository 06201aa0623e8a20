// tests/bench/client_set.hpp - clients, and who of them has something to read
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "soak_client.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <system_error>

#include <sys/epoll.h>
#include <unistd.h>

namespace ferry_bench {
using soak_clock = std::chrono::steady_clock;

/// Tells which clients can be read. One that is closed leaves the set.
class client_set {
public:
    client_set() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
        if (epoll_ < 0) throw std::system_error(errno, std::system_category(), "epoll_create1");
    }
    ~client_set() { ::close(epoll_); }
    client_set(const client_set&) = delete;
    client_set& operator=(const client_set&) = delete;

    void watch(const soak_client& client, std::size_t number) {
        ::epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = number;
        if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, client.descriptor(), &event) != 0) {
            throw std::system_error(errno, std::system_category(), "epoll_ctl");
        }
    }
    /// Waits until then at the latest; calls on_readable(number) for each client that can be read.
    template <class OnReadable>
    void wait(soak_clock::time_point until, OnReadable on_readable) {
        ::epoll_event events[64];
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - soak_clock::now()).count();
        const int count = ::epoll_wait(epoll_, events, 64, static_cast<int>(std::max<std::int64_t>(0, left)));
        for (int i = 0; i < count; ++i) on_readable(static_cast<std::size_t>(events[i].data.u64));
    }

private:
    int epoll_;
};
}  // namespace ferry_bench
