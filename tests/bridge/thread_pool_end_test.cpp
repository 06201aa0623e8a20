// tests/bridge/thread_pool_end_test.cpp - pools at their end, and at that of the process
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/exit_wait.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/bridge/thread_sensitive.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/error.hpp>
#include <ferry/deadlock/allowance.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>

#include "bridge/progress.hpp"
#include "bridge/reports.hpp"
#include "core/frame_count.hpp"
#include "support/catch.hpp"
#include "support/hang_limit.hpp"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <pthread.h>
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
int seven() { return 7; }

class held_call {
public:
    int operator()() {
        started.advance();
        release.wait_for();
        ended.store(true);
        return 7;
    }
    progress started;
    progress release;
    std::atomic<bool> ended{false};
};

/// While it lives, no thread can be started: its stack would not fit into memory.
class no_more_threads {
public:
    no_more_threads() {
        ::pthread_getattr_default_np(&before_);
        pthread_attr_t huge;
        ::pthread_attr_init(&huge);
        ::pthread_attr_setstacksize(&huge, std::size_t{1} << 46);
        ::pthread_setattr_default_np(&huge);
        ::pthread_attr_destroy(&huge);
    }
    ~no_more_threads() {
        ::pthread_setattr_default_np(&before_);
        ::pthread_attr_destroy(&before_);
    }
    no_more_threads(const no_more_threads&) = delete;
    no_more_threads& operator=(const no_more_threads&) = delete;

private:
    pthread_attr_t before_;
};

/// Runs a hidden test case of this executable as a process of its own; what it wrote, and "exit N".
std::string output_of(const std::string& test_case) {
    const std::string self = "/proc/" + std::to_string(::getpid()) + "/exe";
    std::FILE* const child = ::popen(("exec 2>&1; " + self + " '" + test_case + "'").c_str(), "r");
    if (child == nullptr) return "popen failed";
    std::string text;
    char buffer[256];
    while (std::fgets(buffer, sizeof buffer, child) != nullptr) text += buffer;
    return text + "exit " + std::to_string(WEXITSTATUS(::pclose(child)));
}
bool has(const std::string& text, const char* words) { return text.find(words) != std::string::npos; }
}  // namespace

TEST_CASE("a thread that keeps a pool's destructor waiting is named in a report, with the call it runs",
          "[bridge][thread_pool_end]") {
    const ferry_test::frame_count frames;
    const ferry_test::reports reports;
    const ferry_test::hang_limit soon(1ms);
    held_call held;
    event_loop loop;
    auto pool = std::make_optional<thread_pool>(thread_pool_options().name("stuck").size(2));
    const auto import = ferry::sync_to_async(std::ref(held)).on(*pool).named("import_rows");
    auto running = ferry::spawn(loop, import());
    CHECK(loop.run(ferry::to_thread(*pool, seven)) == 7);  // by another thread, which is idle now
    held.started.wait_for();
    std::thread helper([&] {
        until([&] { return reports.mention("import_rows"); });
        held.release.advance();
    });
    pool.reset();
    helper.join();
    CHECK(held.ended);
    CHECK(reports.mention("hang: thread_pool::~thread_pool has waited for "));
    CHECK(reports.mention("\n  thread stuck/"));
    CHECK(reports.mention(" runs import_rows\n"));
    CHECK(reports.mention("hang: thread_pool::~thread_pool has ended after all"));
    CHECK(loop.run(std::move(running)) == 7);
}

TEST_CASE("a pool that is destroyed in time is not reported", "[bridge][thread_pool_end]") {
    const ferry_test::reports reports;
    {
        thread_pool pool(thread_pool_options().size(2));
        CHECK(ferry::run(ferry::to_thread(pool, seven)) == 7);
    }
    CHECK(reports.count() == 0);
}

