// tests/bench/bridge/graph.cpp - what the wait graph adds to a wait that parks, beside the park
//   graph [ROUNDS]       prints "WORKLOAD WHO NANOSECONDS" for each round
// SPDX-License-Identifier: BSL-1.0
#define FERRY_BENCH_COUNT
#include <ferry/core/wait_node.hpp>
#include <ferry/deadlock/judge.hpp>
#include <ferry/deadlock/thread_parker.hpp>
#include <ferry/deadlock/thread_wait.hpp>

#include <cstddef>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench.hpp"
#include "handoff.hpp"

namespace {
using namespace ferry_bench;
using ferry::detail::node_reference;
using ferry::detail::wait_node;
constexpr int waits = 100'000;
constexpr int parks = 300;

/// Entering the graph, walking a chain of that many tasks of which the last one can go on, and leaving it.
void walk(std::size_t depth) {
    std::vector<wait_node*> chain;
    for (std::size_t i = 0; i < depth; ++i) {
        wait_node& task = wait_node::acquire(wait_node::kind::task);
        if (!chain.empty()) task.wait_for(node_reference(chain.back()), wait_node::cancellable);
        chain.push_back(&task);
    }
    ferry::detail::blocked_threads().fetch_add(1);
    ferry::detail::thread_wait wait("bench", "chain", node_reference(chain.back()), ferry::wait_options());
    for (int i = 0; i < waits / 10; ++i) wait.refuse_if_hopeless(true, nullptr);
    const cpu_timer timer;
    for (int i = 0; i < waits; ++i) wait.refuse_if_hopeless(true, nullptr);
    report(("graph/" + std::to_string(depth)).c_str(), "ferry", timer.nanoseconds() / waits);
    ferry::detail::blocked_threads().fetch_sub(1);
    for (wait_node* each : chain) each->release();
}

/// A thread parks and is woken by one that waits for it: half of there and back.
void park() {
    bare_worker here(false);
    bare_worker there(false);
    handed node;
    handed end;
    std::thread other([&] {
        for (handed* got = there.wait(); got != &end; got = there.wait()) here.hand(*got);
    });
    std::vector<double> delays;
    for (int i = 0; i < parks; ++i) {
        pause_until_all_sleep();
        const double begin = wall_nanoseconds();
        there.hand(node);
        keep(here.wait());
        delays.push_back((wall_nanoseconds() - begin) / 2);
    }
    there.hand(end);
    other.join();
    report("graph/10", "limit", median(delays));
}
}  // namespace

int main(int count, char** arguments) {
    const int rounds = count > 1 ? std::atoi(arguments[1]) : 1;
    for (int round = 0; round < rounds; ++round) {
        if (round % 5 == 0) park();
        for (const std::size_t depth : {1, 10, 100}) walk(depth);
    }
}
