// tests/bridge/deadlock_hang_test.cpp - waits that can still end, but take long, or end only by a limit: reports, no errors
// SPDX-License-Identifier: BSL-1.0
#include "bridge/scenario.hpp"
#include "support/hang_limit.hpp"

#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_channel.hpp>
#include <ferry/core/shield.hpp>
#include <ferry/core/stop_token.hpp>
#include <ferry/deadlock/hang.hpp>
#include <ferry/deadlock/wait_options.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/shared_future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

using ferry::event_loop;
using ferry::task;
using ferry::to_thread;
using ferry_test::await_blocked_threads;
using ferry_test::hang_limit;
using ferry_test::progress;
using ferry_test::strict;
using namespace std::chrono_literals;

namespace {
void await_reports(const ferry_test::reports& told, std::size_t count) {
    while (told.count() < count) std::this_thread::yield();
}
/// "waits in block_on (tests/... .cpp:12) for load_user"
std::string at(int line, const std::string& before, const std::string& after) {
    return before + " (" + __FILE__ + ":" + std::to_string(line) + ") " + after;
}
task<int> answer(int value) { co_return value; }
int seven() { return 7; }
}  // namespace

DEADLOCK_SCENARIO(slow_producer,
                  "S15: a wait for a promise that is kept late is reported, with doubling, and called off") {
    const hang_limit soon(2ms);
    ferry::promise<int> promise;
    ferry::future<int> result = promise.get_future();
    std::thread producer([&] {
        await_reports(round.told, 3);
        promise.set_value(1);
    });
    CHECK(result.get() == 1);
    producer.join();
    CHECK(round.told.count() >= 4);
    CHECK(round.told.mention("hang: future::get has waited for 0."));
    CHECK(round.told.mention(" s\n  the main thread waits in future::get ("));
    CHECK(round.told.mention("hang: future::get has ended after all, after 0."));
    round.told.clear();
}

DEADLOCK_SCENARIO(quick_producer, "S15, near miss: one that is kept in time") {
    ferry::promise<int> promise;
    ferry::future<int> result = promise.get_future();
    std::thread producer([&] {
        await_blocked_threads(1);
        promise.set_value(1);
    });
    CHECK(result.get() == 1);
    producer.join();
}

DEADLOCK_SCENARIO(nobody_reports,
                  "near miss: running a loop, an idle pool and a thread_channel may take as long as they like") {
    ferry::thread_pool pool(strict(1, "idle"));
    const hang_limit soon(1ms);
    ferry::thread_channel<int> channel(1);
    std::optional<int> got;
    std::thread pops([&] { got = channel.pop(); });
    const auto body = [&]() -> task<> {
        co_await to_thread(pool, seven);
        co_await ferry::sleep_for(5ms);
    };
    ferry::run(body());
    CHECK(channel.try_push(1));
    pops.join();
    CHECK(got == 1);
}

namespace {
/// Two threads have promised each other a result and say so; `last`: how the second one waits for that of the first.
template <class Last>
void in_a_circle(Last last) {
    ferry::promise<int> first;
    ferry::promise<int> second;
    ferry::future<int> first_result = first.get_future();
    ferry::future<int> second_result = second.get_future();
    std::thread other([&] {
        second.produced_by_this_thread();
        second.set_value(first_result.get());
    });
    await_blocked_threads(1);
    first.produced_by_this_thread();
    last(second_result);
    first.set_value(1);
    other.join();
    CHECK(second_result.get() == 1);
}
}  // namespace

DEADLOCK_SCENARIO(limited, "S16: a wait with a time limit that closes a circle gets a warning, and ends by its limit") {
    in_a_circle([&](ferry::future<int>& result) { CHECK(!result.wait_for(2ms)); });
    CHECK(round.told.count() == 1);
    CHECK(round.told.mention("will end only by its time limit"));
    CHECK(round.told.mention("has promised"));
    round.told.clear();
}

DEADLOCK_SCENARIO(stoppable,
                  "S17: a wait with a stop token that closes a circle is suspected, and ends when it is asked to") {
    ferry::stop_source stop;
    std::thread stops([&] {
        await_reports(round.told, 1);
        stop.request_stop();
    });
    in_a_circle([&](ferry::future<int>& result) { CHECK(!result.wait(stop.get_token())); });
    stops.join();
    CHECK(round.told.count() == 1);
    CHECK(round.told.mention("deadlock suspected: this wait will end only by a stop request"));
    CHECK(round.told.mention("the main thread waits in future::wait"));
    round.told.clear();
}

