// tests/bench/core/await.cpp - what co_await of a task costs, beside a coroutine that does nothing else
//   await [ROUNDS]       prints "WORKLOAD WHO NANOSECONDS" for each round; 1 if ferry allocated
// SPDX-License-Identifier: BSL-1.0
#define FERRY_BENCH_COUNT
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <new>
#include <utility>

#include "await_chain.hpp"
#include "bench.hpp"
#include "who.hpp"

namespace {
using namespace ferry_bench;

/// The limit: a frame from a pool, a result, a continuation. No exceptions, no names, no cancellation, no loop.
class bare_task {
public:
    class promise_type {
    public:
        static void* operator new(std::size_t size) {
            block*& list = lists[(size - 1) / 64];
            if (list == nullptr) return ::operator new((size + 63) / 64 * 64);
            return std::exchange(list, list->next);
        }
        static void operator delete(void* frame, std::size_t size) noexcept {
            block*& list = lists[(size - 1) / 64];
            list = ::new (frame) block{list};
        }

        bare_task get_return_object() noexcept {
            return bare_task(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        auto final_suspend() const noexcept { return transfer(continuation_); }
        void return_value(int value) noexcept { value_ = value; }
        void unhandled_exception() const noexcept { std::abort(); }

    private:
        friend class bare_task;
        struct block {
            block* next;
        };
        static inline thread_local block* lists[32];  // frames of up to 2 KiB
        std::coroutine_handle<> continuation_ = std::noop_coroutine();
        int value_ = 0;
    };

    bare_task(bare_task&& other) noexcept : frame_(std::exchange(other.frame_, {})) {}
    ~bare_task() {
        if (frame_) frame_.destroy();
    }
    bare_task& operator=(bare_task&&) = delete;

    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> parent) const noexcept {
        frame_.promise().continuation_ = parent;
        return frame_;
    }
    int await_resume() const noexcept { return frame_.promise().value_; }

    int run() const {
        frame_.resume();
        return frame_.promise().value_;
    }

private:
    class transfer {
    public:
        explicit transfer(std::coroutine_handle<> to) noexcept : to_(to) {}
        bool await_ready() const noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<>) const noexcept { return to_; }
        void await_resume() const noexcept {}

    private:
        std::coroutine_handle<> to_;
    };
    explicit bare_task(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
    std::coroutine_handle<promise_type> frame_;
};

/// Times fn, which makes `awaits` awaits.
template <class Fn>
void measure(const char* workload, const char* who, double awaits, Fn fn) {
    const cpu_timer timer;
    keep(fn());
    report(workload, who, timer.nanoseconds() / awaits);
}
}  // namespace

int main(int count, char** arguments) {
    const int rounds = count > 1 ? std::atoi(arguments[1]) : 20;
    pin_to(0);
    ferry::event_loop loop;
    const auto flat = [&] { return loop.run(await_flat<ferry::task<int>>(flat_awaits)); };
    const auto deep = [&] { return loop.run(await_deep<ferry::task<int>>(deep_chains)); };
    flat(), deep();  // fills the frame lists
    std::uint64_t allocated = 0;
    for (int round = 0; round < rounds; ++round) {
        measure("await/flat", "limit", flat_awaits, [] { return await_flat<bare_task>(flat_awaits).run(); });
        const std::uint64_t before = allocations();
        measure("await/flat", ferry_or_bare, flat_awaits, flat);
        allocated += allocations() - before;
        constexpr double calls = deep_chains * (depth + 1.0);
        measure("await/deep", "limit", calls, [] { return await_deep<bare_task>(deep_chains).run(); });
        const std::uint64_t before_deep = allocations();
        measure("await/deep", ferry_or_bare, calls, deep);
        allocated += allocations() - before_deep;
    }
    gate counts;
    counts.never("await", "allocations", allocated);
    return counts.verdict();
}
