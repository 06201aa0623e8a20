// tests/core/shield_test.cpp - work that a cancellation does not reach
// SPDX-License-Identifier: BSL-1.0
#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <ferry/core/error.hpp>
#include <ferry/core/shield.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

using namespace std::chrono_literals;

namespace {
ferry::task<int> late(std::chrono::milliseconds delay, int value) {
    co_await ferry::sleep_for(delay);
    co_return value;
}
ferry::task<> log_late(std::vector<std::string>& log, std::string text) {
    co_await ferry::sleep_for(10ms);
    log.push_back(std::move(text));
}
ferry::task<> fail_late(std::string text) {
    co_await ferry::sleep_for(1ms);
    throw std::runtime_error(text);
}
}  // namespace

TEST_CASE("a shield yields what is inside, and throws what it throws", "[core][shield]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    CHECK(loop.run(ferry::shield(late(1ms, 5))) == 5);
    CHECK_THROWS_AS(loop.run(ferry::shield(fail_late("inside"))), std::runtime_error);
}

TEST_CASE("a cancellation does not reach a shield, and is thrown at the next checkpoint after it", "[core][shield]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    std::vector<std::string> log;
    CHECK_THROWS_AS(loop.run(ferry::timeout(5ms,
                                            [](std::vector<std::string>& out) -> ferry::task<> {
                                                const int value = co_await ferry::shield(late(20ms, 7));
                                                out.push_back("got " + std::to_string(value));
                                                try {
                                                    co_await ferry::yield_now();
                                                    out.push_back("not cancelled");
                                                } catch (const ferry::cancelled&) {
                                                    out.push_back("cancelled");
                                                    throw;
                                                }
                                            }(log))),
                    ferry::timeout_error);
    CHECK(log == std::vector<std::string>{"got 7", "cancelled"});
    CHECK(clock.elapsed() == 20ms);
}

TEST_CASE("a shield starts in a task that is cancelled already", "[core][shield]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    int value = 0;
    CHECK_THROWS_AS(loop.run(ferry::timeout(1ms,
                                            [](int& out) -> ferry::task<> {
                                                std::exception_ptr stopped;
                                                try {
                                                    co_await ferry::sleep_for(1h);
                                                } catch (const ferry::cancelled&) {
                                                    stopped = std::current_exception();
                                                }
                                                out = co_await ferry::shield(late(1ms, 3));
                                                std::rethrow_exception(stopped);
                                            }(value))),
                    ferry::timeout_error);
    CHECK(value == 3);
}

TEST_CASE("a timeout inside a shield still ends what is inside it", "[core][shield]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    CHECK_THROWS_AS(loop.run(ferry::shield(ferry::timeout(1ms, ferry::sleep_for(1h)))), ferry::timeout_error);
}

TEST_CASE("a group that is cancelled waits for its children's shields", "[core][shield]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    std::vector<std::string> log;
    loop.run(ferry::with_task_group([&log](ferry::task_group& group) -> ferry::task<> {
        group.start([&log]() -> ferry::task<> { co_await ferry::shield(log_late(log, "child")); });
        co_await ferry::yield_now();
        group.cancel();
    }));
    CHECK(log == std::vector<std::string>{"child"});
}

TEST_CASE("shields leave no frame behind", "[core][shield]") {
    const ferry_test::frame_count frames;
    {
        ferry::virtual_clock clock;
        ferry::event_loop loop(clock);
        for (int round = 0; round < 10; ++round) {
            auto stopped = loop.spawn(ferry::try_timeout(1ms, ferry::shield(late(2ms, 1))));
            loop.run(ferry::sleep_for(5ms));
            CHECK(stopped.get().value_or(0) == 1);
        }
    }
}

TEST_CASE("with_cleanup runs the cleanup after a value, an exception and a cancellation", "[core][shield]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    std::vector<std::string> log;
    SECTION("value") { CHECK(loop.run(ferry::with_cleanup(late(1ms, 4), log_late(log, "cleanup"))) == 4); }
    SECTION("exception") {
        CHECK_THROWS_WITH(loop.run(ferry::with_cleanup(fail_late("body"), log_late(log, "cleanup"))), "body");
    }
    SECTION("cancellation") {
        CHECK_THROWS_AS(loop.run(ferry::timeout(5ms, ferry::with_cleanup(late(1h, 4), log_late(log, "cleanup")))),
                        ferry::timeout_error);
        CHECK(clock.elapsed() == 15ms);
    }
    CHECK(log == std::vector<std::string>{"cleanup"});
}

TEST_CASE("an exception of the cleanup is thrown, or reported beside the body's", "[core][shield]") {
    static std::vector<std::string> suppressed;
    suppressed.clear();
    const ferry::exception_handler before =
        ferry::set_suppressed_exception_handler([](std::exception_ptr error, const char*) noexcept {
            try {
                std::rethrow_exception(error);
            } catch (const std::exception& caught) {
                suppressed.push_back(caught.what());
            }
        });
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    CHECK_THROWS_WITH(loop.run(ferry::with_cleanup(late(1ms, 1), fail_late("cleanup"))), "cleanup");
    CHECK(suppressed.empty());
    CHECK_THROWS_WITH(loop.run(ferry::with_cleanup(fail_late("body"), fail_late("cleanup"))), "body");
    CHECK(suppressed == std::vector<std::string>{"cleanup"});
    ferry::set_suppressed_exception_handler(before);
}
