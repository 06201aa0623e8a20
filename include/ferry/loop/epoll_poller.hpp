// ferry/loop/epoll_poller.hpp - the poller of real programs: epoll and the steady clock
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/loop/poller.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <system_error>

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace ferry::inline FERRY_ABI {
/// Cost  Makes its epoll descriptor on first use, so a loop that never waits costs no syscall; then one syscall a wait.
class epoll_poller final : public poller {
public:
    epoll_poller() = default;
    ~epoll_poller() override {
        if (epoll_ >= 0) ::close(epoll_);
    }
    epoll_poller(const epoll_poller&) = delete;
    epoll_poller& operator=(const epoll_poller&) = delete;

    [[nodiscard]] time_point now() const noexcept override { return std::chrono::steady_clock::now(); }

    std::size_t wait(time_point deadline, bool) override {
        if (epoll_ < 0) open();
        epoll_event events[max_events];
        const int count = wait_for_events(events, deadline);
        for (int index = 0; index < count; ++index) {
            const std::uint32_t what = events[index].events;
            const bool failed = (what & (EPOLLERR | EPOLLHUP)) != 0;
            static_cast<io_watch*>(events[index].data.ptr)
                ->on_ready(failed || (what & (EPOLLIN | EPOLLRDHUP)) != 0, failed || (what & EPOLLOUT) != 0);
        }
        return static_cast<std::size_t>(std::max(count, 0));
    }

    void add(io_watch& watch) override {
        if (epoll_ < 0) open();
        epoll_event event{};
        event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        event.data.ptr = &watch;
        if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, watch.descriptor(), &event) != 0) {
            throw std::system_error(errno, std::system_category(), "ferry: epoll refuses the descriptor");
        }
    }
    void remove(io_watch& watch) noexcept override { ::epoll_ctl(epoll_, EPOLL_CTL_DEL, watch.descriptor(), nullptr); }
    [[nodiscard]] bool edge_triggered() const noexcept override { return true; }
    [[nodiscard]] int native_handle() override {
        if (epoll_ < 0) open();
        return epoll_;
    }

private:
    static constexpr int max_events = 128;

    void open() {
        epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
        if (epoll_ < 0) throw std::system_error(errno, std::system_category(), "ferry: epoll_create1");
    }

    int wait_for_events(epoll_event* events, time_point deadline) {
        using std::chrono::nanoseconds;
        if (deadline == time_point::min()) return ::epoll_wait(epoll_, events, max_events, 0);
        if (deadline == time_point::max()) return ::epoll_wait(epoll_, events, max_events, -1);
        const std::int64_t left = std::max<std::int64_t>(0, nanoseconds(deadline - now()).count());
#if defined(SYS_epoll_pwait2)
        if (has_nanoseconds_) {
            std::timespec timeout{};
            timeout.tv_sec = static_cast<std::time_t>(left / 1'000'000'000);
            timeout.tv_nsec = static_cast<long>(left % 1'000'000'000);
            const long count = ::syscall(SYS_epoll_pwait2, epoll_, events, max_events, &timeout, nullptr, 0);
            if (count >= 0 || errno != ENOSYS) return static_cast<int>(count);
            has_nanoseconds_ = false;  // a kernel before 5.11
        }
#endif
        const std::int64_t milliseconds = std::min<std::int64_t>((left + 999'999) / 1'000'000, 1'000'000'000);
        return ::epoll_wait(epoll_, events, max_events, static_cast<int>(milliseconds));
    }

    int epoll_ = -1;
    bool has_nanoseconds_ = true;
};
}  // namespace ferry::inline FERRY_ABI
