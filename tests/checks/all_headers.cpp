// tests/checks/all_headers.cpp - every header, and the main templates in full, for each supported compiler and mode
// SPDX-License-Identifier: BSL-1.0
#include <ferry/ferry.hpp>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

namespace all_headers {
struct move_only {
    move_only() = default;
    std::unique_ptr<int> owned;
};
}  // namespace all_headers

// Explicit instantiation compiles every member, also those that no test calls with this compiler.
template class ferry::task<>;
template class ferry::task<int>;
template class ferry::task<int&>;
template class ferry::task<all_headers::move_only>;
template class ferry::promise<void>;
template class ferry::promise<std::string>;
template class ferry::promise<all_headers::move_only>;
template class ferry::future<void>;
template class ferry::future<std::string>;
template class ferry::future<all_headers::move_only>;
template class ferry::bounded_queue<int>;
template class ferry::bounded_queue<all_headers::move_only>;

namespace {
int blocking_half(int value) { return value / 2; }

ferry::task<int> half(int value) { co_return co_await ferry::to_thread(blocking_half, value); }

ferry::task<int> both_halves(int value) {
    auto [first, second] = co_await ferry::when_all(half(value), half(value));
    co_return first + second;
}

ferry::task<int> in_time(int value) { co_return co_await ferry::timeout(std::chrono::seconds(60), both_halves(value)); }
}  // namespace

int main() {
    const int result = ferry::block_on(in_time(42));
    std::printf("%d\n", result);
    return result == 42 ? 0 : 1;
}
