// tests/bridge/thread_pool_options_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/bridge/thread_pool_options.hpp>
#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>

#include "bridge/progress.hpp"
#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/syscall.h>
#include <unistd.h>

using ferry::event_loop;
using ferry::task;
using ferry::thread_pool;
using ferry::thread_pool_options;
using ferry_test::progress;
using namespace std::chrono_literals;

namespace {
template <class Condition>
void until(Condition condition) {
    while (!condition()) std::this_thread::yield();
}

/// The name that ps -L shows for the calling thread.
std::string shown_name() {
    std::ifstream comm("/proc/self/task/" + std::to_string(::syscall(SYS_gettid)) + "/comm");
    std::string name;
    std::getline(comm, name);
    return name;
}
int seven() { return 7; }

/// Texts, in the order in which threads add them.
class protocol {
public:
    void add(const std::string& text) {
        const std::lock_guard lock(mutex_);
        texts_.push_back(text);
    }
    [[nodiscard]] std::vector<std::string> texts() const {
        const std::lock_guard lock(mutex_);
        return texts_;
    }

private:
    mutable std::mutex mutex_;  // guards texts_
    std::vector<std::string> texts_;
};
using strings = std::vector<std::string>;

/// Keeps the pool's only thread until release.
class held_call {
public:
    void operator()() {
        started.advance();
        release.wait_for();
    }
    progress started;
    progress release;
};
}  // namespace

TEST_CASE("ps -L shows the threads of a pool by its name and a number, which a long name does not hide",
          "[bridge][thread_pool_options]") {
    thread_pool db(thread_pool_options().name("db").size(1));
    CHECK(ferry::run(ferry::to_thread(db, shown_name)) == "db/0");
    thread_pool reports(thread_pool_options().name("quarterly-reports").size(1));
    CHECK(ferry::run(ferry::to_thread(reports, shown_name)) == "quarterly-rep/0");
    CHECK(std::string(reports.name()) == "quarterly-reports");
}

TEST_CASE("a thread that was idle for long enough ends; the next call starts one that bears its name",
          "[bridge][thread_pool_options]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    progress ended;
    thread_pool pool(
        thread_pool_options().name("brief").size(2).idle_end(1ms).on_thread_end([&ended] { ended.advance(); }));
    for (int round = 1; round <= 3; ++round) {
        CHECK(loop.run(ferry::to_thread(pool, shown_name)) == "brief/0");
        ended.wait_for(round);
        until([&] { return pool.threads() == 0; });
    }
    CHECK(pool.metrics().calls == 3);  // what threads did that have ended counts
}

