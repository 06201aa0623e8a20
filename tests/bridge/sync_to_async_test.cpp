// tests/bridge/sync_to_async_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/temporaries.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "bridge/progress.hpp"
#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::task;
using ferry_test::progress;
using namespace std::chrono_literals;

namespace {
int add(int a, int b) { return a + b; }
std::string repeat(const std::string& text, int times) {
    std::string result;
    for (int i = 0; i < times; ++i) result += text;
    return result;
}
const std::string old_fashioned() { return "a const value"; }
int& element(std::vector<int>& values) { return values.at(1); }
const char* literal_itself(const char* text) noexcept { return text; }
std::unique_ptr<int> box(std::unique_ptr<int> value) {
    ++*value;
    return value;
}
[[noreturn]] void fail(const std::string& text) { throw std::out_of_range(text); }
std::thread::id here() { return std::this_thread::get_id(); }

struct base {
    virtual ~base() = default;
    virtual int number() const { return 1; }
    int field = 10;
};
struct derived : base {
    int number() const override { return 2; }
    int raise(int by) & { return field += by; }
};

/// A callable that counts its calls, const and not.
class meter {
public:
    int operator()() { return ++count_; }
    int operator()(int by) const noexcept { return by; }

private:
    int count_ = 0;
};

/// Runs until it is told to end; says when it has started.
class held_call {
public:
    int operator()(int value) {
        calls.fetch_add(1);
        started.advance();
        release.wait_for();
        return value;
    }
    progress started;
    progress release;
    std::atomic<int> calls{0};
};

task<int> asynchronous(int value) { co_return value; }
}  // namespace

TEST_CASE("to_thread runs on another thread, and the task goes on on its own", "[bridge][sync_to_async]") {
    event_loop loop;
    const auto body = [&]() -> task<> {
        const std::thread::id before = std::this_thread::get_id();
        for (int i = 0; i < 3; ++i) {
            const std::thread::id there = co_await ferry::to_thread(here);
            CHECK(there != before);
            CHECK(std::this_thread::get_id() == before);
            CHECK(event_loop::current() == &loop);
        }
    };
    loop.run(body());
}

TEST_CASE("to_thread takes and returns what the function does", "[bridge][sync_to_async]") {
    const auto body = [&]() -> task<> {
        const int sum = co_await ferry::to_thread(add, 2, 3);
        CHECK(sum == 5);
        const int from_pointer = co_await ferry::to_thread(&add, 2, 4);
        CHECK(from_pointer == 6);
        const std::string text = co_await ferry::to_thread(repeat, "ab", 3);
        CHECK(text == "ababab");
        const std::string constant = co_await ferry::to_thread(old_fashioned);
        CHECK(constant == "a const value");
        bool called = false;
        const auto nothing = [&called] { called = true; };
        static_assert(std::is_void_v<decltype(ferry::to_thread(nothing).await_resume())>);
        co_await ferry::to_thread(nothing);
        CHECK(called);
        const std::unique_ptr<int> boxed = co_await ferry::to_thread(box, std::make_unique<int>(6));
        CHECK(*boxed == 7);
        std::vector<int> values{1, 2, 3};
        int& second = co_await ferry::to_thread(element, std::ref(values));
        CHECK(&second == &values[1]);
        const char* const name = "a name";
        const char* const same = co_await ferry::to_thread(literal_itself, name);
        CHECK(same == name);
    };
    ferry::run(body());
}

TEST_CASE("to_thread copies its arguments; std::ref passes the object itself", "[bridge][sync_to_async]") {
    const auto body = [&]() -> task<> {
        std::string text = "here";
        const auto change = [](std::string& mine) { mine += "!"; };
        const auto change_copy = [](std::string mine) { mine += "?"; };
        co_await ferry::to_thread(change_copy, text);
        CHECK(text == "here");
        co_await ferry::to_thread(change, std::ref(text));
        CHECK(text == "here!");
        meter counting;
        co_await ferry::to_thread(counting);
        CHECK(counting() == 1);  // a copy was called
        co_await ferry::to_thread(std::ref(counting));
        CHECK(counting() == 3);
    };
    ferry::run(body());
}

