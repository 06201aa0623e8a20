// tests/loop/spawn_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include "core/frame_count.hpp"
#include "loop/unhandled_exceptions.hpp"
#include "support/catch.hpp"

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using ferry::task;
using ferry_test::unhandled_exceptions;

namespace {
task<int> seven() { co_return 7; }
task<> fail(const char* text) {
    co_await ferry::yield_now();
    throw std::runtime_error(text);
}
task<std::string> join(std::string first, std::string second) {
    co_await ferry::yield_now();
    co_return first + second;
}
struct account {
    task<int> balance(int extra) {
        co_await ferry::yield_now();
        co_return amount + extra;
    }
    int amount = 5;
};
}  // namespace

TEST_CASE("spawn only schedules; the future observes", "[loop][spawn][order]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    int started = 0;
    const auto body = [&]() -> task<int> {
        ++started;
        co_return 4;
    };
    auto result = ferry::spawn(loop, body());
    CHECK(started == 0);
    const auto inside = [&]() -> task<int> {
        auto child = ferry::spawn(body());  // on the loop whose turn this is
        const int before = started;
        const int value = co_await std::move(child);
        co_return 10 * before + value;
    };
    CHECK(loop.run(inside()) == 14);  // the first had run, the second had not
    CHECK(started == 2);
    CHECK(result.get() == 4);
}

TEST_CASE("a spawned task goes on when its future is dropped", "[loop][spawn]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    ferry::event go(loop);
    int ended = 0;
    const auto body = [&]() -> task<> {
        co_await go.wait();
        ++ended;
    };
    { auto dropped = ferry::spawn(loop, body()); }
    loop.run_until_idle();
    go.set();
    loop.run_until_idle();
    CHECK(ended == 1);
}

TEST_CASE("spawn keeps a function and its arguments until the coroutine has ended", "[loop][spawn]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    const auto shared = std::make_shared<int>(3);
    ferry::future<int> result;
    {
        auto captures = [shared](int factor) -> task<int> {
            co_await ferry::yield_now();
            co_return *shared* factor;
        };
        result = ferry::spawn(loop, ferry::moved(captures), 2);
    }
    CHECK(shared.use_count() == 2);
    loop.run_until_idle();
    CHECK(shared.use_count() == 1);
    CHECK(result.get() == 6);

    ferry::future<std::string> text;
    {
        const std::string first = "a string longer than the small buffer, ";
        text = ferry::spawn(loop, join, first, std::string("and another one behind it"));
    }
    loop.run_until_idle();
    CHECK(text.get() == "a string longer than the small buffer, and another one behind it");
}

TEST_CASE("spawn takes member functions, references and what can only be moved", "[loop][spawn]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    account mine;
    auto balance = ferry::spawn(loop, &account::balance, std::ref(mine), 1);
    const auto takes_owner = [](std::unique_ptr<int>& number) -> task<int> { co_return *number; };
    auto number = ferry::spawn(loop, takes_owner, std::make_unique<int>(9));
    loop.run_until_idle();
    CHECK(balance.get() == 6);
    CHECK(number.get() == 9);
}

TEST_CASE("spawn takes any awaitable", "[loop][spawn]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    ferry::event go(loop);
    auto waits = ferry::spawn(loop, go.wait());
    auto waits_for_that = ferry::spawn(loop, std::move(waits));
    loop.run_until_idle();
    CHECK(!waits_for_that.is_ready());
    go.set();
    loop.run_until_idle();
    CHECK(waits_for_that.is_ready());
}

TEST_CASE("an exception of a spawned task goes to its future, else to the handler", "[loop][spawn]") {
    const ferry_test::frame_count frames;
    const unhandled_exceptions unhandled;
    ferry::event_loop loop;
    SECTION("observed") {
        auto observed = ferry::spawn(loop, fail("observed"));
        REQUIRE_THROWS_AS(loop.run(std::move(observed)), std::runtime_error);
        CHECK(unhandled.all().empty());
    }
    SECTION("dropped before it ends") {
        { auto dropped = ferry::spawn(loop, fail("dropped").named("detached")); }
        loop.run_until_idle();
        CHECK(unhandled.all() == std::vector<std::string>{"detached: dropped"});
    }
    SECTION("dropped after it has ended") {
        {
            auto dropped = ferry::spawn(loop, fail("dropped").named("detached"));
            loop.run_until_idle();
            CHECK(unhandled.all().empty());
        }
        CHECK(unhandled.all() == std::vector<std::string>{"detached: dropped"});
    }
    SECTION("of a posted callback") {
        loop.post([] { throw std::runtime_error("posted"); });
        loop.run_until_idle();
        CHECK(unhandled.all() == std::vector<std::string>{"a posted callback: posted"});
    }
}

TEST_CASE("a spawn on a closed loop throws closed_error and drops the task", "[loop][spawn]") {
    const ferry_test::frame_count frames;
    const unhandled_exceptions unhandled;
    ferry::event_loop loop;
    loop.close();
    const auto argument = std::make_shared<int>(1);
    const auto body = [](std::shared_ptr<int>) -> task<> { co_return; };
    REQUIRE_THROWS_AS(ferry::spawn(loop, body(argument)), ferry::closed_error);
    REQUIRE_THROWS_AS(ferry::spawn(loop, body, argument), ferry::closed_error);
    CHECK(argument.use_count() == 1);
    CHECK(unhandled.all().empty());
}

TEST_CASE("spawn works on any loop by its type", "[loop][spawn]") {
    class my_loop : public ferry::event_loop {};
    my_loop loop;
    auto result = ferry::spawn(loop, seven);
    auto same = ferry::spawn(loop, seven());
    auto as_a_member = loop.spawn(seven());
    loop.run_until_idle();
    CHECK(result.get() + same.get() + as_a_member.get() == 21);
}

TEST_CASE("many threads spawn on one loop, and receive the results", "[loop][spawn][mt]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    constexpr int threads = 3;
    constexpr int rounds = 500;
    std::vector<std::thread> spawners;
    std::vector<int> sums(threads, 0);
    int left = threads;
    for (std::size_t id = 0; id < threads; ++id) {
        spawners.emplace_back([&, id] {
            for (int i = 0; i < rounds; ++i) {
                auto dropped = ferry::spawn(loop, join("a", "b"));
                auto waited_for = ferry::spawn(loop, seven());
                sums[id] += waited_for.get();
            }
            loop.post([&] {
                if (--left == 0) loop.stop();
            });
        });
    }
    loop.run();
    for (std::thread& spawner : spawners) spawner.join();
    CHECK(sums == std::vector<int>(threads, 7 * rounds));
}
