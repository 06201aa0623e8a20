// tests/bridge/cancel_everywhere_test.cpp - channels and calls on threads, cancelled at every step, in every nesting
// SPDX-License-Identifier: BSL-1.0
#include "support/cancel_everywhere.hpp"
#include "support/catch.hpp"

#include <ferry/bridge/limiter.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_channel.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/loop/run.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>

using ferry::task;
using ferry_test::cancel_everywhere;
using ferry_test::make;
using ferry_test::stepping_loop;
using ferry_test::world;

namespace {
class channel_pop_world final : public world {
public:
    channel_pop_world(stepping_loop&, bool contended) : world(contended), channel_(2) {
        if (!contended) other_side();
    }
    std::string wrong() override {
        return popped_ + channel_.size() == produced_ ? "" : "an item was lost, or came twice";
    }

private:
    task<int> use() override {
        const int item = co_await channel_.async_pop();
        ++popped_;
        co_return item;
    }
    void other_side() override { produced_ += channel_.try_push(1); }
    ferry::thread_channel<int> channel_;
    std::size_t produced_ = 0;
    std::size_t popped_ = 0;
};

class channel_push_world final : public world {
public:
    channel_push_world(stepping_loop&, bool contended) : world(contended), channel_(1) {
        if (contended && !channel_.try_push(1)) std::abort();
    }
    std::string wrong() override {
        int pushed = popped_ == 2;
        while (const std::optional<int> item = channel_.try_pop()) pushed += *item == 2;
        return pushed == delivered() ? "" : "an item whose push was cancelled is there, or one was lost";
    }

private:
    task<int> use() override {
        co_await channel_.async_push(2);
        co_return 1;
    }
    void other_side() override { popped_ = channel_.try_pop().value_or(0); }
    ferry::thread_channel<int> channel_;
    int popped_ = 0;
};

/// One thread for all runs: a run leaves it idle, and what it holds must not be given back in the middle of another one.
ferry::thread_pool& one_thread() {
    static ferry::thread_pool pool(
        ferry::thread_pool_options().size(1).name("one").idle_end(std::chrono::milliseconds::max()));
    return pool;
}

ferry::limiter& one_at_a_time() {
    static ferry::limiter limit(1);
    return limit;
}

/// A call that runs until the other side lets it end, or that waits in the queue behind another one.
class call_world final : public world {
public:
    enum class state { runs, queued };
    enum class kind { plain, limited, sensitive, abandonable };
    call_world(stepping_loop& loop, state how, kind which)
        : world(true), loop_(loop), kind_(which), queued_(how == state::queued) {
        if (kind_ == kind::abandonable) own_pool_.emplace(std::size_t{1}, "own");
        const bool waited_for = !queued_ && kind_ != kind::abandonable;
        is_withdrawn = !waited_for;  // a call that runs is waited for, and its value is delivered
        ends_at_once = !waited_for;
        delivers_completed = waited_for;  // let go, it may begin or be withdrawn, or end or be left behind
        if (!queued_) return;
        blocker_.emplace(loop, block());
        while (!runs_.load()) {
            if (!loop.step()) std::this_thread::yield();
        }
    }

    std::string wrong() override {
        own_pool_.reset();  // joins: what was left behind has ended, and what its thread has freed counts
        return begun_.load() == ended_.load() ? "" : "a call has not ended";
    }

private:
    int run() {
        begun_.fetch_add(1);
        runs_.store(true);
        gate_.wait(false);
        ended_.fetch_add(1);
        return 1;
    }
    task<int> call() {
        if (kind_ == kind::sensitive) {
            co_return co_await ferry::to_thread(ferry::thread_sensitive, &call_world::run, this);
        }
        if (kind_ == kind::abandonable) {
            co_return co_await ferry::to_thread(ferry::abandonable, *own_pool_, &call_world::run, this);
        }
        if (kind_ == kind::limited) {
            co_return co_await ferry::to_thread(one_thread(), one_at_a_time(), &call_world::run, this);
        }
        co_return co_await ferry::to_thread(one_thread(), &call_world::run, this);
    }
    task<> block() { co_await call(); }
    task<int> use() override { return call(); }
    void other_side() override {
        gate_.store(true);
        gate_.notify_all();
    }
    bool step_beside() override {
        while (!queued_ && waiting() && !runs_.load()) std::this_thread::yield();  // it has been handed over
        return false;
    }
    [[nodiscard]] bool busy() const override {
        return (queued_ && !blocker_->ended()) || (waiting() && !loop_.has_ready());
    }
    stepping_loop& loop_;
    const kind kind_;
    bool queued_;
    std::atomic<int> begun_{0};
    std::atomic<int> ended_{0};
    std::atomic<bool> gate_{false};
    std::atomic<bool> runs_{false};
    std::optional<ferry::thread_pool> own_pool_;  // of a call that may be left behind
    std::optional<stepping_loop::main_task> blocker_;
};
}  // namespace

TEST_CASE("a thread_channel loses no item by a cancellation at any step, in any nesting",
          "[bridge][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<channel_pop_world, false>) == "");
    CHECK(cancel_everywhere(&make<channel_pop_world, true>) == "");
    CHECK(cancel_everywhere(&make<channel_push_world, false>) == "");
    CHECK(cancel_everywhere(&make<channel_push_world, true>) == "");
}

TEST_CASE("a call on a thread is waited for, or never runs, cancelled at any step, in any nesting",
          "[bridge][cancel_everywhere][mt][long]") {
    using calls = call_world;
    CHECK(cancel_everywhere(&make<calls, calls::state::runs, calls::kind::plain>) == "");
    CHECK(cancel_everywhere(&make<calls, calls::state::queued, calls::kind::plain>) == "");
}

TEST_CASE("so is a call that waits for its limiter", "[bridge][cancel_everywhere][mt][long]") {
    using calls = call_world;
    CHECK(cancel_everywhere(&make<calls, calls::state::runs, calls::kind::limited>) == "");
    CHECK(cancel_everywhere(&make<calls, calls::state::queued, calls::kind::limited>) == "");
    CHECK(one_at_a_time().running() + one_at_a_time().waiting() == 0);
}

TEST_CASE("so is a thread-sensitive call", "[bridge][cancel_everywhere][mt][long]") {
    using calls = call_world;
    const auto nothing = [] {};
    ferry::run(ferry::to_thread(ferry::thread_sensitive, nothing));  // from here on that thread is there
    CHECK(cancel_everywhere(&make<calls, calls::state::runs, calls::kind::sensitive>) == "");
    CHECK(cancel_everywhere(&make<calls, calls::state::queued, calls::kind::sensitive>) == "");
}

TEST_CASE("a call that may be left behind ends its wait at once, or never runs, cancelled at any step, in any nesting",
          "[bridge][cancel_everywhere][mt][long]") {
    using calls = call_world;
    CHECK(cancel_everywhere(&make<calls, calls::state::runs, calls::kind::abandonable>) == "");
    CHECK(cancel_everywhere(&make<calls, calls::state::queued, calls::kind::abandonable>) == "");
}
