// tests/bridge/cancellation_across_test.cpp - cancellation that crosses between coroutines and blocking code (cases K)
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/this_call.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/bridge/thread_sensitive.hpp>
#include <ferry/core/context_local.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/shield.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/shuffled_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>

#include "bridge/progress.hpp"
#include "support/catch.hpp"
#include "support/race.hpp"

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

using ferry::abandonable;
using ferry::event_loop;
using ferry::task;
using ferry::thread_sensitive;
using ferry::to_thread;
using ferry_test::dice;
using ferry_test::progress;
using namespace std::chrono_literals;

namespace {
/// What happened, in order, on any thread.
class diary {
public:
    void note(const char* what) {
        const std::lock_guard lock(mutex_);
        notes_.emplace_back(what);
    }
    [[nodiscard]] std::vector<std::string> notes() const {
        const std::lock_guard lock(mutex_);
        return notes_;
    }

private:
    mutable std::mutex mutex_;  // guards notes_
    std::vector<std::string> notes_;
};
using notes = std::vector<std::string>;

/// Sleeps until it is cancelled.
task<> sleep_and_note(diary& seen, progress& asleep) {
    try {
        asleep.advance();
        co_await ferry::sleep_for(1h);
    } catch (const ferry::cancelled&) {
        seen.note("inner cancelled");
        throw;
    }
}
/// Awaits `what`; once `begun` it cancels it.
template <class Awaitable>
task<> cancel_when(progress& begun, Awaitable what) {
    const auto body = [&](ferry::task_group& group) -> task<> {
        group.start(std::move(what));
        co_await to_thread([&begun] { begun.wait_for(); });
        group.cancel();
    };
    co_await ferry::with_task_group(body);
}
ferry::context_local<int> changed{0};
}  // namespace

TEST_CASE("K01: a running call is waited for, and delivers; one that is abandonable is left behind",
          "[bridge][cancellation][mt]") {
    progress runs;
    progress go_on;
    progress over;
    changed.reset();
    const auto call = [&] {
        runs.advance();
        go_on.wait_for();
        changed.set(5);
        over.advance();
        return 3;
    };
    int value = 0;
    bool next_throws = false;
    bool was_cancelled = false;
    int seen = -1;
    SECTION("waited for") {
        const auto call_that_hears_of_it = [&] {
            const ferry::stop_callback goes_on(ferry::this_call::stop_token(), [&]() noexcept { go_on.advance(); });
            return call();
        };
        const auto waits = [&]() -> task<> {
            value = co_await to_thread(call_that_hears_of_it);
            seen = changed.get();
            try {
                co_await ferry::yield_now();
            } catch (const ferry::cancelled&) {
                next_throws = true;
            }
        };
        ferry::run(cancel_when(runs, waits()));
        CHECK(value == 3);
        CHECK(next_throws);
        CHECK(seen == 5);
    }
    SECTION("left behind") {
        const auto waits = [&]() -> task<> {
            try {
                value = co_await to_thread(abandonable, call);
            } catch (const ferry::cancelled&) {
                was_cancelled = true;
                seen = changed.get();
                throw;
            }
        };
        ferry::run(cancel_when(runs, waits()));
        CHECK(was_cancelled);
        CHECK(value == 0);
        CHECK(seen == 0);
        go_on.advance();
        over.wait_for();
    }
}

TEST_CASE("K02: a call that is cancelled in the queue never runs", "[bridge][cancellation][mt]") {
    ferry::thread_pool one(1);
    progress holds;
    progress go_on;
    std::atomic<bool> ran{false};
    const auto hold = [&] {
        holds.advance();
        go_on.wait_for();
    };
    const auto until_it_runs = [&] { holds.wait_for(); };
    const auto queued = [&] { ran = true; };
    const auto never = [&](auto blocker, auto waiting) -> task<> {
        auto holding = ferry::spawn(std::move(blocker));
        co_await to_thread(until_it_runs);
        const auto ended = co_await ferry::try_timeout(1ms, std::move(waiting));
        CHECK(!ended);
        go_on.advance();
        co_await std::move(holding);
    };
    SECTION("of a pool") { ferry::run(never(to_thread(one, hold), to_thread(one, queued))); }
    SECTION("of a pool, abandonable") { ferry::run(never(to_thread(one, hold), to_thread(abandonable, one, queued))); }
    SECTION("of a home") { ferry::run(never(to_thread(thread_sensitive, hold), to_thread(thread_sensitive, queued))); }
    CHECK(!ran);
}

