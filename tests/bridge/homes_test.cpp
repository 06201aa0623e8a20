// tests/bridge/homes_test.cpp - what holds for homes, their queues and the loops that their threads drive, at the edges
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/this_call.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/bridge/thread_sensitive.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/core/shield.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/on.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include "bridge/progress.hpp"
#include "core/frame_count.hpp"
#include "support/catch.hpp"
#include "support/forked.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
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

namespace {
std::thread::id here() { return std::this_thread::get_id(); }
task<int> value(int number) {
    co_await ferry::yield_now();
    co_return number;
}
task<> sleep_and_note(std::vector<std::string>& notes) {
    try {
        co_await ferry::sleep_for(1h);
    } catch (const ferry::cancelled&) {
        notes.emplace_back("cancelled");
        throw;
    }
}
/// A call made without any home comes to the one sensitive thread of the process.
std::thread::id last_resort() {
    event_loop loop;
    return loop.run(to_thread(thread_sensitive, here));
}

bool wait_for_a_moment() {
    ferry::promise<int> never;
    const auto future = never.get_future();
    const bool came = future.wait_for(1ms);
    never.set_value(1);
    return came;
}
}  // namespace

TEST_CASE("a wait with a time limit ends on time although the loop beneath has tasks", "[bridge][homes]") {
    const auto body = []() -> task<bool> {
        { auto left = ferry::spawn(ferry::sleep_for(1h)); }
        co_await ferry::yield_now();
        co_return co_await to_thread(thread_sensitive, wait_for_a_moment);
    };
    CHECK(!ferry::block_on(body()));
}

TEST_CASE("a thread that waits serves calls and drives its loop in turns", "[bridge][homes]") {
    class busy_loop final : public ferry::detail::drivable {
    public:
        int turns = 0;

    private:
        bool turn() noexcept override { return ++turns > 0; }
        bool sleep_until(ferry::detail::thread_parker&, std::chrono::steady_clock::time_point) noexcept override {
            return true;
        }
        bool spin(const ferry::detail::thread_parker&) noexcept override { return false; }
        [[nodiscard]] const ferry::detail::wait_node& loop_record() const noexcept override {
            return ferry::detail::record_of_this_thread();
        }
    };
    class flooded final : public ferry::detail::wait_service {
    public:
        int calls = 0;
        [[nodiscard]] bool has_call() const noexcept override { return true; }
        bool serve_call() noexcept override { return ++calls > 0; }
    };
    flooded service;
    busy_loop loop;
    const ferry::detail::wait_service::driving inside(service, loop);
    ferry::detail::blocked_part blocked;
    for (int i = 0; i < 100; ++i) CHECK(service.serve(blocked));
    CHECK(service.calls == 50);
    CHECK(loop.turns == 50);
}

TEST_CASE("on() takes the home along: a thread-sensitive call over there comes back", "[bridge][homes][mt]") {
    ferry::loop_thread elsewhere;
    const auto over_there = [&]() -> task<std::thread::id> { co_return co_await to_thread(thread_sensitive, here); };
    const auto body = [&]() -> task<std::thread::id> { co_return co_await ferry::on(elsewhere.loop(), over_there()); };
    CHECK(ferry::block_on(body()) == here());
}

TEST_CASE("a scope opened where every home has gone leases a thread of its own", "[bridge][homes][mt]") {
    const std::thread::id sensitive = last_resort();
    ferry::loop_thread background;
    ferry::promise<void> gone;
    std::optional<ferry::future<std::thread::id>> later;
    const auto in_scope = [&](ferry::future<void> until) -> task<std::thread::id> {
        co_await std::move(until);
        const ferry::thread_sensitive_scope one_thread;
        const std::thread::id first = co_await to_thread(thread_sensitive, here);
        const std::thread::id second = co_await to_thread(thread_sensitive, here);
        CHECK(first == second);
        co_return first;
    };
    const auto start = [&]() -> task<> {
        later = ferry::spawn(in_scope(gone.get_future()));
        co_return;
    };
    ferry::block_on(background.loop(), start());
    gone.set_value();
    const std::thread::id there = later->get();
    CHECK(there != sensitive);
    CHECK(there != here());
}

