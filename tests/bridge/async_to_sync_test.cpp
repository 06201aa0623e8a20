// tests/bridge/async_to_sync_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/core/error.hpp>
#include <ferry/deadlock/allowance.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include "bridge/progress.hpp"
#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::task;
using ferry_test::progress;
using namespace std::chrono_literals;

namespace {
task<int> add(int a, int b) {
    co_await ferry::yield_now();
    co_return a + b;
}
task<int&> increase(int& value) {
    co_await ferry::yield_now();
    ++value;
    co_return value;
}
task<std::unique_ptr<int>> box(int value) {
    co_await ferry::yield_now();
    co_return std::make_unique<int>(value);
}
task<> fail(std::string text) {
    co_await ferry::yield_now();
    throw std::out_of_range(text);
}
task<> note(bool& noted) {
    noted = true;
    co_return;
}
task<std::thread::id> where() {
    co_await ferry::yield_now();
    co_return std::this_thread::get_id();
}
task<event_loop*> which_loop() { co_return event_loop::current(); }

class counter {
public:
    task<int> plus(int by) & {
        co_await ferry::yield_now();
        co_return value_ += by;
    }

private:
    int value_ = 1;
};

/// Sleeps until it is cancelled, and says so.
task<> sleep_and_note(std::vector<std::string>& notes) {
    try {
        co_await ferry::sleep_for(1h);
    } catch (const ferry::cancelled&) {
        notes.push_back("cancelled");
        throw;
    }
}

template <class Call>
std::string refusal(Call call) {
    try {
        call();
    } catch (const ferry::deadlock_error& caught) {
        return std::string("deadlock_error ") + caught.what();
    } catch (const ferry::blocking_error& caught) {
        return std::string("blocking_error ") + caught.what();
    }
    return "";
}
bool contains(const std::string& text, const char* words) { return text.find(words) != std::string::npos; }
}  // namespace

TEST_CASE("block_on returns what the awaitable yields, or throws", "[bridge][async_to_sync]") {
    const ferry_test::frame_count frames;
    const auto expect = [](auto block_on) {
        CHECK(block_on(add(1, 2)) == 3);
        int value = 1;
        int& same = block_on(increase(value));
        CHECK(&same == &value);
        CHECK(value == 2);
        CHECK(*block_on(box(7)) == 7);
        bool noted = false;
        static_assert(std::is_void_v<decltype(block_on(note(noted)))>);
        block_on(note(noted));
        CHECK(noted);
        REQUIRE_THROWS_AS(block_on(fail("as asked")), std::out_of_range);
        block_on(ferry::yield_now());  // any awaitable, not only a task
        ferry::promise<int> promise;
        auto future = promise.get_future();
        promise.set_value(4);
        CHECK(block_on(std::move(future)) == 4);
    };
    SECTION("on a loop of this thread's own") {
        expect([](auto&& what) -> decltype(auto) { return ferry::block_on(std::move(what)); });
    }
    SECTION("on a given loop") {
        ferry::loop_thread background;
        expect([&](auto&& what) -> decltype(auto) { return ferry::block_on(background.loop(), std::move(what)); });
    }
    SECTION("on the default loop") {
        ferry::loop_thread background;
        background.make_default();
        expect([](auto&& what) -> decltype(auto) { return ferry::block_on(std::move(what)); });
    }
}

TEST_CASE("async_to_sync makes a blocking function of an asynchronous one", "[bridge][async_to_sync]") {
    const ferry_test::frame_count frames;
    auto sum = ferry::async_to_sync(add);
    CHECK(sum(1, 2) == 3);
    CHECK(sum(3, 4) == 7);
    static_assert(!std::is_invocable_v<decltype(sum)&, int>);
    counter counting;
    auto plus = ferry::async_to_sync(&counter::plus);
    CHECK(plus(counting, 2) == 3);
    CHECK(plus(&counting, 2) == 5);
    CHECK(plus(std::ref(counting), 2) == 7);
    int value = 1;
    CHECK(&ferry::async_to_sync(increase)(value) == &value);  // by reference: the caller is blocked
    auto move_only = ferry::async_to_sync([own = std::make_unique<int>(5)](int by) -> task<int> {
        co_await ferry::yield_now();
        co_return * own += by;
    });
    CHECK(move_only(1) == 6);
    CHECK(move_only(1) == 7);
    const auto throws_before_it_is_a_coroutine = [](int number) -> task<int> {
        if (number < 0) throw std::out_of_range("negative");
        return add(number, 1);
    };
    CHECK(ferry::async_to_sync(throws_before_it_is_a_coroutine)(1) == 2);
    REQUIRE_THROWS_AS(ferry::async_to_sync(throws_before_it_is_a_coroutine)(-1), std::out_of_range);
}

