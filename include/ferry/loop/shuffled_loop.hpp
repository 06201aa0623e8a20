// ferry/loop/shuffled_loop.hpp - a loop whose order of ready tasks is drawn from a seed, for tests
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/poller.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>

namespace ferry::inline FERRY_ABI {
/// An event_loop that runs what is ready in an order drawn from a seed: code that depends on an order that nobody
/// promised fails with some seeds, and fails again with the same seed. Two orders are promised and stay: timers fire by
/// their deadlines, and the callbacks that one thread posts run in the order of its posts. Tasks come anywhere between.
///
///     for (std::uint64_t seed = 0; seed < 100; ++seed) {
///         ferry::virtual_clock clock;
///         ferry::shuffled_loop loop(seed, clock);
///         loop.run(the_test());
///     }
///
/// When it is destroyed by an exception it prints its seed to stderr. FERRY_SEED=N in the environment, where it is set,
/// replaces every seed given, to repeat one failure.
class shuffled_loop : public event_loop {
public:
    explicit shuffled_loop(std::uint64_t seed) : seed_(chosen(seed)) { shuffle(seed_); }
    shuffled_loop(std::uint64_t seed, poller& how_to_wait) : event_loop(how_to_wait), seed_(chosen(seed)) {
        shuffle(seed_);
    }
    ~shuffled_loop() {
        if (std::uncaught_exceptions() <= exceptions_) return;
        std::fprintf(stderr, "ferry: shuffled_loop failed; FERRY_SEED=%llu repeats its order\n",
                     static_cast<unsigned long long>(seed_));
    }

    [[nodiscard]] std::uint64_t seed() const noexcept { return seed_; }

private:
    static std::uint64_t chosen(std::uint64_t seed) noexcept {
        const char* const wanted = std::getenv("FERRY_SEED");
        return wanted == nullptr ? seed : std::strtoull(wanted, nullptr, 10);
    }

    std::uint64_t seed_;
    int exceptions_ = std::uncaught_exceptions();
};

/// From now on every event_loop that this process makes is shuffled, each with a seed of its own derived from this one:
/// for the runner of a test suite whose tests make plain loops. Call it before the first loop is made.
inline void shuffle_every_loop(std::uint64_t seed) noexcept { detail::shuffle_of_new_loops().start(seed); }
}  // namespace ferry::inline FERRY_ABI