TEST_CASE("homes that have gone are not kept by those who come after them", "[bridge][homes]") {
    // Each task starts the next one from a block_on beneath a call of its own, so it is one home further down the stack.
    const auto step = [](auto& self, int left, std::int64_t& at_the_end) -> task<> {
        if (left == 0) {
            at_the_end = ferry::detail::frame_allocator::live();
            co_return;
        }
        const auto start = [&]() -> task<> {
            { auto next = ferry::spawn(self(self, left - 1, at_the_end)); }
            co_return;
        };
        const auto call = [&] { ferry::block_on(start()); };
        co_await to_thread(thread_sensitive, call);
    };
    std::int64_t after_ten = 0;
    std::int64_t after_thousand = 0;
    event_loop loop;
    loop.spawn(step(step, 10, after_ten));
    while (after_ten == 0) loop.run_once(1ms);
    loop.spawn(step(step, 1000, after_thousand));
    while (after_thousand == 0) loop.run_once(1ms);
    CHECK(after_thousand <= after_ten + 100);
}

TEST_CASE("calls of a frame that returns keep their places in the queue of their thread", "[bridge][homes][order]") {
    // In the last turn of the inner frame "inner" comes to it, and "outer" to the frame beneath, whose thread is the same.
    const ferry_test::frame_count frames;
    std::vector<std::string> order;
    const auto note = [&](const char* text) { order.emplace_back(text); };
    const auto call = [&](const char* text) -> task<> { co_await to_thread(thread_sensitive, note, text); };
    std::optional<ferry::event> open;
    const auto outer_task = [&]() -> task<> {
        co_await open->wait();
        co_await call("outer");
    };
    std::optional<ferry::future<void>> inner_call;
    const auto inner_frame = [&]() -> task<> {
        inner_call = ferry::spawn(call("inner"));
        open->set();
        co_await ferry::yield_now();
    };
    const auto blocks = [&] { ferry::block_on(inner_frame()); };
    const auto body = [&]() -> task<> {
        open.emplace(*event_loop::current());
        auto outer_call = ferry::spawn(outer_task());
        co_await ferry::yield_now();
        co_await to_thread(thread_sensitive, blocks);
        co_await std::move(*inner_call);
        co_await std::move(outer_call);
    };
    ferry::block_on(body());
    CHECK(order == std::vector<std::string>{"inner", "outer"});
}

TEST_CASE("a loop that is run in a thread-sensitive call does not bury the loop beneath it", "[bridge][homes]") {
    const ferry_test::frame_count frames;
    ferry::promise<void> release;
    const auto until = [](ferry::future<void> released) -> task<> { co_await std::move(released); };
    const auto runs_a_loop = [&] { ferry::run(until(release.get_future())); };
    int sum = 0;
    std::optional<ferry::future<int>> spawned;
    const auto blocks = [&] {
        sum += ferry::block_on(value(1));
        sum += spawned->get();
        sum += ferry::block_on(ferry::on_private_loop, value(4));
        release.set_value();
    };
    const auto body = [&]() -> task<> {
        spawned = ferry::spawn(value(2));
        co_await ferry::when_all(to_thread(thread_sensitive, runs_a_loop), to_thread(thread_sensitive, blocks));
    };
    ferry::block_on(body());
    CHECK(sum == 7);
}

TEST_CASE("D01: sync code on the sensitive thread runs a loop of its own, whose calls come back to it",
          "[bridge][homes][mt]") {
    const auto runs_a_loop = [] {
        event_loop own;
        return std::pair(here(), own.run(to_thread(thread_sensitive, here)));
    };
    event_loop loop;
    const auto both = loop.run(to_thread(thread_sensitive, runs_a_loop));
    CHECK(both.first == both.second);
    CHECK(both.first != here());
}

TEST_CASE("K11: a private loop that another loop's run lies beneath ends what is left behind, too",
          "[bridge][homes][mt]") {
    std::vector<std::string> notes;
    const auto leave_behind = [&]() -> task<> {
        { auto left = ferry::spawn(sleep_and_note(notes)); }
        co_await ferry::yield_now();
    };
    bool ended = false;
    const auto blocks = [&] {
        ferry::block_on(ferry::on_private_loop, leave_behind());
        ended = notes.size() == 1;
    };
    const auto runs_a_loop = [&] {
        event_loop own;
        own.run(to_thread(thread_sensitive, blocks));
    };
    event_loop loop;
    loop.run(to_thread(thread_sensitive, runs_a_loop));
    CHECK(ended);
}

TEST_CASE("block_on a loop that closes on this very thread gets closed_error", "[bridge][homes][mt]") {
    std::string what;
    const auto blocks = [&] {
        try {
            ferry::block_on(ferry::sleep_for(1h));
        } catch (const ferry::closed_error& caught) {
            what = caught.what();
        }
    };
    const auto cleaned_up = [&]() -> task<> {
        const auto body = []() -> task<> { co_await ferry::sleep_for(1h); };
        const auto cleanup = [&]() -> task<> { co_await to_thread(thread_sensitive, blocks); };
        co_await ferry::with_cleanup(body(), cleanup());
    };
    const auto closes_a_loop = [&] {
        event_loop own;
        { auto left = own.spawn(cleaned_up()); }
        own.run_once();
        own.run_once();
        own.close();
    };
    event_loop loop;
    loop.run(to_thread(thread_sensitive, closes_a_loop));
    CHECK(what.find("closed") != std::string::npos);
}

