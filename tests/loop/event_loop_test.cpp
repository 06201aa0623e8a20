// tests/loop/event_loop_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/poller.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timer_queue.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::task;
using namespace std::chrono_literals;

namespace {
task<> note_twice(std::vector<int>& order, int id) {
    order.push_back(id);
    co_await ferry::yield_now();
    order.push_back(10 * id);
}

task<> hour() { co_await ferry::sleep_for(1h); }

struct hook : ferry::detail::turn_end_node {
    explicit hook(std::vector<int>& where, int number) : order(where), id(number) {
        run = [](ferry::detail::ready_node& node) noexcept {
            hook& self = static_cast<hook&>(node);
            self.order.push_back(self.id);
            if (self.also_forgets != nullptr) self.loop->forget_turn_end(*self.also_forgets);
        };
    }
    std::vector<int>& order;
    int id;
    event_loop* loop = nullptr;
    hook* also_forgets = nullptr;
};

/// Notes how many steps had been made when it fired.
struct alarm_node : ferry::detail::timer_node {
    explicit alarm_node(const int& steps)
        : timer_node([](timer_node& self) noexcept {
              alarm_node& alarm = static_cast<alarm_node&>(self);
              alarm.steps_before = alarm.steps_made;
          }),
          steps_made(steps) {}
    const int& steps_made;
    int steps_before = -1;
};
}  // namespace

TEST_CASE("a loop runs what is ready in the order it became ready", "[loop][event_loop][order]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    std::vector<int> order;
    auto first = ferry::spawn(loop, note_twice(order, 1));
    loop.post([&order] { order.push_back(2); });
    auto third = ferry::spawn(loop, note_twice(order, 3));
    CHECK(order.empty());
    loop.run_until_idle();
    CHECK(order == std::vector<int>{1, 2, 3, 10, 30});
}

TEST_CASE("a callback posted from a turn runs in a later one", "[loop][event_loop]") {
    event_loop loop;
    std::vector<int> order;
    loop.post([&] {
        loop.post([&order] { order.push_back(2); });
        order.push_back(1);
    });
    loop.run_once();
    CHECK(order == std::vector<int>{1});
    loop.run_once();
    CHECK(order == std::vector<int>{1, 2});
}

TEST_CASE("run() turns until stop(), and leaves the tasks where they are", "[loop][event_loop]") {
    ferry::virtual_clock clock;
    event_loop loop(clock);
    int ticks = 0;
    const auto tick = [&]() -> task<> {
        for (;;) {
            co_await ferry::sleep_for(1s);
            if (++ticks % 3 == 0) loop.stop();
        }
    };
    auto ticking = ferry::spawn(loop, tick());
    loop.run();
    CHECK(ticks == 3);
    loop.run();
    CHECK(ticks == 6);
    CHECK(clock.elapsed() == 6s);
    CHECK(!ticking.is_ready());
}

TEST_CASE("run() returns at once when stop() came before it", "[loop][event_loop]") {
    event_loop loop;
    loop.stop();
    loop.run();
    CHECK(!loop.closing());
}

TEST_CASE("stop() concerns only run() without an awaitable", "[loop][event_loop]") {
    ferry::virtual_clock clock;
    event_loop loop(clock);
    loop.stop();
    loop.run(hour());
    CHECK(clock.elapsed() == 1h);
    SECTION("nor does it keep close() from waiting") {
        const auto slow_to_end = []() -> task<> {
            try {
                co_await ferry::sleep_for(1h);
            } catch (const ferry::cancelled&) {}
            co_return;
        };
        auto done = ferry::spawn(loop, slow_to_end());
        loop.run_until_idle();
        loop.close();
        CHECK(done.is_ready());
    }
}

TEST_CASE("run(awaitable) returns its result, and other tasks stay", "[loop][event_loop]") {
    ferry::virtual_clock clock;
    event_loop loop(clock);
    int other = 0;
    const auto two_hours = [&]() -> task<> {
        co_await ferry::sleep_for(2h);
        other = 1;
    };
    const auto answer = []() -> task<std::string> {
        co_await ferry::sleep_for(1h);
        co_return "forty-two";
    };
    auto still_there = ferry::spawn(loop, two_hours());
    CHECK(loop.run(answer()) == "forty-two");
    CHECK(other == 0);
    loop.run(std::move(still_there));
    CHECK(other == 1);
    CHECK(clock.elapsed() == 2h);
}

TEST_CASE("run_until_idle does not wait for timers, but for threads that work for the loop", "[loop][event_loop]") {
    event_loop loop;
    loop.run_once();
    std::vector<int> order;
    auto sleeping = ferry::spawn(loop, hour());
    loop.post([&] { loop.begin_outside_work(); });
    std::thread worker([&] {
        loop.post([&] {
            order.push_back(1);
            loop.end_outside_work();
        });
    });
    loop.run_until_idle();
    worker.join();
    loop.run_until_idle();
    CHECK(order == std::vector<int>{1});
    CHECK(!sleeping.is_ready());
}

TEST_CASE("what is due at the end of a turn runs once, after the ready batch", "[loop][event_loop][order]") {
    event_loop loop;
    std::vector<int> order;
    hook flush(order, 100);
    loop.post([&] {
        loop.at_turn_end(flush);
        loop.at_turn_end(flush);
        order.push_back(1);
    });
    loop.post([&order] { order.push_back(2); });
    loop.run_once();
    CHECK(order == std::vector<int>{1, 2, 100});
    loop.run_once();
    CHECK(order.size() == 3);
    loop.post([&] {
        loop.at_turn_end(flush);
        loop.forget_turn_end(flush);
    });
    loop.run_once();
    CHECK(order.size() == 3);
}

