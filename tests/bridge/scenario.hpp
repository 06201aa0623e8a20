// tests/bridge/scenario.hpp - deadlocks and near misses: played once, or very often, and what must be left of them: nothing
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "bridge/progress.hpp"
#include "bridge/reports.hpp"
#include "support/catch.hpp"

#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/bridge/thread_sensitive.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/core/task.hpp>
#include <ferry/core/wait_node.hpp>
#include <ferry/deadlock/judge.hpp>
#include <ferry/deadlock/report.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <sched.h>

namespace ferry_test {
using node = ferry::detail::wait_node;

/// The deadlock_errors that were thrown, on any threads.
class verdicts {
public:
    /// Runs fn. True if it threw a deadlock_error, which is kept; what else it throws is thrown.
    template <class Fn>
    bool refuses(Fn fn) {
        try {
            static_cast<void>(fn());
        } catch (const ferry::deadlock_error&) {
            keep(std::current_exception());
            return true;
        }
        return false;
    }
    void keep(const std::exception_ptr& error) {
        try {
            std::rethrow_exception(error);
        } catch (const ferry::deadlock_error& refused) {
            const std::lock_guard lock(mutex_);
            reports_.push_back(refused.report());
            texts_.emplace_back(refused.what());
        }
    }
    [[nodiscard]] std::size_t count() const {
        const std::lock_guard lock(mutex_);
        return reports_.size();
    }
    /// Of the only one; "" if there is none, or more.
    [[nodiscard]] std::string kind() const {
        const std::lock_guard lock(mutex_);
        return reports_.size() == 1 ? reports_.front().kind() : "";
    }
    /// The kinds of all of them are that one.
    [[nodiscard]] bool all_are(const std::string& kind) const {
        const std::lock_guard lock(mutex_);
        for (const ferry::wait_report& each : reports_) {
            if (each.kind() != kind) return false;
        }
        return !reports_.empty();
    }
    /// Is it in a line of the first one's chain?
    [[nodiscard]] bool names(const std::string& party) const {
        const std::lock_guard lock(mutex_);
        if (reports_.empty()) return false;
        for (const std::string& line : reports_.front().chain()) {
            if (line.find(party) != std::string::npos) return true;
        }
        return false;
    }
    [[nodiscard]] std::size_t lines() const {
        const std::lock_guard lock(mutex_);
        return reports_.empty() ? 0 : reports_.front().chain().size();
    }
    /// The short text of the first one.
    [[nodiscard]] std::string text() const {
        const std::lock_guard lock(mutex_);
        return texts_.empty() ? "" : texts_.front();
    }
    /// The long text.
    [[nodiscard]] std::string report() const {
        const std::lock_guard lock(mutex_);
        return reports_.empty() ? "" : reports_.front().text();
    }

private:
    mutable std::mutex mutex_;  // guards both
    std::vector<ferry::wait_report> reports_;
    std::vector<std::string> texts_;
};

/// Until as many threads sleep in the wait graph; only where they certainly will.
inline void await_blocked_threads(std::size_t count) {
    while (ferry::detail::blocked_threads().load() < count) std::this_thread::yield();
}

/// Of a pool that starts no thread beyond its size.
[[nodiscard]] inline ferry::thread_pool_options strict(std::size_t threads, const char* name) {
    return ferry::thread_pool_options().size(threads).name(name).max_spare(0);
}

/// One round of a scenario. At its end nothing has been reported that the scenario did not expect, no thread sleeps in the
/// wait graph, and neither a frame nor a node is left. Nodes of threads do not count: the thread's end gives them back.
class scenario_round {
public:
    using scenario = void (*)(scenario_round& round);

    static void play(scenario what) {
        static const bool warm = warm_up();
        static_cast<void>(warm);
        const std::int64_t frames = ferry::detail::frame_allocator::live();
        const std::size_t nodes = nodes_in_use();
        const std::size_t threads = node::in_use(node::kind::thread);
        scenario_round round;
        what(round);
        CHECK(round.told.count() == 0);
        round.told.show();
        // Leased threads, and those that have just been woken, leave the graph by themselves.
        CHECK(becomes([] { return ferry::detail::blocked_threads().load() == 0; }));
        CHECK(becomes([&] { return nodes_in_use() == nodes; }));
        // A thread that ends, as leased ones do in time, hands back what it has freed in earlier rounds.
        const bool same_threads = node::in_use(node::kind::thread) == threads;
        if (same_threads && !round.threads_stay_) CHECK(ferry::detail::frame_allocator::live() == frames);
    }

    /// For scenarios in which a thread of ferry's takes part that does not end with it: freed frames wait there.
    void threads_stay() noexcept { threads_stay_ = true; }
    reports told;

private:
    static std::size_t nodes_in_use() { return node::in_use() - node::in_use(node::kind::thread); }
    template <class Is>
    static bool becomes(Is is) {
        const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(5);
        while (!is() && std::chrono::steady_clock::now() < patience) std::this_thread::yield();
        return is();
    }
    static ferry::task<> nothing() { co_return; }
    /// What lives as long as the process, or this thread, is made before anything is counted.
    static bool warm_up() {
        ferry::block_on(ferry::on_private_loop, nothing());
        static_cast<void>(ferry::thread_pool::default_pool());
        static_cast<void>(ferry::thread_sensitive_scope::threads());
        static_cast<void>(ferry::detail::wait_graph::instance());
        return true;
    }

    bool threads_stay_ = false;
};

/// While it lives, this thread, and those it starts, run on one processor.
class one_core {
public:
    one_core() {
        ::sched_getaffinity(0, sizeof before_, &before_);
        cpu_set_t one;
        CPU_ZERO(&one);
        for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            if (!CPU_ISSET(cpu, &before_)) continue;
            CPU_SET(cpu, &one);
            break;
        }
        ::sched_setaffinity(0, sizeof one, &one);
    }
    ~one_core() { ::sched_setaffinity(0, sizeof before_, &before_); }
    one_core(const one_core&) = delete;
    one_core& operator=(const one_core&) = delete;

private:
    cpu_set_t before_;
};

inline void play_often(scenario_round::scenario what) {
    constexpr int rounds = 200;
    for (int i = 0; i < rounds; ++i) scenario_round::play(what);
    const one_core pinned;
    for (int i = 0; i < rounds; ++i) scenario_round::play(what);
}
}  // namespace ferry_test

/// A test case, and a hidden one that plays it 200 times, and as often on one core.
#define DEADLOCK_SCENARIO(function, name)                                                              \
    static void function(ferry_test::scenario_round& round);                                           \
    TEST_CASE(name, "[bridge][deadlock][mt]") { ferry_test::scenario_round::play(&function); }         \
    TEST_CASE(name " (often)", "[bridge][deadlock][mt][.slow]") { ferry_test::play_often(&function); } \
    static void function([[maybe_unused]] ferry_test::scenario_round& round)
