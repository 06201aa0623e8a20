// tests/bridge/usual_deaths_test.cpp - what asynchronous libraries usually die of, tried on every primitive that waits
// SPDX-License-Identifier: BSL-1.0
#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_channel.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/stop_token.hpp>
#include <ferry/core/task.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/async_mutex.hpp>
#include <ferry/loop/async_shared_mutex.hpp>
#include <ferry/loop/bounded_queue.hpp>
#include <ferry/loop/callback.hpp>
#include <ferry/loop/condition.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/every.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/latch.hpp>
#include <ferry/loop/on.hpp>
#include <ferry/loop/semaphore.hpp>
#include <ferry/loop/shared_future.hpp>
#include <ferry/loop/signals.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using ferry::event_loop;
using ferry::task;
using namespace std::chrono_literals;

namespace {
/// One of everything that a task can wait in, each in the state in which it does.
class rig {
public:
    explicit rig(event_loop& on)
        : loop(on),
          unset(on),
          mutex(on),
          shared_mutex(on),
          none(on, 0),
          changed(on),
          closed_latch(on, 1),
          empty(on, 1),
          full(on, 1),
          promised(promise.get_future()),
          shared(shared_promise.get_future().share()),
          beat(on, 1h),
          usr2(on, {SIGUSR2}) {
        int one = 1;
        static_cast<void>(full.try_push(std::move(one)));
        static_cast<void>(full_channel.try_push(std::move(one)));
    }

    event_loop& loop;
    ferry::event unset;
    ferry::async_mutex mutex;
    ferry::async_shared_mutex shared_mutex;
    ferry::semaphore none;
    ferry::condition changed;
    ferry::latch closed_latch;
    ferry::bounded_queue<int> empty;
    ferry::bounded_queue<int> full;
    ferry::thread_channel<int> empty_channel{1};
    ferry::thread_channel<int> full_channel{1};
    ferry::promise<int> promise;
    ferry::promise<int> shared_promise;
    ferry::future<int> promised;
    ferry::shared_future<int> shared;
    ferry::interval beat;
    ferry::signals usr2;
    std::optional<ferry::completion<>> completion;
    event_loop* elsewhere = nullptr;
};

template <class Mutex>
class unlock_at_end {
public:
    explicit unlock_at_end(Mutex& held) : held_(held) {}
    ~unlock_at_end() { held_.unlock(); }
    unlock_at_end(const unlock_at_end&) = delete;
    unlock_at_end& operator=(const unlock_at_end&) = delete;

private:
    Mutex& held_;
};

task<> hour() { co_await ferry::sleep_for(1h); }

struct wait {
    const char* name;
    task<> (*begin)(rig&);
};
const wait waits[] = {
    {"sleep", [](rig&) -> task<> { co_await ferry::sleep_for(1h); }},
    {"every", [](rig& on) -> task<> { co_await on.beat.next(); }},
    {"event", [](rig& on) -> task<> { co_await on.unset.wait(); }},
    {"async_mutex",
     [](rig& on) -> task<> {
         auto held = co_await on.mutex.lock();
         held.detach();  // a second lock of its own holder's would be refused
         const unlock_at_end later(on.mutex);
         const auto second = co_await on.mutex.lock();
     }},
    {"async_shared_mutex",
     [](rig& on) -> task<> {
         auto held = co_await on.shared_mutex.lock();
         held.detach();
         const unlock_at_end later(on.shared_mutex);
         const auto second = co_await on.shared_mutex.lock_shared();
     }},
    {"semaphore", [](rig& on) -> task<> { const auto permit = co_await on.none.acquire(); }},
    {"condition",
     [](rig& on) -> task<> {
         const auto never = [] { return false; };
         co_await on.changed.wait(never);
     }},
    {"latch", [](rig& on) -> task<> { co_await on.closed_latch.wait(); }},
    {"bounded_queue::pop", [](rig& on) -> task<> { co_await on.empty.pop(); }},
    {"bounded_queue::push", [](rig& on) -> task<> { co_await on.full.push(2); }},
    {"thread_channel::pop", [](rig& on) -> task<> { co_await on.empty_channel.async_pop(); }},
    {"thread_channel::push", [](rig& on) -> task<> { co_await on.full_channel.async_push(2); }},
    {"future", [](rig& on) -> task<> { co_await std::move(on.promised); }},
    {"shared_future", [](rig& on) -> task<> { co_await on.shared; }},
    {"signals", [](rig& on) -> task<> { co_await on.usr2.wait(); }},
    {"callback_to_awaitable",
     [](rig& on) -> task<> {
         const auto keeps = [&on](ferry::completion<> done) { on.completion = done; };
         co_await ferry::callback_to_awaitable(keeps);
     }},
    {"when_all", [](rig&) -> task<> { co_await ferry::when_all(hour(), hour()); }},
    {"when_any", [](rig&) -> task<> { co_await ferry::when_any(hour(), hour()); }},
    {"with_task_group",
     [](rig&) -> task<> {
         const auto body = [](ferry::task_group& group) -> task<> {
             group.start(hour());
             co_return;
         };
         co_await ferry::with_task_group(body);  // its value is delivered, the next checkpoint throws
         co_await ferry::yield_now();
     }},
    {"on", [](rig& on) -> task<> { co_await ferry::on(*on.elsewhere, hour()); }},
};

template <class Error, class Fn>
bool throws(Fn fn) {
    try {
        fn();
    } catch (const Error&) {
        return true;
    }
    return false;
}
}  // namespace

