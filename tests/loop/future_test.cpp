// tests/loop/future_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>

#include "core/frame_count.hpp"
#include "loop/unhandled_exceptions.hpp"
#include "net/aborts.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using ferry::future;
using ferry::promise;
using ferry::task;
using ferry_test::unhandled_exceptions;
using namespace std::chrono_literals;

namespace {
std::exception_ptr error(const char* text) { return std::make_exception_ptr(std::runtime_error(text)); }
task<int> await(future<int> source) { co_return co_await std::move(source); }
}  // namespace

TEST_CASE("a future yields the value of its promise, whichever comes first", "[loop][future]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    promise<int> made;
    future<int> result = made.get_future();
    CHECK(result.valid());
    CHECK(!result.is_ready());
    SECTION("get after set") {
        made.set_value(5);
        CHECK(result.is_ready());
        CHECK(result.get() == 5);
        CHECK(!result.valid());
    }
    SECTION("await after set") {
        made.set_value(5);
        CHECK(loop.run(await(std::move(result))) == 5);
    }
    SECTION("await before set") {
        loop.post([&made] { made.set_value(5); });
        CHECK(loop.run(await(std::move(result))) == 5);
    }
    SECTION("get before set, from another thread") {
        std::thread setter([&made] { made.set_value(5); });
        CHECK(result.get() == 5);
        setter.join();
    }
    SECTION("wait_for gives up in time, and get still works") {
        CHECK(!result.wait_for(1ms));
        CHECK(!result.wait_for(-1h));
        made.set_value(5);
        CHECK(result.wait_for(0ms));
        CHECK(result.get() == 5);
    }
    SECTION("wait_for as long as the clock can count") {
        std::thread setter([&made] { made.set_value(5); });
        CHECK(result.wait_for(std::chrono::nanoseconds::max()));
        CHECK(result.get() == 5);
        setter.join();
    }
}

TEST_CASE("a future carries references, nothing at all, and what can only be moved", "[loop][future]") {
    const ferry_test::frame_count frames;
    int number = 1;
    promise<int&> reference;
    future<int&> same = reference.get_future();
    reference.set_value(number);
    CHECK(&same.get() == &number);
    promise<void> signal;
    future<void> signalled = signal.get_future();
    signal.set_value();
    signalled.wait();
    signalled.get();
    promise<std::unique_ptr<int>> owner;
    future<std::unique_ptr<int>> owned = owner.get_future();
    owner.set_value(std::make_unique<int>(3));
    CHECK(*owned.get() == 3);
}

TEST_CASE("a future throws what its promise was given", "[loop][future]") {
    const ferry_test::frame_count frames;
    const unhandled_exceptions unhandled;
    ferry::event_loop loop;
    promise<int> blocked;
    future<int> from_blocked = blocked.get_future();
    blocked.set_exception(error("a"));
    REQUIRE_THROWS_AS(from_blocked.get(), std::runtime_error);
    promise<int> awaited;
    future<int> from_awaited = awaited.get_future();
    awaited.set_exception(error("b"));
    REQUIRE_THROWS_AS(loop.run(await(std::move(from_awaited))), std::runtime_error);
    CHECK(unhandled.all().empty());
}

TEST_CASE("a promise that is destroyed without a result breaks its future", "[loop][future]") {
    const ferry_test::frame_count frames;
    const unhandled_exceptions unhandled;
    ferry::event_loop loop;
    std::optional<promise<int>> made(std::in_place);
    future<int> result = made->get_future();
    SECTION("before it is asked") {
        made.reset();
        REQUIRE_THROWS_AS(result.get(), ferry::broken_promise);
    }
    SECTION("while a task waits") {
        loop.post([&made] { made.reset(); });
        REQUIRE_THROWS_AS(loop.run(await(std::move(result))), ferry::broken_promise);
    }
    SECTION("by an assignment") {
        *made = promise<int>();
        REQUIRE_THROWS_AS(result.get(), ferry::broken_promise);
    }
    CHECK(unhandled.all().empty());
}

TEST_CASE("a broken promise that nobody waits for is nobody's failure", "[loop][future]") {
    const ferry_test::frame_count frames;
    const unhandled_exceptions unhandled;
    { const promise<int> never_asked; }
    {
        promise<int> asked;
        const future<int> dropped_later = asked.get_future();
        const promise<int> elsewhere = std::move(asked);
    }
    {
        promise<int> asked;
        { const future<int> dropped_first = asked.get_future(); }
    }
    CHECK(unhandled.all().empty());
}

