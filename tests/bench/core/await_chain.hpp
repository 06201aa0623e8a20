// tests/bench/core/await_chain.hpp - coroutines that await each other, written once for every kind of task
// SPDX-License-Identifier: BSL-1.0
#pragma once

namespace ferry_bench {
inline constexpr int flat_awaits = 200'000;
inline constexpr int deep_chains = 10'000;
inline constexpr int depth = 20;

/// Task is a coroutine type whose result is an int.
template <class Task>
[[gnu::noinline]] Task add_one(int value) {
    co_return value + 1;
}

/// One child after another, each of which ends at once.
template <class Task>
Task await_flat(int count) {
    int sum = 0;
    for (int i = 0; i < count; ++i) sum = co_await add_one<Task>(sum);
    co_return sum;
}

template <class Task>
Task descend(int levels) {
    if (levels == 0) co_return 1;
    co_return 1 + co_await descend<Task>(levels - 1);
}

/// Chains of depth + 1 calls.
template <class Task>
Task await_deep(int count) {
    int sum = 0;
    for (int i = 0; i < count; ++i) sum += co_await descend<Task>(depth);
    co_return sum;
}
}  // namespace ferry_bench