TEST_CASE("a plain thread runs it itself, on a loop that it keeps", "[bridge][async_to_sync]") {
    const std::thread::id here = std::this_thread::get_id();
    CHECK(ferry::block_on(where()) == here);
    event_loop* const mine = ferry::block_on(which_loop());
    CHECK(ferry::block_on(which_loop()) == mine);
    CHECK(event_loop::current() == nullptr);
    event_loop* first = nullptr;
    event_loop* second = nullptr;
    std::thread other([&] {
        first = ferry::block_on(which_loop());
        second = ferry::block_on(which_loop());
    });
    other.join();
    CHECK(first != nullptr);
    CHECK(first == second);
    CHECK(first != mine);
}

TEST_CASE("what is left behind on a thread's own loop is cancelled and awaited", "[bridge][async_to_sync]") {
    const ferry_test::frame_count frames;
    std::vector<std::string> notes;
    std::optional<ferry::future<void>> left;
    const auto leave_behind = [&](bool failing) -> task<int> {
        left = ferry::spawn(sleep_and_note(notes));
        co_await ferry::yield_now();
        if (failing) throw std::out_of_range("as asked");
        co_return 5;
    };
    SECTION("after a value") { CHECK(ferry::block_on(leave_behind(false)) == 5); }
    SECTION("after an exception") { REQUIRE_THROWS_AS(ferry::block_on(leave_behind(true)), std::out_of_range); }
    CHECK(notes == std::vector<std::string>{"cancelled"});
    REQUIRE(left->is_ready());
    REQUIRE_THROWS_AS(left->get(), ferry::cancelled);
    CHECK(ferry::block_on(add(1, 1)) == 2);
}

TEST_CASE("a call that is left behind is awaited too", "[bridge][async_to_sync][order]") {
    const ferry_test::frame_count frames;
    ferry::thread_pool pool(1);
    progress started;
    progress release;
    bool over = false;
    const auto hold = [&] {
        started.advance();
        release.wait_for();
        over = true;
    };
    const auto leave_behind = [&]() -> task<> {
        { auto left = ferry::spawn(ferry::to_thread(pool, hold)); }
        co_await ferry::yield_now();
        co_await ferry::yield_now();
        started.wait_for();
    };
    std::thread later([&] {
        started.wait_for();
        release.advance();
    });
    ferry::block_on(leave_behind());
    CHECK(over);
    later.join();
}

TEST_CASE("inside to_thread, block_on comes back to the loop that made the call", "[bridge][async_to_sync]") {
    const ferry_test::frame_count frames;
    ferry::loop_thread background;
    background.make_default();  // the loop of the caller goes before it
    event_loop loop;
    ferry::thread_pool pool(2);
    const std::thread::id here = std::this_thread::get_id();
    std::vector<std::string> notes;
    const auto innermost = [&]() -> task<int> {
        co_await ferry::yield_now();
        CHECK(event_loop::current() == &loop);
        CHECK(std::this_thread::get_id() == here);
        co_return 1;
    };
    const auto blocking_again = [&]() -> int {
        const bool elsewhere = std::this_thread::get_id() != here;
        return ferry::block_on(innermost()) + (elsewhere ? 10 : 0);
    };
    const auto asynchronous_again = [&]() -> task<int> {
        CHECK(event_loop::current() == &loop);
        const int inner = co_await ferry::to_thread(pool, blocking_again);
        CHECK(std::this_thread::get_id() == here);
        co_return inner + 100;
    };
    auto as_function = ferry::async_to_sync(asynchronous_again);
    const auto blocking = [&]() -> int {
        const bool elsewhere = std::this_thread::get_id() != here;
        return as_function() + (elsewhere ? 1000 : 0);
    };
    CHECK(loop.run(ferry::to_thread(pool, blocking)) == 1111);
    SECTION("and does not cancel what it leaves behind there") {
        const auto leave_behind = [&]() -> task<> {
            { auto left = ferry::spawn(sleep_and_note(notes)); }
            co_await ferry::yield_now();
        };
        const auto call = [&] { ferry::block_on(leave_behind()); };
        loop.run(ferry::to_thread(pool, call));
        CHECK(notes.empty());
        loop.close();
        CHECK(notes.size() == 1);
    }
    SECTION("and exceptions go all the way back") {
        const auto call = [] { ferry::block_on(fail("from the loop")); };
        REQUIRE_THROWS_AS(loop.run(ferry::to_thread(pool, call)), std::out_of_range);
    }
    SECTION("but a thread that the call starts comes from no loop") {
        const auto call = [&] {
            std::thread::id from_inside;
            std::thread([&] { from_inside = ferry::block_on(where()); }).join();
            return from_inside;
        };
        const std::thread::id there = ferry::block_on(background.loop(), where());
        CHECK(loop.run(ferry::to_thread(pool, call)) == there);
    }
}

