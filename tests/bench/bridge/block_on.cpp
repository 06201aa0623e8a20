// tests/bench/bridge/block_on.cpp - a thread blocks for a coroutine, beside two threads that hand each other nodes
//   block_on [ROUNDS]       prints "WORKLOAD WHO NANOSECONDS" for each round (parked: microseconds); 1 if it allocated
// SPDX-License-Identifier: BSL-1.0
#define FERRY_BENCH_COUNT
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/loop/event_loop.hpp>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "bench.hpp"
#include "handoff.hpp"

namespace {
using namespace ferry_bench;
constexpr int calls = 50'000;
constexpr int plain_calls = 1'000'000;
constexpr int parked_calls = 300;

ferry::task<int> add_one(int value) { co_return value + 1; }

/// On a worker: its block_on goes to the loop that made the call.
void block_hot(int times) {
    int sum = 0;
    for (int i = 0; i < times; ++i) sum = ferry::block_on(add_one(sum));
    keep(sum);
}

void block_parked() {
    std::vector<double> delays;
    for (int i = 0; i < parked_calls; ++i) {
        pause_until_all_sleep();
        const double began = wall_nanoseconds();
        keep(ferry::block_on(add_one(i)));
        delays.push_back(wall_nanoseconds() - began);
    }
    report("block_on/parked", "ferry", median(delays) / 1000);
}

void measure_ferry(gate& result) {
    ferry::thread_pool pool(ferry::thread_pool_options().size(1));
    ferry::event_loop loop;
    std::uint64_t allocated = 0;
    loop.run(ferry::sync_to_async([&] {
                 block_hot(calls / 10);
                 const std::uint64_t before = allocations();
                 const double begin = wall_nanoseconds();
                 block_hot(calls);
                 report("block_on/hot", "ferry", (wall_nanoseconds() - begin) / calls);
                 allocated = allocations() - before;
             }).on(pool)());
    result.never("block_on/hot", "allocations", allocated);
    run_on_first_cpu([] {
        ferry::thread_pool parked(ferry::thread_pool_options().size(1).on_thread_start([] { pin_to(1); }));
        ferry::event_loop().run(ferry::sync_to_async(block_parked).on(parked)());
    });

    block_hot(1000);
    const std::uint64_t before = allocations();
    const cpu_timer timer;
    block_hot(plain_calls);
    report("block_on/plain", "ferry", timer.nanoseconds() / plain_calls);
    result.never("block_on/plain", "allocations", allocations() - before);
}

/// The limit: the caller waits on a word that the loop sets.
class request : public handed {
public:
    void wait(bool spins) noexcept {
        if (spins) {
            const double end = wall_nanoseconds() + spin_nanoseconds;
            do {
                for (int i = 0; i < 64; ++i) {
                    if (state_.load(std::memory_order_acquire) == done) return;
                    __builtin_ia32_pause();
                }
            } while (wall_nanoseconds() < end);
        }
        std::uint32_t expected = 0;
        if (state_.compare_exchange_strong(expected, sleeping)) {
            while (state_.load() == sleeping) futex(FUTEX_WAIT, sleeping);
        }
    }
    void set_done() noexcept {
        if (state_.exchange(done) == sleeping) futex(FUTEX_WAKE, 1);
    }
    void reset() noexcept { state_.store(0); }

private:
    enum : std::uint32_t { done = 1, sleeping = 2 };
    void futex(int operation, std::uint32_t value) noexcept {
        ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&state_), operation | FUTEX_PRIVATE_FLAG, value, nullptr,
                  nullptr, 0);
    }
    std::atomic<std::uint32_t> state_{0};
};

class answering_loop {
public:
    explicit answering_loop(bool spins)
        : loop_(spins), thread_([this, spins] {
              if (!spins) pin_to(1);
              for (;;) {
                  for (handed *node = loop_.wait(), *next = nullptr; node != nullptr; node = next) {
                      next = node->next;
                      if (node == &end_) return;
                      static_cast<request*>(node)->set_done();
                  }
              }
          }) {}
    ~answering_loop() {
        loop_.hand(end_);
        thread_.join();
    }
    answering_loop(const answering_loop&) = delete;
    answering_loop& operator=(const answering_loop&) = delete;
    void call(request& made, bool spins) noexcept {
        made.reset();
        loop_.hand(made);
        made.wait(spins);
    }

private:
    bare_loop loop_;
    handed end_;
    std::thread thread_;
};

void measure_limit() {
    request made;
    {
        answering_loop loop(true);
        for (int i = 0; i < calls / 10; ++i) loop.call(made, true);
        const double begin = wall_nanoseconds();
        for (int i = 0; i < calls; ++i) loop.call(made, true);
        report("block_on/hot", "limit", (wall_nanoseconds() - begin) / calls);
    }
    run_on_first_cpu([&] {
        answering_loop loop(false);
        std::vector<double> delays;
        for (int i = 0; i < parked_calls; ++i) {
            pause_until_all_sleep();
            const double begin = wall_nanoseconds();
            loop.call(made, false);
            delays.push_back(wall_nanoseconds() - begin);
        }
        report("block_on/parked", "limit", median(delays) / 1000);
    });
}
}  // namespace

int main(int count, char** arguments) {
    const int rounds = count > 1 ? std::atoi(arguments[1]) : 1;
    gate result;
    for (int round = 0; round < rounds; ++round) {
        measure_limit();
        measure_ferry(result);
    }
    return result.verdict();
}
