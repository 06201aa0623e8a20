// tests/support/race.hpp - threads that begin together, and dice to meet each other at ever other moments
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <utility>

namespace ferry_test {
/// Runs each function on a thread of its own, the last one on this thread, and joins. They begin together: none of them
/// before all threads are there.
template <class... Fn>
void race(Fn&&... functions) {
    std::atomic<int> missing{static_cast<int>(sizeof...(Fn))};
    const auto lane = [&missing](auto& function) {
        missing.fetch_sub(1, std::memory_order_acq_rel);
        while (missing.load(std::memory_order_acquire) > 0) std::this_thread::yield();
        function();
    };
    const auto start = [&lane](auto& self, auto& first, auto&... rest) -> void {
        if constexpr (sizeof...(rest) == 0) {
            lane(first);
        } else {
            std::thread thread([&lane, &first] { lane(first); });
            self(self, rest...);
            thread.join();
        }
    };
    start(start, functions...);
}

/// Seeded, so that a failure can be repeated as far as the scheduler allows.
class dice {
public:
    explicit dice(std::uint64_t seed) noexcept : state_(seed * 2 + 1) {}
    /// 0 ... sides - 1
    int roll(int sides) noexcept {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return static_cast<int>((state_ >> 33) % static_cast<std::uint64_t>(sides));
    }
    /// Lets some nanoseconds, up to some microseconds, go by.
    void dawdle() noexcept {
        for (std::atomic<int> spin{roll(1 << roll(12))}; spin > 0; --spin) continue;
    }

private:
    std::uint64_t state_;
};
}  // namespace ferry_test
