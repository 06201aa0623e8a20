// tests/loop/cancel_everywhere_test.cpp - every primitive of one loop, cancelled at every step, in every nesting
// SPDX-License-Identifier: BSL-1.0
#include "support/cancel_everywhere.hpp"
#include "support/catch.hpp"

#include <ferry/loop/async_mutex.hpp>
#include <ferry/loop/async_shared_mutex.hpp>
#include <ferry/loop/bounded_queue.hpp>
#include <ferry/loop/callback.hpp>
#include <ferry/loop/condition.hpp>
#include <ferry/loop/event.hpp>
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
#include <ferry/loop/timeout.hpp>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

using ferry::task;
using ferry_test::cancel_everywhere;
using ferry_test::make;
using ferry_test::stepping_loop;
using ferry_test::world;
using namespace std::chrono_literals;

namespace {
// ---- time --------------------------------------------------------------------------------------------------------
enum class pause { sleep_for, sleep_until, beat };

class time_world final : public world {
public:
    time_world(stepping_loop& loop, pause how) : world(false), loop_(loop), how_(how), beat_(loop, 2s) {}
    [[nodiscard]] bool completed() const override { return loop_.now() >= due_; }

private:
    task<int> use() override {
        due_ = loop_.now() + 2s;
        if (how_ == pause::sleep_for) co_await ferry::sleep_for(2s);
        if (how_ == pause::sleep_until) co_await ferry::sleep_until(due_);
        if (how_ == pause::beat) co_return static_cast<int>(co_await beat_.next());
        co_return 1;
    }
    stepping_loop& loop_;
    pause how_;
    ferry::interval beat_;
    ferry::event_loop::time_point due_ = ferry::event_loop::time_point::max();
};

class no_time_world final : public world {
public:
    no_time_world(stepping_loop&, bool yields) : world(false), yields_(yields) {
        is_withdrawn = yields;  // a sleep of no length is over at any moment
    }

private:
    task<int> use() override {
        if (yields_) {
            co_await ferry::yield_now();
        } else {
            co_await ferry::sleep_for(0s);
        }
        co_return 1;
    }
    bool yields_;
};

// ---- events, latches, conditions ---------------------------------------------------------------------------------
class event_world final : public world {
public:
    event_world(stepping_loop& loop, bool contended) : world(contended), ready_(loop) {
        if (!contended) ready_.set();
    }

private:
    task<int> use() override {
        co_await ready_.wait();
        co_return 1;
    }
    void other_side() override { ready_.set(); }
    ferry::event ready_;
};

class latch_world final : public world {
public:
    latch_world(stepping_loop& loop, bool contended) : world(contended), latch_(loop, contended ? 2 : 1) {}
    std::string wrong() override { return latch_.is_open() == (begun() == 1) ? "" : "the latch counted wrong"; }

private:
    task<int> use() override {
        co_await latch_.arrive_and_wait();
        co_return 1;
    }
    void other_side() override { latch_.count_down(); }
    ferry::latch latch_;
};

/// Two wait for one token: the task, and behind it another.
class condition_world final : public world {
public:
    condition_world(stepping_loop& loop, bool contended)
        : world(contended), changed_(loop), tokens_(contended ? 0 : 1), produced_(tokens_) {
        delivers_completed = false;  // a notification that the cancelled one did not use goes on to the next
        loop.spawn(bystander());
    }
    void let_go() override {
        if (taken_ == 0) problem_ = "the notification was lost";
        produce();
    }
    std::string wrong() override {
        if (taken_ + tokens_ != produced_) problem_ += " a token was lost";
        if (!bystander_done_) problem_ += " the one behind was not served";
        return problem_;
    }

private:
    task<int> use() override {
        co_await changed_.wait([this] { return tokens_ > 0; });
        take();
        co_return 1;
    }
    task<> bystander() {
        co_await until_it_waits();
        while (!ended() && tokens_ > 0) co_await ferry::yield_now();  // that one is the task's
        co_await changed_.wait([this] { return tokens_ > 0; });
        take();
        bystander_done_ = true;
    }
    void other_side() override { produce(); }
    void produce() {
        ++produced_;
        ++tokens_;
        changed_.notify_one();
    }
    void take() {
        --tokens_;
        ++taken_;
    }
    ferry::condition changed_;
    int tokens_;
    int produced_;
    int taken_ = 0;
    bool bystander_done_ = false;
    std::string problem_;
};

// ---- mutexes and semaphores --------------------------------------------------------------------------------------
enum class limit { none, ample, short_one };

/// Its time limit passes while somebody else has the thing: the wait yields nothing, and that is its result.
class limited_world : public world {
protected:
    limited_world(stepping_loop& loop, bool contended, limit how_long)
        : world(contended && how_long != limit::short_one), loop_(loop), held_(contended), how_long_(how_long) {}
    [[nodiscard]] bool completed() const override {
        return how_long_ == limit::short_one ? loop_.now() >= due_ : world::completed();
    }
    [[nodiscard]] std::chrono::seconds time() {
        due_ = loop_.now() + 2s;
        return how_long_ == limit::short_one ? 2s : 2h;
    }
    [[nodiscard]] limit how_long() const noexcept { return how_long_; }
    /// Does somebody else have it in the beginning?
    [[nodiscard]] bool held() const noexcept { return held_; }
    template <class Guard>
    int as_wanted(const Guard& guard) const {
        return static_cast<bool>(guard) == (how_long_ != limit::short_one) ? 1 : 100;
    }

private:
    stepping_loop& loop_;
    bool held_;
    limit how_long_;
    ferry::event_loop::time_point due_ = ferry::event_loop::time_point::max();
};

class mutex_world final : public limited_world {
public:
    mutex_world(stepping_loop& loop, bool contended, limit how_long)
        : limited_world(loop, contended, how_long), mutex_(loop) {
        if (held()) mutex_.try_lock().detach();
        loop.spawn(bystander());
    }
    void let_go() override {
        if (how_long() == limit::short_one) mutex_.unlock();
    }
    std::string wrong() override {
        return mutex_.locked() ? "it is locked" : !bystander_done_ ? "the one behind was not served" : "";
    }

private:
    task<int> use() override {
        if (how_long() == limit::none) {
            const ferry::async_mutex::guard held = co_await mutex_.lock();
            co_return as_wanted(held);
        }
        const ferry::async_mutex::guard held = co_await mutex_.try_lock_for(time());
        co_return as_wanted(held);
    }
    task<> bystander() {
        co_await until_it_waits();
        const ferry::async_mutex::guard held = co_await mutex_.lock();
        bystander_done_ = true;
    }
    void other_side() override { mutex_.unlock(); }
    ferry::async_mutex mutex_;
    bool bystander_done_ = false;
};

/// A writer behind a reader with a reader behind it, or a reader between two writers.
class shared_mutex_world final : public limited_world {
public:
    shared_mutex_world(stepping_loop& loop, bool contended, limit how_long, bool reads)
        : limited_world(loop, contended, how_long), mutex_(loop), reads_(reads) {
        if (held()) (reads ? mutex_.try_lock() : mutex_.try_lock_shared()).detach();
        loop.spawn(bystander());
    }
    void let_go() override {
        if (how_long() == limit::short_one) other_side();
    }
    [[nodiscard]] bool keeps_others_waiting() const override { return !reads_ && !bystander_done_; }
    std::string wrong() override {
        const ferry::async_shared_mutex::guard all = mutex_.try_lock();
        return !all ? "it is held" : !bystander_done_ ? "the one behind was not served" : "";
    }

private:
    ferry::async_shared_mutex::awaiter request() {
        if (how_long() == limit::none) return reads_ ? mutex_.lock_shared() : mutex_.lock();
        return reads_ ? mutex_.try_lock_shared_for(time()) : mutex_.try_lock_for(time());
    }
    task<int> use() override {
        const ferry::async_shared_mutex::guard held = co_await request();
        co_return as_wanted(held);
    }
    task<> bystander() {
        co_await until_it_waits();
        if (reads_) {
            const ferry::async_shared_mutex::guard held = co_await mutex_.lock();
            bystander_done_ = static_cast<bool>(held);
        } else {
            const ferry::async_shared_mutex::guard held = co_await mutex_.lock_shared();
            bystander_done_ = static_cast<bool>(held);
        }
    }
    void other_side() override {
        if (reads_) {
            mutex_.unlock();
        } else {
            mutex_.unlock_shared();
        }
    }
    ferry::async_shared_mutex mutex_;
    bool reads_;
    bool bystander_done_ = false;
};

/// Three permits, two of them taken; the task wants `count`, and one behind it wants one.
class semaphore_world final : public limited_world {
public:
    semaphore_world(stepping_loop& loop, bool contended, limit how_long, std::size_t count)
        : limited_world(loop, contended, how_long), permits_(loop, 3), count_(count) {
        if (held()) permits_.try_acquire(count == 1 ? 3 : 2).detach();
        loop.spawn(bystander());
    }
    void let_go() override {
        if (how_long() == limit::short_one) other_side();
    }
    [[nodiscard]] bool keeps_others_waiting() const override { return count_ > 1 && !bystander_done_; }
    std::string wrong() override {
        return permits_.available() != 3 ? "permits are missing"
               : !bystander_done_        ? "the one behind was not served"
                                         : "";
    }

private:
    task<int> use() override {
        if (how_long() == limit::none) {
            const ferry::semaphore::permit mine = co_await permits_.acquire(count_);
            co_return as_wanted(mine);
        }
        const ferry::semaphore::permit mine = co_await permits_.try_acquire_for(time(), count_);
        co_return as_wanted(mine);
    }
    task<> bystander() {
        co_await until_it_waits();
        const ferry::semaphore::permit mine = co_await permits_.acquire();
        bystander_done_ = static_cast<bool>(mine);
    }
    void other_side() override { permits_.release(count_ == 1 ? 3 : 2); }
    ferry::semaphore permits_;
    std::size_t count_;
    bool bystander_done_ = false;
};

// ---- queues ------------------------------------------------------------------------------------------------------
class pop_world final : public world {
public:
    pop_world(stepping_loop& loop, bool contended) : world(contended), queue_(loop, 2) {
        if (!contended) produce();
    }
    std::string wrong() override {
        return popped_ + queue_.size() == produced_ ? "" : "an item was lost, or came twice";
    }

private:
    task<int> use() override {
        const int item = co_await queue_.pop();
        ++popped_;
        co_return item;
    }
    void other_side() override { produce(); }
    void produce() { produced_ += queue_.try_push(1); }
    ferry::bounded_queue<int> queue_;
    std::size_t produced_ = 0;
    std::size_t popped_ = 0;
};

class push_world final : public world {
public:
    push_world(stepping_loop& loop, bool contended) : world(contended), queue_(loop, 1) {
        if (contended && !queue_.try_push(1)) std::abort();
    }
    std::string wrong() override {
        int pushed = 0;
        while (const std::optional<int> item = queue_.try_pop()) pushed += *item == 2;
        pushed += popped_ == 2;
        return pushed == delivered() ? "" : "an item whose push was cancelled is there, or one was lost";
    }

private:
    task<int> use() override {
        co_await queue_.push(2);
        co_return 1;
    }
    void other_side() override { popped_ = queue_.try_pop().value_or(0); }
    ferry::bounded_queue<int> queue_;
    int popped_ = 0;
};

// ---- several of them ---------------------------------------------------------------------------------------------
/// Holds a mutex and permits while it waits for something else.
class holding_world final : public world {
public:
    holding_world(stepping_loop& loop, bool contended)
        : world(contended), mutex_(loop), permits_(loop, 3), ready_(loop) {
        delivers_completed = false;  // its next checkpoint throws
        if (!contended) ready_.set();
    }
    std::string wrong() override {
        return mutex_.locked() ? "it is locked" : permits_.available() != 3 ? "permits are missing" : "";
    }

private:
    task<int> use() override {
        const ferry::async_mutex::guard held = co_await mutex_.lock();
        const ferry::semaphore::permit two = co_await permits_.acquire(2);
        co_await ready_.wait();
        const ferry::semaphore::permit third = co_await permits_.acquire();
        co_return 1;
    }
    void other_side() override { ready_.set(); }
    ferry::async_mutex mutex_;
    ferry::semaphore permits_;
    ferry::event ready_;
};

/// A producer and a consumer with a queue between them that is too short.
class pipeline_world final : public world {
public:
    explicit pipeline_world(stepping_loop& loop) : world(false), queue_(loop, 1) {
        is_withdrawn = false;  // it may have come to its end
    }
    std::string wrong() override {
        if (delivered() == 1 && popped_ != items) return "it ended too early";
        return popped_ + queue_.size() == pushed_ ? "" : "an item was lost, or came twice";
    }

private:
    static constexpr std::size_t items = 4;
    task<> produce() {
        for (std::size_t i = 0; i < items; ++i) {
            co_await queue_.push(1);
            ++pushed_;
        }
    }
    task<int> use() override {
        const auto body = [this](ferry::task_group& group) -> task<int> {
            group.start(produce());
            for (std::size_t i = 0; i < items; ++i) {
                const int item = co_await queue_.pop();
                popped_ += item == 1;
            }
            co_return 1;
        };
        co_return co_await ferry::with_task_group(body);
    }
    ferry::bounded_queue<int> queue_;
    std::size_t pushed_ = 0;
    std::size_t popped_ = 0;
};

// ---- results from elsewhere --------------------------------------------------------------------------------------
class future_world final : public world {
public:
    future_world(stepping_loop&, bool contended) : world(contended), result_(promise_.get_future()) {
        if (!contended) promise_.set_value(1);
    }

private:
    task<int> use() override { co_return co_await std::move(result_); }
    void other_side() override { promise_.set_value(1); }
    ferry::promise<int> promise_;
    ferry::future<int> result_;
};

class shared_future_world final : public world {
public:
    shared_future_world(stepping_loop& loop, bool contended)
        : world(contended), result_(promise_.get_future().share()) {
        if (!contended) promise_.set_value(1);
        loop.spawn(bystander());
    }
    std::string wrong() override { return seen_ == 1 ? "" : "the other one who waits got nothing"; }

private:
    task<int> use() override { co_return co_await result_; }
    task<> bystander() {
        co_await until_it_waits();
        seen_ = co_await result_;
    }
    void other_side() override { promise_.set_value(1); }
    ferry::promise<int> promise_;
    ferry::shared_future<int> result_;
    int seen_ = 0;
};

class callback_world final : public world {
public:
    callback_world(stepping_loop&, bool contended) : world(contended) {}
    void let_go() override { done_.reset(); }

private:
    task<int> use() override {
        const auto start = [this](ferry::completion<int> done) {
            if (contended() && !called_) {
                done_ = std::move(done);
            } else {
                done(1);
            }
        };
        co_return co_await ferry::callback_to_awaitable<int>(start);
    }
    void other_side() override {
        called_ = true;
        if (done_) (*done_)(1);
    }
    std::optional<ferry::completion<int>> done_;
    bool called_ = false;
};

class on_world final : public world {
public:
    on_world(stepping_loop&, bool contended) : world(contended), ready_(there_) {
        is_withdrawn = false;  // the cancellation is on its way while the work over there may end
        if (!contended) ready_.set();
    }
    bool step_beside() override { return there_.step(); }

private:
    task<int> work() {
        co_await ready_.wait();
        co_return 1;
    }
    task<int> use() override { co_return co_await ferry::on(there_, work()); }
    void other_side() override { ready_.set(); }
    stepping_loop there_;
    ferry::event ready_;
};

class signals_world final : public world {
public:
    signals_world(stepping_loop& loop, bool contended) : world(contended), loop_(loop), signals_(loop, {SIGUSR1}) {
        delivers_completed = false;  // a signal that the cancelled one did not take is there for the next wait
        loop.poll_too();
        if (!contended) std::raise(SIGUSR1);
    }
    std::string wrong() override {
        int left = 0;
        while (loop_.run(ferry::try_timeout(0s, signals_.wait()))) ++left;
        return left + delivered() == 1 ? "" : "the signal was lost, or came twice";
    }

private:
    task<int> use() override {
        const int number = co_await signals_.wait();
        co_return number == SIGUSR1 ? 1 : 0;
    }
    void other_side() override { std::raise(SIGUSR1); }
    stepping_loop& loop_;
    ferry::signals signals_;
};
}  // namespace