TEST_CASE("shutdown: a loop that closes ends a wait in every primitive, and nothing is left in any",
          "[bridge][deaths][mt]") {
    const ferry_test::frame_count frames;
    for (const wait& each : waits) {
        INFO(each.name);
        event_loop elsewhere;
        std::thread other([&elsewhere] { elsewhere.run(); });
        event_loop loop;
        {
            rig all(loop);
            all.elsewhere = &elsewhere;
            auto waiting = ferry::spawn(loop, each.begin(all));
            loop.run_until_idle();
            CHECK(!waiting.is_ready());
            loop.cancel_tasks();
            CHECK(throws<ferry::cancelled>([&] { waiting.get(); }));
            if (all.promised.valid()) {  // once more, for good; a future is awaited once
                auto again = ferry::spawn(loop, each.begin(all));
                loop.run_until_idle();
                loop.close();
                CHECK(throws<ferry::closed_error>([&] { again.get(); }));
            }
        }  // a primitive in which something still waited would assert here
        elsewhere.stop();
        other.join();
    }
}

TEST_CASE("when_any's losers: a wait that loses is over, in every primitive, before when_any yields",
          "[bridge][deaths][mt]") {
    const ferry_test::frame_count frames;
    const auto ends_at_once = []() -> task<> { co_await ferry::yield_now(); };
    for (const wait& each : waits) {
        INFO(each.name);
        event_loop elsewhere;
        std::thread other([&elsewhere] { elsewhere.run(); });
        event_loop loop;
        bool ended = false;
        std::size_t first = 7;
        {
            rig all(loop);
            all.elsewhere = &elsewhere;
            const auto notes_its_end = [&](const wait& of) -> task<> {
                try {
                    co_await of.begin(all);
                } catch (const ferry::cancelled&) {
                    ended = true;
                    throw;
                }
            };
            const auto race = [&]() -> task<> {
                const auto result = co_await ferry::when_any(notes_its_end(each), ends_at_once());
                if (ended) first = result.index();
            };
            loop.run(race());
            CHECK(first == 1);
            // What the loser waited for is there for others.
            int item = 3;
            CHECK(all.empty.try_push(std::move(item)));
            CHECK(all.empty.try_pop() == std::optional<int>(3));
            CHECK(all.full.try_pop() == std::optional<int>(1));
            CHECK(!all.full.try_pop().has_value());
            CHECK(all.full_channel.try_pop() == std::optional<int>(1));
            CHECK(!all.full_channel.try_pop().has_value());
            CHECK(all.empty_channel.try_push(std::move(item)));
            CHECK(all.empty_channel.size() == 1);
            all.promise.set_value(1);
            all.shared_promise.set_value(1);
            if (all.completion) CHECK((*all.completion)());
        }
        elsewhere.stop();
        other.join();
    }
}