TEST_CASE("K03: the inner coroutine hears of it first, then the blocking code, then who awaits it",
          "[bridge][cancellation][mt]") {
    diary seen;
    progress asleep;
    progress over;
    const auto call = [&] {
        try {
            ferry::block_on(sleep_and_note(seen, asleep));
        } catch (const ferry::cancelled&) {
            seen.note("blocking code cancelled");
            over.advance();
            throw;
        }
    };
    const auto outer = [&](auto awaited) -> task<> {
        try {
            co_await std::move(awaited);
        } catch (const ferry::cancelled&) {
            seen.note("outer cancelled");
            throw;
        }
    };
    SECTION("waited for") {
        ferry::run(cancel_when(asleep, outer(to_thread(call))));
        CHECK(seen.notes() == notes{"inner cancelled", "blocking code cancelled", "outer cancelled"});
    }
    SECTION("waited for, at home") {
        ferry::block_on(cancel_when(asleep, outer(to_thread(thread_sensitive, call))));
        CHECK(seen.notes() == notes{"inner cancelled", "blocking code cancelled", "outer cancelled"});
    }
    SECTION("left behind: the outer one need not wait") {
        event_loop loop;
        loop.run(cancel_when(asleep, outer(to_thread(abandonable, call))));
        std::thread turns([&] {
            over.wait_for();
            loop.stop();
        });
        loop.run();  // the inner one is this loop's
        turns.join();
        const notes all = seen.notes();
        REQUIRE(all.size() == 3);
        CHECK(all[0] == "outer cancelled");
        CHECK(all[1] == "inner cancelled");
        CHECK(all[2] == "blocking code cancelled");
    }
}

TEST_CASE("K04: an inner coroutine may answer the cancellation with a value, and it stays pending above",
          "[bridge][cancellation][mt]") {
    progress asleep;
    progress over;
    std::atomic<int> in_call{0};
    int value = 0;
    bool next_throws = false;
    const auto seven = [&]() -> task<int> {
        try {
            asleep.advance();
            co_await ferry::sleep_for(1h);
        } catch (const ferry::cancelled&) {}
        co_return 7;
    };
    const auto call = [&] {
        in_call = ferry::block_on(seven());
        over.advance();
        return in_call.load();
    };
    const auto outer = [&](auto awaited) -> task<> {
        value = co_await std::move(awaited);
        try {
            co_await ferry::yield_now();
        } catch (const ferry::cancelled&) {
            next_throws = true;
        }
    };
    event_loop loop;
    SECTION("waited for") {
        loop.run(cancel_when(asleep, outer(to_thread(call))));
        CHECK(value == 7);
        CHECK(next_throws);
    }
    SECTION("left behind") {
        loop.run(cancel_when(asleep, outer(to_thread(abandonable, call))));
        std::thread turns([&] {
            over.wait_for();
            loop.stop();
        });
        loop.run();
        turns.join();
        CHECK(value == 0);
        CHECK(in_call == 7);
    }
}

namespace {
/// `layers` times a call that blocks on a coroutine that makes a call... around `innermost`.
task<int> through_layers(int layers, task<int> innermost) {
    if (layers == 0) co_return co_await std::move(innermost);
    const auto call = [&] { return ferry::block_on(through_layers(layers - 1, std::move(innermost))); };
    if (layers % 2 == 0) co_return co_await to_thread(call);
    co_return co_await to_thread(thread_sensitive, call);
}
}  // namespace

TEST_CASE("K05, K06, K07: what the innermost coroutine shields survives, through any number of layers",
          "[bridge][cancellation][mt]") {
    for (const int layers : {0, 1, 3, 5}) {
        for (const bool with_call : {false, true}) {
            progress begun;
            event_loop loop;
            ferry::event open(loop);
            bool survived = false;
            int value = 0;
            const auto work = [&]() -> task<int> {
                begun.advance();
                co_await open.wait();
                survived = true;
                co_return 9;
            };
            const auto blocks = [&] { return ferry::block_on(work()); };
            const auto view = [&]() -> task<int> {
                if (with_call) co_return co_await ferry::shield(to_thread(blocks));
                co_return co_await ferry::shield(work());
            };
            const auto outer = [&]() -> task<> { value = co_await through_layers(layers, view()); };
            const auto body = [&](ferry::task_group& group) -> task<> {
                group.start(outer());
                co_await to_thread([&begun] { begun.wait_for(); });
                group.cancel();
                co_await ferry::shield(ferry::sleep_for(1ms));
                open.set();
            };
            loop.run(ferry::with_task_group(body));
            CHECK(survived);
            CHECK(value == 9);
        }
    }
}