TEST_CASE("sleeping and giving way are cancelled at any step, in any nesting", "[loop][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<time_world, pause::sleep_for>) == "");
    CHECK(cancel_everywhere(&make<time_world, pause::sleep_until>) == "");
    CHECK(cancel_everywhere(&make<time_world, pause::beat>) == "");
    CHECK(cancel_everywhere(&make<no_time_world, true>) == "");
    CHECK(cancel_everywhere(&make<no_time_world, false>) == "");
}

TEST_CASE("waits for events, latches and conditions are cancelled at any step, in any nesting",
          "[loop][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<event_world, false>) == "");
    CHECK(cancel_everywhere(&make<event_world, true>) == "");
    CHECK(cancel_everywhere(&make<latch_world, false>) == "");
    CHECK(cancel_everywhere(&make<latch_world, true>) == "");
    CHECK(cancel_everywhere(&make<condition_world, false>) == "");
    CHECK(cancel_everywhere(&make<condition_world, true>) == "");
}

TEST_CASE("an async_mutex survives a cancellation at any step, in any nesting", "[loop][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<mutex_world, false, limit::none>) == "");
    CHECK(cancel_everywhere(&make<mutex_world, true, limit::none>) == "");
    CHECK(cancel_everywhere(&make<mutex_world, false, limit::ample>) == "");
    CHECK(cancel_everywhere(&make<mutex_world, true, limit::ample>) == "");
    CHECK(cancel_everywhere(&make<mutex_world, true, limit::short_one>) == "");
}

