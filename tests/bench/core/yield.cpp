// tests/bench/core/yield.cpp - switching between tasks that give way, beside a ring of coroutine handles
//   yield_bench [ROUNDS]       prints "WORKLOAD WHO NANOSECONDS" for each round; 1 if ferry allocated
// SPDX-License-Identifier: BSL-1.0
#define FERRY_BENCH_COUNT
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include <coroutine>
#include <cstdint>
#include <cstdlib>

#include "bench.hpp"

namespace {
using namespace ferry_bench;
constexpr int switches = 400'000;

/// The limit: what is ready is a ring of handles, and nothing else happens. There is one, at an address that the code
/// knows.
class ready_ring {
public:
    void push(std::coroutine_handle<> frame) noexcept { ring_[end_++ % capacity] = frame; }
    void run() {
        while (begin_ != end_) ring_[begin_++ % capacity].resume();
    }

private:
    static constexpr unsigned capacity = 1024;
    std::coroutine_handle<> ring_[capacity];
    unsigned begin_ = 0;
    unsigned end_ = 0;
};
ready_ring ring;

/// A coroutine that begins at once and destroys itself.
class bare_coroutine {
public:
    class promise_type {
    public:
        bare_coroutine get_return_object() const noexcept { return {}; }
        std::suspend_never initial_suspend() const noexcept { return {}; }
        std::suspend_never final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
        void unhandled_exception() const noexcept { std::abort(); }
    };
};

class give_way {
public:
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> frame) const noexcept { ring.push(frame); }
    void await_resume() const noexcept {}
};

bare_coroutine yield_bare(int times) {
    for (int i = 0; i <= times; ++i) co_await give_way();  // the first one waits for run()
}

ferry::task<> yield_often(int times) {
    for (int i = 0; i < times; ++i) co_await ferry::yield_now();
}

void round_of_limit(const char* workload, int tasks) {
    for (int i = 0; i < tasks; ++i) yield_bare(switches / tasks);
    const cpu_timer timer;
    ring.run();
    report(workload, "limit", timer.nanoseconds() / switches);
}

/// Returns how often it allocated while it ran.
std::uint64_t round_of_ferry(const char* workload, ferry::event_loop& loop, int tasks) {
    for (int i = 0; i < tasks; ++i) loop.spawn(yield_often(switches / tasks));
    const std::uint64_t before = allocations();
    const cpu_timer timer;
    loop.run_until_idle();
    report(workload, "ferry", timer.nanoseconds() / switches);
    return allocations() - before;
}
}  // namespace

int main(int count, char** arguments) {
    const int rounds = count > 1 ? std::atoi(arguments[1]) : 20;
    pin_to(0);
    ferry::event_loop loop;
    ferry::event_loop polling;
    static_cast<void>(polling.native_handle());  // as one that has descriptors: it polls after each batch
    std::uint64_t allocated = 0;
    for (int round = 0; round < rounds; ++round) {
        round_of_limit("yield/2", 2);
        allocated += round_of_ferry("yield/2", loop, 2);
        round_of_limit("yield/1000", 1000);
        allocated += round_of_ferry("yield/1000", loop, 1000);
        round_of_limit("yield/polling", 2);
        allocated += round_of_ferry("yield/polling", polling, 2);
    }
    allocation_gate gate;
    gate.check("yield", allocated);
    return gate.verdict();
}
