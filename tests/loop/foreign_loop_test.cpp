// tests/loop/foreign_loop_test.cpp - a poll() loop that is not ferry's drives one ferry loop, or two
// SPDX-License-Identifier: BSL-1.0
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/on.hpp>
#include <ferry/loop/poller.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"
#include "support/race.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <poll.h>
#include <unistd.h>

using ferry::event_loop;
using ferry::task;
using namespace std::chrono_literals;

namespace {
/// Somebody else's loop: polls, as long as each guest allows, and gives each guest that has something to do one turn.
class foreign_loop {
public:
    explicit foreign_loop(std::initializer_list<event_loop*> guests) : guests_(guests) {
        for (event_loop* guest : guests_) guest->run_once();  // marks it as sleeping
    }

    /// Until it is said to be over; a minute without an event is a lost wake-up.
    template <class Over>
    void run(Over over) {
        while (!over()) {
            std::vector<pollfd> entries;
            event_loop::time_point until = event_loop::time_point::max();
            for (event_loop* guest : guests_) {
                entries.push_back(pollfd{guest->native_handle(), POLLIN, 0});
                until = std::min(until, guest->next_deadline());
            }
            const auto now = event_loop::clock::now();
            const std::chrono::nanoseconds wait =
                until <= now ? 0ns : std::min<std::chrono::nanoseconds>(60s, until - now);
            std::timespec timeout{};
            timeout.tv_sec = static_cast<std::time_t>(wait.count() / 1'000'000'000);
            timeout.tv_nsec = static_cast<long>(wait.count() % 1'000'000'000);
            const int ready = ::ppoll(entries.data(), entries.size(), &timeout, nullptr);
            if (ready == 0 && wait >= 60s) throw std::runtime_error("a wake-up was lost");
            ++polls_;
            for (std::size_t index = 0; index < guests_.size(); ++index) {
                if (entries[index].revents == 0 && guests_[index]->next_deadline() > event_loop::clock::now()) continue;
                guests_[index]->run_once();
            }
        }
    }
    [[nodiscard]] int polls() const noexcept { return polls_; }

private:
    std::vector<event_loop*> guests_;
    int polls_ = 0;
};

bool is_readable(int descriptor) {
    pollfd entry{descriptor, POLLIN, 0};
    return ::poll(&entry, 1, 0) == 1;
}

task<> sleep_often(int times, int& wrong) {
    for (int i = 0; i < times; ++i) {
        const auto due = event_loop::current()->now() + 100us;
        co_await ferry::sleep_until(due);
        if (event_loop::current()->now() < due) ++wrong;
    }
}
task<int> hop(event_loop& here) {
    co_await ferry::yield_now();
    co_return event_loop::current() == &here ? 1 : 0;
}
task<int> hop_often(event_loop& there, int times) {
    int right = 0;
    for (int i = 0; i < times; ++i) right += co_await ferry::on(there, hop(there));
    co_return right;
}
}  // namespace

TEST_CASE("a foreign loop polls once or twice for each event, never without one", "[loop][embedding][mt][epoll]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    foreign_loop foreign{&loop};
    constexpr int timers = 50;
    constexpr int posts = 50;
    int early = 0;
    std::atomic<int> run{0};
    auto sleeping = ferry::spawn(loop, sleep_often(timers, early));
    ferry_test::race(
        [&] {
            for (int i = 0; i < posts; ++i) {
                loop.post([&run] { run.fetch_add(1, std::memory_order_release); });
                while (run.load(std::memory_order_acquire) != i + 1) std::this_thread::yield();
            }
        },
        [&] { foreign.run([&] { return run == posts && sleeping.is_ready(); }); });
    CHECK(early == 0);
    // One for each event; and one more for a post whose wake-up came in the turn that ran it already.
    CHECK(foreign.polls() <= 2 * (timers + posts) + 4);
}

TEST_CASE("a foreign loop misses none of a storm of posts, and takes no more turns than there are posts",
          "[loop][embedding][mt][epoll]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    foreign_loop foreign{&loop};
    constexpr int each = 20'000;
    int run = 0;
    const auto storm = [&](std::uint64_t seed) {
        ferry_test::dice random(seed);
        for (int i = 0; i < each; ++i) {
            loop.post([&run] { ++run; });
            if (random.roll(64) == 0) random.dawdle();
            if (random.roll(256) == 0) std::this_thread::yield();
        }
    };
    ferry_test::race([&] { storm(1); }, [&] { storm(2); }, [&] { foreign.run([&] { return run == 2 * each; }); });
    CHECK(run == 2 * each);
    CHECK(foreign.polls() <= 2 * each + 2);
}

TEST_CASE("a single post between any two turns of a foreign loop is never slept through",
          "[loop][embedding][mt][epoll]") {
    event_loop loop;
    foreign_loop foreign{&loop};
    constexpr int rounds = 5'000;
    std::atomic<int> run{0};
    ferry_test::race(
        [&] {
            ferry_test::dice random(1);
            for (int i = 0; i < rounds; ++i) {
                loop.post([&run] { run.fetch_add(1, std::memory_order_release); });
                while (run.load(std::memory_order_acquire) != i + 1) continue;
                random.dawdle();  // the next comes anywhere between the end of that turn and the sleep
            }
        },
        [&] { foreign.run([&] { return run == rounds; }); });
    CHECK(foreign.polls() <= 2 * rounds + 2);
}

TEST_CASE("next_deadline is the next timer's, exactly, and run_once fires it then and not before",
          "[loop][embedding]") {
    ferry::virtual_clock clock;
    event_loop loop(clock);
    auto sleeping = ferry::spawn(loop, [](int) -> task<> { co_await ferry::sleep_for(10s); }(0));
    CHECK(loop.next_deadline() == loop.now());  // it has not begun
    loop.run_once();
    CHECK(loop.next_deadline() == loop.now() + 10s);
    clock.advance(10s - 1ns);
    loop.run_once();
    CHECK(!sleeping.is_ready());
    CHECK(loop.next_deadline() == loop.now() + 1ns);
    clock.advance(1ns);
    loop.run_once();
    CHECK(sleeping.is_ready());
    CHECK(loop.next_deadline() == event_loop::time_point::max());
}

TEST_CASE("next_deadline is now as long as a turn has left something to do", "[loop][embedding]") {
    event_loop loop;
    loop.run_once();
    int run = 0;
    const auto counts = [&run]() -> task<> {
        ++run;
        co_return;
    };
    SECTION("posts beyond a turn's batch") {
        for (int i = 0; i < 1'000; ++i) {
            loop.post([&run] { ++run; });
        }
    }
    SECTION("tasks beyond a turn's batch") {
        loop.post([&] {
            for (int i = 0; i < 1'000; ++i) {
                auto dropped = ferry::spawn(counts());
            }
        });
    }
    int turns = 0;
    for (; loop.next_deadline() != event_loop::time_point::max(); ++turns) {
        const auto next = loop.next_deadline();
        const auto left = next - loop.now();  // no sentinel: it can be reckoned with
        CHECK(left <= 0s);
        CHECK(left > -1h);
        loop.run_once();
    }
    CHECK(run == 1'000);
    CHECK(turns >= 4);
    CHECK(turns <= 6);
}

TEST_CASE("a descriptor that a task watches makes the loop's handle readable", "[loop][embedding][epoll]") {
    event_loop loop;
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    struct watch final : ferry::io_watch {
        using io_watch::io_watch;
        void on_ready(bool readable, bool) noexcept override { events += readable ? 1 : 0; }
        bool wants_readable() const noexcept override { return true; }
        bool wants_writable() const noexcept override { return false; }
        int events = 0;
    } watched(ends[0]);
    loop.watch(watched);
    loop.run_once();
    CHECK(!is_readable(loop.native_handle()));
    for (int round = 1; round <= 3; ++round) {
        CHECK(::write(ends[1], "x", 1) == 1);
        REQUIRE(is_readable(loop.native_handle()));
        loop.run_once();
        CHECK(watched.events == round);
        CHECK(!is_readable(loop.native_handle()));
    }
    loop.unwatch(watched);
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST_CASE("once its handle was taken, a post makes it readable, however the loop was run in between",
          "[loop][embedding][epoll]") {
    const ferry_test::frame_count frames;
    event_loop loop;
    int run = 0;
    const int handle = loop.native_handle();
    SECTION("not at all") {}
    SECTION("run_once") { loop.run_once(); }
    SECTION("run_until_idle") { loop.run_until_idle(); }
    SECTION("run(awaitable)") { CHECK(loop.run(hop(loop)) == 1); }
    SECTION("run() until stop()") {
        loop.stop();
        loop.run();
    }
    SECTION("cancel_tasks") {
        auto waiting = ferry::spawn(loop, hop(loop));
        loop.cancel_tasks();
    }
    SECTION("taken again in a turn") {
        loop.post([&loop] { CHECK(loop.native_handle() >= 0); });
        loop.run_until_idle();
    }
    loop.post([&run] { ++run; });
    CHECK(is_readable(handle));
    loop.run_once();
    CHECK(run == 1);
}

TEST_CASE("one thread runs one loop after another", "[loop][embedding]") {
    const ferry_test::frame_count frames;
    for (int round = 0; round < 3; ++round) {
        event_loop loop;
        CHECK(event_loop::current() == nullptr);
        CHECK(loop.run(hop(loop)) == 1);
    }
}

TEST_CASE("one thread turns two loops alternately, and each task stays on its own", "[loop][embedding]") {
    const ferry_test::frame_count frames;
    event_loop one;
    event_loop two;
    auto there = ferry::spawn(one, hop_often(two, 20));
    auto back = ferry::spawn(two, hop_often(one, 20));
    for (int turns = 0; turns < 200; ++turns) {
        one.run_once();
        two.run_once();
    }
    REQUIRE(there.is_ready());
    REQUIRE(back.is_ready());
    CHECK(there.get() == 20);
    CHECK(back.get() == 20);
}

TEST_CASE("two loops in one foreign poll() loop wake each other, and both sleep when there is nothing to do",
          "[loop][embedding][epoll]") {
    const ferry_test::frame_count frames;
    event_loop one;
    event_loop two;
    foreign_loop foreign{&one, &two};
    int early = 0;
    auto there = ferry::spawn(one, hop_often(two, 20));
    auto back = ferry::spawn(two, hop_often(one, 20));
    auto sleeping = ferry::spawn(one, sleep_often(10, early));
    foreign.run([&] { return there.is_ready() && back.is_ready() && sleeping.is_ready(); });
    CHECK(there.get() == 20);
    CHECK(back.get() == 20);
    CHECK(early == 0);
    CHECK(foreign.polls() <= 2 * (20 * 3 + 20 * 3 + 10));
}
