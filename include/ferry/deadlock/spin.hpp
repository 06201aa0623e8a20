// ferry/deadlock/spin.hpp - a look around before a thread sleeps, as long as that pays
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <chrono>
#include <cstdint>

#include <sched.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// To sleep and to be woken costs tens of microseconds, most of it for the waker: whoever is answered sooner spins for
/// the answer. Never for longer than `limit`, not where there is one usable CPU, on which the answer needs this very CPU,
/// and no more once it has failed to pay for some times: then only every 32nd wait tries again.
///
/// Ownership      One for each thread or loop. Thread-safety  None.
class spinner {
public:
    static constexpr std::chrono::microseconds limit{20};

    /// True as soon as `answered` is; false when it is time to sleep.
    template <class Answered>
    bool spin(Answered answered) noexcept {
        if (credit_ == 0 && ++waits_ % 32 != 0) return false;
        if (!has_several_cpus()) return false;
        // An answer that comes at once needs no look at the clock.
        if (spin_briefly(answered) || spin_until(std::chrono::steady_clock::now() + limit, answered)) {
            credit_ = most_credit;
            return true;
        }
        if (credit_ > 0) --credit_;
        return false;
    }

private:
    static constexpr std::uint8_t most_credit = 3;

    template <class Answered>
    static bool spin_briefly(Answered& answered) noexcept {
        for (int i = 0; i < 32; ++i) {
            if (answered()) return true;
            pause();
        }
        return false;
    }
    template <class Answered>
    static bool spin_until(std::chrono::steady_clock::time_point end, Answered& answered) noexcept {
        while (std::chrono::steady_clock::now() < end) {
            if (spin_briefly(answered)) return true;
        }
        return false;
    }
    static void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }
    /// Asked again now and then: somebody may pin the program while it runs.
    bool has_several_cpus() noexcept {
        if (cpus_asked_++ % 4096 == 0) {
            cpu_set_t usable;
            CPU_ZERO(&usable);
            several_cpus_ = ::sched_getaffinity(0, sizeof usable, &usable) == 0 && CPU_COUNT(&usable) > 1;
        }
        return several_cpus_;
    }

    std::uint32_t waits_ = 0;
    std::uint32_t cpus_asked_ = 0;
    std::uint8_t credit_ = most_credit;
    bool several_cpus_ = false;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
