// tests/loop/async_shared_mutex_test.cpp - one writer or many readers
// SPDX-License-Identifier: BSL-1.0
#include "core/frame_count.hpp"
#include "net/aborts.hpp"
#include "support/catch.hpp"

#include <ferry/core/error.hpp>
#include <ferry/loop/async_shared_mutex.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <algorithm>
#include <chrono>
#include <random>
#include <string>
#include <vector>

using namespace std::chrono_literals;

namespace {
ferry::task<> read_for(ferry::async_shared_mutex& mutex, std::string& log, std::chrono::milliseconds time) {
    const ferry::async_shared_mutex::guard held = co_await mutex.lock_shared();
    log += "r";
    co_await ferry::sleep_for(time);
}
ferry::task<> write_for(ferry::async_shared_mutex& mutex, std::string& log, std::chrono::milliseconds time) {
    const ferry::async_shared_mutex::guard held = co_await mutex.lock();
    log += "W";
    co_await ferry::sleep_for(time);
}
}  // namespace

TEST_CASE("readers share, writers do not, and nobody overtakes", "[loop][async_shared_mutex][order]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::async_shared_mutex mutex(loop);
    std::string log;
    std::vector<ferry::future<void>> ends;
    ends.push_back(loop.spawn(read_for(mutex, log, 5ms)));
    ends.push_back(loop.spawn(read_for(mutex, log, 5ms)));
    ends.push_back(loop.spawn(write_for(mutex, log, 5ms)));
    ends.push_back(loop.spawn(read_for(mutex, log, 5ms)));
    ends.push_back(loop.spawn(read_for(mutex, log, 5ms)));
    loop.run_until_idle();
    CHECK(log == "rr");  // the later readers wait behind the writer
    CHECK_FALSE(mutex.try_lock_shared());
    loop.run(ferry::sleep_for(6ms));
    CHECK(log == "rrW");
    loop.run(ferry::sleep_for(5ms));
    CHECK(log == "rrWrr");
    loop.run(ferry::sleep_for(10ms));
    CHECK(mutex.try_lock());
}

TEST_CASE("when a waiting writer gives up, the readers behind it go on", "[loop][async_shared_mutex]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::async_shared_mutex mutex(loop);
    std::string log;
    auto reading = loop.spawn(read_for(mutex, log, 100ms));
    loop.run_until_idle();
    SECTION("cancelled") {
        auto writing = loop.spawn(ferry::try_timeout(5ms, write_for(mutex, log, 1ms)));
        auto behind = loop.spawn(read_for(mutex, log, 1ms));
        loop.run(ferry::sleep_for(6ms));
        CHECK(log == "rr");
    }
    SECTION("out of time") {
        auto writing = loop.spawn([&]() -> ferry::task<> {
            const ferry::async_shared_mutex::guard held = co_await mutex.try_lock_for(5ms);
            log += held ? "W" : "-";
        });
        auto behind = loop.spawn(read_for(mutex, log, 1ms));
        loop.run(ferry::sleep_for(6ms));
        CHECK(log.size() == 3);
        CHECK(std::count(log.begin(), log.end(), '-') == 1);
    }
    loop.run(ferry::sleep_for(200ms));
    CHECK(mutex.try_lock());
}

TEST_CASE("detached guards are given back by hand", "[loop][async_shared_mutex]") {
    ferry::event_loop loop;
    ferry::async_shared_mutex mutex(loop);
    mutex.try_lock_shared().detach();
    CHECK_FALSE(mutex.try_lock());
    CHECK(mutex.try_lock_shared());
    mutex.unlock_shared();
    mutex.try_lock().detach();
    CHECK_FALSE(mutex.try_lock_shared());
    mutex.unlock();
    CHECK(mutex.try_lock());
}

TEST_CASE("a thousand readers and writers with random limits and cancellations keep the rule",
          "[loop][async_shared_mutex]") {
    const ferry_test::frame_count frames;
    for (unsigned seed = 0; seed < 5; ++seed) {
        INFO("seed " << seed);
        ferry::virtual_clock clock;
        ferry::event_loop loop(clock);
        ferry::async_shared_mutex mutex(loop);
        std::mt19937 random(seed);
        int readers = 0;
        int writers = 0;
        int broken = 0;
        int most_readers = 0;
        const auto read = [&](int limit, int time) -> ferry::task<> {
            const auto held = co_await mutex.try_lock_shared_for(std::chrono::milliseconds(limit));
            if (!held) co_return;
            ++readers;
            most_readers = std::max(most_readers, readers);
            if (writers != 0) ++broken;
            const auto slept = co_await ferry::as_result(ferry::sleep_for(std::chrono::milliseconds(time)));
            --readers;
        };
        const auto write = [&](int limit, int time) -> ferry::task<> {
            const auto held = co_await mutex.try_lock_for(std::chrono::milliseconds(limit));
            if (!held) co_return;
            if (++writers != 1 || readers != 0) ++broken;
            const auto slept = co_await ferry::as_result(ferry::sleep_for(std::chrono::milliseconds(time)));
            --writers;
        };
        std::vector<ferry::future<bool>> ends;
        for (int id = 0; id < 1000; ++id) {
            const int limit = static_cast<int>(random() % 500);
            const int time = static_cast<int>(random() % 4);
            const auto cancel_after = std::chrono::milliseconds(random() % 500);
            if (random() % 3 == 0) {
                ends.push_back(loop.spawn(ferry::try_timeout(cancel_after, write(limit, time))));
            } else {
                ends.push_back(loop.spawn(ferry::try_timeout(cancel_after, read(limit, time))));
            }
        }
        loop.run(ferry::sleep_for(1h));
        CHECK(broken == 0);
        CHECK(most_readers > 1);
        CHECK(mutex.try_lock());
        for (ferry::future<bool>& end : ends) CHECK(end.is_ready());
    }
}

TEST_CASE("a guard of an async_shared_mutex that is unlocked twice is an assertion", "[loop][async_shared_mutex]") {
    ferry::event_loop loop;
    const auto twice = [&loop] {
        ferry::async_shared_mutex mutex(loop);
        auto held = mutex.try_lock_shared();
        held.unlock();
        held.unlock();
    };
    CHECK(ferry_test::aborts(twice));
}
