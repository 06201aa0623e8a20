// tests/core/foreign_test.cpp - awaitables that know nothing of ferry
// SPDX-License-Identifier: BSL-1.0
#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <ferry/core/error.hpp>
#include <ferry/core/foreign.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <chrono>
#include <coroutine>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {
/// Resumes whoever waits for it when, and where, somebody calls fire().
class foreign_event {
public:
    void fire() { waiting_.resume(); }
    void destroy() { waiting_.destroy(); }
    [[nodiscard]] bool has_waiter() const { return static_cast<bool>(waiting_); }

    class awaiter {
    public:
        explicit awaiter(foreign_event& owner) : owner_(owner) {}
        [[nodiscard]] bool await_ready() const { return false; }
        void await_suspend(std::coroutine_handle<> waiting) { owner_.waiting_ = waiting; }
        int await_resume() { return 42; }

    private:
        foreign_event& owner_;
    };
    awaiter operator co_await() { return awaiter(*this); }

private:
    std::coroutine_handle<> waiting_;
};

class resumed_by_a_thread {
public:
    explicit resumed_by_a_thread(std::thread& by) : by_(by) {}
    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> waiting) {
        by_ = std::thread([waiting] { waiting.resume(); });
    }
    void await_resume() {}

private:
    std::thread& by_;
};

enum class answer { ready, not_suspended, resumed_inline, throws };

class answers {
public:
    explicit answers(answer how) : how_(how) {}
    [[nodiscard]] bool await_ready() const { return how_ == answer::ready; }
    bool await_suspend(std::coroutine_handle<> waiting) {
        if (how_ == answer::throws) throw std::runtime_error("refused");
        if (how_ == answer::resumed_inline) waiting.resume();
        return how_ != answer::not_suspended;
    }
    [[nodiscard]] answer await_resume() const { return how_; }

private:
    answer how_;
};

class transfers {
public:
    [[nodiscard]] bool await_ready() const { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiting) { return waiting; }
    [[nodiscard]] int await_resume() const { return 5; }
};

class free_form {
public:
    explicit free_form(int value) : value_(value) {}
    friend answers operator co_await(const free_form& self) {
        return answers(self.value_ == 0 ? answer::ready : answer::resumed_inline);
    }

private:
    int value_;
};
}  // namespace

TEST_CASE("a task that awaits a foreign awaitable goes on on its own loop, whatever thread resumes it",
          "[core][foreign][mt]") {
    for (int round = 0; round < 200; ++round) {
        std::thread other;
        std::thread::id here;
        ferry::run([](std::thread& by, std::thread::id& on) -> ferry::task<> {
            co_await resumed_by_a_thread(by);
            on = std::this_thread::get_id();
            CHECK(ferry::event_loop::current() != nullptr);
        }(other, here));
        other.join();
        REQUIRE(here == std::this_thread::get_id());
    }
}

TEST_CASE("every answer of await_suspend is understood", "[core][foreign]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    loop.run([]() -> ferry::task<> {
        for (const answer how : {answer::ready, answer::not_suspended, answer::resumed_inline}) {
            const answer got = co_await answers(how);
            CHECK(got == how);
        }
        bool thrown = false;
        try {
            co_await answers(answer::throws);
        } catch (const std::runtime_error&) {
            thrown = true;
        }
        CHECK(thrown);
        const int five = co_await transfers();
        CHECK(five == 5);
        const answer free = co_await free_form(1);
        CHECK(free == answer::resumed_inline);
        co_await ferry::yield_now();  // the task is whole: it can wait in ferry's own primitives
    }());
}

TEST_CASE("the task resumes in a later step, never inside the foreign call", "[core][foreign]") {
    ferry::event_loop loop;
    foreign_event event;
    int result = 0;
    loop.spawn([&]() -> ferry::task<> { result = co_await event; });
    loop.run_until_idle();
    REQUIRE(event.has_waiter());
    event.fire();
    CHECK(result == 0);
    loop.run_until_idle();
    CHECK(result == 42);
}

TEST_CASE("a cancellation waits for a foreign awaitable, and is thrown at the next checkpoint", "[core][foreign]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    foreign_event event;
    std::vector<int> log;
    auto done = loop.spawn(ferry::try_timeout(1ms, [](foreign_event& from, std::vector<int>& out) -> ferry::task<> {
        out.push_back(co_await from);
        co_await ferry::yield_now();
        out.push_back(0);
    }(event, log)));
    loop.run(ferry::sleep_for(10ms));
    CHECK(log.empty());
    CHECK_FALSE(done.is_ready());
    event.fire();
    loop.run_until_idle();
    CHECK(log == std::vector<int>{42});
    CHECK_FALSE(done.get());
}

TEST_CASE("a foreign awaitable that destroys the coroutine instead of resuming it breaks the promise",
          "[core][foreign]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    foreign_event event;
    auto done = loop.spawn([&]() -> ferry::task<int> { co_return co_await event; });
    loop.run_until_idle();
    event.destroy();
    loop.run_until_idle();
    CHECK_THROWS_AS(done.get(), ferry::broken_promise);
}