TEST_CASE("an async_shared_mutex survives a cancellation at any step, in any nesting", "[loop][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<shared_mutex_world, false, limit::none, false>) == "");
    CHECK(cancel_everywhere(&make<shared_mutex_world, true, limit::none, false>) == "");
    CHECK(cancel_everywhere(&make<shared_mutex_world, true, limit::ample, false>) == "");
    CHECK(cancel_everywhere(&make<shared_mutex_world, true, limit::short_one, false>) == "");
    CHECK(cancel_everywhere(&make<shared_mutex_world, false, limit::none, true>) == "");
    CHECK(cancel_everywhere(&make<shared_mutex_world, true, limit::none, true>) == "");
    CHECK(cancel_everywhere(&make<shared_mutex_world, true, limit::ample, true>) == "");
    CHECK(cancel_everywhere(&make<shared_mutex_world, true, limit::short_one, true>) == "");
}

TEST_CASE("a semaphore survives a cancellation at any step, in any nesting", "[loop][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<semaphore_world, false, limit::none, std::size_t(3)>) == "");
    CHECK(cancel_everywhere(&make<semaphore_world, true, limit::none, std::size_t(1)>) == "");
    CHECK(cancel_everywhere(&make<semaphore_world, true, limit::none, std::size_t(3)>) == "");
    CHECK(cancel_everywhere(&make<semaphore_world, true, limit::ample, std::size_t(2)>) == "");
    CHECK(cancel_everywhere(&make<semaphore_world, true, limit::short_one, std::size_t(2)>) == "");
}

