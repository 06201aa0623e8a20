// tests/bridge/callables_test.cpp - what can be called across the bridge, what comes out, and with which variables (B, E, X, L)
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/bridge/thread_sensitive.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/context.hpp>
#include <ferry/core/context_local.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/temporaries.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include "bridge/progress.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::task;
using ferry::thread_sensitive;
using ferry::to_thread;
using ferry_test::progress;
using id = std::thread::id;

namespace {
id here() { return std::this_thread::get_id(); }
int answer() { return 42; }
task<int> later(int number) {
    co_await ferry::yield_now();
    co_return number;
}
class account {
public:
    int add(int amount) noexcept { return balance_ += amount; }
    int balance() const { return balance_; }
    task<int> add_later(int amount) {
        co_await ferry::yield_now();
        co_return balance_ += amount;
    }

private:
    int balance_ = 0;
};

ferry::context_local<int> depth{0};
ferry::context_local<std::string> user{"nobody"};
ferry::thread_context_local<int> handle{0};

/// At most so many calls ran at the same time.
class overlap {
public:
    void visit() {
        const int now = inside_.fetch_add(1) + 1;
        int most = most_.load();
        while (most < now && !most_.compare_exchange_weak(most, now)) {}
        for (int i = 0; i < 50; ++i) std::this_thread::yield();
        inside_.fetch_sub(1);
    }
    [[nodiscard]] int most() const noexcept { return most_.load(); }

private:
    std::atomic<int> inside_{0};
    std::atomic<int> most_{0};
};

template <class Call, class... Args>
concept can_be_sent = requires(Call call, Args... args) {
    to_thread(std::forward<Call>(call), args...);
};
}  // namespace

TEST_CASE("B01: the result of a blocking function arrives, and the loop turns meanwhile", "[bridge][callables][mt]") {
    progress go_on;
    const auto blocks = [&] {
        go_on.wait_for();
        return answer();
    };
    const auto ticks = [&]() -> task<> {
        for (int i = 0; i < 10; ++i) co_await ferry::yield_now();
        go_on.advance();  // only a loop that turns gets here
    };
    const auto body = [&]() -> task<int> {
        auto ticking = ferry::spawn(ticks());
        const int result = co_await to_thread(thread_sensitive, blocks);
        co_await std::move(ticking);
        co_return result;
    };
    CHECK(ferry::run(body()) == 42);
}

TEST_CASE("B02, B03: thread-sensitive calls run one at a time, in two scopes side by side, others all at once",
          "[bridge][callables][mt]") {
    overlap calls;
    const auto visit = [&] { calls.visit(); };
    const auto sensitive = [&]() -> task<> {
        for (int i = 0; i < 10; ++i) {
            co_await ferry::when_all(to_thread(thread_sensitive, visit), to_thread(thread_sensitive, visit));
        }
    };
    SECTION("one at a time") {
        ferry::run(sensitive());
        CHECK(calls.most() == 1);
    }
    SECTION("not in one global thread: scopes") {
        progress met;
        const auto meet = [&] {
            met.advance();
            met.wait_for(2);
        };
        const auto scoped = [&]() -> task<> {
            const ferry::thread_sensitive_scope one_thread;
            co_await to_thread(thread_sensitive, meet);
        };
        const auto both = [&]() -> task<> { co_await ferry::when_all(scoped(), scoped()); };
        ferry::run(both());  // ends only if they meet
    }
    SECTION("others at once") {
        progress met;
        const auto meet = [&] {
            met.advance();
            met.wait_for(4);
        };
        ferry::thread_pool pool(4);
        const auto four = [&]() -> task<> {
            co_await ferry::when_all(to_thread(pool, meet), to_thread(pool, meet), to_thread(pool, meet),
                                     to_thread(pool, meet));
        };
        ferry::run(four());
    }
}

TEST_CASE("B04, B05: what cannot be called, or has the wrong colour, does not compile", "[bridge][callables]") {
    // That a coroutine is refused by to_thread, and a plain function by async_to_sync: checks/refused.cpp.
    const auto function = ferry::sync_to_async(answer);
    static_assert(std::is_invocable_v<decltype(function)>);
    static_assert(!std::is_invocable_v<decltype(function), int>);
    const auto back = ferry::async_to_sync(later);
    static_assert(std::is_invocable_v<decltype(ferry::async_to_sync(later))&, int>);
    static_assert(!std::is_invocable_v<decltype(ferry::async_to_sync(later))&, std::string>);
    static_cast<void>(back);
}

