// tests/core/async_generator_test.cpp - values one by one, with awaits in between
// SPDX-License-Identifier: BSL-1.0
#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <ferry/core/async_generator.hpp>
#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace {
ferry::async_generator<int> count(int end, int waits_at) {
    for (int value = 0; value < end; ++value) {
        if (value == waits_at) co_await ferry::sleep_for(1ms);
        co_yield value;
    }
}
ferry::async_generator<int> count_forever() {
    for (int value = 0;; ++value) co_yield value;
}
ferry::task<long> sum(ferry::async_generator<int> numbers, int most) {
    long total = 0;
    for (int taken = 0; taken < most; ++taken) {
        const int* const value = co_await numbers.next();
        if (value == nullptr) break;
        total += *value;
    }
    co_return total;
}
ferry::async_generator<std::unique_ptr<int>> make() {
    co_yield std::make_unique<int>(1);
    auto named = std::make_unique<int>(2);
    co_yield std::move(named);
}
ferry::async_generator<const std::string&> refer(const std::vector<std::string>& to) {
    for (const std::string& each : to) co_yield each;
}
ferry::async_generator<int> fail_after(int value) {
    co_yield value;
    co_await ferry::yield_now();
    throw std::runtime_error("no more");
}
ferry::async_generator<int> guarded(std::vector<std::string>& log) {
    class guard {
    public:
        explicit guard(std::vector<std::string>& out) : out_(out) {}
        guard(const guard&) = delete;
        guard& operator=(const guard&) = delete;
        ~guard() { out_.push_back("gone"); }

    private:
        std::vector<std::string>& out_;
    };
    const guard local(log);
    co_yield 1;
    co_await ferry::sleep_for(1h);
    co_yield 2;
}
}  // namespace

TEST_CASE("an async_generator yields its values in order, then null", "[core][async_generator]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    std::vector<int> seen;
    loop.run([](std::vector<int>& out) -> ferry::task<> {
        ferry::async_generator<int> numbers = count(4, 2);
        while (const int* value = co_await numbers.next()) out.push_back(*value);
        const int* const after_the_end = co_await numbers.next();
        CHECK(after_the_end == nullptr);
    }(seen));
    CHECK(seen == std::vector<int>{0, 1, 2, 3});
    CHECK(clock.elapsed() == 1ms);
}

TEST_CASE("a million values that need no wait neither suspend nor grow the stack", "[core][async_generator]") {
    ferry::event_loop loop;
    CHECK(loop.run(sum(count_forever(), 1'000'000)) == 499'999'500'000);
}

TEST_CASE("an async_generator yields move-only values, and references where they are", "[core][async_generator]") {
    ferry::event_loop loop;
    loop.run([]() -> ferry::task<> {
        ferry::async_generator<std::unique_ptr<int>> owners = make();
        std::unique_ptr<int>* const first = co_await owners.next();
        const std::unique_ptr<int> taken = std::move(*first);
        CHECK(*taken == 1);
        std::unique_ptr<int>* const second = co_await owners.next();
        CHECK(**second == 2);

        const std::vector<std::string> words{"a", "b"};
        ferry::async_generator<const std::string&> references = refer(words);
        const std::string* const word = co_await references.next();
        CHECK(word == &words[0]);
    }());
}

TEST_CASE("the exception of an async_generator comes out of next(), and then it is at its end",
          "[core][async_generator]") {
    ferry::event_loop loop;
    loop.run([]() -> ferry::task<> {
        ferry::async_generator<int> numbers = fail_after(1);
        const int* const value = co_await numbers.next();
        CHECK(*value == 1);
        std::string text;
        try {
            co_await numbers.next();
        } catch (const std::runtime_error& caught) {
            text = caught.what();
        }
        CHECK(text == "no more");
        const int* const after_the_end = co_await numbers.next();
        CHECK(after_the_end == nullptr);
    }());
}

TEST_CASE("an async_generator that is dropped between two values takes its locals with it", "[core][async_generator]") {
    const ferry_test::frame_count frames;
    std::vector<std::string> log;
    ferry::event_loop loop;
    CHECK(loop.run(sum(guarded(log), 1)) == 1);
    CHECK(log == std::vector<std::string>{"gone"});
    CHECK(loop.run(sum(guarded(log), 0)) == 0);  // never started: it has no locals
    CHECK(log.size() == 1);
}

TEST_CASE("a cancellation reaches an async_generator where it awaits", "[core][async_generator]") {
    const ferry_test::frame_count frames;
    std::vector<std::string> log;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    CHECK_THROWS_AS(loop.run(ferry::timeout(1ms, sum(guarded(log), 2))), ferry::timeout_error);
    CHECK(log == std::vector<std::string>{"gone"});
}

TEST_CASE("an async_generator may go on in another task", "[core][async_generator]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    ferry::async_generator<int> numbers = count(10, 5);
    const auto take = [](ferry::async_generator<int>& from, int many) -> ferry::task<int> {
        int last = -1;
        for (int taken = 0; taken < many; ++taken) last = *co_await from.next();
        co_return last;
    };
    CHECK(loop.run(take(numbers, 3)) == 2);
    CHECK(loop.run(take(numbers, 4)) == 6);
}