TEST_CASE("inside to_thread, block_on gets closed_error once the loop that made the call closes",
          "[bridge][async_to_sync]") {
    const ferry_test::frame_count frames;
    ferry::loop_thread background;
    background.make_default();
    ferry::thread_pool pool(1);
    event_loop loop;
    progress started;
    progress closing;
    bool noted = false;
    const auto call = [&] {
        started.advance();
        closing.wait_for();
        ferry::block_on(note(noted));  // on no other loop: what it uses may live on that one
    };
    auto running = ferry::spawn(loop, ferry::to_thread(pool, call));
    loop.run_once();
    started.wait_for();
    std::thread other([&] {
        for (;;) {
            try {
                loop.post([] {});
            } catch (const ferry::closed_error&) {
                return closing.advance();
            }
        }
    });
    loop.close();
    other.join();
    REQUIRE_THROWS_AS(running.get(), ferry::closed_error);
    CHECK(!noted);
}

TEST_CASE("it also comes back to a thread's own loop", "[bridge][async_to_sync]") {
    const std::thread::id here = std::this_thread::get_id();
    const auto there_and_back = [] { return ferry::block_on(where()); };
    const auto body = [&]() -> task<std::thread::id> { co_return co_await ferry::to_thread(there_and_back); };
    CHECK(ferry::block_on(body()) == here);
}

TEST_CASE("block_on a closed loop gets closed_error, and starts nothing", "[bridge][async_to_sync]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    loop.close();
    bool noted = false;
    std::string what;
    try {
        ferry::block_on(loop, note(noted));
    } catch (const ferry::closed_error& caught) {
        what = caught.what();
    }
    CHECK(contains(what, "note"));
    CHECK(!noted);
}

TEST_CASE("block_on whose loop closes gets closed_error, unless the task ends otherwise",
          "[bridge][async_to_sync][mt]") {
    const ferry_test::frame_count frames;
    auto background = std::make_optional<ferry::loop_thread>();
    progress sleeping;
    const auto sleep = [&](int answer) -> task<int> {
        try {
            sleeping.advance();
            co_await ferry::sleep_for(1h);
        } catch (const ferry::cancelled&) {
            if (answer == 0) throw;
        }
        if (answer < 0) throw std::out_of_range("instead");
        co_return answer;
    };
    std::vector<std::string> outcomes(3);
    std::vector<std::thread> threads;
    for (int answer = -1; answer <= 1; ++answer) {
        threads.emplace_back([&, answer] {
            std::string& outcome = outcomes[static_cast<std::size_t>(answer + 1)];
            try {
                outcome = std::to_string(ferry::block_on(background->loop(), sleep(answer)));
            } catch (const ferry::closed_error& caught) {
                outcome = caught.what();
            } catch (const std::out_of_range& caught) {
                outcome = caught.what();
            }
        });
    }
    sleeping.wait_for(3);
    background.reset();
    for (std::thread& thread : threads) thread.join();
    CHECK(outcomes[0] == "instead");
    CHECK(contains(outcomes[1], "closed"));
    CHECK(outcomes[2] == "1");
}

TEST_CASE("block_on inside a turn throws deadlock_error, names the task, and starts nothing",
          "[bridge][async_to_sync]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    bool noted = false;
    SECTION("in a task") {
        const auto body = [&]() -> task<> {
            co_await ferry::yield_now();
            const std::string unaimed = refusal([&] { ferry::block_on(note(noted)); });
            CHECK(contains(unaimed, "deadlock_error"));
            CHECK(contains(unaimed, "(note)"));
            CHECK(contains(unaimed, "task load_user"));
            CHECK(contains(unaimed, "co_await"));
            const std::string aimed = refusal([&] { ferry::block_on(loop, note(noted)); });
            CHECK(contains(aimed, "deadlock_error"));
            auto as_function = ferry::async_to_sync(note);
            CHECK(contains(refusal([&] { as_function(noted); }), "deadlock_error"));
            const ferry::allow_blocking ok("it would never end all the same");
            CHECK(contains(refusal([&] { ferry::block_on(loop, note(noted)); }), "deadlock_error"));
        };
        loop.run(body().named("load_user"));
    }
    SECTION("in a posted callback") {
        std::string answer;
        loop.post([&] { answer = refusal([&] { ferry::block_on(note(noted)); }); });
        loop.run_until_idle();
        CHECK(contains(answer, "deadlock_error"));
        CHECK(contains(answer, "a callback"));
    }
    SECTION("in a task that block_on runs") {
        const auto body = [&]() -> task<std::string> { co_return refusal([&] { ferry::block_on(note(noted)); }); };
        CHECK(contains(ferry::block_on(body()), "deadlock_error"));
    }
    CHECK(!noted);
    CHECK(loop.run(add(1, 1)) == 2);
}

