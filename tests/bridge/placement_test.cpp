// tests/bridge/placement_test.cpp - where code runs that crosses between blocking code and coroutines (cases N)
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/bridge/thread_sensitive.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/shield.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>

#include "bridge/progress.hpp"
#include "support/catch.hpp"
#include "support/forked.hpp"
#include "support/race.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::task;
using ferry::thread_sensitive;
using ferry::to_thread;
using ferry_test::progress;
using namespace std::chrono_literals;
using id = std::thread::id;

namespace {
id here() { return std::this_thread::get_id(); }
task<id> where() {
    co_await ferry::yield_now();
    co_return here();
}
task<id> sensitive() { co_return co_await to_thread(thread_sensitive, here); }
/// The one sensitive thread of the process: where calls come without a home.
id last_resort() { return ferry::run(sensitive()); }

/// The two threads of blocking code and of what it blocks on.
struct two {
    id outer;
    id inner;
};
two blocks_on_where() { return {here(), ferry::block_on(where())}; }
two blocks_on_sensitive() { return {here(), ferry::block_on(sensitive())}; }

/// Built before any loop.
const auto where_from_sync = ferry::async_to_sync(where);
}  // namespace

TEST_CASE("N01: block_on of a plain thread runs the coroutine on that very thread", "[bridge][placement]") {
    CHECK(ferry::block_on(where()) == here());
}

TEST_CASE("N02: a thread-sensitive call beneath block_on runs on the blocked thread", "[bridge][placement]") {
    CHECK(ferry::block_on(sensitive()) == here());
    ferry::loop_thread elsewhere;
    CHECK(ferry::block_on(elsewhere.loop(), sensitive()) == here());
}

TEST_CASE("N03: so does one in a task of its own", "[bridge][placement]") {
    const auto body = []() -> task<id> {
        auto spawned = ferry::spawn(sensitive());
        co_return co_await std::move(spawned);
    };
    CHECK(ferry::block_on(body()) == here());
    ferry::loop_thread elsewhere;
    CHECK(ferry::block_on(elsewhere.loop(), body()) == here());
}

TEST_CASE("N04: a call that is not thread-sensitive runs on a thread of a pool", "[bridge][placement]") {
    const auto body = []() -> task<id> { co_return co_await to_thread(here); };
    CHECK(ferry::block_on(body()) != here());
}

TEST_CASE("N05: without a home, thread-sensitive calls run on one thread of the process", "[bridge][placement][mt]") {
    const id there = last_resort();
    CHECK(there != here());
    std::vector<id> others(3);
    std::vector<std::thread> threads;
    for (id& other : others) threads.emplace_back([&other] { other = last_resort(); });
    for (std::thread& each : threads) each.join();
    CHECK(others == std::vector<id>(3, there));
}

TEST_CASE("N06: a coroutine that a call blocks on runs on the loop that made the call", "[bridge][placement][mt]") {
    const two plain = ferry::run(to_thread(blocks_on_where));
    CHECK(plain.outer != here());
    CHECK(plain.inner == here());
    const two at_home = ferry::run(to_thread(thread_sensitive, blocks_on_where));
    CHECK(at_home.outer == last_resort());
    CHECK(at_home.inner == here());
}

TEST_CASE("N07: a thread-sensitive call beneath a call that blocks runs on that call's thread",
          "[bridge][placement][mt]") {
    const two threads = ferry::run(to_thread(thread_sensitive, blocks_on_sensitive));
    CHECK(threads.outer == threads.inner);
    CHECK(threads.outer == last_resort());
}

TEST_CASE("N08: N07 and a plain thread-sensitive call beside it run on one thread", "[bridge][placement][mt]") {
    const auto body = []() -> task<> {
        const auto both = co_await ferry::when_all(to_thread(thread_sensitive, blocks_on_sensitive), sensitive());
        CHECK(std::get<0>(both).outer == std::get<1>(both));
        CHECK(std::get<0>(both).inner == std::get<1>(both));
        CHECK(std::get<1>(both) != here());
    };
    ferry::run(body());
}