TEST_CASE("B06, B07: objects whose call operator is asynchronous, members, and what can only be moved",
          "[bridge][callables]") {
    struct adder {
        explicit adder(int with) : by(with) {}
        int by;
        task<int> operator()(int number) const { co_return number + by; }
    };
    CHECK(ferry::async_to_sync(adder(2))(3) == 5);
    account mine;
    CHECK(ferry::async_to_sync(&account::add_later)(mine, 5) == 5);
    const auto add = ferry::sync_to_async(&account::add);
    CHECK(ferry::run(add(&mine, 5)) == 10);
    CHECK(ferry::run(ferry::sync_to_async(&account::balance)(&mine)) == 10);
    auto owner = [own = std::make_unique<int>(3)](std::unique_ptr<int> other) {
        return std::make_unique<int>(*own + *other);
    };
    const auto sum = ferry::sync_to_async(ferry::moved(owner));
    const std::unique_ptr<int> result = ferry::run(sum(std::make_unique<int>(4)));
    CHECK(*result == 7);
    int number = 1;
    const auto same = ferry::sync_to_async([](int& value) -> int& { return value; });
    CHECK(&ferry::run(same(std::ref(number))) == &number);
}

TEST_CASE("B12: a pool and thread-sensitive together do not compile", "[bridge][callables]") {
    using plain = decltype(ferry::sync_to_async(answer));
    const auto can_be_on = [](auto function) {
        return requires(ferry::thread_pool & pool) { function.on(pool); };
    };
    const auto can_be_sensitive = [](auto function) {
        return requires { function.sensitive(); };
    };
    ferry::thread_pool pool(1);
    const plain function = ferry::sync_to_async(answer);
    CHECK(can_be_on(function));
    CHECK(can_be_sensitive(function));
    CHECK(!can_be_on(function.sensitive()));
    CHECK(!can_be_sensitive(function.on(pool)));
    CHECK(!can_be_on(function.named("answer").on(pool)));
    using function_pointer = int (*)();
    static_assert(!can_be_sent<const ferry::thread_sensitive_t&, ferry::thread_pool&, function_pointer>);
    CHECK(ferry::run(function.on(pool).named("answer")()) == 42);
    CHECK(ferry::block_on(function.named("answer").sensitive()()) == 42);
}

TEST_CASE("B13: a call on a pool is one submission to that pool", "[bridge][callables][mt]") {
    ferry::thread_pool pool(4);
    CHECK(pool.threads() == 0);
    const auto where = ferry::sync_to_async(here).on(pool);
    const id first = ferry::run(where());
    CHECK(first != here());
    CHECK(pool.threads() == 1);
    CHECK(pool.queued() == 0);
}

TEST_CASE("sensitive() runs the calls of an adaptor where thread-sensitive calls run", "[bridge][callables]") {
    const auto where = ferry::sync_to_async(here).sensitive();
    CHECK(ferry::block_on(where()) == here());
    CHECK(ferry::run(where()) != here());
}

TEST_CASE("E01: the awaiting code gets the very exception that the function threw", "[bridge][callables][mt]") {
    const void* thrown = nullptr;
    const auto fails = [&]() -> int {
        try {
            throw std::runtime_error("as asked");
        } catch (const std::exception& error) {
            thrown = &error;
            throw;
        }
    };
    const void* caught = nullptr;
    const auto body = [&](auto call) -> task<> {
        try {
            co_await std::move(call);
        } catch (const std::exception& error) {
            caught = &error;
        }
    };
    ferry::run(body(to_thread(fails)));
    CHECK(thrown != nullptr);
    CHECK(caught == thrown);
    ferry::run(body(to_thread(thread_sensitive, fails)));
    CHECK(caught == thrown);
    ferry::run(body(to_thread(ferry::abandonable, fails)));
    CHECK(caught == thrown);
}

TEST_CASE("E02: after a thread-sensitive call that throws, the next one runs as ever", "[bridge][callables][mt]") {
    const auto fails = [] { throw std::runtime_error("as asked"); };
    for (int i = 0; i < 3; ++i) {
        CHECK_THROWS_AS(ferry::run(to_thread(thread_sensitive, fails)), std::runtime_error);
        CHECK_THROWS_AS(ferry::block_on(to_thread(thread_sensitive, fails)), std::runtime_error);
        CHECK(ferry::run(to_thread(thread_sensitive, answer)) == 42);
        CHECK(ferry::block_on(to_thread(thread_sensitive, answer)) == 42);
    }
}

TEST_CASE("E03: block_on in an exception handler does not throw that exception again", "[bridge][callables]") {
    int result = 0;
    try {
        throw std::runtime_error("outer");
    } catch (const std::runtime_error& error) {
        result = ferry::block_on(later(3));
        CHECK(std::string(error.what()) == "outer");
    }
    CHECK(result == 3);
}

