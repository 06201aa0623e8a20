// tests/bridge/connection_per_worker_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/connection_per_worker.hpp>
#include <ferry/bridge/limiter.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/core/exception_handlers.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>

#include "bridge/progress.hpp"
#include "core/frame_count.hpp"
#include "support/catch.hpp"
#include "support/race.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using ferry::connection_per_worker;
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

/// What was opened and closed, and where.
struct counts {
    std::atomic<int> opened{0};
    std::atomic<int> closed{0};
    std::atomic<int> closed_elsewhere{0};  // on another thread than the one that opened it
};

/// Neither copied nor moved.
class session {
public:
    explicit session(counts& in) : number(in.opened.fetch_add(1) + 1), counts_(in) {}
    ~session() {
        counts_.closed.fetch_add(1);
        if (std::this_thread::get_id() != opened_by_) counts_.closed_elsewhere.fetch_add(1);
    }
    session(const session&) = delete;
    session& operator=(const session&) = delete;
    const int number;
    bool broken = false;

private:
    counts& counts_;
    std::thread::id opened_by_ = std::this_thread::get_id();
};
int number_of(session& s) { return s.number; }
int break_it(session& s) {
    s.broken = true;
    return s.number;
}
bool is_whole(session& s) { return !s.broken; }

std::string suppressed;
/// While it lives, keeps the last exception that was suppressed.
class suppressed_kept {
public:
    suppressed_kept() : before_(ferry::set_suppressed_exception_handler(&keep)) { suppressed.clear(); }
    ~suppressed_kept() { ferry::set_suppressed_exception_handler(before_); }
    suppressed_kept(const suppressed_kept&) = delete;
    suppressed_kept& operator=(const suppressed_kept&) = delete;

private:
    static void keep(std::exception_ptr error, const char*) noexcept {
        try {
            std::rethrow_exception(error);
        } catch (const std::exception& caught) {
            suppressed = caught.what();
        }
    }
    ferry::exception_handler before_;
};
}  // namespace

TEST_CASE("a thread opens its handle for its first call, keeps it for later ones, and closes it when it ends",
          "[bridge][connection_per_worker]") {
    const ferry_test::frame_count frames;
    counts seen;
    const auto open = [&seen] { return session(seen); };
    {
        connection_per_worker db(open);
        thread_pool pool(1);
        CHECK(db.open_handles() == 0);
        for (int i = 0; i < 3; ++i) CHECK(ferry::run(db.to_thread(pool, number_of)) == 1);
        CHECK(db.open_handles() == 1);
        CHECK(seen.closed == 0);
    }
    CHECK(seen.opened == 1);
    CHECK(seen.closed == 1);
    CHECK(seen.closed_elsewhere == 0);
}

TEST_CASE("each thread has a handle of its own, and each owner has its own ones", "[bridge][connection_per_worker]") {
    const ferry_test::frame_count frames;
    counts seen;
    const auto open = [&seen] { return session(seen); };
    event_loop loop;
    connection_per_worker db(open);
    connection_per_worker other(open);
    thread_pool pool(2);
    progress both;
    const auto meet = [&both](session& s) {
        both.advance();
        both.wait_for(2);
        return s.number;
    };
    auto first = ferry::spawn(loop, db.to_thread(pool, meet));
    auto second = ferry::spawn(loop, db.to_thread(pool, meet));
    CHECK(loop.run(std::move(first)) + loop.run(std::move(second)) == 3);
    CHECK(db.open_handles() == 2);
    CHECK(loop.run(other.to_thread(pool, number_of)) == 3);
    CHECK(other.open_handles() == 1);
}

TEST_CASE("a handle is closed when its thread ends because it was idle", "[bridge][connection_per_worker]") {
    counts seen;
    const auto open = [&seen] { return session(seen); };
    connection_per_worker db(open);
    std::atomic<int> open_at_end{-1};
    thread_pool pool(
        thread_pool_options().size(1).idle_end(1ms).on_thread_end([&] { open_at_end = seen.opened - seen.closed; }));
    CHECK(ferry::run(db.to_thread(pool, number_of)) == 1);
    until([&] { return pool.threads() == 0; });
    CHECK(open_at_end == 0);
    CHECK(seen.closed == 1);
    CHECK(seen.closed_elsewhere == 0);
    CHECK(ferry::run(db.to_thread(pool, number_of)) == 2);
}