TEST_CASE("the wrong thread: whoever ends a wait, the task goes on on its own loop's thread", "[bridge][deaths][mt]") {
    const ferry_test::frame_count frames;
    event_loop elsewhere;
    std::thread other([&elsewhere] { elsewhere.run(); });
    const std::thread::id mine = std::this_thread::get_id();
    const auto ends = [](rig& all, int which) {
        if (which == 0) all.promise.set_value(1);
        if (which == 1) all.shared_promise.set_value(1);
        if (which == 2) all.empty_channel.push(1);
        if (which == 3) static_cast<void>(all.full_channel.pop());
        if (which == 4) all.empty_channel.close();
        if (which == 5) (*all.completion)();
    };
    const char* const names[] = {"future",
                                 "shared_future",
                                 "thread_channel::pop",
                                 "thread_channel::push",
                                 "thread_channel::pop",
                                 "callback_to_awaitable",
                                 "on",
                                 "to_thread"};
    for (int which = 0; which < 8; ++which) {
        INFO(names[which]);
        event_loop loop;
        rig all(loop);
        all.elsewhere = &elsewhere;
        bool right = false;
        const auto body = [&]() -> task<> {
            try {
                if (which == 6) {
                    co_await ferry::on(elsewhere, ferry::yield_now());
                } else if (which == 7) {
                    const auto nothing = [] {};
                    co_await ferry::to_thread(nothing);
                } else {
                    for (const wait& each : waits) {
                        if (each.name != std::string(names[which])) continue;
                        co_await each.begin(all);
                        break;
                    }
                }
            } catch (const ferry::closed_error&) {}
            right = std::this_thread::get_id() == mine && event_loop::current() == &loop;
        };
        auto waiting = ferry::spawn(loop, body());
        loop.run_once();
        loop.run_once();
        std::thread ender([&] { ends(all, which); });
        loop.run(std::move(waiting));
        ender.join();
        CHECK(right);
    }
    elsewhere.stop();
    other.join();
}

TEST_CASE("blocking inside async: every call that blocks is refused in a turn, and takes nothing", "[bridge][deaths]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    event_loop other;
    rig all(loop);
    all.full_channel.close();
    static_cast<void>(all.full_channel.try_pop());
    ferry::thread_channel<int> full(1);
    full.push(1);
    int item = 2;
    const std::vector<std::pair<const char*, std::function<void()>>> calls = {
        {"future::get", [&] { all.promised.get(); }},
        {"future::wait", [&] { all.promised.wait(); }},
        {"future::wait_for", [&] { static_cast<void>(all.promised.wait_for(1h)); }},
        {"shared_future::get", [&] { static_cast<void>(all.shared.get()); }},
        {"shared_future::wait", [&] { all.shared.wait(); }},
        {"shared_future::wait_for", [&] { static_cast<void>(all.shared.wait_for(1h)); }},
        {"thread_channel::push", [&] { full.push(2); }},
        {"thread_channel::push_for", [&] { static_cast<void>(full.push_for(1h, std::move(item))); }},
        {"thread_channel::pop", [&] { static_cast<void>(all.empty_channel.pop()); }},
        {"thread_channel::pop_for", [&] { static_cast<void>(all.empty_channel.pop_for(1h)); }},
        {"block_on", [&] { ferry::block_on(hour()); }},
        {"block_on a loop", [&] { ferry::block_on(other, hour()); }},
        {"event_loop::run", [&] { other.run(hour()); }},
        {"event_loop::run_once", [&] { other.run_once(1h); }},
        {"event_loop::run_until_idle", [&] { other.run_until_idle(); }},
    };
    for (const auto& [name, call] : calls) {
        INFO(name);
        bool in_callback = false;
        bool in_task = false;
        loop.post([&in_callback, &what = call] { in_callback = throws<ferry::blocking_error>(what); });
        const auto body = [&in_task, &what = call]() -> task<> {
            in_task = throws<ferry::blocking_error>(what);
            co_return;
        };
        loop.run(body());
        CHECK(in_callback);
        CHECK(in_task);
    }
    CHECK(full.size() == 1);
    all.promise.set_value(1);
    CHECK(all.promised.get() == 1);
}

