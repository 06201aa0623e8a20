// tests/bridge/differences_test.cpp - where ferry differs from asgiref on purpose, as a table
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_sensitive.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/context_local.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include "bridge/progress.hpp"
#include "support/catch.hpp"

#include <optional>
#include <thread>
#include <utility>

using ferry::event_loop;
using ferry::task;
using ferry::thread_sensitive;
using ferry::to_thread;

namespace {
using id = std::thread::id;
id here() { return std::this_thread::get_id(); }
task<id> where() {
    co_await ferry::yield_now();
    co_return here();
}
task<id> sensitive() { co_return co_await to_thread(thread_sensitive, here); }
ferry::context_local<int> variable{0};

bool runs_on_the_callers_thread() {
    bool on_its_own = false;
    std::thread([&] { on_its_own = ferry::block_on(where()) == here(); }).join();
    return on_its_own && ferry::block_on(where()) == here();
}
bool has_one_loop_for_many_calls() {
    ferry::loop_thread background;
    background.make_default();
    const auto which = []() -> task<event_loop*> { co_return event_loop::current(); };
    return ferry::block_on(which()) == &background.loop() && ferry::block_on(which()) == &background.loop();
}
bool scopes_run_side_by_side() {
    ferry_test::progress met;
    const auto meet = [&] {
        met.advance();
        met.wait_for(2);
    };
    const auto scoped = [&]() -> task<> {
        const ferry::thread_sensitive_scope one_thread;
        co_await to_thread(thread_sensitive, meet);
    };
    const auto both = [&]() -> task<> { co_await ferry::when_all(scoped(), scoped()); };
    ferry::run(both());
    return true;
}
bool carries_a_reset_back() {
    variable.set(1);
    const auto resets = [] { variable.reset(); };
    ferry::block_on(to_thread(resets));
    return variable.get() == 0;
}
bool falls_back_to_the_sensitive_thread() {
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
    const auto call = [&] { ferry::block_on(view()); };
    event_loop loop;
    loop.run(to_thread(thread_sensitive, call));
    go_on.set_value();
    return loop.run(std::move(*left)) == ferry::run(sensitive());
}
bool runs_a_loop_on_the_sensitive_thread() {
    const auto runs_a_loop = [] { return ferry::run(sensitive()) == here(); };
    return ferry::run(to_thread(thread_sensitive, runs_a_loop));
}
bool refuses_to_pump_inside_a_turn() {
    const auto body = []() -> task<bool> {
        try {
            ferry::block_on(where());
        } catch (const ferry::deadlock_error&) {
            co_return true;
        }
        co_return false;
    };
    return ferry::run(body());
}
bool has_no_flag_that_children_inherit() {
    // A child of a task that is in a thread-sensitive call makes one, too: it is queued, and refused nothing.
    std::optional<ferry::future<id>> child;
    const auto starts = []() -> task<id> { co_return co_await sensitive(); };
    const auto view = [&]() -> task<> {
        child = ferry::spawn(starts());
        co_return;
    };
    const auto call = [&] {
        ferry::block_on(view());
        return here();
    };
    const auto body = [&]() -> task<bool> {
        const id there = co_await to_thread(thread_sensitive, call);
        const id of_child = co_await std::move(*child);
        co_return there == of_child;
    };
    return ferry::run(body());
}

struct difference {
    const char* ids;
    const char* reference;
    const char* ferry;
    bool (*holds)();
};
// K01 and K04 are in cancellation_across_test, B12 in callables_test, N21 and N22 in placement_test.
const difference table[] = {
    {"N01, N12, N13, 370", "a new thread with a new loop for each call", "a loop that the calling thread keeps",
     &runs_on_the_callers_thread},
    {"C09-C13, 511, 542", "one thread, but a new loop for each call", "a default loop", &has_one_loop_for_many_calls},
    {"B02, N05, 218, 316", "one global thread for all requests", "scopes side by side", &scopes_run_side_by_side},
    {"X05, 399, 478", "what is reset does not travel back", "it does", &carries_a_reset_back},
    {"N20, 491, 526", "the executor already quit or is broken", "the next home out, else the sensitive thread",
     &falls_back_to_the_sensitive_thread},
    {"D01", "would deadlock", "the thread serves while it runs its own loop", &runs_a_loop_on_the_sensitive_thread},
    {"56, 57", "a wish for a nested pump", "never: deadlock_error with advice", &refuses_to_pump_inside_a_turn},
    {"D08, 275, 323, 348, 495", "a copied flag refuses what would not deadlock", "there is no flag",
     &has_no_flag_that_children_inherit},
};
}  // namespace

TEST_CASE("where ferry differs from the reference on purpose", "[bridge][differences][mt]") {
    for (const difference& each : table) {
        INFO(each.ids << ": " << each.reference << " there; here " << each.ferry);
        CHECK(each.holds());
    }
}