TEST_CASE("K08: clean-up after a cancellation may make calls, and block in them", "[bridge][cancellation][mt]") {
    progress asleep;
    std::string saved;
    const auto save = [&] { saved = "saved " + std::to_string(ferry::block_on([]() -> task<int> { co_return 1; }())); };
    const auto work = [&]() -> task<> {
        asleep.advance();
        co_await ferry::sleep_for(1h);
    };
    SECTION("on a pool") {
        ferry::run(cancel_when(asleep, ferry::with_cleanup(work(), to_thread(save))));
        CHECK(saved == "saved 1");
    }
    SECTION("at home") {
        ferry::block_on(cancel_when(asleep, ferry::with_cleanup(work(), to_thread(thread_sensitive, save))));
        CHECK(saved == "saved 1");
    }
}

TEST_CASE("K09: a cancellation reaches the innermost coroutine through every layer", "[bridge][cancellation][mt]") {
    for (const int layers : {1, 2, 3, 5}) {
        diary seen;
        progress asleep;
        const auto innermost = [&]() -> task<int> {
            co_await sleep_and_note(seen, asleep);
            co_return 1;
        };
        bool outer_cancelled = false;
        const auto outer = [&]() -> task<> {
            try {
                co_await through_layers(layers, innermost());
            } catch (const ferry::cancelled&) {
                outer_cancelled = true;
                throw;
            }
        };
        ferry::run(cancel_when(asleep, outer()));
        CHECK(seen.notes() == notes{"inner cancelled"});
        CHECK(outer_cancelled);
    }
}

TEST_CASE("K10: a second cancellation while the first one settles changes nothing", "[bridge][cancellation][mt]") {
    progress runs;
    progress go_on;
    int value = 0;
    const auto call = [&] {
        runs.advance();
        go_on.wait_for();
        return 4;
    };
    const auto waits = [&]() -> task<> { value = co_await to_thread(call); };
    const auto body = [&](ferry::task_group& group) -> task<> {
        group.start(waits());
        co_await to_thread([&runs] { runs.wait_for(); });
        for (int i = 0; i < 3; ++i) {
            group.cancel();
            co_await ferry::shield(ferry::sleep_for(0ms));
            CHECK(value == 0);
        }
        go_on.advance();
    };
    ferry::run(ferry::with_task_group(body));
    CHECK(value == 4);
}

TEST_CASE("K12: what a coroutine leaves behind on the loop that made the call lives on there",
          "[bridge][cancellation][mt]") {
    bool over = false;
    std::optional<ferry::future<void>> left;
    const auto background = [&]() -> task<> {
        co_await ferry::sleep_for(1ms);
        over = true;
    };
    const auto view = [&]() -> task<> {
        left = ferry::spawn(background());
        co_return;
    };
    const auto call = [&] { ferry::block_on(view()); };
    const auto body = [&]() -> task<> {
        co_await to_thread(call);
        co_await std::move(*left);
    };
    ferry::run(body());
    CHECK(over);
    over = false;
    ferry::block_on(body());  // nor does an inner block_on of a private loop end it
    CHECK(over);
}

TEST_CASE("K14: a call that its pool refuses leaves everything as it was", "[bridge][cancellation][mt]") {
    ferry::thread_pool closed(1);
    closed.close();
    const auto nothing = [] {};
    const auto here = [] { return std::this_thread::get_id(); };
    const auto refused = [&]() -> task<bool> {
        try {
            co_await to_thread(closed, nothing);
        } catch (const ferry::closed_error&) {
            co_return true;
        }
        co_return false;
    };
    const auto again = [&]() -> task<std::thread::id> {
        const ferry::thread_sensitive_scope one_thread;
        const bool was_refused = co_await refused();
        CHECK(was_refused);
        co_return co_await to_thread(thread_sensitive, here);
    };
    CHECK(ferry::block_on(again()) == std::this_thread::get_id());
    CHECK(ferry::run(again()) != std::this_thread::get_id());
}

