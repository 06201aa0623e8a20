// tests/loop/fairness_test.cpp - what keeps a loop busy delays nobody by more than a bounded batch
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/combine.hpp>
#include <ferry/core/shield.hpp>
#include <ferry/loop/bounded_queue.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/poller.hpp>
#include <ferry/loop/semaphore.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::task;
using namespace std::chrono_literals;

namespace {
/// A clock that the test moves, one tick for each step that it counts; it never waits.
class hand_clock final : public ferry::poller {
public:
    [[nodiscard]] time_point now() const noexcept override { return time_point(ticks_); }
    std::size_t wait(time_point, bool) override {
        ++waits_;
        return 0;
    }
    void add(ferry::io_watch&) override {}
    void remove(ferry::io_watch&) noexcept override {}
    [[nodiscard]] int native_handle() override { return -1; }

    void tick() noexcept { ++ticks_; }
    [[nodiscard]] std::chrono::nanoseconds ticks() const noexcept { return ticks_; }
    [[nodiscard]] int waits() const noexcept { return waits_; }

private:
    std::chrono::nanoseconds ticks_{0};
    int waits_ = 0;
};

/// Sleeps again and again, and keeps the most steps that others made between a deadline and its resumption.
task<> sleeper(hand_clock& clock, std::chrono::nanoseconds& latest, int times) {
    for (int i = 0; i < times; ++i) {
        const auto due = clock.now() + 100ns;
        co_await ferry::sleep_until(due);
        latest = std::max(latest, clock.now() - due);
    }
}
/// More than this may not happen in between: the slice that is running, and the one that the sleeper wakes up in.
constexpr std::chrono::nanoseconds two_slices{32};
}  // namespace