TEST_CASE("an exception whose future is dropped goes to the unhandled-exception handler", "[loop][future]") {
    const ferry_test::frame_count frames;
    const unhandled_exceptions unhandled;
    promise<int> early;
    { const future<int> dropped = early.get_future(); }
    early.set_exception(error("after"));
    { const promise<int> last = std::move(early); }
    CHECK(unhandled.all() == std::vector<std::string>{"promise: after"});
    {
        promise<int> late;
        const future<int> dropped = late.get_future();
        late.set_exception(error("before"));
    }
    CHECK(unhandled.all().size() == 2);
    {
        promise<int> stopped;
        stopped.set_exception(std::make_exception_ptr(ferry::cancelled()));
    }
    CHECK(unhandled.all().size() == 2);  // nobody waits for a task that was cancelled
}

TEST_CASE("cancelling the wait for a future leaves its producer alone", "[loop][future]") {
    const ferry_test::frame_count frames;
    const unhandled_exceptions unhandled;
    ferry::event_loop loop;
    promise<int> made;
    future<int> result = made.get_future();
    REQUIRE_THROWS_AS(loop.run(ferry::timeout(0s, await(std::move(result)))), ferry::timeout_error);
    made.set_value(1);
    CHECK(unhandled.all().empty());
}

TEST_CASE("a value that comes from another thread beats a cancellation, or is not taken", "[loop][future][mt]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    loop.run_once();
    constexpr int rounds = 2'000;
    int delivered = 0;
    int stopped = 0;
    std::atomic<promise<int>*> next{nullptr};
    std::thread setter([&next] {
        for (int i = 0; i < rounds; ++i) {
            promise<int>* made = nullptr;
            while ((made = next.exchange(nullptr, std::memory_order_acquire)) == nullptr) std::this_thread::yield();
            promise<int> mine = std::move(*made);
            delete made;
            mine.set_value(7);
        }
    });
    const auto waits = [&](ferry::task_group&, future<int>& source) -> task<> {
        try {
            delivered += co_await std::move(source) == 7;
        } catch (const ferry::cancelled&) {
            ++stopped;
        }
    };
    const auto stops = [](ferry::task_group& group) -> task<> {
        group.cancel();
        co_return;
    };
    const auto body = [&](ferry::task_group& group, future<int>& source) -> task<> {
        group.start(waits, std::ref(group), std::ref(source));
        group.start(stops, std::ref(group));
        co_return;
    };
    for (int i = 0; i < rounds; ++i) {
        auto* const made = new promise<int>;
        future<int> source = made->get_future();
        while (next.load(std::memory_order_relaxed) != nullptr) std::this_thread::yield();
        next.store(made, std::memory_order_release);
        loop.run(ferry::with_task_group(body, std::ref(source)));
    }
    setter.join();
    CHECK(delivered + stopped == rounds);
}

TEST_CASE("futures wake tasks and threads while promises and frames come and go", "[loop][future][mt]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    constexpr int rounds = 2'000;
    std::vector<promise<int>> for_tasks(rounds);
    std::vector<promise<int>> for_threads(rounds);
    std::vector<future<int>> by_task;
    std::vector<future<int>> by_thread;
    for (int i = 0; i < rounds; ++i) {
        by_task.push_back(for_tasks[static_cast<std::size_t>(i)].get_future());
        by_thread.push_back(for_threads[static_cast<std::size_t>(i)].get_future());
    }
    std::thread setter([&] {
        for (std::size_t i = 0; i < rounds; ++i) {
            promise<int>(std::move(for_tasks[i])).set_value(static_cast<int>(i));
            promise<int>(std::move(for_threads[i])).set_value(static_cast<int>(i));
        }
    });
    std::atomic<long> blocked{0};
    std::thread getter([&] {
        for (future<int>& one : by_thread) blocked += one.get();
    });
    const auto sum = [&]() -> task<long> {
        long result = 0;
        for (future<int>& one : by_task) result += co_await std::move(one);
        co_return result;
    };
    const long awaited = loop.run(sum());
    setter.join();
    getter.join();
    CHECK(awaited == long(rounds) * (rounds - 1) / 2);
    CHECK(blocked == awaited);
}

TEST_CASE("using an empty future, or a promise that was moved from, is an assertion", "[loop][future]") {
    future<int> empty;
    promise<int> from;
    const promise<int> to = std::move(from);
    CHECK(ferry_test::aborts([&] { return empty.is_ready(); }));
    CHECK(ferry_test::aborts([&] { empty.wait(); }));
    CHECK(ferry_test::aborts([&] { return empty.wait_for(1ms); }));
    CHECK(ferry_test::aborts([&] { empty.get(); }));
    CHECK(ferry_test::aborts([&] { return from.get_future(); }));
    CHECK(ferry_test::aborts([&] { from.set_value(1); }));
    CHECK(ferry_test::aborts([&] { from.set_exception(error("nobody gets it")); }));
}
