// tests/bridge/cancel_everywhere_test.cpp - channels and calls on threads, cancelled at every step, in every nesting
// SPDX-License-Identifier: BSL-1.0
#include "support/cancel_everywhere.hpp"
#include "support/catch.hpp"

#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_channel.hpp>
#include <ferry/bridge/thread_pool.hpp>

#include <atomic>
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

/// One thread for all runs: a run leaves it idle.
ferry::thread_pool& one_thread() {
    static ferry::thread_pool pool(1, "one");
    return pool;
}

/// A call that runs until the other side lets it end, or that waits in the queue behind another one.
class call_world final : public world {
public:
    enum class state { runs, queued };
    call_world(stepping_loop& loop, state how) : world(true), loop_(loop), queued_(how == state::queued) {
        is_withdrawn = queued_;  // a call that runs is waited for, and its value is delivered
        ends_at_once = queued_;
        delivers_completed = !queued_;  // let go, it may begin or be withdrawn
        if (!queued_) return;
        blocker_.emplace(loop, block());
        while (!runs_.load()) {
            if (!loop.step()) std::this_thread::yield();
        }
    }

private:
    int run() {
        runs_.store(true);
        gate_.wait(false);
        return 1;
    }
    task<> block() { co_await ferry::to_thread(one_thread(), &call_world::run, this); }
    task<int> use() override { co_return co_await ferry::to_thread(one_thread(), &call_world::run, this); }
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
    bool queued_;
    std::atomic<bool> gate_{false};
    std::atomic<bool> runs_{false};
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
    CHECK(cancel_everywhere(&make<call_world, call_world::state::runs>) == "");
    CHECK(cancel_everywhere(&make<call_world, call_world::state::queued>) == "");
}