DEADLOCK_SCENARIO(shared_stoppable, "S17: the same of a shared_future") {
    ferry::stop_source stop;
    ferry::promise<int> first;
    ferry::promise<int> second;
    ferry::future<int> first_result = first.get_future();
    const ferry::shared_future<int> second_result = second.get_future().share();
    std::thread other([&] {
        second.produced_by_this_thread();
        second.set_value(first_result.get());
    });
    std::thread stops([&] {
        await_reports(round.told, 1);
        stop.request_stop();
    });
    await_blocked_threads(1);
    first.produced_by_this_thread();
    CHECK(!second_result.wait(stop.get_token()));
    first.set_value(2);
    CHECK(second_result.wait(stop.get_token()) == second_result.is_ready());
    other.join();
    stops.join();
    CHECK(second_result.get() == 2);
    CHECK(round.told.mention("deadlock suspected"));
    round.told.clear();
}

DEADLOCK_SCENARIO(stop_in_time, "S17, near miss: a wait with a stop token, outside of any circle") {
    ferry::stop_source stop;
    ferry::promise<int> promise;
    ferry::future<int> result = promise.get_future();
    std::thread stops([&] {
        await_blocked_threads(1);
        stop.request_stop();
    });
    CHECK(!result.wait(stop.get_token()));
    stops.join();
    CHECK(!result.wait(stop.get_token()));  // at once
    promise.set_value(1);
    CHECK(result.wait(stop.get_token()));
    CHECK(result.wait(ferry::stop_token()));
    CHECK(result.get() == 1);
}

DEADLOCK_SCENARIO(late_token,
                  "a token left by an earlier wait does not keep a thread from sleeping, and from its report") {
    ferry::thread_pool pool(strict(1, "db"));
    const auto until_told = [&] {
        await_reports(round.told, 1);
        return 7;
    };
    const auto calls = [&]() -> task<int> { co_return co_await to_thread(pool, until_told); };
    const hang_limit soon(20ms);
    ferry::detail::thread_parker::of_this_thread().unpark();
    CHECK(ferry::block_on(ferry::on_private_loop, calls()) == 7);
    CHECK(round.told.count() >= 2);
    round.told.clear();
}

DEADLOCK_SCENARIO(stopped_loop,
                  "S18, D05: a thread that blocks on a loop that was only stopped is reported, and served later") {
    const hang_limit soon(2ms);
    event_loop loop;
    loop.run_once();
    int got = 0;
    int line = 0;
    std::thread blocked([&] {
        line = __LINE__ + 1;
        got = ferry::block_on(loop, answer(3).named("load_user"));
    });
    await_reports(round.told, 2);
    loop.run_until_idle();
    blocked.join();
    CHECK(got == 3);
    CHECK(round.told.mention("hang: block_on has waited for 0."));
    CHECK(round.told.mention(" s\n  thread "));
    CHECK(round.told.mention(at(line, "waits in block_on", "for load_user\n")));
    CHECK(round.told.mention("hang: block_on has ended after all"));
    round.told.clear();
}

DEADLOCK_SCENARIO(foreign_lock,
                  "D06: a lock that ferry does not know, held over a call that wants it, is reported with the chain") {
    ferry::thread_pool pool(strict(2, "db"));
    std::mutex foreign;
    const auto wants = [&] {
        // As foreign.lock(), until the report has come.
        while (!foreign.try_lock()) {
            if (round.told.count() > 0) return 7;
            std::this_thread::yield();
        }
        foreign.unlock();
        return 0;
    };
    const auto uses = [&]() -> task<int> { co_return co_await to_thread(pool, wants); };
    int line = 0;
    {
        const hang_limit soon(20ms);
        const std::lock_guard held(foreign);
        line = __LINE__ + 1;
        CHECK(ferry::block_on(ferry::on_private_loop, uses().named("use_lock")) == 7);
    }
    CHECK(round.told.mention("hang: block_on has waited for 0."));
    CHECK(round.told.mention(" s\n  the main thread waits in block_on ("));
    CHECK(round.told.mention(at(line, "waits in block_on", "for use_lock\n")));
    CHECK(round.told.mention("task use_lock waits in to_thread ("));
    CHECK(round.told.mention("deadlock_hang_test.cpp:"));
    CHECK(round.told.mention(" for its call, which thread db/0 runs"));
    round.told.clear();
}

namespace {
/// Tells of a report without ordering anything before or after it.
std::atomic<bool> has_been_reported{false};
void note_report(const char*) noexcept { has_been_reported.store(true, std::memory_order_relaxed); }
}  // namespace