TEST_CASE("what runs at the end of a turn may make the loop forget another such node", "[loop][event_loop]") {
    event_loop loop;
    std::vector<int> order;
    hook one(order, 1);
    hook two(order, 2);
    one.loop = two.loop = &loop;
    one.also_forgets = &two;
    two.also_forgets = &one;
    loop.post([&] {
        loop.at_turn_end(one);
        loop.at_turn_end(two);
    });
    loop.run_once();
    CHECK(order.size() == 1);
    CHECK(!one.linked);
    CHECK(!two.linked);
}

TEST_CASE("a turn runs a bounded batch of what is ready before it polls", "[loop][event_loop][epoll]") {
    class counting_poller final : public ferry::poller {
    public:
        [[nodiscard]] time_point now() const noexcept override { return inner_.now(); }
        std::size_t wait(time_point deadline, bool work_outside) override {
            ++polls;
            most_steps = std::max(most_steps, std::exchange(steps, 0));
            return inner_.wait(deadline, work_outside);
        }
        void add(ferry::io_watch& watch) override { inner_.add(watch); }
        void remove(ferry::io_watch& watch) noexcept override { inner_.remove(watch); }
        [[nodiscard]] int native_handle() override { return inner_.native_handle(); }
        int steps = 0;
        int most_steps = 0;
        int polls = 0;

    private:
        ferry::virtual_clock inner_;
    };
    counting_poller poller;
    event_loop loop(poller);
    CHECK(loop.native_handle() >= 0);  // there is something to poll
    const auto spin = [&](int times) -> task<> {
        for (; times > 0; --times) {
            ++poller.steps;
            co_await ferry::yield_now();
        }
    };
    SECTION("where tasks yield again and again") {
        for (int i = 0; i < 1000; ++i) loop.spawn(spin(10));
        loop.run_until_idle();
        CHECK(poller.polls >= 10000 / (256 + 16));
    }
    SECTION("where a flood of posts arrives") {
        for (int i = 0; i < 5000; ++i) loop.post([&] { ++poller.steps; });
        loop.run_until_idle();
        CHECK(poller.polls >= 5000 / (256 + 16));
    }
    CHECK(poller.most_steps <= 256 + 16);
}

TEST_CASE("the steps of many tasks do not add up to a late timer", "[loop][event_loop]") {
    ferry::virtual_clock clock;
    event_loop loop(clock);
    int steps = 0;
    alarm_node alarm(steps);
    for (int i = 0; i < 200; ++i) {
        loop.post([&] {
            clock.advance(100ms);
            ++steps;
        });
    }
    SECTION("a timer that comes due in the middle fires after some more steps, not after all of them") {
        loop.timers().arm(alarm, loop.now() + 1s);
        loop.run_until_idle();
        CHECK(alarm.steps_before >= 10);
        CHECK(alarm.steps_before < 10 + 16);
        CHECK(steps == 200);
    }
    SECTION("a timer that is not due cuts nothing short") {
        loop.timers().arm(alarm, loop.now() + 1h);
        loop.run_once();
        CHECK(steps == 200);
        loop.timers().disarm(alarm);
    }
}

TEST_CASE("posts from many threads are all run, each thread's in order", "[loop][event_loop][mt][order]") {
    const ferry_test::frame_count frames;
    constexpr std::size_t threads = 4;
    constexpr int posts = 5'000;
    event_loop loop;
    std::vector<int> last(threads, -1);
    int wrong = 0;
    std::size_t finished = 0;
    std::vector<std::thread> posters;
    for (std::size_t id = 0; id < threads; ++id) {
        posters.emplace_back([&, id] {
            for (int i = 0; i < posts; ++i) {
                loop.post([&, id, i] {
                    if (last[id] + 1 != i) ++wrong;
                    last[id] = i;
                    if (i + 1 == posts && ++finished == threads) loop.stop();
                });
                if (i % 64 == 0) std::this_thread::yield();  // let the loop fall asleep now and then
            }
        });
    }
    loop.run();
    for (std::thread& poster : posters) poster.join();
    CHECK(wrong == 0);
    CHECK(finished == threads);
}

TEST_CASE("a stop() or a post from another thread is never slept through", "[loop][event_loop][mt]") {
    event_loop loop;
    std::atomic<int> round{0};
    constexpr int rounds = 20'000;
    std::thread other([&] {
        for (int i = 1; i <= rounds; ++i) {
            while (round.load(std::memory_order_acquire) != i) continue;
            if (i % 4 != 0) {
                loop.stop();
            } else {
                loop.post([&loop] { loop.stop(); });
            }
        }
    });
    for (int i = 1; i <= rounds; ++i) {
        loop.post([&round, i] {
            round.store(i, std::memory_order_release);
            // Meet the other thread at every point between here and the sleep.
            for (std::atomic<int> spin{0}; spin < i % 128; ++spin) continue;
        });
        loop.run();
    }
    other.join();
    CHECK(round == rounds);
}

TEST_CASE("a loop may end, and go away, while the post that ended it returns", "[loop][event_loop][mt]") {
    const ferry_test::frame_count frames;
    for (int round = 0; round < 500; ++round) {
        auto loop = std::make_unique<event_loop>();
        std::thread poster([where = loop.get()] {
            where->post([where] { where->stop(); });  // from now on the loop is not this thread's to touch
        });
        loop->run();
        loop.reset();
        poster.join();
    }
}
