// tests/bench/core/timers.cpp - a million timers: armed, cancelled, fired, beside a hand-written heap
//   timers [ROUNDS]       prints "WORKLOAD WHO NANOSECONDS" for each round; 1 if arming allocated or polled
// SPDX-License-Identifier: BSL-1.0
#define FERRY_BENCH_COUNT
#include <ferry/core/task.hpp>
#include <ferry/loop/epoll_poller.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/poller.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timer_queue.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "bench.hpp"
#include "delays.hpp"

namespace {
using namespace ferry_bench;
using std::chrono::nanoseconds;
std::int64_t clock_now() noexcept { return std::chrono::steady_clock::now().time_since_epoch().count(); }

/// The limit: a 4-ary heap of deadlines with pointers, whose targets know where they are, and what to call. No order
/// among equal ones.
class bare_heap {
public:
    struct timer {
        void (*fire)(timer&) noexcept = [](timer& self) noexcept { self.fired = true; };
        std::uint32_t index = 0;
        bool fired = false;
    };
    explicit bare_heap(std::size_t room) { heap_.reserve(room); }

    void arm(timer& node, std::int64_t at) {
        heap_.emplace_back(at, &node);
        rise(heap_.size() - 1, heap_.back());
    }
    void cancel(timer& node) noexcept {
        const std::size_t hole = node.index;
        const entry last = heap_.back();
        heap_.pop_back();
        if (hole == heap_.size()) return;
        if (hole > 0 && last.first < heap_[(hole - 1) / 4].first) {
            rise(hole, last);
        } else {
            sink(hole, last);
        }
    }
    /// Returns how many are left.
    std::size_t fire_due(std::int64_t now) noexcept {
        while (!heap_.empty() && heap_.front().first <= now) {
            timer& due = *heap_.front().second;
            cancel(due);
            due.fire(due);
        }
        return heap_.size();
    }

private:
    using entry = std::pair<std::int64_t, timer*>;
    void place(std::size_t index, const entry& value) noexcept {
        heap_[index] = value;
        value.second->index = static_cast<std::uint32_t>(index);
    }
    void rise(std::size_t index, entry moving) noexcept {
        for (; index > 0 && moving.first < heap_[(index - 1) / 4].first; index = (index - 1) / 4) {
            place(index, heap_[(index - 1) / 4]);
        }
        place(index, moving);
    }
    void sink(std::size_t index, entry moving) noexcept {
        for (std::size_t first = 4 * index + 1; first < heap_.size(); first = 4 * index + 1) {
            const std::size_t end = std::min(first + 4, heap_.size());
            std::size_t least = first;
            for (std::size_t child = first + 1; child < end; ++child) {
                if (heap_[child].first < heap_[least].first) least = child;
            }
            if (heap_[least].first >= moving.first) break;
            place(index, heap_[least]);
            index = least;
        }
        place(index, moving);
    }
    std::vector<entry> heap_;
};

void round_of_limit(const std::vector<nanoseconds>& far, const std::vector<nanoseconds>& near) {
    bare_heap heap(timer_count);
    std::vector<bare_heap::timer> nodes(timer_count);
    const std::int64_t start = clock_now();
    const cpu_timer arming;
    for (std::size_t i = 0; i < timer_count; ++i) heap.arm(nodes[i], start + far[i].count());
    report("timers/arm", "limit", arming.nanoseconds() / timer_count);
    const cpu_timer cancelling;
    for (bare_heap::timer& node : nodes) heap.cancel(node);
    report("timers/cancel", "limit", cancelling.nanoseconds() / timer_count);

    const std::int64_t again = clock_now();
    const cpu_timer firing;
    for (std::size_t i = 0; i < timer_count; ++i) heap.arm(nodes[i], again + near[i].count());
    while (heap.fire_due(clock_now()) > 0) {}
    report("timers/fire", "limit", firing.nanoseconds() / timer_count);
    keep(nodes);
}

/// The loop's own way to wait, with a count of what goes to the kernel.
class counting_poller final : public ferry::poller {
public:
    [[nodiscard]] time_point now() const noexcept override { return real_.now(); }
    std::size_t wait(time_point deadline, bool work_outside) override {
        ++calls_;
        return real_.wait(deadline, work_outside);
    }
    void add(ferry::io_watch& watch) override {
        ++calls_;
        real_.add(watch);
    }
    void remove(ferry::io_watch& watch) noexcept override {
        ++calls_;
        real_.remove(watch);
    }
    [[nodiscard]] int native_handle() override { return real_.native_handle(); }
    [[nodiscard]] std::uint64_t calls() const noexcept { return calls_; }

private:
    ferry::epoll_poller real_;
    std::uint64_t calls_ = 0;
};

class counted_timer : public ferry::detail::timer_node {
public:
    static inline std::size_t fired = 0;
    counted_timer() noexcept : timer_node(&fire) {}

private:
    static void fire(timer_node&) noexcept { ++fired; }
};

void round_of_ferry(const std::vector<nanoseconds>& far, const std::vector<nanoseconds>& near,
                    const counting_poller& kernel, ferry::event_loop& loop, bool warm, std::uint64_t& allocated,
                    std::uint64_t& polled) {
    std::vector<counted_timer> nodes(timer_count);
    ferry::detail::timer_queue& queue = loop.timers();
    const std::uint64_t calls = kernel.calls();
    const std::uint64_t blocks = allocations();
    const auto start = loop.now();
    const cpu_timer arming;
    for (std::size_t i = 0; i < timer_count; ++i) queue.arm(nodes[i], start + far[i]);
    if (warm) report("timers/arm", "ferry", arming.nanoseconds() / timer_count);
    polled += kernel.calls() - calls;
    const cpu_timer cancelling;
    for (counted_timer& node : nodes) queue.disarm(node);
    if (warm) report("timers/cancel", "ferry", cancelling.nanoseconds() / timer_count);

    const auto again = loop.now();
    const cpu_timer firing;
    for (std::size_t i = 0; i < timer_count; ++i) queue.arm(nodes[i], again + near[i]);
    while (!queue.empty()) loop.run_once(nanoseconds(0));
    if (warm) report("timers/fire", "ferry", firing.nanoseconds() / timer_count);
    if (warm) allocated += allocations() - blocks;
    keep(counted_timer::fired);
}

/// The same for tasks: each sleeps once. Their frames come first, so that only the sleeping is measured.
ferry::task<> sleep_once(ferry::event_loop::time_point until) { co_await ferry::sleep_until(until); }

void round_of_tasks(ferry::event_loop& loop, const std::vector<nanoseconds>& near) {
    constexpr std::size_t tasks = timer_count / 10;
    const auto start = loop.now();
    for (std::size_t i = 0; i < tasks; ++i) loop.spawn(sleep_once(start + near[i]));
    const cpu_timer sleeping;
    loop.run_until_idle();
    while (!loop.timers().empty()) loop.run_once(nanoseconds(0));
    report("timers/sleep", "ferry", sleeping.nanoseconds() / tasks);
}
}  // namespace

int main(int count, char** arguments) {
    const int rounds = count > 1 ? std::atoi(arguments[1]) : 3;
    pin_to(0);
    const auto far = far_delays();
    const auto near = near_delays();
    counting_poller kernel;
    ferry::event_loop loop(kernel);
    std::uint64_t allocated = 0;
    std::uint64_t polled = 0;
    for (int round = 0; round <= rounds; ++round) {  // the first one makes ferry's heap as large as it has to be
        if (round > 0) round_of_limit(far, near);
        round_of_ferry(far, near, kernel, loop, round > 0, allocated, polled);
        round_of_tasks(loop, near);
    }
    gate counts;
    counts.never("timers", "allocations", allocated);
    counts.never("timers/arm", "polls", polled);
    return counts.verdict();
}