TEST_CASE("a pool's destructor serves the thread-sensitive calls that its threads wait for",
          "[bridge][thread_pool_end]") {
    const ferry_test::frame_count frames;
    auto pool = std::make_optional<thread_pool>(1u);
    const auto main_thread = std::this_thread::get_id();
    std::thread::id served_on;
    progress started;
    ferry::promise<void> promise;
    ferry::future<void> fulfilled = promise.get_future();
    const auto waits = [&] {
        started.advance();
        fulfilled.get();
    };
    const auto destroy = [&] {
        started.wait_for();
        pool.reset();
    };
    const auto fulfil = [&] {
        served_on = std::this_thread::get_id();
        promise.set_value();
    };
    const auto body = [&](ferry::task_group& group) -> task<> {
        group.start(ferry::to_thread(*pool, waits));
        group.start(ferry::to_thread(ferry::thread_sensitive, destroy));
        group.start(ferry::to_thread(ferry::thread_sensitive, fulfil));
        co_return;
    };
    ferry::block_on(ferry::with_task_group(body));
    CHECK(served_on == main_thread);
    CHECK(!pool.has_value());
}

TEST_CASE("a pool that one of its calls destroys waits for nobody: the others end by themselves",
          "[bridge][thread_pool_end]") {
    held_call held;
    event_loop loop;
    auto pool = std::make_optional<thread_pool>(2u);
    auto other = ferry::spawn(loop, ferry::to_thread(*pool, std::ref(held)));
    loop.run_once();
    held.started.wait_for();
    const auto destroy = [&pool] { pool.reset(); };
    loop.run(ferry::to_thread(*pool, destroy));
    CHECK(!held.ended);
    held.release.advance();
    CHECK(loop.run(std::move(other)) == 7);
}

TEST_CASE("inside a turn that may block, a pool's destructor waits for its threads", "[bridge][thread_pool_end]") {
    const ferry_test::frame_count frames;
    const ferry_test::reports reports;
    held_call held;
    event_loop loop;
    auto pool = std::make_optional<thread_pool>(1u);
    auto running = ferry::spawn(loop, ferry::to_thread(*pool, std::ref(held)));
    loop.run_once();
    held.started.wait_for();
    std::thread helper([&] { held.release.advance(); });
    loop.post([&] {
        const ferry::allow_blocking ok("the test wants it");
        pool.reset();
        CHECK(held.ended);
    });
    CHECK(loop.run(std::move(running)) == 7);
    helper.join();
    CHECK(reports.count() == 0);
}

TEST_CASE("pools that start and end at once, with and without calls, leave no thread behind",
          "[bridge][thread_pool_end][mt]") {
    std::atomic<int> started{0};
    std::atomic<int> ended{0};
    event_loop loop;
    for (int round = 0; round < 100; ++round) {
        thread_pool pool(thread_pool_options()
                             .size(3)
                             .idle_end(round % 2 == 0 ? 0ms : 1000ms)
                             .on_thread_start([&] { started.fetch_add(1); })
                             .on_thread_end([&] { ended.fetch_add(1); }));
        const auto some = [&](ferry::task_group& group) -> task<> {
            for (int i = 0; i < round % 5; ++i) group.start(ferry::to_thread(pool, seven));
            co_return;
        };
        loop.run(ferry::with_task_group(some));
    }
    CHECK(started > 0);
    CHECK(started == ended);  // destructors have waited for them
}

TEST_CASE("a call for which no thread can be started gets a system_error, unless there is another thread",
          "[bridge][thread_pool_end][order]") {
    event_loop loop;
    held_call held;
    thread_pool pool(thread_pool_options().name("poor").size(2));
    std::string refusal;
    {
        const no_more_threads here;
        try {
            loop.run(ferry::to_thread(pool, seven));
        } catch (const std::system_error& error) {
            refusal = error.what();
        }
    }
    CHECK(has(refusal, "pool \"poor\" cannot start a thread"));
    CHECK(pool.queued() == 0);
    auto first = ferry::spawn(loop, ferry::to_thread(pool, std::ref(held)));
    loop.run_once();
    held.started.wait_for();
    const no_more_threads here;
    auto second = ferry::spawn(loop, ferry::to_thread(pool, seven));
    loop.run_once();
    CHECK(pool.queued() == 1);
    held.release.advance();
    CHECK(loop.run(std::move(first)) + loop.run(std::move(second)) == 14);
    CHECK(pool.threads() == 1);
}