TEST_CASE("threads that end at once when they are idle lose no call", "[bridge][thread_pool_options][mt]") {
    thread_pool pool(thread_pool_options().size(2).idle_end(0ms));
    std::vector<std::thread> threads;
    std::atomic<int> sum{0};
    for (int id = 0; id < 3; ++id) {
        threads.emplace_back([&] {
            event_loop loop;
            for (int round = 0; round < 200; ++round) sum.fetch_add(loop.run(ferry::to_thread(pool, seven)));
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(sum == 4200);
    until([&] { return pool.threads() == 0; });
}

TEST_CASE("calls beyond the queue's limit wait for room, in their order", "[bridge][thread_pool_options][order]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    held_call held;
    std::vector<int> order;
    thread_pool pool(thread_pool_options().size(1).queue_limit(2).when_full(ferry::full_queue::wait));
    auto first = ferry::spawn(loop, ferry::to_thread(pool, std::ref(held)));
    loop.run_once();
    held.started.wait_for();
    const auto note = [&order](int id) { order.push_back(id); };
    std::vector<ferry::future<void>> calls;
    for (int id = 0; id < 5; ++id) calls.push_back(ferry::spawn(loop, ferry::to_thread(pool, note, id)));
    loop.run_once();
    CHECK(pool.metrics().queued == 2);
    CHECK(pool.metrics().waiting == 3);
    held.release.advance();
    loop.run(std::move(first));
    for (ferry::future<void>& call : calls) loop.run(std::move(call));
    CHECK(order == std::vector<int>{0, 1, 2, 3, 4});
}

TEST_CASE("a call that waits for room can be cancelled, and is closed with the pool",
          "[bridge][thread_pool_options][order]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    held_call held;
    std::atomic<int> run{0};
    thread_pool pool(thread_pool_options().size(1).queue_limit(1).when_full(ferry::full_queue::wait));
    const auto count = [&run] { run.fetch_add(1); };
    bool cancelled = false;
    const auto body = [&](ferry::task_group& group) -> task<> {
        group.start(ferry::to_thread(pool, std::ref(held)));
        co_await ferry::yield_now();
        held.started.wait_for();
        auto queued = ferry::spawn(ferry::to_thread(pool, count));
        co_await ferry::yield_now();
        const auto waits_for_room = [&]() -> task<> {
            try {
                co_await ferry::to_thread(pool, count);
            } catch (const ferry::cancelled&) {
                cancelled = true;
                throw;
            }
        };
        const auto inner = [&](ferry::task_group& waiting) -> task<> {
            waiting.start(waits_for_room);
            co_await ferry::yield_now();
            CHECK(pool.metrics().waiting == 1);
            waiting.cancel();
        };
        co_await ferry::with_task_group(inner);
        CHECK(pool.metrics().waiting == 0);
        auto closed = ferry::spawn(ferry::to_thread(pool, count));
        co_await ferry::yield_now();
        CHECK(pool.metrics().waiting == 1);
        pool.close();
        for (auto* each : {&queued, &closed}) {
            try {
                co_await std::move(*each);
                run.fetch_add(100);
            } catch (const ferry::closed_error&) {}
        }
        held.release.advance();
    };
    loop.run(ferry::with_task_group(body));
    CHECK(cancelled);
    CHECK(run == 0);
}

TEST_CASE("hooks run on the pool's thread: at its start and end, before and after each call, and a call that throws",
          "[bridge][thread_pool_options]") {
    const ferry_test::frame_count frames;
    protocol notes;
    const auto note = [&notes](const char* what) { return [&notes, what] { notes.add(what + (" " + shown_name())); }; };
    {
        thread_pool pool(thread_pool_options()
                             .name("h")
                             .size(1)
                             .on_thread_start(note("start"))
                             .before_call(note("before"))
                             .after_call(note("after"))
                             .on_thread_end(note("end")));
        const auto call = note("call");
        const auto fails = [] { throw std::runtime_error("of the call"); };
        ferry::run(ferry::to_thread(pool, call));
        CHECK(notes.texts() == strings{"start h/0", "before h/0", "call h/0", "after h/0"});  // before the task goes on
        REQUIRE_THROWS_AS(ferry::run(ferry::to_thread(pool, fails)), std::runtime_error);
    }
    CHECK(notes.texts() ==
          strings{"start h/0", "before h/0", "call h/0", "after h/0", "before h/0", "after h/0", "end h/0"});
}

TEST_CASE("what a hook throws before a call is thrown by that call, which does not run",
          "[bridge][thread_pool_options]") {
    const ferry_test::frame_count frames;
    std::atomic<int> starts{0};
    std::atomic<int> before{0};
    std::atomic<int> after{0};
    std::atomic<int> ended{0};
    std::atomic<int> run{0};
    {
        thread_pool pool(thread_pool_options()
                             .size(1)
                             .on_thread_start([&] {
                                 if (starts.fetch_add(1) == 0) throw std::runtime_error("no licence");
                             })
                             .before_call([&] {
                                 if (before.fetch_add(1) == 0) throw std::runtime_error("no connection");
                             })
                             .after_call([&] { after.fetch_add(1); })
                             .on_thread_end([&] { ended.fetch_add(1); }));
        const auto call = [&run] { return run.fetch_add(1) + 1; };
        const auto attempt = [&]() -> task<std::string> {
            try {
                const int value = co_await ferry::to_thread(pool, call);
                co_return std::to_string(value);
            } catch (const std::runtime_error& error) {
                co_return error.what();
            }
        };
        CHECK(ferry::run(attempt()) == "no licence");
        CHECK(ferry::run(attempt()) == "no connection");  // the thread has tried to start again
        CHECK(ferry::run(attempt()) == "1");
        CHECK(ferry::run(attempt()) == "2");
    }
    CHECK(starts == 2);
    CHECK(before == 3);
    CHECK(after == 2);
    CHECK(ended == 1);
}

TEST_CASE("a thread whose start hook never succeeded has no end hook", "[bridge][thread_pool_options]") {
    std::atomic<int> ended{0};
    {
        thread_pool pool(
            thread_pool_options().size(1).on_thread_start([] { throw std::runtime_error("never"); }).on_thread_end([&] {
                ended.fetch_add(1);
            }));
        REQUIRE_THROWS_AS(ferry::run(ferry::to_thread(pool, seven)), std::runtime_error);
    }
    CHECK(ended == 0);
}

TEST_CASE("hooks are shared by the pools that were made with them, and live as long as these",
          "[bridge][thread_pool_options]") {
    const auto alive = std::make_shared<std::atomic<int>>(0);
    {
        std::unique_ptr<thread_pool> first;
        thread_pool_options options;
        options.size(1).before_call([alive] { alive->fetch_add(1); });
        first = std::make_unique<thread_pool>(options);
        thread_pool second(options);
        CHECK(ferry::run(ferry::to_thread(*first, seven)) + ferry::run(ferry::to_thread(second, seven)) == 14);
    }
    CHECK(*alive == 2);
    CHECK(alive.use_count() == 1);
}

TEST_CASE("the default pool is configured once, before its first use", "[bridge][thread_pool_options]") {
    // The tests' runner has done so.
    REQUIRE_THROWS_AS(thread_pool::configure_default(thread_pool_options()), std::logic_error);
    CHECK(thread_pool::default_pool().max_threads() == thread_pool_options::default_size());
}
