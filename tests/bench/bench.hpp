// tests/bench/bench.hpp - clocks, pinning, allocations and the output line of every program beside it
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <new>
#include <thread>
#include <vector>

#include <sched.h>

namespace ferry_bench {
inline double nanoseconds_of(clockid_t clock) noexcept {
    std::timespec now{};
    ::clock_gettime(clock, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

/// What this thread has worked since it was made: others on the machine do not show.
class cpu_timer {
public:
    [[nodiscard]] double nanoseconds() const noexcept { return nanoseconds_of(CLOCK_THREAD_CPUTIME_ID) - begin_; }

private:
    double begin_ = nanoseconds_of(CLOCK_THREAD_CPUTIME_ID);
};

/// For what waits.
[[nodiscard]] inline double wall_nanoseconds() noexcept { return nanoseconds_of(CLOCK_MONOTONIC); }

/// The value is needed, as far as the compiler knows.
template <class T>
void keep(const T& value) noexcept {
    __asm__ volatile("" : : "g"(&value) : "memory");
}

/// Keeps the calling thread on the first (0) or the second (1) CPU it may use; does nothing where there is only one.
inline void pin_to(int which) noexcept {
    static const cpu_set_t usable = [] {
        cpu_set_t mask;
        CPU_ZERO(&mask);
        ::sched_getaffinity(0, sizeof mask, &mask);
        return mask;
    }();
    if (CPU_COUNT(&usable) < 2) return;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(cpu, &usable) || which-- > 0) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        ::sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

/// One figure of one round. The runner keeps the best, or the median, of many.
inline void report(const char* workload, const char* who, double value) noexcept {
    std::printf("%s %s %.3f\n", workload, who, value);
    std::fflush(stdout);
}

[[nodiscard]] inline double median(std::vector<double>& values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

/// The calling thread's calls of operator new so far. Defined by the file that counts, see FERRY_BENCH_COUNT below.
[[nodiscard]] std::uint64_t allocations() noexcept;

/// What must not happen is counted here; main() returns verdict().
class gate {
public:
    void never(const char* workload, const char* what, std::uint64_t count) noexcept {
        report(workload, what, static_cast<double>(count));
        if (count != 0) failed_ = true;
    }
    [[nodiscard]] int verdict() const noexcept { return failed_ ? EXIT_FAILURE : EXIT_SUCCESS; }

private:
    bool failed_ = false;
};

/// Runs fn on a second thread, on the second CPU; fn begins when release() is called.
class second_thread {
public:
    template <class Fn>
    explicit second_thread(Fn fn)
        : thread_([this, fn] {
              pin_to(1);
              waiting_.store(true, std::memory_order_release);
              while (!go_.load(std::memory_order_acquire)) {}
              const cpu_timer timer;
              fn();
              worked_ = timer.nanoseconds();
          }) {
        while (!waiting_.load(std::memory_order_acquire)) std::this_thread::yield();
    }
    ~second_thread() {
        if (thread_.joinable()) thread_.join();
    }
    second_thread(const second_thread&) = delete;
    second_thread& operator=(const second_thread&) = delete;
    void release() noexcept { go_.store(true, std::memory_order_release); }
    /// Waits for the end of fn; returns the CPU time it took.
    double worked() {
        thread_.join();
        return worked_;
    }

private:
    double worked_ = 0;
    std::atomic<bool> waiting_{false};
    std::atomic<bool> go_{false};
    std::thread thread_;  // last: it uses what is above
};

/// How long an idle loop takes to notice. The second thread calls wake_up() again and again, each time after the loop
/// has had time to fall asleep; what it makes the loop's thread run calls woken().
class wake_meter {
public:
    static constexpr std::size_t wakes = 100;

    /// The second thread's part.
    template <class Fn>
    void drive(Fn wake_up) {
        for (std::size_t wake = 0; wake < wakes; ++wake) {
            pause(200);
            stamp_.store(wall_nanoseconds(), std::memory_order_relaxed);
            wake_up();
            while (seen_.load(std::memory_order_acquire) <= wake) pause(20);
        }
    }
    /// On the loop's thread. True for the last time.
    bool woken() {
        delays_.push_back(wall_nanoseconds() - stamp_.load(std::memory_order_relaxed));
        const std::size_t count = delays_.size();
        seen_.store(count, std::memory_order_release);
        return count == wakes;
    }
    [[nodiscard]] double median_microseconds() { return median(delays_) / 1000; }

private:
    static void pause(long microseconds) noexcept {
        const std::timespec time{0, microseconds * 1000};
        ::nanosleep(&time, nullptr);
    }
    std::atomic<double> stamp_{0};
    std::atomic<std::size_t> seen_{0};
    std::vector<double> delays_;
};
}  // namespace ferry_bench

// In the one file of a program that counts: replaces operator new.
#if defined(FERRY_BENCH_COUNT)
namespace ferry_bench {
inline thread_local std::uint64_t allocation_count = 0;  // per thread: counting must not share a cache line
std::uint64_t allocations() noexcept { return allocation_count; }
}  // namespace ferry_bench

void* operator new(std::size_t size) { return operator new (size, std::align_val_t{alignof(std::max_align_t)}); }
void* operator new(std::size_t size, std::align_val_t alignment) {
    ++ferry_bench::allocation_count;
    const std::size_t align = static_cast<std::size_t>(alignment);
    void* const block = align <= alignof(std::max_align_t)
                            ? std::malloc(size)
                            : std::aligned_alloc(align, (size + align - 1) / align * align);
    if (block == nullptr) throw std::bad_alloc();
    return block;
}
void operator delete(void* block) noexcept { std::free(block); }
void operator delete(void* block, std::size_t) noexcept { std::free(block); }
void operator delete(void* block, std::align_val_t) noexcept { std::free(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { std::free(block); }
#endif
