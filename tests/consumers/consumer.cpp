// tests/consumers/consumer.cpp - a program that has ferry as a dependency: blocking code, a coroutine, and a thread
// SPDX-License-Identifier: BSL-1.0
#include <ferry/ferry.hpp>

#include <cstdio>

namespace {
int blocking_answer(int half) { return 2 * half; }

ferry::task<int> answer() { co_return co_await ferry::to_thread(blocking_answer, 21); }
}  // namespace

int main() {
    const int result = ferry::block_on(answer());
    std::printf("%d\n", result);
    return result == 42 ? 0 : 1;
}
