// ferry/deadlock/spin.hpp - a look around before a thread sleeps, as long as that pays
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include <sched.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// The CPUs that the threads which wait may use, as far as they have said so: whoever is pinned to one CPU may be answered
/// from another one. Each stands for those that differ by 64.
///
/// Thread-safety  Every member, on any thread: one word.
class usable_cpus {
public:
    [[nodiscard]] static std::uint64_t of_this_thread() noexcept {
        cpu_set_t usable;
        CPU_ZERO(&usable);
        if (::sched_getaffinity(0, sizeof usable, &usable) != 0) return 0;
        std::uint64_t bits = 0;
        for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            if (CPU_ISSET(cpu, &usable)) bits |= std::uint64_t{1} << cpu % 64;
        }
        return bits;
    }
    /// A thread may use these from now on, and could use those before. If it has lost some, so may have others: they are forgotten
    /// until they say it again.
    void change(std::uint64_t before, std::uint64_t now) noexcept {
        if ((before & ~now) != 0) {
            bits_.store(now, std::memory_order_relaxed);
        } else {
            bits_.fetch_or(now, std::memory_order_relaxed);
        }
    }
    [[nodiscard]] bool are_several() const noexcept {
        const std::uint64_t bits = bits_.load(std::memory_order_relaxed);
        return (bits & (bits - 1)) != 0;
    }

private:
    std::atomic<std::uint64_t> bits_{0};
};

/// To sleep and to be woken costs tens of microseconds, most of it for the waker: whoever is answered sooner spins for
/// the answer. Never for longer than `limit`, not where all have one usable CPU, so that the answer needs this very CPU, and no
/// more once it has failed to pay for some times: then only every 32nd wait tries again.
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
        static constinit usable_cpus of_the_process;
        if (cpus_asked_++ % 4096 == 0) {
            const std::uint64_t mine = usable_cpus::of_this_thread();
            of_the_process.change(mine_, mine);
            mine_ = mine;
        }
        return of_the_process.are_several();
    }

    std::uint32_t waits_ = 0;
    std::uint32_t cpus_asked_ = 0;
    std::uint64_t mine_ = 0;
    std::uint8_t credit_ = most_credit;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