TEST_CASE("a handle that is not good is closed and replaced: after the call that broke it, and before the next one",
          "[bridge][connection_per_worker]") {
    const ferry_test::frame_count frames;
    counts seen;
    std::atomic<session*> last{nullptr};
    const auto open = [&seen] { return session(seen); };
    connection_per_worker db(open, is_whole);
    thread_pool pool(1);
    CHECK(ferry::run(db.to_thread(pool, break_it)) == 1);
    CHECK(seen.closed == 1);  // before the task goes on
    CHECK(db.open_handles() == 0);
    const auto remember = [&last](session& s) {
        last = &s;
        return s.number;
    };
    CHECK(ferry::run(db.to_thread(pool, remember)) == 2);
    const auto behind_its_back = [&last] { last.load()->broken = true; };  // the server has gone, say
    ferry::run(ferry::to_thread(pool, behind_its_back));
    CHECK(ferry::run(db.to_thread(pool, number_of)) == 3);
    CHECK(seen.closed == 2);
}

TEST_CASE("a call that throws leaves the handle, unless that has become bad", "[bridge][connection_per_worker]") {
    const ferry_test::frame_count frames;
    counts seen;
    const auto open = [&seen] { return session(seen); };
    connection_per_worker db(open, is_whole);
    thread_pool pool(1);
    const auto fails = [](session& s, bool breaks) {
        s.broken = breaks;
        throw std::runtime_error("in the call");
    };
    REQUIRE_THROWS_AS(ferry::run(db.to_thread(pool, fails, false)), std::runtime_error);
    CHECK(seen.closed == 0);
    REQUIRE_THROWS_AS(ferry::run(db.to_thread(pool, fails, true)), std::runtime_error);
    CHECK(seen.closed == 1);
    CHECK(ferry::run(db.to_thread(pool, number_of)) == 2);
}

TEST_CASE("what opening a handle throws is thrown by the call, which does not run; the next one tries again",
          "[bridge][connection_per_worker]") {
    const ferry_test::frame_count frames;
    counts seen;
    int attempts = 0;
    int run = 0;
    const auto open = [&] {
        if (++attempts == 1) throw std::runtime_error("no such host");
        return session(seen);
    };
    connection_per_worker db(open);
    thread_pool pool(1);
    const auto count = [&run](session&) { ++run; };
    REQUIRE_THROWS_AS(ferry::run(db.to_thread(pool, count)), std::runtime_error);
    CHECK(run == 0);
    ferry::run(db.to_thread(pool, count));
    CHECK(run == 1);
    CHECK(seen.opened == 1);
}

TEST_CASE("what the check throws is thrown by the call that it comes before, and suppressed after a call",
          "[bridge][connection_per_worker]") {
    const ferry_test::frame_count frames;
    const suppressed_kept handler;
    counts seen;
    int checks = 0;
    int throws_at = 2;
    const auto open = [&seen] { return session(seen); };
    const auto is_good = [&](session&) {
        if (++checks == throws_at) throw std::runtime_error("check " + std::to_string(checks));
        return true;
    };
    connection_per_worker db(open, is_good);
    thread_pool pool(1);
    CHECK(ferry::run(db.to_thread(pool, number_of)) == 1);  // one check: a new handle is not asked
    REQUIRE_THROWS_AS(ferry::run(db.to_thread(pool, number_of)), std::runtime_error);
    CHECK(suppressed.empty());
    CHECK(seen.closed == 1);
    throws_at = 3;
    CHECK(ferry::run(db.to_thread(pool, number_of)) == 2);  // its value is not lost
    CHECK(suppressed == "check 3");
    CHECK(seen.closed == 2);
    CHECK(ferry::run(db.to_thread(pool, number_of)) == 3);
}

TEST_CASE("when the owner goes first, handles that are not in use are closed at once, the others after their calls",
          "[bridge][connection_per_worker]") {
    const ferry_test::frame_count frames;
    counts seen;
    const auto open = [&seen] { return session(seen); };
    event_loop loop;
    thread_pool pool(2);
    progress started;
    progress release;
    progress both;
    const auto held = [&](session& s) {
        started.advance();
        release.wait_for();
        return s.number;
    };
    const auto meet = [&both](session&) {
        both.advance();
        both.wait_for(2);
    };
    using db_type = decltype(connection_per_worker(open));
    auto db = std::make_unique<db_type>(open);
    auto first = ferry::spawn(loop, db->to_thread(pool, meet));
    auto second = ferry::spawn(loop, db->to_thread(pool, meet));
    loop.run(std::move(first));
    loop.run(std::move(second));
    CHECK(db->open_handles() == 2);
    auto in_use = ferry::spawn(loop, db->to_thread(pool, held));
    loop.run_once();
    started.wait_for();
    const auto later = db->with_connection(number_of);
    db.reset();
    CHECK(seen.closed == 1);
    release.advance();
    CHECK(loop.run(std::move(in_use)) <= 2);
    CHECK(seen.closed == 2);
    CHECK(loop.run(ferry::to_thread(pool, later)) == 3);  // it opens one for itself
    CHECK(seen.closed == 3);
}

