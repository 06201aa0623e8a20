// tests/core/task_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/awaitable.hpp>
#include <ferry/core/executor.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include "core/frame_count.hpp"
#include "net/aborts.hpp"
#include "support/catch.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <pthread.h>

using ferry::task;

namespace {
/// Calls fn on a thread with the smallest stack that ferry promises to need.
template <class Fn>
void on_small_stack(Fn fn) {
    pthread_attr_t attributes;
    pthread_t thread;
    REQUIRE(pthread_attr_init(&attributes) == 0);
    REQUIRE(pthread_attr_setstacksize(&attributes, 256 * 1024) == 0);
    const auto call = [](void* argument) -> void* {
        (*static_cast<Fn*>(argument))();
        return nullptr;
    };
    const int error = pthread_create(&thread, &attributes, call, &fn);
    pthread_attr_destroy(&attributes);
    REQUIRE(error == 0);
    pthread_join(thread, nullptr);
}

task<int> one() { co_return 1; }

task<int> sum_of_ones(int count) {
    int sum = 0;
    for (int i = 0; i < count; ++i) sum += co_await one();
    co_return sum;
}

task<int> chain(int depth, ferry::event* leaf_waits_for) {
    if (depth == 0) {
        if (leaf_waits_for != nullptr) co_await leaf_waits_for->wait();
        co_return 0;
    }
    co_return 1 + co_await chain(depth - 1, leaf_waits_for);
}

/// Would the next child be resumed on top of the frame that awaits this?
class may_nest {
public:
    using native_awaitable = void;
    may_nest() noexcept {}
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        may_ = frame.promise().nesting() < ferry::detail::executor::max_depth - 1;
        return false;
    }
    bool await_resume() const noexcept { return may_; }

private:
    bool may_ = false;
};

/// The first level of a chain whose child would not be resumed on top of it.
task<unsigned> deepest_level(unsigned level) {
    const bool deeper = co_await may_nest();
    if (!deeper) co_return level;
    co_return co_await deepest_level(level + 1);
}

task<> failing_chain(int depth) {
    if (depth == 0) {
        co_await ferry::yield_now();
        throw std::runtime_error("from the leaf");
    }
    co_await failing_chain(depth - 1);
}

task<> note(std::vector<int>& order, int id) {
    order.push_back(id);
    co_return;
}

task<std::shared_ptr<int>> keep(std::shared_ptr<int> value) { co_return value; }
task<int&> refer_to(int& value) { co_return value; }
task<std::unique_ptr<int>> make_unique_number(int value) { co_return std::make_unique<int>(value); }
task<std::pair<int, std::string>> make_pair() { co_return {1, "one"}; }
task<int> fail() {
    throw std::runtime_error("no number");
    co_return 0;
}
}  // namespace

TEST_CASE("a million awaits that finish at once run on a stack of 256 KiB", "[core][task]") {
    int sum = 0;
    on_small_stack([&sum] {
        ferry::event_loop loop;
        sum = loop.run(sum_of_ones(1'000'000));
    });
    CHECK(sum == 1'000'000);
}

TEST_CASE("a chain of 100,000 tasks runs on a stack of 256 KiB", "[core][task]") {
    const ferry_test::frame_count frames;
    constexpr int depth = 100'000;
    int sum = 0;
    SECTION("when its leaf suspends") {
        on_small_stack([&sum] {
            ferry::event_loop loop;
            ferry::event ready(loop);
            loop.post([&ready] { ready.set(); });
            sum = loop.run(chain(depth, &ready));
        });
    }
    SECTION("when its leaf finishes at once") {
        on_small_stack([&sum] {
            ferry::event_loop loop;
            sum = loop.run(chain(depth, nullptr));
        });
    }
    SECTION("when its leaf throws") {
        on_small_stack([&sum] {
            ferry::event_loop loop;
            try {
                loop.run(failing_chain(1000));
            } catch (const std::runtime_error&) {
                sum = depth;
            }
        });
    }
    CHECK(sum == depth);
}

TEST_CASE("at most 64 resumptions of a chain are stacked, each time", "[core][task]") {
    ferry::event_loop loop;
    for (int again = 0; again < 3; ++again) CHECK(loop.run(deepest_level(1)) == ferry::detail::executor::max_depth);
    CHECK(ferry::detail::executor::max_depth == 64);
}

TEST_CASE("a task runs nothing before it is awaited", "[core][task]") {
    const ferry_test::frame_count frames;
    std::vector<int> order;
    ferry::event_loop loop;
    const auto body = [&]() -> task<> {
        task<> first = note(order, 1);
        task<> second = note(order, 2);
        CHECK(order.empty());
        co_await std::move(second);
        CHECK(order == std::vector<int>{2});  // run in place, without a turn of the loop in between
        co_await std::move(first);
    };
    loop.run(body());
    CHECK(order == std::vector<int>{2, 1});
}

