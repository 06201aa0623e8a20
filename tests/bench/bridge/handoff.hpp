// tests/bench/bridge/handoff.hpp - the limits: two threads that hand each other nodes, and know nothing else
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <cstdint>
#include <ctime>
#include <thread>

#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.hpp"

namespace ferry_bench {
inline constexpr double spin_nanoseconds = 20'000;
/// So long that everybody who can sleep does.
inline void pause_until_all_sleep() noexcept {
    const std::timespec time{0, 300'000};
    ::nanosleep(&time, nullptr);
}

/// Runs fn on a thread that keeps to the first CPU. Whoever answers it is to keep to the second: so each hand-over to one who
/// sleeps wakes the other CPU. Left alone, two threads that sleep in turn may be put on one CPU, which is faster.
template <class Fn>
void run_on_first_cpu(Fn fn) {
    std::thread([&] {
        pin_to(0);
        fn();
    }).join();
}

struct handed {
    handed* next = nullptr;
};

/// A stack that any thread pushes to and one takes whole, oldest first.
class inbox {
public:
    void push(handed& node) noexcept {
        handed* head = head_.load(std::memory_order_relaxed);
        do {
            node.next = head;
        } while (!head_.compare_exchange_weak(head, &node, std::memory_order_acq_rel));
        std::atomic_thread_fence(std::memory_order_seq_cst);
    }
    handed* take() noexcept {
        handed* newest = head_.exchange(nullptr, std::memory_order_acq_rel);
        handed* oldest = nullptr;
        while (newest != nullptr) {
            handed* const older = newest->next;
            newest->next = oldest;
            oldest = newest;
            newest = older;
        }
        return oldest;
    }
    [[nodiscard]] bool empty() const noexcept { return head_.load(std::memory_order_relaxed) == nullptr; }

private:
    std::atomic<handed*> head_{nullptr};
};

/// One that waits for what others hand it; Sleep says how it sleeps and is woken.
template <class Sleep>
class receiver : private Sleep {
public:
    explicit receiver(bool spins) noexcept : spins_(spins) {}
    void hand(handed& node) noexcept {
        inbox_.push(node);
        if (asleep_.load(std::memory_order_relaxed) != 0 && asleep_.exchange(0) != 0) Sleep::wake(asleep_);
    }
    handed* wait() noexcept {
        if (spins_) {
            const double end = wall_nanoseconds() + spin_nanoseconds;
            do {
                for (int i = 0; i < 64; ++i) {
                    if (!inbox_.empty()) return inbox_.take();
                    __builtin_ia32_pause();
                }
            } while (wall_nanoseconds() < end);
        }
        for (;;) {
            if (handed* const first = inbox_.take()) return first;
            asleep_.store(1);
            std::atomic_thread_fence(std::memory_order_seq_cst);
            if (inbox_.empty()) Sleep::sleep(asleep_);
            asleep_.store(0);
        }
    }

private:
    inbox inbox_;
    std::atomic<std::uint32_t> asleep_{0};
    const bool spins_;
};

/// On a futex, as a worker does.
class futex_sleep {
public:
    static void sleep(std::atomic<std::uint32_t>& asleep) noexcept { futex(asleep, FUTEX_WAIT); }
    static void wake(std::atomic<std::uint32_t>& asleep) noexcept { futex(asleep, FUTEX_WAKE); }

private:
    static void futex(std::atomic<std::uint32_t>& word, int operation) noexcept {
        ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), operation | FUTEX_PRIVATE_FLAG, 1, nullptr,
                  nullptr, 0);
    }
};

/// In epoll, as a loop does.
class epoll_sleep {
public:
    epoll_sleep() {
        epoll_event event{};
        event.events = EPOLLIN | EPOLLET;
        ::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event);
    }
    ~epoll_sleep() {
        ::close(wake_);
        ::close(epoll_);
    }
    epoll_sleep(const epoll_sleep&) = delete;
    epoll_sleep& operator=(const epoll_sleep&) = delete;
    void sleep(std::atomic<std::uint32_t>&) const noexcept {
        epoll_event event{};
        ::epoll_wait(epoll_, &event, 1, -1);
    }
    void wake(std::atomic<std::uint32_t>&) const noexcept {
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto written = ::write(wake_, &one, sizeof one);
    }

private:
    const int epoll_ = ::epoll_create1(0);
    const int wake_ = ::eventfd(0, EFD_NONBLOCK);
};

using bare_worker = receiver<futex_sleep>;
using bare_loop = receiver<epoll_sleep>;
}  // namespace ferry_bench