TEST_CASE("an exception crosses to_thread as it is", "[bridge][sync_to_async]") {
    ferry::thread_pool pool(1);
    const auto body = [&]() -> task<> {
        std::string what;
        try {
            co_await ferry::to_thread(pool, fail, "no such row");
        } catch (const std::out_of_range& caught) {
            what = caught.what();
        }
        CHECK(what == "no such row");
        const auto throw_int = []() -> int { throw 42; };
        int caught_int = 0;
        try {
            co_await ferry::to_thread(pool, throw_int);
        } catch (int caught) {
            caught_int = caught;
        }
        CHECK(caught_int == 42);
        const int after = co_await ferry::to_thread(pool, add, 1, 1);  // the worker survives
        CHECK(after == 2);
        CHECK(pool.threads() == 1);
    };
    ferry::run(body());
}

TEST_CASE("member pointers are called on values, pointers, references and what derives", "[bridge][sync_to_async]") {
    const auto body = [&]() -> task<> {
        derived object;
        const auto number = ferry::sync_to_async(&base::number);
        int got = co_await number(object);
        CHECK(got == 2);
        got = co_await number(&object);
        CHECK(got == 2);
        got = co_await number(std::ref(object));
        CHECK(got == 2);
        got = co_await number(std::make_shared<derived>());
        CHECK(got == 2);
        got = co_await number(std::make_unique<base>());
        CHECK(got == 1);
        got = co_await ferry::to_thread(&derived::raise, &object, 5);
        CHECK(got == 15);
        got = co_await ferry::sync_to_async(&derived::raise)(std::ref(object), 5);
        CHECK(got == 20);
        got = co_await ferry::sync_to_async(&base::field)(object);
        CHECK(got == 20);
        got = co_await ferry::to_thread(&base::field, &object);
        CHECK(got == 20);
    };
    ferry::run(body());
}

TEST_CASE("sync_to_async makes a function that is called again and again, and copied", "[bridge][sync_to_async]") {
    const auto body = [&]() -> task<> {
        const auto sum = ferry::sync_to_async(add);
        for (int i = 0; i < 3; ++i) {
            const int got = co_await sum(i, 1);
            CHECK(got == i + 1);
        }
        auto box_of = [next = std::make_unique<int>(5)](int by) { return *next += by; };
        const auto boxed = ferry::sync_to_async(ferry::moved(box_of));  // move-only
        const auto copy = boxed;
        int got = co_await boxed(1);
        CHECK(got == 6);
        got = co_await copy(1);
        CHECK(got == 7);  // copies share the function
        auto counting = std::make_optional(ferry::sync_to_async(meter()));
        auto call = (*counting)();
        counting.reset();
        got = co_await std::move(call);
        CHECK(got == 1);
    };
    ferry::run(body());
}

TEST_CASE("on() says which pool runs the calls", "[bridge][sync_to_async]") {
    const ferry_test::frame_count frames;
    ferry::thread_pool pool(1);
    const auto body = [&]() -> task<> {
        const std::thread::id there = co_await ferry::to_thread(pool, here);
        const auto where = ferry::sync_to_async(here).on(pool);
        std::thread::id got = co_await where();
        CHECK(got == there);
        const auto copy = where;
        got = co_await copy();
        CHECK(got == there);
        CHECK(pool.threads() == 1);
    };
    ferry::run(body());
}

TEST_CASE("the wrong colour, and arguments that do not fit, are refused", "[bridge][sync_to_async]") {
    const auto sum = ferry::sync_to_async(add);
    static_assert(std::is_invocable_v<decltype(sum), int, int>);
    static_assert(!std::is_invocable_v<decltype(sum), int>);
    static_assert(!std::is_invocable_v<decltype(sum), int, std::string>);
    const auto number = ferry::sync_to_async(&base::number);
    static_assert(!std::is_invocable_v<decltype(number), std::string>);
    CHECK(ferry::run(sum(1, 2)) == 3);
    CHECK(ferry::run(asynchronous(4)) == 4);
}