TEST_CASE("N09: blocking, asynchronous, blocking, asynchronous, blocking: all of it on the first thread",
          "[bridge][placement]") {
    const two threads = ferry::block_on(to_thread(thread_sensitive, blocks_on_sensitive));
    CHECK(threads.outer == here());
    CHECK(threads.inner == here());
}

TEST_CASE("N10: asynchronous, blocking, asynchronous, blocking, asynchronous: it comes back to the first loop",
          "[bridge][placement][mt]") {
    const auto inner = []() -> task<two> { co_return co_await to_thread(thread_sensitive, blocks_on_where); };
    const auto outer = [&] { return ferry::block_on(inner()); };
    CHECK(ferry::run(to_thread(thread_sensitive, outer)).inner == here());
    CHECK(ferry::run(to_thread(outer)).inner == here());
}

TEST_CASE("N11: async_to_sync finds its loop when it is called", "[bridge][placement][mt]") {
    auto function = where_from_sync;
    const auto call = [&] { return function(); };
    CHECK(ferry::run(to_thread(call)) == here());
    id there;
    id from_there;
    std::thread([&] {
        there = here();
        from_there = function();
    }).join();
    CHECK(there == from_there);
}

TEST_CASE("N12, N13: block_on of a thread that comes from no loop runs on that thread", "[bridge][placement][mt]") {
    ferry::loop_thread elsewhere;  // runs, but is no default
    two plain;
    std::thread([&] { plain = blocks_on_where(); }).join();
    CHECK(plain.outer == plain.inner);
    // Not even where a call of to_thread has started that thread.
    const auto starts_a_thread = [] {
        two threads;
        std::thread([&] { threads = blocks_on_where(); }).join();
        return threads;
    };
    const two started = ferry::run(to_thread(starts_a_thread));
    CHECK(started.outer == started.inner);
}

TEST_CASE("N14: block_on inside a turn is refused, and starts nothing", "[bridge][placement]") {
    bool started = false;
    const auto note = [&]() -> task<> {
        started = true;
        co_return;
    };
    const auto body = [&]() -> task<> {
        CHECK_THROWS_AS(ferry::block_on(note()), ferry::deadlock_error);
        CHECK_THROWS_AS(ferry::block_on(ferry::on_private_loop, note()), ferry::deadlock_error);
        co_return;
    };
    ferry::run(body());
    CHECK(!started);
}

TEST_CASE("N15: on a private loop a coroutine runs on the call's own thread", "[bridge][placement][mt]") {
    const auto call = [] { return two{here(), ferry::block_on(ferry::on_private_loop, where())}; };
    const two threads = ferry::run(to_thread(call));
    CHECK(threads.outer == threads.inner);
    const auto function = [] { return two{here(), ferry::async_to_sync(where).on_private_loop()()}; };
    const two again = ferry::run(to_thread(function));
    CHECK(again.outer == again.inner);
    CHECK(again.outer != here());
}

TEST_CASE("N16: the nearest blocked thread is the home, also one of a pool, and a scope there adds none",
          "[bridge][placement][mt]") {
    const two threads = ferry::run(to_thread(blocks_on_sensitive));
    CHECK(threads.outer == threads.inner);
    CHECK(threads.inner != last_resort());
    const auto in_scope = []() -> task<id> {
        const ferry::thread_sensitive_scope adds_nothing;
        co_return co_await sensitive();
    };
    const auto call = [&] { return two{here(), ferry::block_on(in_scope())}; };
    const two scoped = ferry::run(to_thread(call));
    CHECK(scoped.outer == scoped.inner);
    // A blocked thread beneath a scope is nearer than the scope.
    const auto around = [&]() -> task<two> {
        const ferry::thread_sensitive_scope one_thread;
        co_return co_await to_thread(blocks_on_sensitive);
    };
    const two beneath = ferry::run(around());
    CHECK(beneath.outer == beneath.inner);
}

