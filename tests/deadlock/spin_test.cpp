// tests/deadlock/spin_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/deadlock/spin.hpp>

#include "support/catch.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>

#include <sched.h>

using ferry::detail::spinner;
using ferry::detail::usable_cpus;

namespace {
/// True when asked for the nth time.
class answer_at {
public:
    explicit answer_at(int nth) : nth_(nth) {}
    bool operator()() { return ++asked == nth_; }
    int asked = 0;

private:
    int nth_;
};
bool never() { return false; }
}  // namespace

TEST_CASE("whoever waits may be answered from any CPU that one of those who wait may use", "[deadlock][spin]") {
    usable_cpus cpus;
    CHECK_FALSE(cpus.are_several());
    cpus.change(0, 0b01);
    CHECK_FALSE(cpus.are_several());  // the program is pinned, as far as is known
    cpus.change(0, 0b01);
    CHECK_FALSE(cpus.are_several());
    cpus.change(0, 0b10);
    CHECK(cpus.are_several());  // two threads, each pinned to a CPU of its own
    cpus.change(0b01, 0b11);
    CHECK(cpus.are_several());
}

TEST_CASE("a thread that has lost a CPU makes all say again which they have", "[deadlock][spin]") {
    usable_cpus cpus;
    cpus.change(0, 0b11);
    cpus.change(0b11, 0b01);
    CHECK_FALSE(cpus.are_several());
    cpus.change(0b11, 0b11);
    CHECK(cpus.are_several());
}

TEST_CASE("a thread knows the CPUs that it may use", "[deadlock][spin]") {
    std::uint64_t pinned = 0;
    std::thread([&] {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(static_cast<std::size_t>(::sched_getcpu()), &one);
        ::sched_setaffinity(0, sizeof one, &one);
        pinned = usable_cpus::of_this_thread();
    }).join();
    CHECK(pinned != 0);
    CHECK((pinned & (pinned - 1)) == 0);
    CHECK((pinned & usable_cpus::of_this_thread()) == pinned);
}

TEST_CASE("spinning that does not pay is given up, but for every 32nd wait, until it pays again", "[deadlock][spin]") {
    if (std::thread::hardware_concurrency() < 2) return;
    spinner spins;
    const auto has_looked = [&] {
        answer_at looks(-1);
        spins.spin(std::ref(looks));
        return looks.asked > 0;
    };
    answer_at soon(5);
    CHECK(spins.spin(std::ref(soon)));
    CHECK(soon.asked == 5);
    int looked = 0;
    while (has_looked()) ++looked;
    CHECK(looked == 3);
    for (int wait = 0; wait < 64; ++wait) looked += has_looked() ? 1 : 0;
    CHECK(looked == 3 + 2);
    int waits = 0;
    for (bool answered = false; !answered; ++waits) {
        answer_at at_once(1);
        answered = spins.spin(std::ref(at_once));
    }
    CHECK(waits <= 32);
    CHECK(has_looked());
    CHECK_FALSE(spins.spin(never));
}
