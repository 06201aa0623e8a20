// tests/bridge/deadlock_scenarios_test.cpp - threads that wait for each other across loops and pools, and near misses
// SPDX-License-Identifier: BSL-1.0
#include "bridge/scenario.hpp"
#include "support/forked.hpp"

#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/core/error.hpp>
#include <ferry/deadlock/allowance.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/spawn.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::task;
using ferry::to_thread;
using ferry_test::await_blocked_threads;
using ferry_test::progress;
using ferry_test::strict;
using ferry_test::verdicts;
using namespace std::chrono_literals;

namespace {
task<int> answer(int value) { co_return value; }
int seven() { return 7; }
/// A coroutine that needs the pool.
task<int> needs_pool(ferry::thread_pool& pool) { co_return co_await to_thread(pool, seven); }
}  // namespace

DEADLOCK_SCENARIO(own_loop, "S01: a task that blocks on its own loop is refused at once, and the loop goes on") {
    event_loop loop;
    verdicts refused;
    const auto blocks = [&]() -> task<> {
        refused.refuses([&] { return ferry::block_on(loop, answer(1).named("load_user")); });
        co_return;
    };
    loop.run(blocks().named("render_page"));
    CHECK(refused.kind() == "same-thread");
    CHECK(refused.names("task render_page"));
    CHECK(refused.text().find("block_on(load_user)") != std::string::npos);
    CHECK(loop.run(answer(2)) == 2);
}

DEADLOCK_SCENARIO(other_threads_loop, "S01, near miss: a task that may block for a task of another thread's loop") {
    ferry::loop_thread there("there");
    const auto blocks = [&]() -> task<int> {
        const ferry::allow_blocking ok("the other loop is free");
        co_return ferry::block_on(there.loop(), answer(1));
    };
    CHECK(ferry::run(blocks()) == 1);
}

namespace {
class blocks_at_its_end {
public:
    explicit blocks_at_its_end(event_loop& loop) : loop_(loop) {}
    ~blocks_at_its_end() noexcept(false) { ferry::block_on(loop_, answer(1).named("flush")); }
    blocks_at_its_end(const blocks_at_its_end&) = delete;
    blocks_at_its_end& operator=(const blocks_at_its_end&) = delete;

private:
    event_loop& loop_;
};
}  // namespace

DEADLOCK_SCENARIO(destructor, "S02: a destructor that blocks on its own loop throws like any other code") {
    event_loop loop;
    verdicts refused;
    const auto blocks = [&]() -> task<> {
        refused.refuses([&] {
            const blocks_at_its_end local(loop);
            return 0;
        });
        co_return;
    };
    loop.run(blocks());
    CHECK(refused.kind() == "same-thread");
    CHECK(loop.run(answer(2)) == 2);
}

TEST_CASE("S02: during unwinding such a destructor ends the program, but not without a report", "[bridge][deadlock]") {
    static const ferry_test::forked* child = nullptr;
    static std::string text;
    ferry_test::forked process;
    if (process.is_child()) {
        child = &process;
        ferry::set_report_sink([](const char* report) noexcept { text = report; });
        std::set_terminate([] { child->say(text); });
        event_loop loop;
        const auto blocks = [&]() -> task<> {
            const blocks_at_its_end local(loop);
            throw std::runtime_error("the first exception");
            co_return;
        };
        loop.run(blocks());
        process.say("it lived");
    }
    const std::string said = process.said();
    CHECK(said.find("kind=same-thread") != std::string::npos);
    CHECK(said.find("block_on(flush)") != std::string::npos);
}

DEADLOCK_SCENARIO(exhausted, "S03, D04: of four calls that block for calls of their own pool of four, one is refused") {
    ferry::thread_pool pool(strict(4, "io"));
    verdicts refused;
    progress arrived;
    const auto job = [&] {
        arrived.advance();
        arrived.wait_for(4);
        return ferry::block_on(needs_pool(pool).named("fetch"));
    };
    const auto asks = [&]() -> task<int> { co_return co_await to_thread(pool, job); };
    int sum = 0;
    const auto body = [&]() -> task<> {
        std::vector<ferry::future<int>> all;
        for (int i = 0; i < 4; ++i) all.push_back(ferry::spawn(asks()));
        for (ferry::future<int>& each : all) {
            try {
                sum += co_await std::move(each);
            } catch (const ferry::deadlock_error&) {
                refused.keep(std::current_exception());
            }
        }
    };
    ferry::run(body());
    CHECK(refused.kind() == "pool-exhaustion");
    CHECK(refused.names("pool \"io\""));
    CHECK(refused.names("thread io/0"));
    CHECK(refused.names("thread io/3"));
    CHECK(refused.names("task fetch"));
    CHECK(sum == 21);
    CHECK(pool.metrics().blocked == 0);
    CHECK(pool.threads() == 4);
    CHECK(ferry::run(needs_pool(pool)) == 7);
}