TEST_CASE("N17: a call under a time limit runs on the thread of the middleware around it", "[bridge][placement][mt]") {
    const auto view = []() -> task<id> { co_return co_await ferry::timeout(1h, to_thread(thread_sensitive, here)); };
    const auto middleware = [&] { return two{here(), ferry::block_on(view())}; };
    const auto request = [&]() -> task<two> {
        const ferry::thread_sensitive_scope one_thread;
        co_return co_await to_thread(thread_sensitive, middleware);
    };
    const two threads = ferry::run(request());
    CHECK(threads.outer == threads.inner);
    CHECK(threads.outer != last_resort());
}

TEST_CASE("N18, N19: a task that outlives the block_on which started it calls home to the next one out",
          "[bridge][placement]") {
    bool later = false;
    SECTION("at once") {}
    SECTION("after a timer") { later = true; }
    std::optional<ferry::future<id>> left;
    const auto background = [&]() -> task<id> {
        if (later) {
            co_await ferry::sleep_for(1ms);
        } else {
            for (int i = 0; i < 10; ++i) co_await ferry::yield_now();
        }
        co_return co_await sensitive();
    };
    const auto inner = [&]() -> task<> {
        left = ferry::spawn(background());
        co_return;
    };
    const auto call = [&] { ferry::block_on(inner()); };
    const auto body = [&](bool on_pool) -> task<id> {
        if (on_pool) {
            co_await to_thread(call);
        } else {
            co_await to_thread(thread_sensitive, call);
        }
        co_return co_await std::move(*left);
    };
    CHECK(ferry::block_on(body(false)) == here());
    CHECK(ferry::block_on(body(true)) == here());
}

TEST_CASE("N20: background work of a view that has returned falls back to the scope, or to the one sensitive thread",
          "[bridge][placement][mt]") {
    const id one_for_all = last_resort();
    ferry::promise<void> go_on;
    std::optional<ferry::future<id>> left;
    const auto background = [&](ferry::future<void> until) -> task<id> {
        co_await std::move(until);
        co_return co_await sensitive();
    };
    const auto view = [&]() -> task<> {
        left = ferry::spawn(background(go_on.get_future()));
        co_return;
    };
    const auto call = [&] {
        ferry::block_on(view());
        return here();
    };
    event_loop loop;
    SECTION("without a scope") {
        loop.run(to_thread(thread_sensitive, call));
        go_on.set_value();
        CHECK(loop.run(std::move(*left)) == one_for_all);
    }
    SECTION("in a scope that is still there") {
        const auto body = [&]() -> task<> {
            const ferry::thread_sensitive_scope one_thread;
            const id there = co_await to_thread(thread_sensitive, call);
            go_on.set_value();
            const id behind = co_await std::move(*left);
            CHECK(behind == there);
            CHECK(there != one_for_all);
        };
        loop.run(body());
    }
    SECTION("after the scope") {
        const auto body = [&]() -> task<> {
            const ferry::thread_sensitive_scope one_thread;
            co_await to_thread(thread_sensitive, call);
        };
        loop.run(body());
        go_on.set_value();
        CHECK(loop.run(std::move(*left)) == one_for_all);
    }
}

TEST_CASE("N21, N22: a call never waits for its own thread, and never runs on a foreign one",
          "[bridge][placement][mt]") {
    const auto call = [] {
        const id mine = here();
        std::atomic<bool> over{false};
        std::thread drains([&] {  // another thread that waits serves nobody else's calls
            while (!over.load()) ferry::block_on(where());
        });
        for (int i = 0; i < 100; ++i) CHECK(ferry::block_on(sensitive()) == mine);
        over = true;
        drains.join();
    };
    ferry::run(to_thread(thread_sensitive, call));
}

