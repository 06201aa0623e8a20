// tests/bridge/deadlock_refused_test.cpp - what the wait graph knows of a task that a refused wait has cancelled
// SPDX-License-Identifier: BSL-1.0
#include "bridge/scenario.hpp"
#include "support/race.hpp"

#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/shield.hpp>
#include <ferry/loop/async_mutex.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/spawn.hpp>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>

using ferry::task;
using ferry::thread_sensitive;
using ferry::to_thread;
using ferry_test::dice;
using ferry_test::progress;
using ferry_test::verdicts;

namespace {
/// The main thread's block_on is refused: `of_main`, which a child of its task waits for, would come from the main thread. The
/// cancellation that follows is kept on its way, since the loop's thread is busy. Meanwhile another thread waits for what a second
/// child of that task will give back when it is cancelled, and not before: that child waits for `of_other`, which would come from
/// that thread.
class refused_while_another_waits {
public:
    explicit refused_while_another_waits(std::uint64_t seed) : dice_(seed) {}

    void play() {
        of_main_.produced_by_this_thread();
        std::thread other([&] { wait_for_the_mutex(); });
        std::thread releases([&] { let_the_loop_go_on(); });
        begun_.wait_for();
        main_.refuses([&] { return ferry::block_on(there_.loop(), whole().named("whole")); });
        other.join();
        releases.join();
    }
    verdicts main_;
    verdicts other_;
    int got_ = 0;

private:
    task<> whole() {
        const auto home = ferry::spawn(comes_home());
        co_await main_serves_.wait();
        there_.loop().post([&] { waits_.advance(); });
        co_await ferry::when_all(wants_both(), holds_mutex());
    }
    /// The main thread is awake in this call while the two children begin to wait, so its own wait will close the circle.
    task<> comes_home() {
        const auto keeps_the_loop_busy = [&] {
            there_.loop().post([&] { main_serves_.set(); });
            waits_.wait_for();
            wants_mutex_ = ferry::spawn(there_.loop(), wants_mutex());
            there_.loop().post([&] {
                busy_.advance();
                while (!goes_on_) std::this_thread::yield();
            });
            busy_.wait_for();
        };
        co_await to_thread(thread_sensitive, keeps_the_loop_busy);
    }
    /// No cancellation reaches these: the one is not helped by what may become of the mutex's holder, nor, since the main thread
    /// will not be in a circle any more, the holder by what may become of them.
    task<> wants_both() {
        co_await ferry::when_all(ferry::shield(wants_main().named("wants_main")), ferry::shield(wants_other()));
    }
    task<int> wants_main() { co_return co_await of_main_.get_future(); }
    task<int> wants_other() { co_return co_await of_other_too_.get_future(); }
    task<int> holds_mutex() {
        const auto guard = co_await mutex_.lock();
        co_return co_await of_other_.get_future();
    }
    task<int> wants_mutex() {
        const auto guard = co_await mutex_.lock();
        co_return 7;
    }
    void wait_for_the_mutex() {
        of_other_.produced_by_this_thread();
        of_other_too_.produced_by_this_thread();
        begun_.advance();
        while (!main_awaits_what_it_has_cancelled()) std::this_thread::yield();
        dice_.dawdle();
        other_.refuses([&] { return got_ = wants_mutex_->get(); });
        is_over_ = true;
        of_other_.set_value(1);
        of_other_too_.set_value(1);
        of_main_.set_value(1);
    }
    [[nodiscard]] bool main_awaits_what_it_has_cancelled() const {
        const std::lock_guard lock(ferry::detail::wait_graph::mutex());
        return main_thread_.waits_in() != nullptr && main_thread_.needs() == nullptr;
    }
    /// When the other thread sleeps in the graph, or was refused.
    void let_the_loop_go_on() {
        while (!main_awaits_what_it_has_cancelled()) std::this_thread::yield();
        while (ferry::detail::blocked_threads() == 0 && !is_over_) std::this_thread::yield();
        const std::lock_guard until_it_has_asked(ferry::detail::wait_graph::mutex());
        goes_on_ = true;
    }

    dice dice_;
    const ferry_test::node& main_thread_ = ferry::detail::record_of_this_thread();
    ferry::loop_thread there_{"there"};
    ferry::event main_serves_{there_.loop()};
    ferry::async_mutex mutex_{there_.loop()};
    ferry::promise<int> of_main_;
    ferry::promise<int> of_other_;
    ferry::promise<int> of_other_too_;
    std::optional<ferry::future<int>> wants_mutex_;
    progress begun_;
    progress waits_;
    progress busy_;
    std::atomic<bool> goes_on_{false};
    std::atomic<bool> is_over_{false};
};
}  // namespace

DEADLOCK_SCENARIO(
    cancellation_under_way,
    "near miss: nobody is refused because of a task whose cancellation is on its way from a refused wait") {
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
        refused_while_another_waits both(seed);
        both.play();
        CHECK(both.main_.kind() == "wait-cycle");
        CHECK(both.main_.names("task wants_main"));
        CHECK(both.other_.count() == 0);
        CHECK(both.got_ == 7);
    }
}
