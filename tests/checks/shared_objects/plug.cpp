// tests/checks/shared_objects/plug.cpp - a shared object that uses ferry
// SPDX-License-Identifier: BSL-1.0
#include "plug.hpp"

#include <ferry/bridge.hpp>

#include <chrono>

namespace {
int twice(int n) {
    return ferry::block_on([](int value) -> ferry::task<int> { co_return 2 * value; }(n));
}

ferry::task<int> sum(int n) {
    int total = 0;
    for (int i = 1; i <= n; ++i) {
        co_await ferry::sleep_for(std::chrono::microseconds(10));
        total += co_await ferry::to_thread(twice, i);
    }
    co_return total;
}
}  // namespace

extern "C" {
int plug_run(int n) { return ferry::run(sum(n)); }
ferry::task<int>* plug_make(int n) { return new ferry::task<int>(sum(n)); }
bool plug_sees_a_turn() { return ferry::event_loop::current() != nullptr; }
}