TEST_CASE("N23: thread-sensitive calls run in the order they are made", "[bridge][placement][order]") {
    std::vector<int> order;
    const auto note = [&](int number) { order.push_back(number); };
    const auto body = [&]() -> task<> {
        co_await ferry::with_task_group([&](ferry::task_group& group) -> task<> {
            for (int i = 0; i < 20; ++i) group.start(to_thread(thread_sensitive, note, i));
            co_return;
        });
    };
    std::vector<int> expected;
    for (int i = 0; i < 20; ++i) expected.push_back(i);
    SECTION("on a blocked thread") { ferry::block_on(body()); }
    SECTION("on the one sensitive thread") { ferry::run(body()); }
    SECTION("on a leased thread") {
        const auto in_scope = [&]() -> task<> {
            const ferry::thread_sensitive_scope one_thread;
            co_await body();
        };
        ferry::run(in_scope());
    }
    CHECK(order == expected);
}

TEST_CASE("N24: a forked child of a call does not look for its parent's loop or thread", "[bridge][placement][fork]") {
    const auto call = [] {
        return ferry_test::in_child([] {
            const id mine = here();
            const bool ran_here = ferry::block_on(where()) == mine && ferry::block_on(sensitive()) == mine;
            const bool elsewhere = last_resort() != mine;
            return std::string(ran_here && elsewhere ? "its own" : "the parent's");
        });
    };
    CHECK(ferry::run(to_thread(call)) == "its own");
    CHECK(ferry::run(to_thread(thread_sensitive, call)) == "its own");
    CHECK(ferry::block_on(to_thread(thread_sensitive, call)) == "its own");
}

TEST_CASE("N25: calls that have not begun when their frame returns run at the next one out, in order",
          "[bridge][placement][order]") {
    progress returned;
    std::vector<std::pair<int, id>> runs;
    std::vector<ferry::future<void>> left;
    id worker;
    const auto hold = [&] { returned.wait_for(); };
    const auto note = [&](int number) { runs.emplace_back(number, here()); };
    const auto noted = [&](int number) -> task<> { co_await to_thread(thread_sensitive, note, number); };
    const auto after = [&]() -> task<> {
        for (int i = 0; i < 3; ++i) co_await ferry::yield_now();
        returned.advance();
    };
    const auto inner = [&]() -> task<> {
        left.push_back(ferry::spawn(to_thread(thread_sensitive, hold)));  // keeps the thread
        for (int i = 0; i < 5; ++i) left.push_back(ferry::spawn(noted(i)));
        co_await ferry::yield_now();  // all of them are queued
        left.push_back(ferry::spawn(after()));
    };
    const auto call = [&] {
        worker = here();
        ferry::block_on(inner());
    };
    const auto body = [&]() -> task<> {
        co_await to_thread(call);
        for (ferry::future<void>& each : left) co_await std::move(each);
    };
    ferry::block_on(body());
    REQUIRE(runs.size() == 5);
    for (int i = 0; i < 5; ++i) {
        CHECK(runs[static_cast<std::size_t>(i)].first == i);
        CHECK(runs[static_cast<std::size_t>(i)].second == here());
    }
}

// ---- any depth ---------------------------------------------------------------------------------------------------
namespace {
/// DESIGN's rules in a few words. A home is a blocked thread or a scope; where a call runs is the innermost one that is
/// still there, else the one sensitive thread.
struct model_home {
    explicit model_home(std::shared_ptr<model_home> next) : outer(std::move(next)) {}
    std::shared_ptr<model_home> outer;
    std::mutex mutex;          // guards the thread of a scope
    std::optional<id> thread;  // of a scope: known after its first call
    std::atomic<bool> gone{false};
};
using home = std::shared_ptr<model_home>;

class nesting {
public:
    explicit nesting(std::uint64_t seed) : seed_(seed) {}

