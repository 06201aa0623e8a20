// tests/bench/bridge/to_thread.cpp - a blocking call on a worker and back, beside two threads that hand each other nodes
//   to_thread [ROUNDS]       prints "WORKLOAD WHO NANOSECONDS" for each round (parked: microseconds); 1 if it allocated
// SPDX-License-Identifier: BSL-1.0
#define FERRY_BENCH_COUNT
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/task_group.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "bench.hpp"
#include "handoff.hpp"

namespace {
using namespace ferry_bench;
constexpr int calls = 50'000;
constexpr int parked_calls = 300;
constexpr std::size_t in_flight = 1000;
constexpr std::size_t calls_in_flight = 500'000;

int add_one(int value) noexcept { return value + 1; }

ferry::task<> call_hot(ferry::thread_pool& pool, int times) {
    auto call = ferry::sync_to_async(add_one).on(pool);
    int sum = 0;
    for (int i = 0; i < times; ++i) sum = co_await call(sum);
    keep(sum);
}
ferry::task<> call_parked(ferry::thread_pool& pool, std::vector<double>& delays) {
    auto call = ferry::sync_to_async(add_one).on(pool);
    for (int i = 0; i < parked_calls; ++i) {
        co_await ferry::sleep_for(std::chrono::microseconds(300));
        const double begin = wall_nanoseconds();
        co_await call(i);
        delays.push_back(wall_nanoseconds() - begin);
    }
}
ferry::task<> call_many(ferry::thread_pool& pool, std::size_t times) {
    co_await ferry::with_task_group([&](ferry::task_group& group) -> ferry::task<> {
        for (std::size_t i = 0; i < in_flight; ++i) group.start(call_hot(pool, static_cast<int>(times / in_flight)));
        co_return;
    });
}

void measure_ferry(gate& result) {
    ferry::thread_pool pool(ferry::thread_pool_options().size(1));
    ferry::event_loop loop;
    loop.run(call_hot(pool, calls / 10));
    const std::uint64_t before = allocations();
    const double begin = wall_nanoseconds();
    loop.run(call_hot(pool, calls));
    report("to_thread/hot", "ferry", (wall_nanoseconds() - begin) / calls);
    result.never("to_thread/hot", "allocations",
                 allocations() - before > 8 ? allocations() - before : 0);  // of run() itself

    run_on_first_cpu([] {
        ferry::thread_pool pinned(ferry::thread_pool_options().size(1).on_thread_start([] { pin_to(1); }));
        ferry::event_loop pinned_loop;
        pinned_loop.run(call_hot(pinned, calls / 10));
        const double began = wall_nanoseconds();
        pinned_loop.run(call_hot(pinned, calls));
        report("to_thread/pinned", "ferry", (wall_nanoseconds() - began) / calls);
    });
    run_on_first_cpu([] {
        ferry::thread_pool parked(ferry::thread_pool_options().size(1).on_thread_start([] { pin_to(1); }));
        std::vector<double> delays;
        ferry::event_loop().run(call_parked(parked, delays));
        report("to_thread/parked", "ferry", median(delays) / 1000);
    });

    loop.run(call_many(pool, calls_in_flight / 10));
    const double begin_many = wall_nanoseconds();
    loop.run(call_many(pool, calls_in_flight));
    report("to_thread/1000", "ferry", (wall_nanoseconds() - begin_many) / calls_in_flight);
}

/// A worker that hands back what it is handed.
class bare_pool {
public:
    bare_pool(bare_loop& loop, bool spins, bool pinned)
        : worker_(spins), thread_([this, &loop, pinned] {
              if (pinned) pin_to(1);
              for (;;) {
                  for (handed *node = worker_.wait(), *next = nullptr; node != nullptr; node = next) {
                      next = node->next;
                      if (node == &end_) return;
                      loop.hand(*node);
                  }
              }
          }) {}
    ~bare_pool() {
        worker_.hand(end_);
        thread_.join();
    }
    bare_pool(const bare_pool&) = delete;
    bare_pool& operator=(const bare_pool&) = delete;
    void hand(handed& node) noexcept { worker_.hand(node); }

private:
    bare_worker worker_;
    handed end_;
    std::thread thread_;
};

void measure_limit() {
    handed node;
    const auto measure_hot = [&node](const char* workload, bool pinned) {
        bare_loop loop(true);
        bare_pool pool(loop, true, pinned);
        const auto call = [&](int times) {
            for (int i = 0; i < times; ++i) {
                pool.hand(node);
                keep(loop.wait());
            }
        };
        call(calls / 10);
        const double begin = wall_nanoseconds();
        call(calls);
        report(workload, "limit", (wall_nanoseconds() - begin) / calls);
    };
    measure_hot("to_thread/hot", false);
    run_on_first_cpu([&] { measure_hot("to_thread/pinned", true); });
    run_on_first_cpu([&] {
        bare_loop loop(false);
        bare_pool pool(loop, false, true);
        std::vector<double> delays;
        for (int i = 0; i < parked_calls; ++i) {
            pause_until_all_sleep();
            const double begin = wall_nanoseconds();
            pool.hand(node);
            keep(loop.wait());
            delays.push_back(wall_nanoseconds() - begin);
        }
        report("to_thread/parked", "limit", median(delays) / 1000);
    });

    bare_loop loop(false);
    bare_pool pool(loop, false, false);
    std::vector<handed> nodes(in_flight);
    std::size_t left = calls_in_flight - in_flight;
    std::size_t flying = in_flight;
    const double begin = wall_nanoseconds();
    for (handed& each : nodes) pool.hand(each);
    while (flying > 0) {
        for (handed *each = loop.wait(), *next = nullptr; each != nullptr; each = next) {
            next = each->next;
            if (left > 0) {
                --left;
                pool.hand(*each);
            } else {
                --flying;
            }
        }
    }
    report("to_thread/1000", "limit", (wall_nanoseconds() - begin) / calls_in_flight);
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
