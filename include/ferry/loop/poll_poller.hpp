// ferry/loop/poll_poller.hpp - a poller for where there is no epoll: poll() and the steady clock
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/loop/default_poller.hpp>
#include <ferry/loop/poller.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <system_error>
#include <vector>

#include <poll.h>

namespace ferry::inline FERRY_ABI {
/// Serves a loop in a sandbox that refuses epoll, and few descriptors as well as epoll does:
///
///     ferry::poll_poller poller;
///     ferry::event_loop loop(poller);
///
/// It asks for a descriptor only while a task waits for it, so nothing that stays ready keeps the loop awake.
///
/// Errors  native_handle() throws std::system_error (ENOTSUP): embed a loop with epoll.
/// Cost    No descriptor of its own; each wait costs one syscall and time in proportion to the descriptors.
class poll_poller final : public poller {
public:
    poll_poller() = default;
    poll_poller(const poll_poller&) = delete;
    poll_poller& operator=(const poll_poller&) = delete;

    [[nodiscard]] time_point now() const noexcept override { return std::chrono::steady_clock::now(); }

    std::size_t wait(time_point deadline, bool) override {
        questions_.resize(watches_.size());
        std::transform(watches_.begin(), watches_.end(), questions_.begin(), &question_about);
        const int count = wait_for_answers(deadline);
        if (count <= 0) return 0;
        // on_ready() runs no user code, so the list stays as it is meanwhile.
        for (std::size_t index = 0; index < watches_.size(); ++index) {
            const short what = questions_[index].revents;
            if (what == 0) continue;
            const bool failed = (what & (POLLERR | POLLHUP | POLLNVAL)) != 0;
            watches_[index]->on_ready(failed || (what & (POLLIN | POLLRDHUP)) != 0, failed || (what & POLLOUT) != 0);
        }
        return static_cast<std::size_t>(count);
    }

    void add(io_watch& watch) override { watches_.push_back(&watch); }
    void remove(io_watch& watch) noexcept override {
        const auto place = std::find(watches_.begin(), watches_.end(), &watch);
        if (place == watches_.end()) return;
        *place = watches_.back();
        watches_.pop_back();
    }
    [[nodiscard]] bool edge_triggered() const noexcept override { return false; }
    [[nodiscard]] int native_handle() override {
        throw std::system_error(ENOTSUP, std::system_category(),
                                "ferry: poll_poller has no descriptor to embed its loop by; use epoll_poller");
    }

private:
    /// A negative descriptor is passed over, where an unwanted hang-up would be reported again and again.
    static ::pollfd question_about(const io_watch* watch) noexcept {
        ::pollfd question{};
        if (watch->wants_readable()) question.events |= POLLIN | POLLRDHUP;
        if (watch->wants_writable()) question.events |= POLLOUT;
        question.fd = question.events == 0 ? -1 : watch->descriptor();
        return question;
    }
    int wait_for_answers(time_point deadline) noexcept {
        if (deadline == time_point::max()) return ::ppoll(questions_.data(), questions_.size(), nullptr, nullptr);
        std::timespec timeout{};
        if (deadline != time_point::min()) {
            const std::int64_t left = std::max<std::int64_t>(0, std::chrono::nanoseconds(deadline - now()).count());
            timeout.tv_sec = static_cast<std::time_t>(left / 1'000'000'000);
            timeout.tv_nsec = static_cast<long>(left % 1'000'000'000);
        }
        return ::ppoll(questions_.data(), questions_.size(), &timeout, nullptr);
    }

    std::vector<io_watch*> watches_;
    std::vector<::pollfd> questions_;  // one for each watch, made anew for each wait
};

/// From now on every event_loop and virtual_clock of this process that is given no poller waits with poll(). For a
/// sandbox that refuses epoll, and for test runners; called before the first loop is made.
inline void use_poll_in_every_loop() noexcept {
    set_default_poller([]() -> std::unique_ptr<poller> { return std::make_unique<poll_poller>(); });
}
}  // namespace ferry::inline FERRY_ABI