    /// The mismatches; empty if none.
    std::string run() {
        ferry_test::dice start(seed_);
        const blocking outermost{nullptr, nullptr, id()};
        if (start.roll(2) == 0) {
            block(outermost, 0, seed_);
        } else {
            run_loop(outermost, 0, seed_);
        }
        return wrong_;
    }
    [[nodiscard]] int leaves() const noexcept { return leaves_.load(); }
    [[nodiscard]] int deepest() const noexcept { return deepest_.load(); }

private:
    /// What goes on after the frames that have started it, until whoever collects it releases it.
    struct background {
        ferry::promise<void> go_on;
        std::optional<ferry::future<void>> over;
    };
    using collected = std::vector<std::unique_ptr<background>>;
    struct blocking {
        home place;
        event_loop* loop;  // that made the call; null for none
        id loop_thread;
    };
    struct asynchronous {
        home place;
        id thread;
        collected* behind;
    };

    static constexpr int max_depth = 50;

    void fail(const std::string& what, int depth) {
        const std::lock_guard lock(mutex_);
        if (wrong_.size() < 500) wrong_ += what + " at depth " + std::to_string(depth) + "; ";
    }
    void expect(const home& innermost, int depth) {
        leaves_.fetch_add(1);
        model_home* place = innermost.get();
        while (place != nullptr && place->gone.load()) place = place->outer.get();
        if (place == nullptr) {
            if (here() != sensitive_) fail("not on the one sensitive thread", depth);
            return;
        }
        const std::lock_guard lock(place->mutex);
        if (!place->thread) {
            place->thread = here();  // a scope has leased it
            if (here() == sensitive_) fail("a scope has the sensitive thread", depth);
        }
        if (*place->thread != here()) fail("not on the innermost home", depth);
    }
    void entered(int depth) {
        int before = deepest_.load();
        while (before < depth && !deepest_.compare_exchange_weak(before, depth)) {}
    }

    // From blocking code.
    task<> root(asynchronous where_to, int depth, std::uint64_t seed) {
        collected behind;
        where_to.behind = &behind;
        co_await run_async(where_to, depth, seed);
        co_await release(behind);
    }
    void block(const blocking& from, int depth, std::uint64_t seed) {
        ferry_test::dice dice(seed);
        const home frame = std::make_shared<model_home>(from.place);
        frame->thread = here();
        const std::uint64_t next = seed * 31 + 7;
        switch (dice.roll(4)) {
            case 0:
                ferry::block_on(ferry::on_private_loop, root({frame, here(), nullptr}, depth + 1, next));
                break;
            case 1: {
                const id there = ferry::block_on(given_.loop(), where());
                ferry::block_on(given_.loop(), root({frame, there, nullptr}, depth + 1, next));
                break;
            }
            default: {
                const id there = from.loop == nullptr ? here() : from.loop_thread;
                ferry::block_on(root({frame, there, nullptr}, depth + 1, next));
                break;
            }
        }
        frame->gone = true;
    }
    void run_loop(const blocking& from, int depth, std::uint64_t seed) {
        event_loop loop;
        loop.run(root({from.place, here(), nullptr}, depth + 1, seed * 31 + 5));
    }
    void run_blocking(const blocking& from, int depth, std::uint64_t seed) {
        ferry_test::dice dice(seed);
        entered(depth);
        for (int i = 0; i <= (depth < 3 ? 1 : 0); ++i) {
            const std::uint64_t next = seed * 17 + static_cast<std::uint64_t>(i);
            if (dice.roll(5) == 0) {
                run_loop(from, depth, next);
            } else {
                block(from, depth, next);
            }
        }
    }

