// tests/deadlock/park_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/deadlock/park.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

using ferry::blocking_error;
using ferry::deadlock_error;
using ferry::task;
using ferry::detail::thread_parker;
using namespace std::chrono_literals;

namespace {
task<int> load_user() {
    co_await ferry::yield_now();
    co_return 1;
}
/// The text of the deadlock_error that fn throws; "blocking: " before that of another blocking_error.
template <class Fn>
std::string refusal(Fn fn) {
    try {
        fn();
    } catch (const deadlock_error& error) {
        return error.what();
    } catch (const blocking_error& error) {
        return std::string("no deadlock, ") + error.what();
    }
    return "not refused";
}
bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }
}  // namespace

TEST_CASE("an unpark before the park makes it return at once", "[deadlock][park]") {
    thread_parker& mine = thread_parker::of_this_thread();
    CHECK(&mine == &thread_parker::of_this_thread());
    mine.unpark();
    mine.unpark();  // there is one token at most
    mine.park();
    CHECK(!mine.park_until(thread_parker::clock::now()));
    mine.unpark();
    CHECK(mine.park_until(thread_parker::clock::now() - 1h));
}

TEST_CASE("a park gives up at its deadline, also at one before the clock's beginning", "[deadlock][park]") {
    thread_parker& mine = thread_parker::of_this_thread();
    const auto deadline = thread_parker::clock::now() + 1ms;
    CHECK(!mine.park_until(deadline));
    CHECK(thread_parker::clock::now() >= deadline);
    CHECK(!mine.park_until(thread_parker::clock::time_point(-1h)));
    CHECK(!mine.park_until(thread_parker::clock::time_point::min()));
}

TEST_CASE("a thread's parker is lent again after its end", "[deadlock][park]") {
    thread_parker* first = nullptr;
    thread_parker* second = nullptr;
    std::thread([&first] { first = &thread_parker::of_this_thread(); }).join();
    first->unpark();  // a late waker: only a spurious token for the next owner
    std::thread([&second] {
        second = &thread_parker::of_this_thread();
        second->park();
    }).join();
    CHECK(first == second);
}

TEST_CASE("two threads that wake each other in turn never lose a token", "[deadlock][park][mt]") {
    constexpr int rounds = 5'000;
    std::atomic<int> turn{0};
    std::atomic<thread_parker*> other{nullptr};
    thread_parker& mine = thread_parker::of_this_thread();
    int plain = 0;  // passed back and forth by the tokens
    std::thread partner([&] {
        other.store(&thread_parker::of_this_thread(), std::memory_order_release);
        for (int i = 0; i < rounds; ++i) {
            while (turn.load(std::memory_order_acquire) != 2 * i + 1) thread_parker::of_this_thread().park();
            ++plain;
            turn.store(2 * i + 2, std::memory_order_release);
            mine.unpark();
        }
    });
    while (other.load(std::memory_order_acquire) == nullptr) std::this_thread::yield();
    for (int i = 0; i < rounds; ++i) {
        ++plain;
        turn.store(2 * i + 1, std::memory_order_release);
        other.load(std::memory_order_relaxed)->unpark();
        while (turn.load(std::memory_order_acquire) != 2 * i + 2) mine.park();
    }
    partner.join();
    CHECK(plain == 2 * rounds);
}

namespace {
/// Counts what a thread tells of its waits, while it lives.
class observed_thread final : public ferry::detail::blocking_observer {
public:
    observed_thread() noexcept { ferry::detail::this_thread().blocking = this; }
    ~observed_thread() { ferry::detail::this_thread().blocking = nullptr; }
    observed_thread(const observed_thread&) = delete;
    observed_thread& operator=(const observed_thread&) = delete;
    void blocks() noexcept override {
        ++blocked;
        if (wakes != nullptr) wakes->unpark();
    }
    void goes_on() noexcept override { ++gone_on; }
    int blocked = 0;
    int gone_on = 0;
    thread_parker* wakes = nullptr;  // so that the sleep that follows ends at once
};
/// Serves as often as it is told to, then has nothing to do.
class serves_calls final : public ferry::detail::wait_service {
public:
    explicit serves_calls(int calls) noexcept : left_(calls) { ferry::detail::this_thread().service = this; }
    ~serves_calls() { ferry::detail::this_thread().service = nullptr; }
    serves_calls(const serves_calls&) = delete;
    serves_calls& operator=(const serves_calls&) = delete;
    [[nodiscard]] bool has_call() const noexcept override { return left_ > 0; }
    bool serve_call() noexcept override { return left_ > 0 && left_-- > 0; }
    [[nodiscard]] int left() const noexcept { return left_; }

private:
    int left_;
};
}  // namespace

TEST_CASE("a wait says once that it blocks, before it sleeps, and once that it is over", "[deadlock][park]") {
    observed_thread self;
    thread_parker& mine = thread_parker::of_this_thread();
    self.wakes = &mine;
    mine.take_token();  // an earlier test's, which would answer the first wait while it spins
    int asked = 0;
    const auto at_third_try = [&] {
        CHECK(self.blocked == (asked == 0 ? 0 : 1));
        CHECK(self.gone_on == 0);
        if (asked > 0) mine.unpark();
        return ++asked == 3;
    };
    CHECK(ferry::detail::wait_until(at_third_try));
    CHECK(self.blocked == 1);
    CHECK(self.gone_on == 1);
    const auto never = [] { return false; };
    mine.park();
    CHECK(!ferry::detail::wait_until(never, thread_parker::clock::now()));
    CHECK(self.blocked == 2);
    CHECK(self.gone_on == 2);
    int tries = 0;
    const auto throws = [&]() -> bool {
        if (++tries == 2) throw std::runtime_error("in the middle");
        return false;
    };
    REQUIRE_THROWS_AS(ferry::detail::wait_until(throws), std::runtime_error);
    CHECK(self.gone_on == 3);
}

