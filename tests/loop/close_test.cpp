// tests/loop/close_test.cpp - what becomes of a loop's work when it is closed
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/shield.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::task;
using namespace std::chrono_literals;

namespace {
task<> sleep_then_say(std::vector<int>& said, int word) {
    try {
        co_await ferry::sleep_for(1h);
    } catch (const ferry::cancelled&) {
        said.push_back(word);
        throw;
    }
}
task<int> seven() { co_return 7; }

/// A loop whose descriptors exist and have nothing to report: from here on it sleeps when it has nothing to do.
class settled_loop : public event_loop {
public:
    settled_loop() {
        run_once();
        run_once();
    }
};
}  // namespace

TEST_CASE("close() cancels the tasks that wait and awaits their end", "[loop][event_loop][order]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    std::vector<int> said;
    auto observed = ferry::spawn(loop, sleep_then_say(said, 1));
    { auto dropped = ferry::spawn(loop, sleep_then_say(said, 2)); }
    loop.run_until_idle();
    loop.close();
    CHECK(said == std::vector<int>{1, 2});
    REQUIRE(observed.is_ready());
    REQUIRE_THROWS_AS(observed.get(), ferry::closed_error);
}

TEST_CASE("close() awaits the cleanup of the tasks it cancels, with their groups", "[loop][event_loop]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    std::vector<int> said;
    const auto family = [&said](ferry::task_group& group) -> task<> {
        group.start(sleep_then_say(said, 1));
        group.start(sleep_then_say(said, 2));
        try {
            co_await ferry::sleep_for(1h);
        } catch (const ferry::cancelled&) {
            said.push_back(3);
        }
    };
    const auto parent = [&]() -> task<> {
        try {
            co_await ferry::with_task_group(family);
        } catch (const ferry::cancelled&) {  // its children were cut short
            said.push_back(4);
        }
    };
    auto done = ferry::spawn(loop, parent());
    loop.run_until_idle();
    loop.close();
    REQUIRE(said.size() == 4);
    CHECK(said.back() == 4);
    done.get();
}

TEST_CASE("a task that never started gets closed_error, and does not start", "[loop][event_loop]") {
    const ferry_test::frame_count frames;
    settled_loop loop;
    std::vector<int> said;
    const auto argument = std::make_shared<int>(1);
    const auto body = [&said](std::shared_ptr<int>) -> task<> {
        said.push_back(1);
        co_return;
    };
    auto never = ferry::spawn(loop, body, argument);
    { auto dropped = ferry::spawn(loop, body, argument); }
    CHECK(argument.use_count() == 3);
    loop.close();
    CHECK(said.empty());
    CHECK(argument.use_count() == 1);
    REQUIRE_THROWS_AS(never.get(), ferry::closed_error);
}

TEST_CASE("a task that ends in a value or an error of its own while its loop closes, delivers it",
          "[loop][event_loop]") {
    event_loop loop;
    const auto catches = []() -> task<int> {
        try {
            co_await ferry::sleep_for(1h);
        } catch (const ferry::cancelled&) {}
        co_return 5;
    };
    const auto fails = []() -> task<int> {
        try {
            co_await ferry::sleep_for(1h);
        } catch (const ferry::cancelled&) {}
        throw std::out_of_range("instead");
    };
    auto value = ferry::spawn(loop, catches());
    auto error = ferry::spawn(loop, fails());
    loop.run_until_idle();
    loop.close();
    CHECK(value.get() == 5);
    REQUIRE_THROWS_AS(error.get(), std::out_of_range);
}

TEST_CASE("close() waits for a task that refuses to end, and does not destroy it", "[loop][event_loop]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    ferry::event never(loop);
    int refusals = 0;
    bool alive_to_the_end = false;
    const auto stubborn = [&]() -> task<int> {
        const auto local = std::make_shared<int>(7);
        while (refusals < 1000) {
            try {
                co_await never.wait();
            } catch (const ferry::cancelled&) {
                ++refusals;
            }
            co_await ferry::shield(ferry::yield_now());
        }
        alive_to_the_end = local.use_count() == 1;
        co_return *local;
    };
    auto done = ferry::spawn(loop, stubborn());
    loop.run_until_idle();
    loop.close();
    CHECK(refusals == 1000);
    CHECK(alive_to_the_end);
    CHECK(done.get() == 7);
}

TEST_CASE("close() runs what was posted before, and refuses what comes after", "[loop][event_loop]") {
    const ferry_test::frame_count frames;
    settled_loop loop;
    std::vector<int> said;
    loop.post([&] {
        said.push_back(1);
        REQUIRE_THROWS_AS(loop.post([&said] { said.push_back(2); }), ferry::closed_error);
        REQUIRE_THROWS_AS(ferry::spawn(loop, seven()), ferry::closed_error);
    });
    loop.close();
    CHECK(said == std::vector<int>{1});
    CHECK(loop.closing());
    REQUIRE_THROWS_AS(loop.post([] {}), ferry::closed_error);
    REQUIRE_THROWS_AS(ferry::spawn(loop, seven()), ferry::closed_error);
    REQUIRE_THROWS_AS(loop.run(seven()), ferry::closed_error);
    loop.close();  // again does nothing
}

TEST_CASE("cancel_tasks ends every task, and the loop takes new ones", "[loop][event_loop]") {
    const ferry_test::frame_count frames;
    settled_loop loop;
    std::vector<int> said;
    auto sleeping = ferry::spawn(loop, sleep_then_say(said, 1));
    loop.run_until_idle();
    loop.post([&said] { said.push_back(2); });
    loop.cancel_tasks();
    CHECK(said.size() == 2);
    REQUIRE_THROWS_AS(sleeping.get(), ferry::cancelled);
    loop.post([&said] { said.push_back(3); });
    loop.cancel_tasks();  // with nothing but a post
    CHECK(said.size() == 3);
    CHECK(loop.run(seven()) == 7);
}

TEST_CASE("destroying a loop closes it", "[loop][event_loop]") {
    const ferry_test::frame_count frames;
    std::vector<int> said;
    std::optional<ferry::future<void>> sleeping;
    std::optional<ferry::future<int>> never;
    {
        event_loop loop;
        sleeping = ferry::spawn(loop, sleep_then_say(said, 1));
        loop.run_until_idle();
        never = ferry::spawn(loop, seven());
    }
    CHECK(said == std::vector<int>{1});
    REQUIRE_THROWS_AS(sleeping->get(), ferry::closed_error);
    REQUIRE_THROWS_AS(never->get(), ferry::closed_error);
}

TEST_CASE("a late post or spawn from another thread gets closed_error or is run", "[loop][event_loop][mt]") {
    const ferry_test::frame_count frames;
    for (int round = 0; round < 30; ++round) {
        event_loop loop;
        std::atomic<bool> started{false};
        int accepted = 0;
        int run = 0;
        int spawned = 0;
        std::thread late([&] {
            for (;;) {
                started.store(true, std::memory_order_release);
                try {
                    loop.post([&run] { ++run; });
                    ++accepted;
                    auto result = ferry::spawn(loop, seven());
                    ++spawned;
                } catch (const ferry::closed_error&) {
                    return;
                }
            }
        });
        while (!started.load(std::memory_order_acquire)) std::this_thread::yield();
        loop.run_once();
        loop.close();
        late.join();
        CHECK(accepted == run);
        CHECK(accepted - spawned <= 1);
    }
}