TEST_CASE("a call that comes while the last thread is at its end is run by that one, if no other can be started",
          "[bridge][thread_pool_end][mt]") {
    progress at_its_end;
    progress goes_on;
    std::atomic<int> starts{0};
    const auto ends = [&] {
        at_its_end.advance();
        goes_on.wait_for();
    };
    thread_pool pool(thread_pool_options()
                         .size(1)
                         .name("poor")
                         .max_spare(0)
                         .idle_end(0ms)
                         .on_thread_start([&] { ++starts; })
                         .on_thread_end(ends));
    event_loop loop;
    CHECK(loop.run(ferry::to_thread(pool, seven)) == 7);
    at_its_end.wait_for();
    auto late = ferry::spawn(loop, ferry::to_thread(pool, seven));
    {
        const no_more_threads here;
        loop.run_once();
        CHECK(pool.queued() == 1);
        goes_on.advance();
        CHECK(loop.run(std::move(late)) == 7);
    }
    CHECK(starts == 2);
    CHECK(loop.run(ferry::to_thread(pool, seven)) == 7);
    CHECK(pool.metrics().calls == 3);
}

TEST_CASE("the process waits two seconds for calls unless somebody says otherwise", "[bridge][thread_pool_end]") {
    CHECK(ferry::exit_wait() == 2s);
    CHECK(ferry::set_exit_wait(1s) == 2s);
    CHECK(ferry::exit_wait() == 1s);
    CHECK(ferry::set_exit_wait(2s) == 1s);
}

// ---- the process's end, in processes of their own ------------------------------------------------------------------
namespace {
std::atomic<bool> exiting{false};
std::atomic<bool> begun{false};

/// Waits until the process exits, and a little longer.
void ends_in_time() {
    begun.store(true);
    until([] { return exiting.load(); });
    std::puts("the call has ended");
}
void never_ends() {
    begun.store(true);
    for (;;) ::pause();
}
void exits() { std::exit(3); }
void call_when_it_is_too_late() {
    try {
        ferry::run(ferry::to_thread(seven));
        std::puts("it was called");
    } catch (const ferry::closed_error& error) {
        std::puts(error.what());
    }
}
/// Another thread's loop makes the call.
void call_from_elsewhere(void (*what)(), const char* name) {
    std::thread([what, name] { ferry::run(ferry::sync_to_async(what).named(name)()); }).detach();
    until([] { return begun.load(); });
}
}  // namespace

TEST_CASE("child: exits while a call runs that ends then", "[.child]") {
    ferry::set_exit_wait(60s);
    call_from_elsewhere(&ends_in_time, "ends_in_time");
    std::atexit([] { exiting.store(true); });  // before the pool's, which was registered before
    std::exit(0);
}
TEST_CASE("child: exits while a call runs that never ends", "[.child]") {
    std::atexit(&call_when_it_is_too_late);  // after the pool's
    ferry::set_exit_wait(100ms);
    call_from_elsewhere(&never_ends, "never_ends");
    std::exit(0);
}
TEST_CASE("child: exits while sensitive calls run that never end", "[.child]") {
    std::atexit([] {  // after ferry's
        try {
            ferry::run(ferry::to_thread(ferry::thread_sensitive, seven));
            std::puts("it was called");
        } catch (const ferry::closed_error& error) {
            std::puts(error.what());
        }
    });
    ferry::set_exit_wait(100ms);
    const auto sensitive = [](const char* name, bool scoped) {
        std::thread([name, scoped] {
            const auto body = [&]() -> task<> {
                std::optional<ferry::thread_sensitive_scope> scope;
                if (scoped) scope.emplace();
                co_await ferry::sync_to_async(&never_ends).sensitive().named(name)();
            };
            ferry::run(body());
        }).detach();
        until([] { return begun.exchange(false); });
    };
    sensitive("stuck_in_the_one_thread", false);
    sensitive("stuck_in_a_lease", true);
    std::exit(0);
}
TEST_CASE("child: exits while sensitive calls run that end then", "[.child]") {
    ferry::set_exit_wait(60s);
    std::thread([] {
        const auto body = []() -> task<> {
            co_await ferry::to_thread(ferry::thread_sensitive, &ends_in_time);
            std::puts("it was delivered");
        };
        ferry::run(body());
    }).detach();
    until([] { return begun.load(); });
    std::atexit([] { exiting.store(true); });  // before ferry's, which was registered before
    std::exit(0);
}
TEST_CASE("child: exits in a sensitive call", "[.child]") {
    ferry::set_exit_wait(60s);
    ferry::run(ferry::to_thread(ferry::thread_sensitive, &exits));
}
TEST_CASE("child: exits in a sensitive call while others run", "[.child]") {
    ferry::set_exit_wait(100ms);
    std::thread([] {
        const auto body = []() -> task<> {
            const ferry::thread_sensitive_scope scope;
            co_await ferry::sync_to_async(&never_ends).sensitive().named("stuck_in_a_lease")();
        };
        ferry::run(body());
    }).detach();
    until([] { return begun.exchange(false); });
    ferry::run(ferry::to_thread(ferry::thread_sensitive, &exits));
}
TEST_CASE("child: exits in a call", "[.child]") {
    ferry::set_exit_wait(60s);
    progress both;
    const auto meet = [&both] {
        both.advance();
        both.wait_for(2);
    };
    ferry::run(ferry::when_all(ferry::to_thread(meet), ferry::to_thread(meet)));  // another thread is there, idle
    ferry::run(ferry::to_thread(&exits));
}