DEADLOCK_SCENARIO(one_is_busy, "S05: a pool of four with one thread that is merely busy gets by") {
    ferry::thread_pool pool(strict(4, "io"));
    progress arrived;
    progress work;
    const auto blocks = [&] {
        arrived.advance();
        return ferry::block_on(needs_pool(pool));
    };
    const auto busy = [&] {
        arrived.advance();
        work.wait_for();
        return 7;
    };
    const auto asks = [&](bool is_busy) -> task<int> {
        if (is_busy) co_return co_await to_thread(pool, busy);
        co_return co_await to_thread(pool, blocks);
    };
    std::thread other([&] {
        arrived.wait_for(4);
        await_blocked_threads(3);
        work.advance();
    });
    int sum = 0;
    const auto body = [&]() -> task<> {
        std::vector<ferry::future<int>> all;
        for (int i = 0; i < 4; ++i) all.push_back(ferry::spawn(asks(i == 1)));
        for (ferry::future<int>& each : all) sum += co_await std::move(each);
    };
    ferry::run(body());
    other.join();
    CHECK(sum == 28);
}

DEADLOCK_SCENARIO(two_loops,
                  "S06: two loops block for each other; the second is refused, and the first gets its answer") {
    verdicts refused;
    int of_b = 0;
    {
        ferry::loop_thread a("loop_a");
        ferry::loop_thread b("loop_b");
        progress b_is_in_its_turn;
        progress over;
        a.loop().post([&] {
            const ferry::allow_blocking ok("a test");
            b_is_in_its_turn.wait_for();
            of_b = ferry::block_on(b.loop(), answer(2).named("answer_of_b"));
            over.advance();
        });
        b.loop().post([&] {
            const ferry::allow_blocking ok("a test");
            b_is_in_its_turn.advance();
            await_blocked_threads(1);
            refused.refuses([&] { return ferry::block_on(a.loop(), answer(1).named("answer_of_a")); });
            over.advance();
        });
        over.wait_for(2);
        CHECK(ferry::block_on(a.loop(), answer(3)) == 3);
        CHECK(ferry::block_on(b.loop(), answer(4)) == 4);
    }
    CHECK(of_b == 2);
    CHECK(refused.kind() == "loop-cycle");
    for (const char* party : {"thread loop_a", "thread loop_b", "task answer_of_a", "task answer_of_b"}) {
        CHECK(refused.names(party));
    }
    CHECK(refused.lines() == 4);
}

DEADLOCK_SCENARIO(loops_in_turn, "S06, near miss: two loops block for each other one after the other") {
    ferry::loop_thread a("loop_a");
    ferry::loop_thread b("loop_b");
    auto there = ferry::spawn(a.loop(), [&]() -> task<int> {
        const ferry::allow_blocking ok("a test");
        co_return ferry::block_on(b.loop(), answer(2));
    });
    CHECK(there.get() == 2);
    auto back = ferry::spawn(b.loop(), [&]() -> task<int> {
        const ferry::allow_blocking ok("a test");
        co_return ferry::block_on(a.loop(), answer(1));
    });
    CHECK(back.get() == 1);
}

namespace {
/// `count` loops in a ring, each of which blocks for the next one; all begin at about the same time, after a number of steps
/// drawn from `seed`. `open` is one that does not block, or -1.
void ring(std::size_t count, unsigned seed, int open, verdicts& refused, std::atomic<int>& answered) {
    std::vector<std::optional<ferry::loop_thread>> loops(count);
    for (auto& each : loops) each.emplace("ring");
    progress in_turn;
    std::mt19937 random(seed);
    std::vector<ferry::future<void>> all;
    for (std::size_t i = 0; i < count; ++i) {
        const unsigned steps = static_cast<unsigned>(random() % 300);
        event_loop& next = loops[(i + 1) % count]->loop();
        const bool blocks = static_cast<int>(i) != open;
        all.push_back(ferry::spawn(loops[i]->loop(), [&, steps, blocks, &next = next]() -> task<> {
            in_turn.advance();
            in_turn.wait_for(static_cast<int>(count));
            for (unsigned step = 0; step < steps; ++step) std::atomic_signal_fence(std::memory_order_seq_cst);
            const ferry::allow_blocking ok("a test");
            if (blocks) refused.refuses([&] { return answered += ferry::block_on(next, answer(1)); });
            co_return;
        }));
    }
    for (ferry::future<void>& each : all) each.get();
}
}  // namespace