TEST_CASE("raising the number of leases gives threads to the scopes that wait", "[bridge][homes][mt]") {
    ferry::thread_sensitive_scope::set_max_leases(1);
    progress holds;
    progress go_on;
    const auto hold = [&] {
        holds.advance();
        go_on.wait_for();
    };
    const auto first = [&]() -> task<> {
        const ferry::thread_sensitive_scope one_thread;
        co_await to_thread(thread_sensitive, hold);
    };
    const auto release = [&] { go_on.advance(); };
    const auto second = [&]() -> task<> {
        const ferry::thread_sensitive_scope one_thread;
        co_await to_thread(thread_sensitive, release);
    };
    event_loop loop;
    auto one = loop.spawn(first());
    loop.run_once();
    holds.wait_for();
    auto other = loop.spawn(second());
    loop.run_once();
    ferry::thread_sensitive_scope::set_max_leases(2);
    loop.run(std::move(one));
    loop.run(std::move(other));
    ferry::thread_sensitive_scope::set_max_leases(32);
}

TEST_CASE("calls that come to a scope at once run on one thread, however many are idle", "[bridge][homes][mt]") {
    event_loop loop;
    progress met;
    const auto meet = [&] {
        met.advance();
        met.wait_for(4);
    };
    const auto one_of_four = [&]() -> task<> {
        const ferry::thread_sensitive_scope one_thread;
        co_await to_thread(thread_sensitive, meet);
    };
    const auto four = [&]() -> task<> {
        co_await ferry::when_all(one_of_four(), one_of_four(), one_of_four(), one_of_four());
    };
    loop.run(four());
    const auto at_once = [&]() -> task<bool> {
        const ferry::thread_sensitive_scope one_thread;
        const auto ids = co_await ferry::when_all(to_thread(thread_sensitive, here), to_thread(thread_sensitive, here),
                                                  to_thread(thread_sensitive, here));
        co_return std::get<0>(ids) == std::get<1>(ids) && std::get<1>(ids) == std::get<2>(ids);
    };
    int wrong = 0;
    for (int round = 0; round < 300; ++round) wrong += !loop.run(at_once());
    CHECK(wrong == 0);
}

TEST_CASE("a stop token that outlives its call can stop no more", "[bridge][homes][mt]") {
    const auto keep = [] { return ferry::this_call::stop_token(); };
    event_loop loop;
    const ferry::stop_token token = loop.run(to_thread(keep));
    CHECK(!token.stop_requested());
    CHECK(!token.stop_possible());
}

TEST_CASE("what a call that was left behind owns may block in its destructor", "[bridge][homes][mt]") {
    progress runs;
    progress go_on;
    progress over;
    int answer = 0;
    std::shared_ptr<int> owned(new int(3), [&](int* number) {
        answer = ferry::block_on(ferry::shield(value(*number)));  // the call was asked to stop
        delete number;
        over.advance();
    });
    const auto blocks = [&](const std::shared_ptr<int>&) {
        runs.advance();
        go_on.wait_for();
    };
    event_loop loop;
    auto left = loop.spawn(to_thread(ferry::abandonable, blocks, std::move(owned)));
    loop.run_once();
    runs.wait_for();
    loop.close();
    go_on.advance();
    over.wait_for();
    CHECK(answer == 3);
}

TEST_CASE("a child that is forked in a call which came home to block_on is refused the parent's loop",
          "[bridge][homes][fork]") {
    ferry::loop_thread background;
    std::optional<ferry_test::forked> fork;
    const auto forks = [&] { fork.emplace(); };
    const auto body = [&]() -> task<> { co_await to_thread(thread_sensitive, forks); };
    const auto blocks = [&](bool elsewhere) -> std::string {
        std::string text = "returned";
        try {
            elsewhere ? ferry::block_on(background.loop(), body()) : ferry::block_on(body());
        } catch (const ferry::closed_error& refused) {
            text = refused.what();
        }
        if (!fork->is_child()) return fork->said();
        text += ", then " + std::to_string(ferry::block_on(value(7)));
        fork->say(text);
    };
    for (const bool elsewhere : {false, true}) {
        const std::string said = blocks(elsewhere);
        CHECK(said.find("belongs to the process that forked this one") != std::string::npos);
        CHECK(said.find(", then 7") != std::string::npos);
    }
}