TEST_CASE("a wait that is answered while it spins does not count as blocked", "[deadlock][park]") {
    if (std::thread::hardware_concurrency() < 2) return;  // usable CPUs: nobody spins there
    observed_thread self;
    thread_parker& mine = thread_parker::of_this_thread();
    do {
        mine.unpark();
    } while (!mine.spin());  // now spinning pays, whatever other tests have made of that
    bool asked = false;
    const auto at_second_try = [&] {
        mine.unpark();
        return std::exchange(asked, true);
    };
    CHECK(ferry::detail::wait_until(at_second_try));
    CHECK(self.blocked == 0);
    CHECK(self.gone_on == 0);
    CHECK(mine.take_token());
}

TEST_CASE("a wait that is over at once does not count as blocked; one that serves does", "[deadlock][park]") {
    observed_thread self;
    const auto at_once = [] { return true; };
    CHECK(ferry::detail::wait_until(at_once));
    CHECK(self.blocked == 0);
    serves_calls calls(10);
    const auto all_served = [&] {
        CHECK(self.blocked == (calls.left() == 10 ? 0 : 1));
        return calls.left() == 0;
    };
    CHECK(ferry::detail::wait_until(all_served));
    CHECK(self.blocked == 1);
    CHECK(self.gone_on == 1);
}

TEST_CASE("waiting inside a turn for a task of the same loop is a deadlock, and both sides are named",
          "[deadlock][park]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    std::string get;
    std::string wait;
    std::string wait_for;
    const auto body = [&]() -> task<> {
        auto user = ferry::spawn(load_user());
        get = refusal([&] { static_cast<void>(user.get()); });
        wait = refusal([&] { user.wait(); });
        wait_for = refusal([&] { static_cast<void>(user.wait_for(1h)); });
        co_await std::move(user);  // the way out that the text names
    };
    loop.run(body().named("render_page"));
    CHECK(has(get, "deadlock: future::get("));
    CHECK(has(get, "load_user) would wait for the loop that is waiting for it"));
    CHECK(has(get, "task render_page runs in a turn of that loop"));
    CHECK(has(get, "co_await"));
    CHECK(has(wait, "deadlock: future::wait("));
    CHECK(has(wait_for, "deadlock: future::wait_for("));
}

TEST_CASE("waiting inside a turn for anything else would block the loop", "[deadlock][park]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    ferry::event_loop other;
    ferry::promise<int> promise;
    ferry::future<int> result = promise.get_future();
    auto elsewhere = ferry::spawn(other, load_user().named("elsewhere"));
    std::string of_promise;
    std::string of_other_loop;
    loop.post([&] { of_promise = refusal([&] { static_cast<void>(result.get()); }); });
    loop.post([&] { of_other_loop = refusal([&] { static_cast<void>(elsewhere.get()); }); });
    loop.run_until_idle();
    CHECK(has(of_promise, "no deadlock, blocking: future::get(promise) would block a loop"));
    CHECK(has(of_promise, "a callback runs in a turn"));
    CHECK(has(of_promise, "to_thread"));
    CHECK(has(of_other_loop, "future::get(elsewhere)"));
    promise.set_value(1);
    CHECK(result.get() == 1);  // nothing was lost
}

TEST_CASE("a future that is ready can be read inside a turn", "[deadlock][park]") {
    ferry::event_loop loop;
    const auto body = [&]() -> task<int> {
        auto user = ferry::spawn(load_user());
        while (!user.is_ready()) co_await ferry::yield_now();
        user.wait();
        co_return user.get();
    };
    CHECK(loop.run(body()) == 1);
}

TEST_CASE("a loop cannot be run or closed inside a turn", "[deadlock][park]") {
    ferry::event_loop loop;
    ferry::event_loop other;
    std::string text;
    const auto calls = [&](ferry::event_loop& target, int which) {
        if (which == 0) target.run(load_user());
        if (which == 1) target.run();
        if (which == 2) target.run_once();
        if (which == 3) target.run_until_idle();
        if (which == 4) target.close();
        if (which == 5) target.cancel_tasks();
    };
    const char* const names[] = {"run(", "run(", "run_once(", "run_until_idle(", "close(", "cancel_tasks("};
    auto pending = ferry::spawn(other, load_user());
    for (int which = 0; which < 6; ++which) {
        loop.post([&] { text = refusal([&] { calls(loop, which); }); });
        loop.run_until_idle();
        CHECK(has(text, (std::string("deadlock: event_loop::") + names[which]).c_str()));
        loop.post([&] { text = refusal([&] { calls(other, which); }); });
        loop.run_until_idle();
        CHECK(has(text, (std::string("no deadlock, blocking: event_loop::") + names[which]).c_str()));
    }
    loop.post([&] { text = refusal([] { ferry::run(load_user()); }); });
    loop.run_until_idle();
    CHECK(has(text, "no deadlock, blocking: "));
    CHECK(!loop.closing());
    CHECK(!other.closing());
    other.run_until_idle();
    CHECK(pending.get() == 1);
}