TEST_CASE("E04, E05: no type of exception is lost on the way", "[bridge][callables][mt]") {
    class not_an_exception {};
    const auto throws_int = [] { throw 7; };
    const auto throws_class = [] { throw not_an_exception(); };
    const auto throws_cancelled = [] { throw ferry::cancelled(); };
    CHECK_THROWS_AS(ferry::run(to_thread(throws_int)), int);
    CHECK_THROWS_AS(ferry::run(to_thread(throws_class)), not_an_exception);
    CHECK_THROWS_AS(ferry::run(to_thread(throws_cancelled)), ferry::cancelled);
    CHECK_THROWS_AS(ferry::block_on(to_thread(thread_sensitive, throws_int)), int);
    CHECK_THROWS_AS(ferry::block_on(to_thread(thread_sensitive, throws_cancelled)), ferry::cancelled);
    const auto async_throws = []() -> task<> {
        co_await ferry::yield_now();
        throw 7;
    };
    CHECK_THROWS_AS(ferry::block_on(async_throws()), int);
}

TEST_CASE("X06: a call with variables of its own leaves the caller's alone", "[bridge][callables]") {
    ferry::context own;
    const auto deepen = [](int by) {
        depth.set(depth.get() + by);
        return depth.get();
    };
    const auto deepen_later = [](int by) -> task<int> {
        co_await ferry::yield_now();
        depth.set(depth.get() + by);
        co_return depth.get();
    };
    const auto body = [&]() -> task<> {
        depth.set(1);
        const auto apart = ferry::sync_to_async(deepen).in(own);
        const int first = co_await apart(10);
        CHECK(first == 10);
        CHECK(depth.get() == 1);
        const int second = co_await apart(10);  // X07: what one call has changed, the next one sees
        CHECK(second == 20);
        CHECK(depth.get() == 1);
    };
    ferry::run(body());
    depth.set(1);
    auto apart = ferry::async_to_sync(deepen_later).in(own);
    CHECK(apart(10) == 30);
    CHECK(depth.get() == 1);
    depth.reset();
}

TEST_CASE("X07: several calls and blocking functions share one explicit context", "[bridge][callables]") {
    ferry::context shared;
    const auto deepen = [] { depth.set(depth.get() + 1); };
    const auto rename = [] { user.set(user.get() + "!"); };
    const auto read = [] { return user.get() + std::to_string(depth.get()); };
    const auto fails = [] {
        depth.set(depth.get() + 1);
        throw 7;
    };
    ferry::run(ferry::sync_to_async(deepen).in(shared)());
    ferry::block_on(ferry::sync_to_async(rename).sensitive().in(shared)());
    CHECK_THROWS_AS(ferry::run(ferry::sync_to_async(fails).in(shared)()), int);
    CHECK(ferry::run(ferry::sync_to_async(read).in(shared)()) == "nobody!2");
    CHECK(depth.get() == 0);
}

TEST_CASE("L03: variables travel through four layers and back, also through calls that come home",
          "[bridge][callables]") {
    const auto innermost = []() -> task<> {
        const auto set = [] { depth.set(depth.get() * 10 + 4); };
        co_await to_thread(thread_sensitive, set);
    };
    const auto call = [&] {
        depth.set(depth.get() * 10 + 2);
        ferry::block_on(innermost());
        depth.set(depth.get() * 10 + 5);
    };
    const auto outer = [&]() -> task<> {
        depth.set(depth.get() * 10 + 1);
        co_await to_thread(thread_sensitive, call);
    };
    depth.reset();
    ferry::block_on(outer());
    CHECK(depth.get() == 1245);
    depth.reset();
}

TEST_CASE("L07: a thread_context_local that a call writes which came home is the thread's own", "[bridge][callables]") {
    handle.reset();
    const auto write = [] { handle.set(handle.get() + 5); };
    ferry::block_on(to_thread(thread_sensitive, write));
    CHECK(handle.get() == 5);                        // plain code of the same thread
    ferry::run(to_thread(thread_sensitive, write));  // on another thread
    CHECK(handle.get() == 5);
    handle.reset();
}

TEST_CASE("L08: what a call that came home changes in a child task does not go up", "[bridge][callables]") {
    depth.reset();
    const auto write = [] { depth.set(5); };
    const auto body = [&]() -> task<> {
        auto child = ferry::spawn(to_thread(thread_sensitive, write));
        co_await std::move(child);
        CHECK(depth.get() == 0);
    };
    ferry::block_on(body());
    CHECK(depth.get() == 0);
}
