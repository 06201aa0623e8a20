// tests/loop/condition_test.cpp - waiting until something about shared state is true
// SPDX-License-Identifier: BSL-1.0
#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <ferry/core/context_local.hpp>
#include <ferry/core/error.hpp>
#include <ferry/loop/condition.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <chrono>
#include <random>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;

namespace {
ferry::task<> take_one(ferry::condition& changed, int& items, std::vector<int>& order, int id) {
    co_await changed.wait([&items] { return items > 0; });
    --items;
    order.push_back(id);
}
}  // namespace

TEST_CASE("a wait whose predicate is true does not wait", "[loop][condition]") {
    ferry::event_loop loop;
    ferry::condition changed(loop);
    int items = 1;
    std::vector<int> order;
    loop.run(take_one(changed, items, order, 1));
    CHECK(items == 0);
}

TEST_CASE("notify_one wakes the one that has waited longest of those who can go on", "[loop][condition][order]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    ferry::condition changed(loop);
    int items = 0;
    bool never = false;
    std::vector<int> order;
    auto other = loop.spawn([&]() -> ferry::task<> {
        co_await changed.wait([&never] { return never; });
        order.push_back(0);
    });
    for (int id : {1, 2}) loop.spawn(take_one(changed, items, order, id));
    loop.run_until_idle();
    changed.notify_one();  // nobody can go on
    loop.run_until_idle();
    CHECK(order.empty());
    items = 1;
    changed.notify_one();
    CHECK(order.empty());  // it resumes from the loop
    loop.run_until_idle();
    CHECK(order == std::vector<int>{1});
    items = 1;
    never = true;
    changed.notify_all();
    loop.run_until_idle();
    CHECK(order == std::vector<int>{1, 0, 2});
}

TEST_CASE("nobody runs between the last check of a predicate and the task that waited", "[loop][condition][order]") {
    ferry::event_loop loop;
    ferry::condition changed(loop);
    int items = 0;
    std::vector<int> order;
    for (int id : {1, 2, 3}) loop.spawn(take_one(changed, items, order, id));
    loop.run_until_idle();
    items = 1;
    changed.notify_all();  // all three are asked again; one finds an item, the others wait on
    loop.run_until_idle();
    CHECK(order == std::vector<int>{1});
    CHECK(items == 0);
    items = 2;
    changed.notify_all();
    loop.run_until_idle();
    CHECK(order == std::vector<int>{1, 2, 3});
}

TEST_CASE("a notification whose receiver is cancelled goes on to the next", "[loop][condition]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::condition changed(loop);
    int items = 0;
    std::vector<int> order;
    auto first = loop.spawn(ferry::try_timeout(1ms, take_one(changed, items, order, 1)));
    auto second = loop.spawn(take_one(changed, items, order, 2));
    loop.run_until_idle();
    items = 1;
    changed.notify_one();
    clock.advance(2ms);  // the first is cancelled before it runs
    loop.run_until_idle();
    CHECK_FALSE(first.get());
    CHECK(order == std::vector<int>{2});
}

TEST_CASE("a notification whose receiver finds its predicate false again goes on to the next", "[loop][condition]") {
    ferry::event_loop loop;
    ferry::condition changed(loop);
    int left = 0;
    int right = 0;
    std::vector<int> order;
    auto first = loop.spawn(take_one(changed, left, order, 1));
    auto second = loop.spawn(take_one(changed, right, order, 2));
    loop.run_until_idle();
    left = right = 1;
    changed.notify_one();  // for the first
    left = 0;
    loop.run_until_idle();
    CHECK(order == std::vector<int>{2});
    left = 1;
    changed.notify_one();
    loop.run_until_idle();
    CHECK(order == std::vector<int>{2, 1});
}

TEST_CASE("what a predicate throws comes out of the wait", "[loop][condition]") {
    ferry::event_loop loop;
    ferry::condition changed(loop);
    bool fails = false;
    auto waiting = loop.spawn([&]() -> ferry::task<> {
        co_await changed.wait([&fails]() -> bool {
            if (fails) throw std::runtime_error("predicate");
            return false;
        });
    });
    loop.run_until_idle();
    fails = true;
    changed.notify_one();
    loop.run_until_idle();
    CHECK_THROWS_WITH(waiting.get(), "predicate");
}

TEST_CASE("producers that notify one never leave an item with a consumer waiting, under random cancellations",
          "[loop][condition]") {
    const ferry_test::frame_count frames;
    for (unsigned seed = 0; seed < 20; ++seed) {
        INFO("seed " << seed);
        ferry::virtual_clock clock;
        ferry::event_loop loop(clock);
        ferry::condition changed(loop);
        std::mt19937 random(seed);
        int items = 0;
        std::vector<int> order;
        std::vector<ferry::future<bool>> ends;
        for (int id = 0; id < 200; ++id) {
            ends.push_back(loop.spawn(
                ferry::try_timeout(std::chrono::milliseconds(random() % 50), take_one(changed, items, order, id))));
        }
        for (int step = 0; step < 60; ++step) {
            ++items;
            changed.notify_one();
            if (random() % 2 == 0) clock.advance(std::chrono::milliseconds(random() % 2));
            if (random() % 2 == 0) loop.run_until_idle();
        }
        loop.run_until_idle();
        int waiting = 0;
        for (const ferry::future<bool>& end : ends) waiting += end.is_ready() ? 0 : 1;
        CHECK((items == 0 || waiting == 0));
        loop.run(ferry::sleep_for(1h));
    }
}

TEST_CASE("a predicate sees the context of the task that waits, whoever notifies", "[loop][condition]") {
    const ferry_test::frame_count frames;
    static ferry::context_local<int> tenant(0);
    ferry::event_loop loop;
    ferry::condition changed(loop);
    int served = 0;
    std::vector<int> seen;
    const auto waits = [&]() -> ferry::task<> {
        tenant.set(7);
        const auto is_ours = [&] {
            seen.push_back(tenant.get());
            return served == tenant.get();
        };
        co_await changed.wait(is_ours);
    };
    auto waiting = loop.spawn(waits());
    loop.run_until_idle();
    served = 7;
    SECTION("another task") {
        const auto other = [&]() -> ferry::task<> {
            tenant.set(8);
            changed.notify_one();
            co_return;
        };
        loop.run(other());
    }
    SECTION("a callback") {
        loop.post([&] { changed.notify_one(); });
    }
    loop.run_until_idle();
    CHECK(waiting.is_ready());
    CHECK(seen == std::vector<int>{7, 7, 7});  // at first, when notified, and before it goes on
    loop.cancel_tasks();
}