TEST_CASE("a call that is still queued when it is cancelled never runs", "[bridge][sync_to_async][order]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    ferry::thread_pool pool(1);
    held_call held;
    bool interrupted = false;
    auto running = ferry::spawn(loop, ferry::to_thread(pool, std::ref(held), 1));
    loop.run_once();
    held.started.wait_for();
    const auto wait = [&]() -> task<> {
        try {
            co_await ferry::to_thread(pool, std::ref(held), 2);
        } catch (const ferry::cancelled&) {
            interrupted = true;
            throw;
        }
    };
    const auto cancel_queued = [&](ferry::task_group& group) -> task<> {
        group.start(wait);
        co_await ferry::yield_now();
        co_await ferry::yield_now();
        CHECK(pool.queued() == 1);
        group.cancel();
        CHECK(pool.queued() == 0);
    };
    loop.run(ferry::with_task_group(cancel_queued));  // ends although the worker is still busy
    CHECK(interrupted);
    held.release.advance();
    loop.run_until_idle();
    CHECK(running.get() == 1);
    CHECK(loop.run(ferry::to_thread(pool, std::ref(held), 3)) == 3);
    CHECK(held.calls == 2);
}

TEST_CASE("a call that runs when it is cancelled is waited for; the next checkpoint throws",
          "[bridge][sync_to_async][order]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    ferry::thread_pool pool(1);
    held_call held;
    int delivered = 0;
    bool interrupted = false;
    const auto wait = [&]() -> task<> {
        delivered = co_await ferry::to_thread(pool, std::ref(held), 5);
        try {
            co_await ferry::to_thread(pool, std::ref(held), 6);  // a checkpoint: it does not even begin
        } catch (const ferry::cancelled&) {
            interrupted = true;
            throw;
        }
    };
    const auto cancel_running = [&](ferry::task_group& group) -> task<> {
        group.start(wait);
        co_await ferry::yield_now();
        co_await ferry::yield_now();
        held.started.wait_for();
        group.cancel();
    };
    auto done = ferry::spawn(loop, ferry::with_task_group(cancel_running));
    for (int i = 0; i < 10; ++i) loop.run_once();
    CHECK(!done.is_ready());
    held.release.advance();
    loop.run_until_idle();
    done.get();
    CHECK(delivered == 5);
    CHECK(interrupted);
    CHECK(held.calls == 1);
}

TEST_CASE("a call that outruns its timeout delivers its value, or its exception", "[bridge][sync_to_async]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    ferry::thread_pool pool(2);
    held_call held;
    const auto fail_when_told = [&held] {
        held.started.advance();
        held.release.wait_for();
        throw std::out_of_range("late");
    };
    auto value = ferry::spawn(loop, ferry::timeout(1ns, ferry::to_thread(pool, std::ref(held), 5)));
    auto error = ferry::spawn(loop, ferry::timeout(1ns, ferry::to_thread(pool, fail_when_told)));
    loop.run_once();
    held.started.wait_for(2);
    for (int i = 0; i < 10; ++i) loop.run_once();  // the deadline passes
    CHECK(!value.is_ready());
    held.release.advance();
    loop.run_until_idle();
    CHECK(value.get() == 5);
    REQUIRE_THROWS_AS(error.get(), std::out_of_range);
}

TEST_CASE("a loop that closes waits for the calls that run", "[bridge][sync_to_async][order]") {
    const ferry_test::frame_count frames;
    ferry::thread_pool pool(1);
    held_call held;
    std::optional<ferry::future<int>> running;
    std::optional<ferry::future<int>> queued;
    std::thread later;
    {
        event_loop loop;
        running = ferry::spawn(loop, ferry::to_thread(pool, std::ref(held), 1));
        queued = ferry::spawn(loop, ferry::to_thread(pool, std::ref(held), 2));
        loop.run_once();
        held.started.wait_for();
        later = std::thread([&] {
            while (pool.queued() != 0) std::this_thread::yield();
            held.release.advance();
        });
    }
    later.join();
    CHECK(running->get() == 1);
    REQUIRE_THROWS_AS(queued->get(), ferry::closed_error);
    CHECK(held.calls == 1);
}

TEST_CASE("when_all runs calls at the same time", "[bridge][sync_to_async]") {
    const ferry_test::frame_count frames;
    ferry::thread_pool pool(4);
    progress all;
    const auto meet = [&all](int value) {
        all.advance();
        all.wait_for(4);
        return value;
    };
    const auto body = [&]() -> task<> {
        auto results = co_await ferry::when_all(ferry::to_thread(pool, meet, 1), ferry::to_thread(pool, meet, 2),
                                                ferry::to_thread(pool, meet, 3), ferry::to_thread(pool, meet, 4));
        CHECK(results == std::tuple(1, 2, 3, 4));
    };
    ferry::run(body());
}