TEST_CASE("a report names a pool's thread while that is there: it may leave at any moment", "[bridge][deadlock][mt]") {
    const ferry::report_sink before = ferry::set_report_sink(&note_report);
    has_been_reported = false;
    ferry::loop_thread caller("caller");
    static_cast<void>(ferry::detail::record_of_this_thread());
    const std::size_t threads = ferry_test::node::in_use(ferry_test::node::kind::thread);
    ferry::thread_pool pool(strict(1, "a-name-that-is-no-small-string").idle_end(0ms));
    ferry::promise<int> promise;
    ferry::future<int> result = promise.get_future();
    const auto keeps_it_late = [&] {
        promise.produced_by_this_thread();
        while (!has_been_reported.load(std::memory_order_relaxed)) std::this_thread::yield();
        promise.set_value(1);
    };
    ferry::future<void> called = ferry::spawn(caller.loop(), to_thread(pool, keeps_it_late));
    {
        const hang_limit soon(20ms);
        CHECK(result.get() == 1);
    }
    // The thread leaves by itself: whoever touched the pool here would put an order between the report and that.
    while (ferry_test::node::in_use(ferry_test::node::kind::thread) > threads) std::this_thread::yield();
    called.get();
    ferry::set_report_sink(before);
}

// ---- waits that may take as long as they like ----------------------------------------------------------------------
namespace {
/// Waits that long in a way that ferry does not know.
void take(std::chrono::milliseconds time) {
    const auto until = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
}
constexpr auto far_beyond = 10ms;  // of a limit of 1 ms: a wait that is watched would be reported
}  // namespace

DEADLOCK_SCENARIO(patient_waits, "L6: a wait that is marked patient() gets no report, however it waits") {
    ferry::thread_pool pool(strict(2, "db"));
    const hang_limit soon(1ms);
    const auto long_wait = ferry::wait_options().patient();
    const auto slow = [&]() -> task<int> {
        co_await to_thread(pool, take, far_beyond);
        co_return 7;
    };
    CHECK(ferry::block_on(slow(), long_wait) == 7);
    CHECK(ferry::block_on(ferry::on_private_loop, slow(), long_wait) == 7);
    CHECK(ferry::async_to_sync(slow).patient()() == 7);
    event_loop loop;
    std::thread elsewhere([&] { CHECK(ferry::block_on(loop, slow(), long_wait) == 7); });
    loop.run(slow());
    while (ferry::detail::blocked_threads().load() != 0) loop.run_once();
    elsewhere.join();
    ferry::promise<int> promise;
    ferry::future<int> result = promise.get_future();
    std::thread producer([&] {
        await_blocked_threads(1);
        take(far_beyond);
        promise.set_value(1);
    });
    CHECK(result.get(long_wait) == 1);
    producer.join();
}

DEADLOCK_SCENARIO(impatient_waits, "L6, near miss: the same waits without it are reported") {
    ferry::thread_pool pool(strict(1, "db"));
    const hang_limit soon(1ms);
    const auto slow = [&]() -> task<> { co_await to_thread(pool, take, far_beyond); };
    const int line = __LINE__ + 1;
    auto blocking = ferry::async_to_sync(slow);
    blocking();
    CHECK(round.told.mention(at(line, "the main thread waits in block_on", "for ")));
    round.told.clear();
}

DEADLOCK_SCENARIO(patient_calls, "L6: who waits for a call that is marked patient() gets no report") {
    ferry::thread_pool pool(strict(1, "db"));
    const auto import_rows = ferry::sync_to_async(take).named("import_rows").patient().on(pool);
    const auto body = [&]() -> task<> {
        co_await ferry::with_task_group([&](ferry::task_group& group) -> task<> {
            group.start(import_rows(far_beyond));
            co_return;
        });
    };
    const hang_limit soon(1ms);
    ferry::block_on(ferry::on_private_loop, body());
}

namespace {
/// A call of `pool` that blocks for one that may take as long as it likes, and one that is only slow; `patient_first`: which of
/// them comes first. Then `last` waits for both of them, or for one.
template <class Last>
void one_of_them_is_patient(ferry::thread_pool& pool, bool patient_first, std::atomic<bool>& over, Last last) {
    ferry::thread_pool other(strict(1, "other"));
    ferry::loop_thread caller("caller");
    progress begun;
    const auto until_over = [&] {
        begun.advance();
        while (!over) std::this_thread::yield();
    };
    const auto import_rows = ferry::sync_to_async(until_over).named("import_rows").patient().on(other);
    const auto blocks = [&] {
        ferry::block_on(ferry::on_private_loop, import_rows(), ferry::wait_options().patient());
    };
    const auto calls = [&](bool patient) -> task<> {
        if (patient) {
            co_await to_thread(pool, blocks);
        } else {
            co_await to_thread(pool, until_over);
        }
    };
    ferry::future<void> first = ferry::spawn(caller.loop(), calls(patient_first));
    begun.wait_for(1);
    ferry::future<void> second = ferry::spawn(caller.loop(), calls(!patient_first));
    begun.wait_for(2);
    await_blocked_threads(1);
    last();
    first.get();
    second.get();
}
}  // namespace

