// tests/loop/bounded_queue_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/loop/bounded_queue.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

using ferry::bounded_queue;
using ferry::task;
using namespace std::chrono_literals;

namespace {
task<> push(bounded_queue<int>& queue, int item) { co_await queue.push(item); }
task<> pop(bounded_queue<int>& queue, std::vector<int>& popped) { popped.push_back(co_await queue.pop()); }

struct fixture {
    explicit fixture(std::size_t capacity) : queue(loop, capacity) {}
    ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop{clock};
    bounded_queue<int> queue;
    std::vector<int> popped;
};
}  // namespace

TEST_CASE("a bounded_queue gives its items in the order they came, up to its capacity", "[loop][bounded_queue]") {
    fixture test(2);
    CHECK(test.queue.capacity() == 2);
    CHECK(test.queue.empty());
    CHECK(test.queue.try_push(1));
    CHECK(test.queue.try_push(2));
    CHECK(!test.queue.try_push(3));
    CHECK(test.queue.size() == 2);
    CHECK(test.queue.try_pop() == 1);
    CHECK(test.queue.try_pop() == 2);
    CHECK(test.queue.try_pop() == std::nullopt);
}

TEST_CASE("an item that does not fit stays the caller's", "[loop][bounded_queue]") {
    ferry::event_loop loop;
    bounded_queue<std::unique_ptr<int>> queue(loop, 1);
    CHECK(queue.try_push(std::make_unique<int>(1)));
    auto second = std::make_unique<int>(2);
    CHECK(!queue.try_push(std::move(second)));
    REQUIRE(second != nullptr);
    queue.close();
    CHECK(!queue.try_push(std::move(second)));
    CHECK(second != nullptr);
    CHECK(**queue.try_pop() == 1);
}

TEST_CASE("push waits while the queue is full, and the waiting go on in order", "[loop][bounded_queue][order]") {
    fixture test(1);
    for (int item : {1, 2, 3}) auto dropped = ferry::spawn(test.loop, push(test.queue, item));
    test.loop.run_until_idle();
    CHECK(test.queue.size() == 1);
    for (int item : {1, 2, 3}) {
        CHECK(test.queue.size() == 1);  // whoever waited longest has filled the gap
        CHECK(!test.queue.try_push(9));
        CHECK(test.queue.try_pop() == item);
    }
    test.loop.run_until_idle();
    CHECK(test.queue.empty());
}

TEST_CASE("pop waits while the queue is empty, and the waiting are served in order", "[loop][bounded_queue][order]") {
    fixture test(1);
    std::vector<int> first;
    std::vector<int> second;
    auto a = ferry::spawn(test.loop, pop(test.queue, first));
    auto b = ferry::spawn(test.loop, pop(test.queue, second));
    test.loop.run_until_idle();
    CHECK(test.queue.try_push(1));
    CHECK(test.queue.try_push(2));  // each goes straight to a waiting task
    CHECK(test.queue.empty());
    CHECK(test.queue.try_push(3));
    test.loop.run_until_idle();
    CHECK(first == std::vector<int>{1});
    CHECK(second == std::vector<int>{2});
    CHECK(test.queue.try_pop() == 3);
}

TEST_CASE("an item handed to a task is delivered although the task is cancelled", "[loop][bounded_queue]") {
    fixture test(1);
    auto done = ferry::spawn(test.loop, pop(test.queue, test.popped));
    test.loop.run_until_idle();
    CHECK(test.queue.try_push(5));
    test.loop.cancel_tasks();
    CHECK(test.popped == std::vector<int>{5});
    done.get();
}

TEST_CASE("an item whose push is cancelled was not appended", "[loop][bounded_queue]") {
    fixture test(1);
    CHECK(test.queue.try_push(1));
    auto gives_up = ferry::spawn(test.loop, ferry::timeout(1s, push(test.queue, 2)));
    auto patient = ferry::spawn(test.loop, push(test.queue, 3));
    REQUIRE_THROWS_AS(test.loop.run(std::move(gives_up)), ferry::timeout_error);
    CHECK(test.queue.try_pop() == 1);
    CHECK(test.queue.try_pop() == 3);
    test.loop.run_until_idle();
    CHECK(patient.is_ready());
}