TEST_CASE("a call in the middle of another one on the same thread uses the same handle, and does not close it",
          "[bridge][connection_per_worker]") {
    counts seen;
    const auto open = [&seen] { return session(seen); };
    connection_per_worker db(open, is_whole);
    thread_pool pool(1);
    const auto broken_inside = ferry::sync_to_async(db.with_connection(break_it)).sensitive();
    int closed_inside = -1;
    const auto outer = [&](session& s) {
        const int inner = ferry::block_on(broken_inside());
        closed_inside = seen.closed;
        return 10 * s.number + inner;
    };
    CHECK(ferry::run(db.to_thread(pool, std::ref(outer))) == 11);
    CHECK(closed_inside == 0);
    CHECK(seen.closed == 1);
}

TEST_CASE("any thread has handles: a blocked one's is closed at its end", "[bridge][connection_per_worker]") {
    counts seen;
    const auto open = [&seen] { return session(seen); };
    connection_per_worker db(open);
    const auto at_home = ferry::sync_to_async(db.with_connection(number_of)).sensitive();
    int numbers = 0;
    int closed_before_end = -1;
    std::thread([&] {
        numbers = ferry::block_on(at_home()) + ferry::block_on(at_home());
        closed_before_end = seen.closed;
    }).join();
    CHECK(numbers == 2);
    CHECK(closed_before_end == 0);
    CHECK(seen.closed == 1);
    CHECK(seen.closed_elsewhere == 0);
}

TEST_CASE("handles may be of the standard library's types, and arguments and results move through",
          "[bridge][connection_per_worker]") {
    const ferry_test::frame_count frames;
    thread_pool pool(1);
    using file = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;
    const auto open_file = [] { return file(std::tmpfile(), &std::fclose); };
    const auto is_open = [](file& f) { return f != nullptr; };
    connection_per_worker files(open_file, is_open);
    const auto write = [](file& f, std::unique_ptr<std::string> text) {
        std::fputs(text->c_str(), f.get());
        return std::make_unique<long>(std::ftell(f.get()));
    };
    const auto close = [](file& f) { f.reset(); };
    auto text = std::make_unique<std::string>("12345");
    CHECK(*ferry::run(files.to_thread(pool, write, std::move(text))) == 5);
    text = std::make_unique<std::string>("678");
    CHECK(*ferry::run(files.to_thread(pool, write, std::move(text))) == 8);
    ferry::run(files.to_thread(pool, close));
    CHECK(files.open_handles() == 0);

    const auto zero = [] { return 0; };
    connection_per_worker counters(zero);
    const auto increment = [](int& count) -> int& { return ++count; };
    ferry::limiter one(1);
    CHECK(ferry::run(counters.to_thread(pool, increment)) == 1);
    CHECK(ferry::run(counters.to_thread(pool, one, increment)) == 2);
    CHECK(ferry::run(counters.to_thread(increment)) == 1);  // on the default pool
}

TEST_CASE("calls, threads and owners that come and go leave no handle open", "[bridge][connection_per_worker][mt]") {
    counts seen;
    std::atomic<int> calls{0};
    {
        const auto open = [&seen] { return session(seen); };
        std::atomic<int> dice_of_check{0};
        const auto is_good = [&dice_of_check](session&) { return dice_of_check.fetch_add(1) % 7 != 0; };
        thread_pool pool(thread_pool_options().size(3).idle_end(0ms));
        const auto lane = [&](int id) {
            ferry_test::dice dice(static_cast<std::uint64_t>(id) + 1);
            event_loop loop;
            const auto use = [&calls](session& s) {
                calls.fetch_add(1);
                return s.number;
            };
            for (int round = 0; round < 60; ++round) {
                connection_per_worker db(open, is_good);
                const int count = 1 + dice.roll(6);
                const auto crowd = [&](ferry::task_group& group) -> task<> {
                    for (int i = 0; i < count; ++i) group.start(db.to_thread(pool, use));
                    co_return;
                };
                loop.run(ferry::with_task_group(crowd));
                dice.dawdle();
            }
        };
        std::thread other([&] { lane(1); });
        lane(2);
        other.join();
    }
    CHECK(calls > 0);
    CHECK(seen.opened > 0);
    CHECK(seen.opened == seen.closed);
}
