// tests/bench/core/yield.cpp - switching between tasks, beside a ring of coroutine handles and a ring of linked frames
//   yield [ROUNDS]       prints "WORKLOAD WHO NANOSECONDS" for each round; 1 if ferry allocated
// SPDX-License-Identifier: BSL-1.0
#define FERRY_BENCH_COUNT
#include <ferry/core/awaitable.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

#include "bench.hpp"
#include "who.hpp"

namespace {
using namespace ferry_bench;
constexpr int switches = 400'000;

/// The first limit: what is ready is a ring of handles, one beside the other in an array, and nothing else happens. There
/// is one, at an address that the code knows.
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

/// The second limit: a queue that needs no room of its own and has no bound, as a loop's must. Its nodes lie in the frames
/// of those who are ready, so who goes on is read from the frame of whoever came before.
class linked_ring {
public:
    class node {
    public:
        explicit node(std::coroutine_handle<> of) noexcept : frame(of) {}
        node* next = nullptr;
        std::coroutine_handle<> frame;
    };
    void push(node& ready) noexcept {
        ready.next = nullptr;
        (last_ == nullptr ? first_ : last_->next) = &ready;
        last_ = &ready;
    }
    void run() {
        while (node* const ready = first_) {
            first_ = ready->next;
            if (first_ == nullptr) last_ = nullptr;
            ready->frame.resume();
        }
    }

private:
    node* first_ = nullptr;
    node* last_ = nullptr;
};
linked_ring linked;

/// As bare_coroutine, with its node, in a frame from a pool.
class linked_coroutine {
public:
    class promise_type : public linked_ring::node {
    public:
        static void* operator new(std::size_t size) {
            if (size > sizeof(block)) std::abort();
            block* const first = std::exchange(spare, spare == nullptr ? nullptr : spare->next);
            return first == nullptr ? ::operator new(sizeof(block)) : first;
        }
        static void operator delete(void* frame) noexcept {
            block* const first = ::new (frame) block;
            first->next = std::exchange(spare, first);
        }
        promise_type() noexcept : node(std::coroutine_handle<promise_type>::from_promise(*this)) {}
        linked_coroutine get_return_object() const noexcept { return {}; }
        std::suspend_never initial_suspend() const noexcept { return {}; }
        std::suspend_never final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
        void unhandled_exception() const noexcept { std::abort(); }

    private:
        union block {
            block* next;
            char frame[128];
        };
        static inline block* spare = nullptr;
    };
};

class give_way_linked {
public:
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<linked_coroutine::promise_type> frame) const noexcept {
        linked.push(frame.promise());
    }
    void await_resume() const noexcept {}
};

linked_coroutine yield_linked(int times) {
    for (int i = 0; i <= times; ++i) co_await give_way_linked();
}

ferry::task<> yield_often(int times) {
    for (int i = 0; i < times; ++i) co_await ferry::yield_now();
}

/// What two tasks hand to each other: who takes it wakes the other one, and waits.
class baton {
public:
    ferry::detail::waiter* exchange(ferry::detail::waiter* next) noexcept { return std::exchange(waiting_, next); }
    void drop() noexcept {
        if (ferry::detail::waiter* const last = exchange(nullptr)) last->task().wake();
    }

private:
    ferry::detail::waiter* waiting_ = nullptr;
};

/// The shortest wait there is: one suspension in a leaf, one wake-up.
class pass_on : public ferry::detail::leaf_awaiter<pass_on> {
public:
    static constexpr const char* what = "baton";
    explicit pass_on(baton& of_both) noexcept : baton_(of_both) {}
    bool try_complete() noexcept { return false; }
    void link() noexcept {
        if (ferry::detail::waiter* const other = baton_.exchange(this)) other->task().wake();
    }
    static void withdraw(ferry::detail::waiter& self) noexcept {
        static_cast<pass_on&>(self).baton_.exchange(nullptr);
        self.task().wake_interrupted();
    }
    void finish() noexcept {}

private:
    baton& baton_;
};

ferry::task<> pass_often(baton& between, int times) {
    for (int i = 0; i < times; ++i) co_await pass_on(between);
    between.drop();
}

template <class Coroutine, class Ring>
void round_of_limit(const char* workload, int tasks, Coroutine yields, Ring& ready) {
    for (int i = 0; i < tasks; ++i) yields(switches / tasks);
    const cpu_timer timer;
    ready.run();
    report(workload, "limit", timer.nanoseconds() / switches);
}

/// Runs what was spawned; returns how often it allocated.
std::uint64_t run_spawned(const char* workload, ferry::event_loop& loop) {
    const std::uint64_t before = allocations();
    const cpu_timer timer;
    loop.run_until_idle();
    report(workload, ferry_or_bare, timer.nanoseconds() / switches);
    return allocations() - before;
}

std::uint64_t round_of_ferry(const char* workload, ferry::event_loop& loop, int tasks) {
    for (int i = 0; i < tasks; ++i) loop.spawn(yield_often(switches / tasks));
    return run_spawned(workload, loop);
}

std::uint64_t round_of_batons(const char* workload, ferry::event_loop& loop) {
    baton between;
    for (int i = 0; i < 2; ++i) loop.spawn(pass_often(between, switches / 2));
    return run_spawned(workload, loop);
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
        round_of_limit("yield/2", 2, yield_bare, ring);
        round_of_limit("linked/2", 2, yield_linked, linked);
        allocated += round_of_ferry("yield/2", loop, 2);
        round_of_limit("yield/1000", 1000, yield_bare, ring);
        round_of_limit("linked/1000", 1000, yield_linked, linked);
        allocated += round_of_ferry("yield/1000", loop, 1000);
        allocated += round_of_ferry("yield/polling", polling, 2);
        allocated += round_of_batons("wait/2", loop);
    }
    gate counts;
    counts.never("yield", "allocations", allocated);
    return counts.verdict();
}