TEST_CASE("block_on inside a turn throws blocking_error where the default loop would run it",
          "[bridge][async_to_sync]") {
    const ferry_test::frame_count frames;
    ferry::loop_thread background;
    background.make_default();
    event_loop loop;
    bool noted = false;
    const auto body = [&]() -> task<> {
        CHECK(contains(refusal([&] { ferry::block_on(note(noted)); }), "blocking_error"));
        CHECK(!noted);
        const ferry::allow_blocking ok("nobody else uses this loop");
        CHECK(ferry::block_on(add(1, 2)) == 3);
        co_return;
    };
    loop.run(body());
}

TEST_CASE("a loop that is run inside a turn cannot wait for the loop beneath it", "[bridge][async_to_sync]") {
    const ferry_test::frame_count frames;
    event_loop outer;
    bool noted = false;
    const auto inner_body = [&]() -> task<> {
        CHECK(contains(refusal([&] { ferry::block_on(outer, note(noted)); }), "deadlock_error"));
        co_return;
    };
    const auto outer_body = [&]() -> task<> {
        const ferry::allow_blocking ok("the inner loop is short");
        event_loop inner;
        inner.run(inner_body());
        co_return;
    };
    outer.run(outer_body());
    CHECK(!noted);
}

TEST_CASE("block_on another loop inside a turn throws blocking_error, unless it is allowed",
          "[bridge][async_to_sync]") {
    const ferry_test::frame_count frames;
    ferry::loop_thread background;
    event_loop loop;
    bool noted = false;
    const auto body = [&]() -> task<> {
        const std::string answer = refusal([&] { ferry::block_on(background.loop(), note(noted)); });
        CHECK(contains(answer, "blocking_error"));
        CHECK(contains(answer, "task load_user"));
        CHECK(contains(answer, "allow_blocking"));
        CHECK(!noted);
        const ferry::allow_blocking ok("nobody else uses this loop");
        CHECK(ferry::block_on(background.loop(), add(1, 2)) == 3);
        co_return;
    };
    loop.run(body().named("load_user"));
}

TEST_CASE("threads that block on one loop, which sends work back to threads, all go on",
          "[bridge][async_to_sync][mt]") {
    constexpr int callers = 4;
    constexpr int calls = 200;
    ferry::loop_thread background;
    ferry::thread_pool pool(2);
    int on_the_loop = 0;  // touched by the loop's thread only
    const auto tick = [&on_the_loop]() -> task<int> {
        ++on_the_loop;
        co_return 1;
    };
    const auto blocking = [&tick](int value) { return value + ferry::block_on(tick()); };
    const auto there_and_back = [&](int value) -> task<int> {
        ++on_the_loop;
        co_return co_await ferry::to_thread(pool, blocking, value);
    };
    std::vector<int> wrong(callers);
    std::vector<std::thread> threads;
    for (std::size_t id = 0; id < callers; ++id) {
        threads.emplace_back([&, id] {
            for (int i = 0; i < calls; ++i) {
                if (ferry::block_on(background.loop(), there_and_back(i)) != i + 1) ++wrong[id];
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == std::vector<int>(callers));
    const auto total = [&on_the_loop]() -> task<int> { co_return on_the_loop; };
    CHECK(ferry::block_on(background.loop(), total()) == 2 * callers * calls);
}

TEST_CASE("a loop closes while threads block on it: each gets its value or closed_error",
          "[bridge][async_to_sync][mt]") {
    constexpr int callers = 3;
    for (int round = 0; round < 100; ++round) {
        event_loop loop;
        std::atomic<int> run{0};
        std::atomic<int> values{0};
        std::atomic<int> started{0};
        const auto work = [&run]() -> task<> {
            run.fetch_add(1, std::memory_order_relaxed);
            co_return;
        };
        std::vector<std::thread> threads;
        for (int id = 0; id < callers; ++id) {
            threads.emplace_back([&] {
                for (;;) {
                    started.fetch_add(1);
                    try {
                        ferry::block_on(loop, work());
                        values.fetch_add(1, std::memory_order_relaxed);
                    } catch (const ferry::closed_error&) {
                        return;
                    }
                }
            });
        }
        while (started.load() < callers) loop.run_once();
        for (int i = 0; i < round; ++i) loop.run_once();
        loop.close();
        for (std::thread& thread : threads) thread.join();
        CHECK(values == run);
    }
}