TEST_CASE("a bounded_queue loses no item by a cancellation at any step, in any nesting", "[loop][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<pop_world, false>) == "");
    CHECK(cancel_everywhere(&make<pop_world, true>) == "");
    CHECK(cancel_everywhere(&make<push_world, false>) == "");
    CHECK(cancel_everywhere(&make<push_world, true>) == "");
}

TEST_CASE("what a task holds is given back, and a pipeline loses nothing, by a cancellation at any step",
          "[loop][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<holding_world, false>) == "");
    CHECK(cancel_everywhere(&make<holding_world, true>) == "");
    CHECK(cancel_everywhere(&make<pipeline_world>) == "");
}

TEST_CASE("waits for results are cancelled at any step, in any nesting", "[loop][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<future_world, false>) == "");
    CHECK(cancel_everywhere(&make<future_world, true>) == "");
    CHECK(cancel_everywhere(&make<shared_future_world, false>) == "");
    CHECK(cancel_everywhere(&make<shared_future_world, true>) == "");
    CHECK(cancel_everywhere(&make<callback_world, false>) == "");
    CHECK(cancel_everywhere(&make<callback_world, true>) == "");
    CHECK(cancel_everywhere(&make<on_world, false>) == "");
    CHECK(cancel_everywhere(&make<on_world, true>) == "");
}

TEST_CASE("a wait for a signal is cancelled at any step, in any nesting", "[loop][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<signals_world, false>) == "");
    CHECK(cancel_everywhere(&make<signals_world, true>) == "");
}