TEST_CASE("dangling captures: a function that ferry was given lives until its last call", "[bridge][deaths]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    auto counted = std::make_shared<int>(1);  // not const: a lambda cannot be moved out of a const capture
    int seen = 0;
    {
        ferry::condition changed(loop);
        auto predicate = [counted, &seen] { return ++seen > *counted; };
        auto waiting = ferry::spawn(loop, changed.wait(ferry::moved(predicate)));
        loop.run_until_idle();
        CHECK(counted.use_count() == 2);
        changed.notify_all();
        loop.run_until_idle();
        CHECK(waiting.is_ready());
        CHECK(counted.use_count() == 1);
    }
    {
        std::optional<ferry::completion<int>> done;
        auto begin = [counted, &done](ferry::completion<int> given) { done = given; };
        auto waiting = ferry::spawn(loop, ferry::callback_to_awaitable<int>(ferry::moved(begin)));
        loop.run_until_idle();
        CHECK(counted.use_count() == 2);
        (*done)(5);
        CHECK(loop.run(std::move(waiting)) == 5);
        CHECK(counted.use_count() == 1);
    }
    {
        auto call = [counted] { return *counted; };
        auto waiting = ferry::spawn(loop, ferry::to_thread(ferry::moved(call)));
        CHECK(loop.run(std::move(waiting)) == 1);
        CHECK(counted.use_count() == 1);
    }
    {
        ferry::stop_source source;
        const ferry::stop_callback callback(source.get_token(), [counted, &seen] { seen = 10 * *counted; });
        CHECK(counted.use_count() == 2);
        source.request_stop();
        CHECK(seen == 10);
    }
    CHECK(counted.use_count() == 1);
}

TEST_CASE("swallowed exceptions: what goes wrong elsewhere arrives where it is awaited", "[bridge][deaths][mt]") {
    const ferry_test::frame_count frames;
    event_loop elsewhere;
    std::thread other([&elsewhere] { elsewhere.run(); });
    event_loop loop;
    const auto fails = []() -> task<int> {
        co_await ferry::yield_now();
        throw std::out_of_range("elsewhere");
    };
    const auto fails_to_make_its_value = []() -> task<std::string> { co_return std::string(std::string("x"), 7); };
    const auto blocks = []() -> int { throw std::out_of_range("on a thread"); };
    CHECK(throws<std::out_of_range>([&] { loop.run(ferry::on(elsewhere, fails())); }));
    CHECK(throws<std::out_of_range>([&] { loop.run(ferry::on(elsewhere, fails_to_make_its_value())); }));
    CHECK(throws<std::out_of_range>([&] { ferry::block_on(elsewhere, fails()); }));
    CHECK(throws<std::out_of_range>([&] { ferry::spawn(elsewhere, fails()).get(); }));
    CHECK(throws<std::out_of_range>([&] { loop.run(ferry::spawn(elsewhere, fails())); }));
    CHECK(throws<std::out_of_range>([&] { loop.run(ferry::spawn(elsewhere, fails()).share().operator co_await()); }));
    CHECK(throws<std::out_of_range>([&] { loop.run(ferry::to_thread(blocks)); }));
    elsewhere.stop();
    other.join();
}