TEST_CASE("blocking code sees the stop that is requested of its call", "[bridge][cancellation][mt]") {
    progress runs;
    std::atomic<bool> called_back{false};
    bool before = true;
    bool outside = true;
    const auto polls = [&] {
        const ferry::stop_token token = ferry::this_call::stop_token();
        const ferry::stop_callback note(token, [&]() noexcept { called_back = true; });
        before = token.stop_requested();
        runs.advance();
        while (!token.stop_requested()) std::this_thread::yield();
        return 1;
    };
    outside = ferry::this_call::stop_token().stop_possible();
    SECTION("on a pool") { ferry::run(cancel_when(runs, to_thread(polls))); }
    SECTION("abandonable") {
        progress over;
        const auto until_over = [&] {
            polls();
            over.advance();
        };
        ferry::run(cancel_when(runs, to_thread(abandonable, until_over)));
        over.wait_for();
    }
    SECTION("on the one sensitive thread") { ferry::run(cancel_when(runs, to_thread(thread_sensitive, polls))); }
    CHECK(!before);
    CHECK(!outside);
    CHECK(called_back);
}

TEST_CASE("a cancellation races the end of a call that blocks: it is delivered or cancelled, and over either way",
          "[bridge][cancellation][mt]") {
    ferry::thread_pool pool(3);
    int delivered = 0;
    int cancelled = 0;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        dice random(seed);
        ferry::shuffled_loop loop(seed);
        std::atomic<int> inside{0};
        const int yields = random.roll(6);
        const int kind = random.roll(3);
        const auto inner = [&]() -> task<int> {
            for (int i = 0; i < yields; ++i) co_await ferry::yield_now();
            co_return 1;
        };
        const auto call = [&, seed] {
            dice mine(seed * 7);
            inside.fetch_add(1);
            mine.dawdle();
            int value = 0;
            try {
                value = ferry::block_on(inner());
            } catch (...) {
                inside.fetch_sub(1);
                throw;
            }
            mine.dawdle();
            inside.fetch_sub(1);
            return value;
        };
        const auto outer = [&]() -> task<> {
            int value = 0;
            try {
                if (kind == 0) {
                    value = co_await to_thread(pool, call);
                } else {
                    value = co_await to_thread(thread_sensitive, call);
                }
            } catch (const ferry::cancelled&) {
                ++cancelled;
                CHECK(inside == 0);
                throw;
            }
            CHECK(inside == 0);
            delivered += value;
        };
        const auto body = [&](ferry::task_group& group) -> task<> {
            group.start(outer());
            for (int i = random.roll(12); i > 0; --i) co_await ferry::yield_now();
            random.dawdle();
            group.cancel();
        };
        const auto whole = [&]() -> task<> {
            const ferry::thread_sensitive_scope one_thread;
            co_await ferry::with_task_group(body);
        };
        loop.run(whole());
    }
    CHECK(delivered + cancelled == 300);
}

TEST_CASE("a call that may be left behind races its end: the result arrives, or it is dropped once",
          "[bridge][cancellation][mt]") {
    ferry::thread_pool pool(2);
    std::atomic<int> ended{0};
    int begun = 0;
    int delivered = 0;
    std::atomic<int> alive{0};
    class counted {
    public:
        explicit counted(std::atomic<int>& count) noexcept : count_(&count) { count_->fetch_add(1); }
        counted(const counted& other) noexcept : count_(other.count_) { count_->fetch_add(1); }
        counted& operator=(const counted&) = delete;
        ~counted() { count_->fetch_sub(1); }

    private:
        std::atomic<int>* count_;
    };
    const auto nothing = []() -> task<> { co_return; };
    const auto* const ask = &nothing;
    const auto call = [&ended, ask](int seed, const counted& own) {
        dice mine(static_cast<std::uint64_t>(seed));
        mine.dawdle();
        try {
            if (seed % 3 == 0) ferry::block_on((*ask)());
        } catch (const ferry::cancelled&) {
        } catch (const ferry::closed_error&) {}
        ended.fetch_add(1);
        return own;
    };
    {
        for (int seed = 1; seed <= 400; ++seed) {
            dice random(static_cast<std::uint64_t>(seed) * 3);
            ferry::shuffled_loop loop(static_cast<std::uint64_t>(seed));
            const auto outer = [&]() -> task<> {
                const counted own(alive);
                co_await to_thread(abandonable, pool, call, seed, own);
                ++delivered;
            };
            const auto body = [&](ferry::task_group& group) -> task<> {
                group.start(outer());
                for (int i = random.roll(8); i > 0; --i) co_await ferry::yield_now();
                random.dawdle();
                group.cancel();
            };
            loop.run(ferry::with_task_group(body));
            ++begun;
        }
    }
    const auto drained = [] {};
    ferry::run(to_thread(pool, drained));
    while (alive.load() != 0) std::this_thread::yield();
    CHECK(begun == 400);
    CHECK(delivered <= ended);
}