    // From a task.
    task<> call(asynchronous from, int depth, std::uint64_t seed, bool at_home) {
        event_loop* const loop = event_loop::current();
        const id loop_thread = here();
        const auto body = [&] {
            if (at_home) expect(from.place, depth);
            if (!at_home && here() == loop_thread) fail("a pool's call on the loop's thread", depth);
            if (depth < max_depth) run_blocking({from.place, loop, loop_thread}, depth + 1, seed * 13 + 3);
        };
        if (at_home) {
            co_await to_thread(thread_sensitive, body);
        } else {
            co_await to_thread(pool_, body);
        }
    }
    task<> scoped(asynchronous from, int depth, std::uint64_t seed) {
        model_home* place = from.place.get();
        while (place != nullptr && place->gone.load()) place = place->outer.get();
        const ferry::thread_sensitive_scope scope;
        const home opened = place == nullptr ? std::make_shared<model_home>(nullptr) : nullptr;
        if (opened != nullptr) from.place = opened;
        co_await run_async(from, depth + 1, seed);
        if (opened != nullptr) opened->gone = true;
    }
    task<> in_background(home place, ferry::future<void> released, int depth) {
        co_await std::move(released);
        const auto body = [&] { expect(place, depth); };
        co_await to_thread(thread_sensitive, body);
    }
    void leave_behind(const asynchronous& from, int depth) {
        auto made = std::make_unique<background>();
        made->over = ferry::spawn(in_background(from.place, made->go_on.get_future(), depth));
        from.behind->push_back(std::move(made));
    }
    task<> release(collected& behind) {
        for (auto& each : behind) each->go_on.set_value();
        for (auto& each : behind) co_await std::move(*each->over);
        behind.clear();
    }
    task<> run_async(asynchronous from, int depth, std::uint64_t seed) {
        if (here() != from.thread) fail("a coroutine on another thread", depth);
        entered(depth);
        ferry_test::dice dice(seed);
        const auto leaf = [&] { expect(from.place, depth); };
        co_await to_thread(thread_sensitive, leaf);
        if (dice.roll(3) == 0) leave_behind(from, depth);
        if (depth < max_depth) {
            const std::uint64_t next = seed * 11 + 1;
            switch (dice.roll(10)) {
                case 0:
                    co_await scoped(from, depth, next);
                    break;
                case 1: {
                    auto spawned = ferry::spawn(run_async(from, depth + 1, next));
                    co_await std::move(spawned);
                    break;
                }
                case 2:
                    co_await ferry::timeout(1h, run_async(from, depth + 1, next));
                    break;
                case 3: {
                    const auto group_body = [&](ferry::task_group& group) -> task<> {
                        group.start(run_async(from, depth + 1, next));
                        group.start(to_thread(thread_sensitive, leaf));
                        co_return;
                    };
                    co_await ferry::with_task_group(group_body);
                    break;
                }
                case 4:
                    co_await ferry::when_all(run_async(from, depth + 1, next),
                                             run_async(from, depth + max_depth / 2, next + 1));
                    break;
                case 5:
                    co_await ferry::shield(run_async(from, depth + 1, next));
                    break;
                case 6:
                case 7:
                    co_await call(from, depth, next, false);
                    break;
                default:
                    co_await call(from, depth, next, true);
                    break;
            }
        }
        co_await to_thread(thread_sensitive, leaf);
        if (here() != from.thread) fail("a coroutine resumed on another thread", depth);
    }

    const std::uint64_t seed_;
    const id sensitive_ = last_resort();
    ferry::thread_pool pool_{400, "nested"};
    ferry::loop_thread given_;
    std::mutex mutex_;  // guards wrong_
    std::string wrong_;
    std::atomic<int> leaves_{0};
    std::atomic<int> deepest_{0};
};
}  // namespace

TEST_CASE("calls run where a model of the rules says, in random nestings up to 50 deep", "[bridge][placement][mt]") {
    int leaves = 0;
    int deepest = 0;
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        nesting random(seed);
        const std::string wrong = random.run();
        if (!wrong.empty()) FAIL_CHECK("seed " << seed << ": " << wrong);
        leaves += random.leaves();
        deepest = std::max(deepest, random.deepest());
    }
    CHECK(leaves > 2000);
    CHECK(deepest >= 50);
}