DEADLOCK_SCENARIO(three_loops, "S07: of three loops that block in a ring, in any order, exactly one is refused") {
    for (unsigned seed = 0; seed < 5; ++seed) {
        verdicts refused;
        std::atomic<int> answered{0};
        ring(3, seed, -1, refused, answered);
        CHECK(refused.kind() == "loop-cycle");
        CHECK(answered == 2);
    }
}

DEADLOCK_SCENARIO(open_ring, "S07, near miss: a ring of four loops in which one does not block") {
    verdicts refused;
    std::atomic<int> answered{0};
    ring(4, 7, 2, refused, answered);
    CHECK(refused.count() == 0);
    CHECK(answered == 3);
}

namespace {
/// Blocking code, a coroutine, thread-sensitive blocking code, and so on; adds up the levels that run on `home`.
int down(std::thread::id home, int levels);
task<int> further_down(std::thread::id home, int levels) {
    co_return co_await to_thread(ferry::thread_sensitive, &down, home, levels);
}
int down(std::thread::id home, int levels) {
    const int here = std::this_thread::get_id() == home ? 1 : 0;
    return levels == 0 ? here : here + ferry::block_on(further_down(home, levels - 1));
}
}  // namespace

DEADLOCK_SCENARIO(nesting,
                  "S11: fifty levels of blocking code and coroutines, thread-sensitive ones: all on one thread") {
    CHECK(down(std::this_thread::get_id(), 50) == 51);
}

DEADLOCK_SCENARIO(lending,
                  "S12, D01: a thread-sensitive call blocks for a thread-sensitive call, which runs on its thread") {
    round.threads_stay();
    const auto body = [&]() -> task<bool> {
        const auto nested = [] { return down(std::this_thread::get_id(), 1); };
        co_return co_await to_thread(ferry::thread_sensitive, nested) == 2;
    };
    CHECK(ferry::run(body()));  // no home: the process's sensitive thread
    const auto scoped = [&]() -> task<bool> {
        const ferry::thread_sensitive_scope one_thread;
        co_return co_await body();
    };
    CHECK(ferry::run(scoped()));
    CHECK(ferry::block_on(ferry::on_private_loop, body()));
}

DEADLOCK_SCENARIO(closed_loop,
                  "S18: a thread that blocks on a loop that is closed gets closed_error, and no frame stays") {
    event_loop loop;
    std::atomic<int> ended{0};
    const auto waits = [&]() -> task<> {
        ferry::promise<void> never;
        co_await never.get_future();
    };
    std::thread blocked([&] {
        try {
            ferry::block_on(loop, waits());
        } catch (const ferry::closed_error&) {
            ++ended;
        }
    });
    await_blocked_threads(1);
    loop.run_once();
    loop.close();
    blocked.join();
    CHECK(ended == 1);
    CHECK_THROWS_AS(ferry::block_on(loop, answer(1)), ferry::closed_error);
}

DEADLOCK_SCENARIO(destroyed_loop, "S19: so does one whose task was still queued when the loop was destroyed") {
    std::atomic<int> ended{0};
    std::optional<event_loop> loop(std::in_place);
    std::thread blocked([&, &target = *loop] {
        try {
            ferry::block_on(target, answer(1));
        } catch (const ferry::closed_error&) {
            ++ended;
        }
    });
    await_blocked_threads(1);
    loop.reset();
    blocked.join();
    CHECK(ended == 1);
}

DEADLOCK_SCENARIO(late_loop, "S19, near miss: the loop is run at last") {
    event_loop loop;
    int got = 0;
    std::thread blocked([&] { got = ferry::block_on(loop, answer(1)); });
    await_blocked_threads(1);
    loop.run_until_idle();
    blocked.join();
    CHECK(got == 1);
}
