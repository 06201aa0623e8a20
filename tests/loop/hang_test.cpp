// tests/loop/hang_test.cpp - tasks that refuse to end while their loop closes are reported, never destroyed
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/shield.hpp>
#include <ferry/deadlock/hang.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"
#include "support/hang_limit.hpp"
#include "support/reports.hpp"

#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <functional>
#include <string>
#include <thread>
#include <utility>

using ferry::event_loop;
using ferry::task;
using ferry_test::hang_limit;
using namespace std::chrono_literals;

namespace {
/// Hands the coroutine to whoever resumes it.
struct foreign {
    std::atomic<void*>& waiting;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> frame) const noexcept {
        waiting.store(frame.address(), std::memory_order_release);
    }
    void await_resume() const noexcept {}
};
task<> await_foreign(std::atomic<void*>& waiting) {
    foreign something{waiting};
    co_await something;
}
task<> sleep_shielded(std::chrono::seconds time) { co_await ferry::shield(ferry::sleep_for(time)); }
task<> family(std::chrono::seconds time) {
    const auto body = [time](ferry::task_group& group) -> task<> {
        group.start(sleep_shielded(time).named("stubborn_child"));
        co_await ferry::sleep_for(1h);
    };
    co_await ferry::with_task_group(body);
}

}  // namespace

TEST_CASE("a task that does not end while its loop closes is reported with what it waits in, and ends all the same",
          "[loop][event_loop][hang]") {
    const ferry_test::frame_count frames;
    const ferry_test::reports reports;
    ferry::virtual_clock clock;
    event_loop loop(clock);
    auto stubborn = ferry::spawn(loop, sleep_shielded(8s).named("flush_to_disk"));
    auto yielding = ferry::spawn(loop, [](int) -> task<> { co_await ferry::sleep_for(1h); }(0));
    loop.run_until_idle();
    loop.close();
    CHECK(clock.elapsed() == 8s);
    stubborn.get();
    CHECK(reports.count() == 2);
    CHECK(reports.mention("hang: event_loop::close has waited for 5.0 s\n  task flush_to_disk waits in shield\n"));
    CHECK(reports.mention("\n    task sleep waits in sleep\n"));
    CHECK(reports.mention("put a timeout inside a shield"));
    CHECK(reports.mention("hang: event_loop::close has ended after all, after 8.0 s"));
}

TEST_CASE("the children of a group are named below their parent", "[loop][event_loop][hang]") {
    const ferry_test::frame_count frames;
    const ferry_test::reports reports;
    ferry::virtual_clock clock;
    event_loop loop(clock);
    { auto dropped = ferry::spawn(loop, family(6s).named("session")); }
    loop.run_until_idle();
    loop.cancel_tasks();
    CHECK(
        reports.mention("hang: event_loop::cancel_tasks has waited for 5.0 s\n"
                        "  task session waits in with_task_group\n"
                        "    task stubborn_child waits in shield\n"
                        "      task sleep waits in sleep\n"));
    CHECK(reports.count() == 2);
}

TEST_CASE("a hundred tasks that do not end make one short report", "[loop][event_loop][hang]") {
    const ferry_test::reports reports;
    ferry::virtual_clock clock;
    event_loop loop(clock);
    for (int i = 0; i < 50; ++i) {
        auto dropped = ferry::spawn(loop, sleep_shielded(6s).named("one_of_many"));
    }
    loop.run_until_idle();
    loop.close();
    CHECK(reports.count() == 2);
    CHECK(reports.mention("\n  and 80 more\n"));
}

TEST_CASE("a close that takes no longer than hang_after reports nothing", "[loop][event_loop][hang]") {
    const ferry_test::reports reports;
    ferry::virtual_clock clock;
    event_loop loop(clock);
    SECTION("as set") {
        const hang_limit longer(10s);
        { auto dropped = ferry::spawn(loop, sleep_shielded(8s)); }
        loop.run_until_idle();
        loop.close();
    }
    SECTION("never") {
        const hang_limit never(std::chrono::nanoseconds::max());
        { auto dropped = ferry::spawn(loop, sleep_shielded(100'000'000s)); }
        loop.run_until_idle();
        loop.close();
    }
    SECTION("nothing to wait for") { loop.close(); }
    CHECK(reports.count() == 0);
}