TEST_CASE("when_all throws what the first call threw, after the others have ended", "[bridge][sync_to_async]") {
    const ferry_test::frame_count frames;
    ferry::thread_pool pool(2);
    held_call held;
    const auto fail_then_release = [&held] {
        held.started.wait_for();
        held.release.advance();
        throw std::out_of_range("first");
    };
    const auto body = [&]() -> task<> {
        co_await ferry::when_all(ferry::to_thread(pool, fail_then_release), ferry::to_thread(pool, std::ref(held), 1));
    };
    REQUIRE_THROWS_AS(ferry::run(body()), std::out_of_range);
    CHECK(held.calls == 1);
}

TEST_CASE("virtual time stands still while a call is queued or runs", "[bridge][sync_to_async]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    event_loop loop(clock);
    ferry::thread_pool pool(1);
    held_call held;
    std::thread later([&held] {
        held.started.wait_for();
        held.release.advance();
    });
    const auto hour = []() -> task<> { co_await ferry::sleep_for(1h); };
    const auto body = [&]() -> task<> {
        auto sleeping = ferry::spawn(hour());
        auto calls = co_await ferry::when_all(ferry::to_thread(pool, std::ref(held), 1),
                                              ferry::to_thread(pool, std::ref(held), 2));
        CHECK(calls == std::tuple(1, 2));
        CHECK(clock.elapsed() == 0ns);
        co_await std::move(sleeping);
        CHECK(clock.elapsed() == 1h);
    };
    loop.run(body());
    later.join();
}

TEST_CASE("virtual time goes on when a queued call was cancelled or refused", "[bridge][sync_to_async]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    event_loop loop(clock);
    ferry::thread_pool closed(1);
    closed.close();
    const auto body = [&]() -> task<> {
        bool refused = false;
        try {
            co_await ferry::to_thread(closed, here);
        } catch (const ferry::closed_error&) {
            refused = true;
        }
        CHECK(refused);
        co_await ferry::sleep_for(1h);
    };
    loop.run(body());
    CHECK(clock.elapsed() == 1h);
}

TEST_CASE("a cancellation that races with a call either prevents it or lets it deliver",
          "[bridge][sync_to_async][mt]") {
    const ferry_test::frame_count frames;
    constexpr int rounds = 3'000;
    ferry::thread_pool pool(2);
    std::atomic<int> run{0};
    int delivered = 0;
    int interrupted = 0;
    const auto work = [&run] { run.fetch_add(1, std::memory_order_relaxed); };
    const auto wait = [&]() -> task<> {
        try {
            co_await ferry::to_thread(pool, work);
            ++delivered;
        } catch (const ferry::cancelled&) {
            ++interrupted;
        }
    };
    const auto race = [&](ferry::task_group& group, int turns) -> task<> {
        for (int i = 0; i < 4; ++i) group.start(wait);
        for (int i = 0; i < turns; ++i) co_await ferry::yield_now();
        group.cancel();
    };
    const auto body = [&]() -> task<> {
        for (int round = 0; round < rounds; ++round) co_await ferry::with_task_group(race, round % 8);
    };
    ferry::run(body());
    CHECK(delivered == run);
    CHECK(delivered + interrupted == 4 * rounds);
    CHECK(delivered > 0);
    CHECK(interrupted > 0);
}

TEST_CASE("loops close while their calls run: each call has run once, or never", "[bridge][sync_to_async][mt]") {
    ferry::thread_pool pool(2);
    for (int round = 0; round < 300; ++round) {
        std::atomic<int> run{0};
        int delivered = 0;
        const auto work = [&run] { run.fetch_add(1, std::memory_order_relaxed); };
        const auto call = [&]() -> task<> {
            for (;;) {
                co_await ferry::to_thread(pool, work);
                ++delivered;
            }
        };
        event_loop loop;
        std::vector<ferry::future<void>> calls;
        for (int i = 0; i < 4; ++i) calls.push_back(ferry::spawn(loop, call()));
        for (int i = 0; i < round % 5; ++i) loop.run_once();
        loop.close();
        CHECK(delivered == run);
        for (auto& future : calls) REQUIRE_THROWS_AS(future.get(), ferry::closed_error);
    }
}
