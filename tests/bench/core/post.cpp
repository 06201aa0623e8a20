// tests/bench/core/post.cpp - work that another thread hands to a loop, beside a list and an eventfd
//   post [ROUNDS]       prints "WORKLOAD WHO NANOSECONDS" for each round (wake: microseconds); 1 if nodes allocated
// SPDX-License-Identifier: BSL-1.0
#define FERRY_BENCH_COUNT
#include <ferry/core/executor.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/loop_control.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bench.hpp"

namespace {
using namespace ferry_bench;
constexpr std::size_t posts = 200'000;

/// The slower of the two threads decides how many posts there are in a second. CPU time, so that a thread that others
/// keep from running does not count as slow.
void report_slower(const char* workload, const char* who, double one, double other) {
    report(workload, who, std::max(one, other) / posts);
}

/// The limit: an intrusive list that any thread pushes to and one thread takes whole; a write to the eventfd only
/// while that thread sleeps, which a mark in place of the empty list says. A node is a link and what to call, no more:
/// as many of them share a cache line as of ferry's.
class bare_loop {
public:
    struct node {
        node* next = nullptr;
        void (*call)(node& self) noexcept = nullptr;
    };

    bare_loop() {
        epoll_event event{};
        event.events = EPOLLIN | EPOLLET;
        ::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event);
    }
    ~bare_loop() {
        ::close(wake_);
        ::close(epoll_);
    }
    bare_loop(const bare_loop&) = delete;
    bare_loop& operator=(const bare_loop&) = delete;

    void post(node& fresh) noexcept {
        node* head = inbox_.load(std::memory_order_relaxed);
        do {
            fresh.next = head == &asleep_ ? nullptr : head;
        } while (!inbox_.compare_exchange_weak(head, &fresh, std::memory_order_release, std::memory_order_relaxed));
        if (head != &asleep_) return;
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto written = ::write(wake_, &one, sizeof one);
    }
    /// Sleeps until there is something; oldest first.
    node* wait() noexcept {
        for (;;) {
            if (node* const found = take()) return found;
            node* empty = nullptr;
            if (!inbox_.compare_exchange_strong(empty, &asleep_, std::memory_order_relaxed)) continue;
            epoll_event event{};
            ::epoll_wait(epoll_, &event, 1, -1);
        }
    }

private:
    node* take() noexcept {
        node* const head = inbox_.load(std::memory_order_relaxed);
        if (head == nullptr) return nullptr;
        node* newest = inbox_.exchange(nullptr, std::memory_order_acquire);
        if (newest == &asleep_) return nullptr;
        node* oldest = nullptr;
        while (newest != nullptr) {
            node* const next = newest->next;
            newest->next = std::exchange(oldest, newest);
            newest = next;
        }
        return oldest;
    }
    node asleep_;  // only its address counts
    std::atomic<node*> inbox_{nullptr};
    int epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    int wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
};

// What the nodes of both count. They are as small as nodes can be, so it does not lie in them.
std::size_t seen = 0;
ferry::event_loop* counting_loop = nullptr;

void round_of_limit() {
    bare_loop loop;
    std::vector<bare_loop::node> nodes(posts, {nullptr, [](bare_loop::node&) noexcept { ++seen; }});
    seen = 0;
    second_thread producer([&] {
        for (bare_loop::node& node : nodes) loop.post(node);
    });
    producer.release();
    const cpu_timer timer;
    while (seen < posts) {
        for (bare_loop::node* node = loop.wait(); node != nullptr;) {
            bare_loop::node& now = *std::exchange(node, node->next);
            now.call(now);
        }
    }
    const double worked = timer.nanoseconds();
    report_slower("post/node", "limit", worked, producer.worked());
}

void round_of_nodes(ferry::event_loop& loop, std::atomic<std::uint64_t>& allocated) {
    std::vector<ferry::detail::ready_node> nodes(posts, {nullptr, [](ferry::detail::ready_node&) noexcept {
                                                             if (++seen == posts) counting_loop->stop();
                                                         }});
    seen = 0;
    counting_loop = &loop;
    second_thread producer([&] {
        const std::uint64_t before = allocations();
        bool taken = true;
        for (ferry::detail::ready_node& node : nodes) taken = loop.control().push_new(node) && taken;
        allocated += allocations() - before;
        if (!taken) std::abort();
    });
    producer.release();
    const cpu_timer timer;
    loop.run();
    const double worked = timer.nanoseconds();
    report_slower("post/node", "ferry", worked, producer.worked());
}

void round_of_callables(ferry::event_loop& loop, std::atomic<std::uint64_t>& allocated) {
    seen = 0;
    second_thread producer([&] {
        const std::uint64_t before = allocations();
        for (std::size_t i = 0; i < posts; ++i) {
            loop.post([&] {
                if (++seen == posts) loop.stop();
            });
        }
        allocated += allocations() - before;
    });
    producer.release();
    const cpu_timer timer;
    loop.run();
    const double worked = timer.nanoseconds();
    report_slower("post/callable", "ferry", worked, producer.worked());
}

void wake_limit() {
    bare_loop loop;
    bare_loop::node node;
    wake_meter meter;
    second_thread waker([&] { meter.drive([&] { loop.post(node); }); });
    waker.release();
    do {
        loop.wait();
    } while (!meter.woken());
    report("post/wake", "limit", meter.median_microseconds());
}

void wake_ferry(ferry::event_loop& loop) {
    wake_meter meter;
    second_thread waker([&] {
        meter.drive([&] {
            loop.post([&] {
                if (meter.woken()) loop.stop();
            });
        });
    });
    waker.release();
    loop.run();
    report("post/wake", "ferry", meter.median_microseconds());
}
}  // namespace

int main(int count, char** arguments) {
    const int rounds = count > 1 ? std::atoi(arguments[1]) : 20;
    pin_to(0);
    ferry::event_loop loop;
    std::atomic<std::uint64_t> allocated{0};
    std::atomic<std::uint64_t> allocated_callables{0};
    for (int round = 0; round < rounds; ++round) {
        round_of_limit();
        round_of_nodes(loop, allocated);
        round_of_callables(loop, allocated_callables);
        if (round % 5 != 0) continue;
        wake_limit();
        wake_ferry(loop);
    }
    gate counts;
    counts.never("post/node", "allocations", allocated);
    report("post/callable", "allocations-each",
           static_cast<double>(allocated_callables.load()) / (posts * 1.0 * rounds));
    return counts.verdict();
}
