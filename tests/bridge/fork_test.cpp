// tests/bridge/fork_test.cpp - pools, loop threads and block_on in a forked child
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/bridge/thread_sensitive.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/error.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>

#include "support/catch.hpp"
#include "support/forked.hpp"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

using ferry::task;
using ferry_test::in_child;
using namespace std::chrono_literals;

namespace {
int seven() { return 7; }
task<int> on_default_pool() { co_return co_await ferry::to_thread(seven); }
task<int> on_pool(ferry::thread_pool& pool) { co_return co_await ferry::to_thread(pool, seven); }
task<int> after_a_while() {
    co_await ferry::sleep_for(1ms);
    co_return 42;
}
}  // namespace

TEST_CASE("a forked child is refused its parent's pool and has a default pool of its own", "[bridge][fork]") {
    ferry::thread_pool pool(1, "db");
    REQUIRE(ferry::run(on_pool(pool)) == 7);
    REQUIRE(ferry::run(on_default_pool()) == 7);
    CHECK(in_child([&] { return std::to_string(ferry::run(on_pool(pool))); }) ==
          "threw to_thread: pool \"db\" belongs to the process that forked this one; make another one here");
    CHECK(in_child([&] { return std::to_string(ferry::run(on_default_pool())); }) == "7");
    CHECK(ferry::run(on_pool(pool)) == 7);
}

TEST_CASE("a parent's pool that is destroyed in the child joins nobody", "[bridge][fork]") {
    auto pool = std::make_unique<ferry::thread_pool>(1);
    REQUIRE(ferry::run(on_pool(*pool)) == 7);
    CHECK(in_child([&] {
              const bool counts = pool->threads() == 0 && pool->queued() == 0;
              pool->close();
              pool.reset();
              return std::string(counts ? "gone" : "counted");
          }) == "gone");
    CHECK(ferry::run(on_pool(*pool)) == 7);
}

TEST_CASE("a parent's loop_thread is no default in the child, and is refused there", "[bridge][fork]") {
    auto background = std::make_unique<ferry::loop_thread>();
    background->make_default();
    REQUIRE(ferry::block_on(after_a_while()) == 42);
    CHECK(in_child([&] { return std::to_string(ferry::block_on(after_a_while())); }) == "42");
    CHECK(in_child([&] { return std::to_string(ferry::block_on(background->loop(), after_a_while())); }) ==
          "threw block_on(after_a_while): the loop belongs to the process that forked this one; make another one here");
    CHECK(in_child([&] {
              background.reset();
              return std::string("gone");
          }) == "gone");
    CHECK(ferry::block_on(after_a_while()) == 42);
}

TEST_CASE("a child that a worker forks in the middle of a call can use block_on", "[bridge][fork]") {
    const auto call = [] { return in_child([] { return std::to_string(ferry::block_on(after_a_while())); }); };
    const auto body = [&]() -> task<std::string> { co_return co_await ferry::to_thread(call); };
    CHECK(ferry::run(body()) == "42");
}

#if !defined(__SANITIZE_ADDRESS__)  // whose own allocator is locked for ever in a child of g++ 12's
TEST_CASE("forks meet other threads at any point and never find a lock that is held", "[bridge][fork]") {
    // Threads make and end loops, pools and waits without pause, so that forks come while they hold ferry's locks.
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back([&] {
            while (!stop.load(std::memory_order_relaxed)) {
                ferry::thread_pool pool(2);
                ferry::run(on_pool(pool));
                ferry::block_on(on_default_pool());
            }
        });
    }
    for (int round = 0; round < 50; ++round) {
        const std::string said = in_child([] {
            ferry::thread_pool own(2);
            return std::to_string(ferry::run(on_pool(own)) + ferry::block_on(on_default_pool()));
        });
        if (said != "14") FAIL("round " << round << ": " << said);
    }
    stop = true;
    for (std::thread& each : threads) each.join();
    CHECK(ferry::run(on_default_pool()) == 7);
}
#endif

namespace {
std::unique_ptr<ferry_test::forked> process;

/// What a child said, or how it died, that was forked in that call, and returned from it: its first report, or nothing.
template <class Call>
std::string said_by_child_that_returns(bool reports, Call call) {
    const auto forks = [reports] {
        process = std::make_unique<ferry_test::forked>();
        if (!process->is_child()) return;
        std::atexit([] { ::_exit(0); });  // a leak checker would find all that the threads hold which are not here
        const auto say = [](const char* text) noexcept { process->say(text); };
        const auto ignore = [](const char*) noexcept {};
        ferry::set_report_sink(reports ? static_cast<ferry::report_sink>(say) : ignore);
    };
    call(std::ref(forks));
    return process->said();
}
}  // namespace

TEST_CASE("a child that is forked in a call and returns from it says so and ends, whatever thread that was",
          "[bridge][fork]") {
    const std::string report =
        "ferry: a call has forked, and the child has returned from it; its only thread ends now, and so does the "
        "child. "
        "End it in the call, with exec or _exit()";
    const auto in_pool = [](auto forks) {
        ferry::thread_pool pool(1, "db");
        ferry::run(ferry::to_thread(pool, forks));
    };
    const auto in_the_sensitive_thread = [](auto forks) {
        ferry::run(ferry::to_thread(ferry::thread_sensitive, forks));
    };
    const auto in_a_lease = [](auto forks) {
        const auto body = [&]() -> task<> {
            const ferry::thread_sensitive_scope scope;
            co_await ferry::to_thread(ferry::thread_sensitive, forks);
        };
        ferry::run(body());
    };
    const auto in_a_lease_with_more_to_do = [](auto forks) {
        const auto body = [&]() -> task<> {
            const ferry::thread_sensitive_scope scope;
            co_await ferry::when_all(ferry::to_thread(ferry::thread_sensitive, forks),
                                     ferry::to_thread(ferry::thread_sensitive, seven));
        };
        ferry::run(body());
    };
    CHECK(said_by_child_that_returns(false, in_pool) == "");
    CHECK(said_by_child_that_returns(true, in_pool) == report);
    CHECK(said_by_child_that_returns(false, in_the_sensitive_thread) == "");
    CHECK(said_by_child_that_returns(true, in_the_sensitive_thread) == report);
    CHECK(said_by_child_that_returns(false, in_a_lease) == "");
    CHECK(said_by_child_that_returns(true, in_a_lease) == report);
    CHECK(said_by_child_that_returns(false, in_a_lease_with_more_to_do) == "");
    CHECK(said_by_child_that_returns(true, in_a_lease_with_more_to_do) == report);
}