DEADLOCK_SCENARIO(patient_join, "L6: who waits for all threads of a pool gets no report while one has a patient call") {
    for (const bool patient_first : {false, true}) {
        std::atomic<bool> over{false};
        std::size_t reports = 0;  // while the calls run
        std::optional<ferry::thread_pool> pool(std::in_place, strict(2, "db"));
        std::thread ends;
        one_of_them_is_patient(*pool, patient_first, over, [&] {
            ends = std::thread([&] {
                while (ferry::detail::blocked_threads() < 2) std::this_thread::yield();
                take(far_beyond);
                reports = round.told.count();
                over = true;
            });
            const hang_limit soon(1ms);
            pool.reset();
        });
        ends.join();
        CHECK(reports == 0);
        round.told.clear();
    }
}

DEADLOCK_SCENARIO(impatient_queue,
                  "L6: who waits for any thread of a pool gets one unless they all have patient calls") {
    for (const bool patient_first : {false, true}) {
        std::atomic<bool> over{false};
        ferry::thread_pool pool(strict(2, "db"));
        one_of_them_is_patient(pool, patient_first, over, [&] {
            std::thread ends([&] {
                await_reports(round.told, 1);
                over = true;
            });
            const auto queued = [&]() -> task<int> { co_return co_await to_thread(pool, seven); };
            const hang_limit soon(20ms);
            CHECK(ferry::block_on(ferry::on_private_loop, queued()) == 7);
            ends.join();
        });
        CHECK(round.told.mention(" for a free thread of pool \"db\""));
        round.told.clear();
    }
}

DEADLOCK_SCENARIO(chain_of_a_group,
                  "a hang report follows a task into its group, and a thread into a thread_channel, with their lines") {
    ferry::thread_pool pool(strict(1, "db"));
    ferry::thread_channel<int> channel(1);
    int line = 0;
    const auto consume = [&] {
        line = __LINE__ + 1;
        return channel.pop();
    };
    const auto body = [&]() -> task<> {
        co_await ferry::with_task_group([&](ferry::task_group& group) -> task<> {
            group.start(ferry::sync_to_async(std::ref(consume)).on(pool)());
            co_return;
        });
    };
    std::thread producer([&] {
        await_reports(round.told, 1);
        CHECK(channel.try_push(1));
    });
    {
        const hang_limit soon(20ms);
        ferry::block_on(ferry::on_private_loop, body().named("consumer"));
    }
    producer.join();
    CHECK(round.told.mention("task consumer waits in with_task_group ("));
    CHECK(round.told.mention(" for its children\n  task "));
    CHECK(round.told.mention("for its call, which thread db/0 runs\n"));
    CHECK(round.told.mention("\n  thread db/0 waits in thread_channel::pop (" + std::string(__FILE__) + ":" +
                             std::to_string(line) + ")"));
    round.told.clear();
}

DEADLOCK_SCENARIO(refused_in_vain,
                  "a refused block_on whose task no cancellation reaches is reported as a hang, with the chain") {
    event_loop loop;
    ferry::thread_pool left(strict(1, "left"));
    ferry::thread_pool right(strict(1, "right"));
    ferry::promise<void> promise;
    ferry::future<void> promised = promise.get_future();
    ferry_test::verdicts refused;
    const auto wants_promise = [&] { promised.get(ferry::wait_options().patient()); };
    const auto waits_for_right = [&]() -> task<> { co_await to_thread(right, wants_promise); };
    const ferry::shared_future<void> right_is_done = ferry::spawn(loop, waits_for_right().named("right")).share();
    const auto shielded = [&]() -> task<> { co_await right_is_done; };
    const auto stubborn = [&]() -> task<> { co_await ferry::shield(shielded().named("inner")); };
    const auto blocks = [&] {
        promise.produced_by_this_thread();
        await_blocked_threads(1);
        refused.refuses([&] { ferry::block_on(ferry::on_private_loop, stubborn().named("stubborn")); });
    };
    std::thread keeps_it_after_all([&] {
        await_reports(round.told, 1);
        promise.set_value();
    });
    const auto body = [&]() -> task<> { co_await to_thread(left, blocks); };
    {
        const hang_limit soon(20ms);
        loop.run(body());
    }
    keeps_it_after_all.join();
    CHECK(round.told.mention("hang: block_on has waited for 0."));
    CHECK(round.told.mention(" s\n  thread left/0 waits in block_on ("));
    CHECK(round.told.mention(") for stubborn\n  task stubborn waits in shield ("));
    CHECK(round.told.mention("\n  task inner waits in shared_future ("));
    CHECK(round.told.mention("\n  thread right/0 waits in future::get ("));
    round.told.clear();
}