TEST_CASE("an item that was appended stays so when the task that pushed it is cancelled", "[loop][bounded_queue]") {
    fixture test(1);
    CHECK(test.queue.try_push(1));
    auto pusher = ferry::spawn(test.loop, push(test.queue, 2));
    test.loop.run_until_idle();
    CHECK(test.queue.try_pop() == 1);
    test.loop.cancel_tasks();
    pusher.get();
    CHECK(test.queue.try_pop() == 2);
}

TEST_CASE("a cancelled pop leaves its place to the next", "[loop][bounded_queue]") {
    fixture test(1);
    auto gives_up = ferry::spawn(test.loop, ferry::timeout(1s, test.queue.pop()));
    auto patient = ferry::spawn(test.loop, pop(test.queue, test.popped));
    REQUIRE_THROWS_AS(test.loop.run(std::move(gives_up)), ferry::timeout_error);
    CHECK(test.queue.try_push(4));
    test.loop.run_until_idle();
    CHECK(test.popped == std::vector<int>{4});
}

TEST_CASE("close() refuses new items, wakes who waits, and leaves what is queued", "[loop][bounded_queue]") {
    fixture test(1);
    SECTION("waiting to push") {
        CHECK(test.queue.try_push(1));
        auto pusher = ferry::spawn(test.loop, push(test.queue, 2));
        test.loop.run_until_idle();
        test.queue.close();
        test.loop.run_until_idle();
        REQUIRE_THROWS_AS(pusher.get(), ferry::closed_error);
        CHECK(test.loop.run(test.queue.pop()) == 1);
    }
    SECTION("waiting to pop") {
        auto popper = ferry::spawn(test.loop, pop(test.queue, test.popped));
        test.loop.run_until_idle();
        test.queue.close();
        test.loop.run_until_idle();
        REQUIRE_THROWS_AS(popper.get(), ferry::closed_error);
    }
    test.queue.close();
    CHECK(test.queue.closed());
    REQUIRE_THROWS_AS(test.loop.run(push(test.queue, 3)), ferry::closed_error);
    REQUIRE_THROWS_AS(test.loop.run(test.queue.pop()), ferry::closed_error);
}

TEST_CASE("pushing and popping never exceed the capacity, lose nothing and keep the order", "[loop][bounded_queue]") {
    ferry_test::frame_count frames;
    ferry::event_loop loop;
    bounded_queue<std::string> queue(loop, 3);
    constexpr int count = 2'000;
    int received = 0;
    std::size_t most = 0;
    const auto produce = [&]() -> task<> {
        for (int i = 0; i < count; ++i) {
            co_await queue.push(std::to_string(i));
            most = std::max(most, queue.size());
        }
        queue.close();
    };
    const auto consume = [&]() -> task<> {
        std::mt19937 random(5);
        for (;;) {
            const std::string item = co_await queue.pop();
            if (item != std::to_string(received)) co_return;
            ++received;
            if (random() % 8 == 0) co_await ferry::yield_now();
        }
    };
    const auto both = [&](ferry::task_group& group) -> task<> {
        group.start(produce());
        co_await consume();
    };
    REQUIRE_THROWS_AS(loop.run(ferry::with_task_group(both)), ferry::closed_error);
    CHECK(received == count);
    CHECK(most == 3);
}

namespace {
struct line {
    std::shared_ptr<int> owner;
    int number;
};
template <class T>
concept pushable_as_temporary = !ferry::detail::unsafe_temporary<T&&>;
}  // namespace

TEST_CASE("an aggregate is pushed by its name, as a copy or moved", "[loop][bounded_queue]") {
    const ferry_test::frame_count frames;
    static_assert(pushable_as_temporary<std::string>);
    static_assert(pushable_as_temporary<line> != ferry::detail::compiler_destroys_temporaries_twice);
    ferry::event_loop loop;
    const auto owner = std::make_shared<int>(1);
    {
        bounded_queue<line> queue(loop, 2);
        const auto body = [&]() -> task<> {
            line mine{owner, 1};
            co_await queue.push(mine);
            CHECK(owner.use_count() == 3);
            co_await queue.push(ferry::moved(mine));
            CHECK(mine.owner == nullptr);
            const line popped = co_await queue.pop();
            CHECK(popped.number == 1);
        };
        loop.run(body());
        CHECK(owner.use_count() == 2);
    }
    CHECK(owner.use_count() == 1);
}