TEST_CASE("where time is virtual and nothing happens, there is one report, and the loop sleeps until something does",
          "[loop][event_loop][hang][mt]") {
    const ferry_test::frame_count frames;
    const ferry_test::reports reports;
    ferry::virtual_clock clock;
    event_loop loop(clock);
    std::atomic<void*> waiting{nullptr};
    auto stuck = ferry::spawn(loop, await_foreign(waiting).named("legacy_call"));
    loop.run_until_idle();
    std::atomic<bool> go{false};
    std::thread other([&] {
        while (!go.load(std::memory_order_acquire)) std::this_thread::yield();
        std::coroutine_handle<>::from_address(waiting.load(std::memory_order_acquire)).resume();
    });
    // The report itself starts the thread that ends the wait: reports come on this thread.
    static std::atomic<bool>* starts = nullptr;
    static ferry::report_sink keep = nullptr;
    starts = &go;
    keep = ferry::set_report_sink([](const char* text) noexcept {
        keep(text);
        starts->store(true, std::memory_order_release);
    });
    loop.close();
    ferry::set_report_sink(keep);
    other.join();
    stuck.get();
    CHECK(reports.count() == 2);
    CHECK(reports.mention("task legacy_call waits in a foreign awaitable"));
    CHECK(reports.mention("ended after all, after 5.0 s"));
    CHECK(clock.elapsed() == 5s);
}

TEST_CASE("where time is real the report is repeated, with doubled distances", "[loop][event_loop][hang][mt]") {
    const ferry_test::reports reports;
    const hang_limit soon(1ms);
    event_loop loop;
    std::atomic<void*> waiting{nullptr};
    auto stuck = ferry::spawn(loop, await_foreign(waiting).named("legacy_call"));
    loop.run_until_idle();
    std::atomic<int> told{0};
    std::thread other([&] {
        while (told.load(std::memory_order_acquire) < 3) std::this_thread::yield();
        std::coroutine_handle<>::from_address(waiting.load(std::memory_order_acquire)).resume();
    });
    static std::atomic<int>* counts = nullptr;
    static ferry::report_sink keep = nullptr;
    counts = &told;
    keep = ferry::set_report_sink([](const char* text) noexcept {
        keep(text);
        counts->fetch_add(1, std::memory_order_release);
    });
    loop.close();
    ferry::set_report_sink(keep);
    other.join();
    stuck.get();
    CHECK(reports.count() >= 4);
    CHECK(reports.mention("has ended after all"));
}

TEST_CASE("a task that goes on although it is cancelled is reported as running", "[loop][event_loop][hang]") {
    const ferry_test::reports reports;
    const hang_limit soon(1ms);
    event_loop loop;
    const auto swallows = [&reports]() -> task<> {
        while (reports.count() == 0) {
            try {
                co_await ferry::yield_now();
            } catch (const ferry::cancelled&) {}
            co_await ferry::shield(ferry::yield_now());
        }
    };
    auto stubborn = ferry::spawn(loop, swallows().named("swallows"));
    loop.run_once();
    loop.close();
    stubborn.get();
    CHECK(reports.mention("task swallows "));
    CHECK(reports.mention("let `cancelled` pass"));
}

TEST_CASE("callbacks that keep a loop from coming to its end are reported as such", "[loop][event_loop][hang]") {
    const ferry_test::reports reports;
    const hang_limit soon(1ms);
    event_loop loop;
    std::function<void()> again = [&] {
        if (reports.count() == 0) loop.post(again);
    };
    loop.post(again);
    loop.cancel_tasks();
    CHECK(reports.mention("hang: event_loop::cancel_tasks has waited for "));
    CHECK(reports.mention("\n  no task is left, only callbacks"));
    CHECK(reports.mention("has ended after all"));
}