TEST_CASE("K13: at its exit the process waits for the calls that run, and says nothing when they end",
          "[bridge][thread_pool_end]") {
    const std::string output = output_of("child: exits while a call runs that ends then");
    CHECK(has(output, "the call has ended"));
    CHECK(!has(output, "exit: "));
    CHECK(has(output, "exit 0"));
}

TEST_CASE("K13: a call that never ends does not block the exit: it is named, and later calls are refused",
          "[bridge][thread_pool_end]") {
    const std::string output = output_of("child: exits while a call runs that never ends");
    CHECK(has(output,
              "exit: calls still run after 0.1 s, and the process ends without them\n  thread pool/0 runs "
              "never_ends\n"));
    CHECK(has(output, "to_thread: pool \"pool\" is closed\n"));
    CHECK(!has(output, "it was called"));
    CHECK(has(output, "exit 0"));
}

TEST_CASE("K13: a call may exit the process, which does not wait for that call", "[bridge][thread_pool_end]") {
    const std::string output = output_of("child: exits in a call");
    CHECK(!has(output, "exit: "));
    CHECK(has(output, "exit 3"));
}

TEST_CASE("K13: sensitive calls that run are waited for, too, on the one thread and on leased ones, and named",
          "[bridge][thread_pool_end]") {
    const std::string output = output_of("child: exits while sensitive calls run that never end");
    CHECK(has(output, "exit: calls still run after 0.1 s, and the process ends without them\n"));
    CHECK(has(output, "  thread ferry-sensitive runs stuck_in_the_one_thread\n"));
    CHECK(has(output, "  thread ferry-lease runs stuck_in_a_lease\n"));
    CHECK(has(output, "to_thread(thread_sensitive): the process ends\n"));
    CHECK(!has(output, "it was called"));
    CHECK(has(output, "exit 0"));
}

TEST_CASE("K13: a sensitive call that ends in time is not named, and neither is one that exits",
          "[bridge][thread_pool_end]") {
    const std::string output = output_of("child: exits while sensitive calls run that end then");
    CHECK(has(output, "the call has ended"));
    CHECK(!has(output, "exit: "));
    CHECK(has(output, "exit 0"));
    const std::string other = output_of("child: exits in a sensitive call");
    CHECK(!has(other, "exit: "));
    CHECK(has(other, "exit 3"));
    const std::string busy = output_of("child: exits in a sensitive call while others run");
    CHECK(has(busy, "  thread ferry-lease runs stuck_in_a_lease\n"));
    CHECK(has(busy, "exit 3"));
}