TEST_CASE("a task is moved, never copied, and is empty afterwards", "[core][task]") {
    static_assert(!std::is_copy_constructible_v<task<int>> && !std::is_copy_assignable_v<task<int>>);
    static_assert(std::is_nothrow_move_constructible_v<task<int>> && std::is_nothrow_move_assignable_v<task<int>>);
    const ferry_test::frame_count frames;
    task<std::shared_ptr<int>> first = keep(nullptr);
    const task<std::shared_ptr<int>> second = std::move(first);
    CHECK(second.valid());
    CHECK_FALSE(first.valid());
}

TEST_CASE("a task that never started is destroyed with its arguments when it is dropped", "[core][task]") {
    const ferry_test::frame_count frames;
    const auto value = std::make_shared<int>(1);
    SECTION("by its end") {
        {
            const task<std::shared_ptr<int>> dropped = keep(value);
            CHECK(value.use_count() == 2);
        }
    }
    SECTION("by an assignment") {
        task<std::shared_ptr<int>> replaced = keep(value);
        replaced = keep(nullptr);
        CHECK(value.use_count() == 1);
        CHECK(replaced.valid());
    }
    SECTION("by its new owner after a move") {
        task<std::shared_ptr<int>> from = keep(value);
        {
            const task<std::shared_ptr<int>> to = std::move(from);
            CHECK(to.valid());
        }
        CHECK(!from.valid());
    }
    CHECK(value.use_count() == 1);
}

TEST_CASE("co_await of a task yields what it returned", "[core][task]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    int number = 5;
    CHECK(loop.run(one()) == 1);
    CHECK(&loop.run(refer_to(number)) == &number);
    CHECK(*loop.run(make_unique_number(7)) == 7);
    CHECK(loop.run(make_pair()) == std::make_pair(1, std::string("one")));
    const auto body = [&]() -> task<int> {
        int& same = co_await refer_to(number);
        same = 6;
        const std::unique_ptr<int> owned = co_await make_unique_number(8);
        co_return number + *owned;
    };
    CHECK(loop.run(body()) == 14);
}

TEST_CASE("co_await of a task throws what it threw", "[core][task]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    REQUIRE_THROWS_AS(loop.run(fail()), std::runtime_error);
    const auto body = []() -> task<std::string> {
        std::string text;
        try {
            co_await fail();
        } catch (const std::runtime_error& error) {
            text = error.what();
        }
        co_return text;
    };
    CHECK(loop.run(body()) == "no number");
}

TEST_CASE("an awaited task's arguments and frame live until the end of the co_await expression", "[core][task]") {
    ferry::event_loop loop;
    const auto value = std::make_shared<int>(1);
    const auto body = [&]() -> task<> {
        const std::shared_ptr<int> same = co_await keep(value);
        CHECK(value.use_count() == 2);  // same; the frame's copy is gone
    };
    loop.run(body());
    CHECK(value.use_count() == 1);
}

TEST_CASE("nobody runs between the end of a task and the resumption of who awaits it", "[core][task][order]") {
    ferry::event_loop loop;
    std::vector<int> order;
    ferry::event go(loop);
    const auto leaf = [&]() -> task<> {
        co_await go.wait();
        order.push_back(1);
    };
    const auto middle = [&]() -> task<> { co_await leaf(); };
    const auto root = [&]() -> task<> {
        co_await middle();
        order.push_back(2);
    };
    const auto other = [&]() -> task<> {
        co_await go.wait();
        order.push_back(3);
    };
    auto first = ferry::spawn(loop, root());
    auto second = ferry::spawn(loop, other());
    loop.run_until_idle();
    go.set();
    loop.post([&order] { order.push_back(4); });
    loop.run_until_idle();
    CHECK(order == std::vector<int>{1, 2, 3, 4});
}

TEST_CASE("a task carries the name of its function, or the one it was given", "[core][task]") {
    const task<int> plain = one();
    CHECK(std::string(plain.name()).find("one") != std::string::npos);
    const task<int> named = one().named("the number one");
    CHECK(std::string(named.name()) == "the number one");
}

TEST_CASE("a task that is awaited, run or spawned a second time is an assertion", "[core][task]") {
    const auto twice = []() -> task<> {
        auto once = one();
        co_await std::move(once);
        co_await std::move(once);
    };
    const auto run_again = [] {
        ferry::event_loop loop;
        auto once = one();
        loop.run(std::move(once));
        loop.run(std::move(once));
    };
    const auto run_awaited = [] {
        ferry::event_loop loop;
        auto once = one();
        const auto awaits = [&]() -> task<> { co_await std::move(once); };
        loop.run(awaits());
        loop.run(std::move(once));
    };
    const auto spawn_again = [] {
        ferry::event_loop loop;
        auto once = one();
        loop.spawn(std::move(once));
        loop.spawn(std::move(once));
    };
    CHECK(ferry_test::aborts([&] { ferry::event_loop().run(twice()); }));
    CHECK(ferry_test::aborts(run_again));
    CHECK(ferry_test::aborts(run_awaited));
    CHECK(ferry_test::aborts(spawn_again));
}
