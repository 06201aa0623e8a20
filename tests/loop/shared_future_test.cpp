// tests/loop/shared_future_test.cpp - one result for many who wait
// SPDX-License-Identifier: BSL-1.0
#include "core/frame_count.hpp"
#include "loop/unhandled_exceptions.hpp"
#include "net/aborts.hpp"
#include "support/catch.hpp"

#include <ferry/core/error.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/shared_future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

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

using namespace std::chrono_literals;

namespace {
ferry::task<> note(ferry::shared_future<std::string> from, std::vector<const std::string*>& seen) {
    const std::string& value = co_await from;
    seen.push_back(&value);
}
}  // namespace

TEST_CASE("every task that awaits a shared_future gets the same value", "[loop][shared_future]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    ferry::promise<std::string> promise;
    const ferry::shared_future<std::string> shared = promise.get_future().share();
    std::vector<const std::string*> seen;
    for (int id = 0; id < 3; ++id) loop.spawn(note(shared, seen));
    loop.run_until_idle();
    CHECK(seen.empty());
    CHECK_FALSE(shared.is_ready());
    promise.set_value("value");
    CHECK(seen.empty());  // they resume from the loop
    loop.run_until_idle();
    loop.spawn(note(shared, seen));
    loop.run_until_idle();
    REQUIRE(seen.size() == 4);
    for (const std::string* each : seen) CHECK(each == &shared.get());
    CHECK(*seen[0] == "value");
}

TEST_CASE("every one who waits gets the exception", "[loop][shared_future]") {
    ferry::event_loop loop;
    ferry::promise<void> promise;
    const ferry::shared_future<void> shared(promise.get_future());
    auto waits = loop.spawn([&shared]() -> ferry::task<> { co_await shared; });
    loop.run_until_idle();
    promise.set_exception(std::make_exception_ptr(std::runtime_error("failed")));
    loop.run_until_idle();
    CHECK_THROWS_WITH(waits.get(), "failed");
    CHECK_THROWS_WITH(shared.get(), "failed");
}

TEST_CASE("a promise that is dropped breaks the shared_future", "[loop][shared_future]") {
    std::optional<ferry::promise<int>> promise(std::in_place);
    const ferry::shared_future<int> shared = promise->get_future().share();
    promise.reset();
    CHECK_THROWS_AS(shared.get(), ferry::broken_promise);
}

TEST_CASE("shared_futures that are all gone before the result leave nothing behind", "[loop][shared_future]") {
    const ferry_test::frame_count frames;
    ferry::promise<std::unique_ptr<int>> promise;
    { const ferry::shared_future<std::unique_ptr<int>> gone = promise.get_future().share(); }
    promise.set_value(std::make_unique<int>(1));
}

TEST_CASE("an exception that no holder of a shared_future received is not lost", "[loop][shared_future]") {
    const ferry_test::unhandled_exceptions unhandled;
    {
        ferry::promise<void> promise;
        const ferry::shared_future<void> shared(promise.get_future());
        promise.set_exception(std::make_exception_ptr(std::runtime_error("failed")));
    }
    CHECK(unhandled.all().size() == 1);
}

TEST_CASE("a cancelled wait leaves the others waiting", "[loop][shared_future]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::promise<std::string> promise;
    const ferry::shared_future<std::string> shared = promise.get_future().share();
    std::vector<const std::string*> seen;
    loop.spawn(note(shared, seen));
    auto given_up = loop.spawn(ferry::try_timeout(1ms, note(shared, seen)));
    loop.spawn(note(shared, seen));
    loop.run(ferry::sleep_for(2ms));
    CHECK_FALSE(given_up.get());
    promise.set_value("x");
    loop.run_until_idle();
    CHECK(seen.size() == 2);
}

TEST_CASE("waiting for a shared_future inside a turn is refused", "[loop][shared_future]") {
    ferry::event_loop loop;
    ferry::promise<int> promise;
    const ferry::shared_future<int> shared = promise.get_future().share();
    std::exception_ptr refused;
    loop.post([&] {
        try {
            shared.wait();
        } catch (const ferry::blocking_error&) {
            refused = std::current_exception();
        }
    });
    loop.run_until_idle();
    CHECK(refused != nullptr);
    CHECK_FALSE(shared.wait_for(0ms));
}

TEST_CASE("threads and tasks wait, give up and get their result while another thread sets it",
          "[loop][shared_future][mt]") {
    for (int round = 0; round < 300; ++round) {
        ferry::promise<int> promise;
        ferry::shared_future<int> shared = promise.get_future().share();
        std::atomic<int> sum{0};
        std::vector<std::thread> threads;
        for (int id = 0; id < 2; ++id) {
            threads.emplace_back([&sum, copy = shared, id]() mutable {
                while (id == 0 && !copy.wait_for(std::chrono::microseconds(5))) {}
                sum += copy.get();
                copy = {};
            });
        }
        threads.emplace_back([&sum, copy = shared]() mutable {
            ferry::event_loop loop;
            auto patient = loop.spawn([](ferry::shared_future<int> from) -> ferry::task<int> {
                const int& value = co_await from;
                co_return value;
            }(copy));
            loop.run([](ferry::shared_future<int> from) -> ferry::task<> {
                for (;;) {
                    const auto got = co_await ferry::try_timeout(5us, from);
                    if (got != nullptr) break;
                }
            }(std::move(copy)));
            sum += loop.run(std::move(patient));
        });
        shared = {};
        promise.set_value(1);
        for (std::thread& thread : threads) thread.join();
        REQUIRE(sum.load() == 3);
    }
}

TEST_CASE("using an empty shared_future, or sharing an empty future, is an assertion", "[loop][shared_future]") {
    const ferry::shared_future<int> empty;
    CHECK(ferry_test::aborts([&] { return empty.is_ready(); }));
    CHECK(ferry_test::aborts([&] { empty.wait(); }));
    CHECK(ferry_test::aborts([&] { return empty.get(); }));
    CHECK(ferry_test::aborts([] { return ferry::future<int>().share(); }));
}