TEST_CASE("tasks that yield for ever delay a timer by two slices at most", "[loop][event_loop][fairness][order]") {
    const ferry_test::frame_count frames;
    hand_clock clock;
    event_loop loop(clock);
    bool over = false;
    const auto yields = [&]() -> task<> {
        while (!over) {
            clock.tick();
            co_await ferry::yield_now();
        }
    };
    std::chrono::nanoseconds latest{0};
    for (int i = 0; i < 10; ++i) {
        auto dropped = ferry::spawn(loop, yields());
    }
    loop.run(sleeper(clock, latest, 50));
    over = true;
    loop.run_until_idle();
    CHECK(clock.ticks() >= 5'000ns);
    CHECK(latest <= two_slices);
}

TEST_CASE("a callback that posts itself for ever delays a timer by one of its calls",
          "[loop][event_loop][fairness][order]") {
    hand_clock clock;
    event_loop loop(clock);
    bool over = false;
    std::function<void()> again = [&] {
        clock.tick();
        if (!over) loop.post(again);
    };
    loop.post(again);
    std::chrono::nanoseconds latest{0};
    loop.run(sleeper(clock, latest, 50));
    over = true;
    loop.run_until_idle();
    CHECK(clock.ticks() >= 5'000ns);
    CHECK(latest <= 2ns);
}

TEST_CASE("a mountain of posts delays a timer, and a task that yields, by two slices at most",
          "[loop][event_loop][fairness][order]") {
    hand_clock clock;
    event_loop loop(clock);
    std::chrono::nanoseconds latest{0};
    std::chrono::nanoseconds longest_turn{0};
    const auto yields = [&]() -> task<> {
        for (int i = 0; i < 50; ++i) {
            const auto before = clock.ticks();
            co_await ferry::yield_now();
            longest_turn = std::max(longest_turn, clock.ticks() - before);
        }
    };
    auto sleeping = ferry::spawn(loop, sleeper(clock, latest, 50));
    auto yielding = ferry::spawn(loop, yields());
    loop.run_once();
    for (int i = 0; i < 20'000; ++i) {
        loop.post([&clock] { clock.tick(); });
    }
    for (int turns = 0; turns < 1'000 && !(sleeping.is_ready() && yielding.is_ready()); ++turns) loop.run_once();
    REQUIRE(sleeping.is_ready());
    REQUIRE(yielding.is_ready());
    CHECK(clock.ticks() >= 5'000ns);
    CHECK(clock.ticks() < 10'000ns);
    CHECK(latest <= two_slices);
    CHECK(longest_turn <= two_slices);
    loop.run_until_idle();
    CHECK(clock.ticks() == 20'000ns);  // none was lost
}

TEST_CASE("a thread that posts without pause delays a timer and other tasks by two slices at most",
          "[loop][event_loop][fairness][mt][order]") {
    const ferry_test::frame_count frames;
    hand_clock clock;
    event_loop loop(clock);
    std::atomic<bool> over{false};
    int posted = 0;
    std::thread flood([&] {
        for (; posted < 2'000'000 && !over.load(std::memory_order_relaxed); ++posted) {
            loop.post([&clock] { clock.tick(); });
        }
    });
    std::chrono::nanoseconds latest{0};
    auto sleeping = ferry::spawn(loop, sleeper(clock, latest, 300));
    while (!sleeping.is_ready()) loop.run_once();
    over = true;
    flood.join();
    loop.run_until_idle();
    CHECK(latest <= two_slices);
    CHECK(clock.ticks() == std::chrono::nanoseconds(posted));
}

TEST_CASE("what threads post goes on while a thousand tasks yield for ever", "[loop][event_loop][fairness][order]") {
    hand_clock clock;
    event_loop loop(clock);
    bool over = false;
    const auto yields = [&]() -> task<> {
        while (!over) co_await ferry::yield_now();
    };
    for (int i = 0; i < 1'000; ++i) {
        auto dropped = ferry::spawn(loop, yields());
    }
    for (int i = 0; i < 10; ++i) loop.run_once();
    int run = 0;
    for (int i = 0; i < 1'000; ++i) {
        loop.post([&run] { ++run; });
    }
    int turns = 0;
    while (run < 1'000) {
        loop.run_once();
        ++turns;
    }
    CHECK(turns <= 20);  // half of each turn is theirs, and the queue of those that yield comes first
    over = true;
    loop.run_until_idle();
}

TEST_CASE("a task that awaits what is always ready gives way after 64 completions",
          "[loop][event_loop][fairness][order]") {
    const ferry_test::frame_count frames;
    hand_clock clock;
    event_loop loop(clock);
    bool over = false;
    ferry::event set(loop);
    set.set();
    ferry::semaphore free(loop, 1);
    ferry::bounded_queue<int> queue(loop, 4);
    const auto on_event = [&]() -> task<> {
        while (!over) {
            co_await set.wait();
            clock.tick();
        }
    };
    const auto on_semaphore = [&]() -> task<> {
        while (!over) {
            const auto permit = co_await free.acquire();
            clock.tick();
        }
    };
    const auto on_queue = [&]() -> task<> {
        while (!over) {
            co_await queue.push(1);
            co_await queue.pop();
            clock.tick();
        }
    };
    SECTION("an event that is set") { auto dropped = ferry::spawn(loop, on_event()); }
    SECTION("a semaphore that is free") { auto dropped = ferry::spawn(loop, on_semaphore()); }
    SECTION("a queue with room and items") { auto dropped = ferry::spawn(loop, on_queue()); }
    SECTION("all of them") {
        auto one = ferry::spawn(loop, on_event());
        auto two = ferry::spawn(loop, on_semaphore());
        auto three = ferry::spawn(loop, on_queue());
    }
    std::chrono::nanoseconds latest{0};
    loop.run(sleeper(clock, latest, 50));
    over = true;
    loop.run_until_idle();
    CHECK(clock.ticks() >= 5'000ns);
    CHECK(latest <= 65 * two_slices);
}

TEST_CASE("what is always ready gives way inside of whatever is put around it", "[loop][event_loop][fairness][order]") {
    const ferry_test::frame_count frames;
    hand_clock clock;
    event_loop loop(clock);
    bool over = false;
    ferry::event set(loop);
    set.set();
    const auto again = [&] {
        clock.tick();
        return !over && clock.ticks() < 100'000ns;  // so many only where nobody else runs
    };
    const auto in_any = [&]() -> task<> {
        do co_await ferry::when_any(set.wait(), set.wait());
        while (again());
    };
    const auto in_all = [&]() -> task<> {
        do co_await ferry::when_all(set.wait(), set.wait());
        while (again());
    };
    const auto in_shield = [&]() -> task<> {
        do co_await ferry::shield(set.wait());
        while (again());
    };
    const auto in_timeout = [&]() -> task<> {
        do co_await ferry::timeout(1h, ferry::when_any(ferry::shield(set.wait())));
        while (again());
    };
    SECTION("when_any") { auto dropped = ferry::spawn(loop, in_any()); }
    SECTION("when_all") { auto dropped = ferry::spawn(loop, in_all()); }
    SECTION("shield") { auto dropped = ferry::spawn(loop, in_shield()); }
    SECTION("all three in one another") { auto dropped = ferry::spawn(loop, in_timeout()); }
    std::chrono::nanoseconds latest{0};
    auto sleeping = ferry::spawn(loop, sleeper(clock, latest, 50));
    for (int turns = 0; turns < 1'000 && !sleeping.is_ready(); ++turns) loop.run_once();
    over = true;
    REQUIRE(sleeping.is_ready());
    loop.run_until_idle();
    CHECK(clock.ticks() >= 5'000ns);
    CHECK(latest <= 65 * two_slices);
}

TEST_CASE("those who have to wait do so at once, however many begin in one step",
          "[loop][event_loop][fairness][order]") {
    const ferry_test::frame_count frames;
    hand_clock clock;
    event_loop loop(clock);
    ferry::bounded_queue<int> queue(loop, 101);
    std::vector<int> first;
    int last = 0;
    const auto hundred = [&]() -> task<> {
        std::vector<task<int>> pops;
        const auto pop = [](ferry::bounded_queue<int>& from) -> task<int> { co_return co_await from.pop(); };
        for (int i = 0; i < 100; ++i) pops.push_back(pop(queue));
        first = co_await ferry::when_all(std::move(pops));
    };
    const auto after_them = [&]() -> task<> { last = co_await queue.pop(); };
    auto many = ferry::spawn(loop, hundred());
    auto one = ferry::spawn(loop, after_them());
    loop.run_until_idle();
    for (int i = 1; i <= 101; ++i) CHECK(queue.try_push(int(i)));
    loop.run_until_idle();
    CHECK(last == 101);
}

TEST_CASE("descriptors and posts are looked at after at most one batch, however busy the loop is",
          "[loop][event_loop][fairness][order]") {
    hand_clock clock;
    event_loop loop(clock);
    int steps = 0;
    const auto yields = [&]() -> task<> {
        while (steps < 100'000) {
            ++steps;
            co_await ferry::yield_now();
        }
    };
    std::vector<ferry::future<void>> tasks;
    for (int i = 0; i < 300; ++i) tasks.push_back(ferry::spawn(loop, yields()));
    loop.run_once();  // the loop has a descriptor to look at
    for (ferry::future<void>& each : tasks) loop.run(std::move(each));
    CHECK(clock.waits() >= 100'000 / 256);
}
