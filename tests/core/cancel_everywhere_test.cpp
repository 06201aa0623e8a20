// tests/core/cancel_everywhere_test.cpp - what the core joins and wraps, cancelled at every step, in every nesting
// SPDX-License-Identifier: BSL-1.0
#include "support/cancel_everywhere.hpp"
#include "support/catch.hpp"

#include <ferry/core/async_generator.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/outcome.hpp>
#include <ferry/core/shield.hpp>
#include <ferry/loop/bounded_queue.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/timeout.hpp>

#include <chrono>
#include <coroutine>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

using ferry::task;
using ferry_test::cancel_everywhere;
using ferry_test::make;
using ferry_test::stepping_loop;
using ferry_test::world;
using namespace std::chrono_literals;

namespace {
/// A world whose other side sets an event.
class event_beneath : public world {
protected:
    event_beneath(stepping_loop& loop, bool contended) : world(contended), ready_(loop) {
        if (!contended) ready_.set();
    }
    [[nodiscard]] bool completed() const override { return ready_.is_set(); }
    [[nodiscard]] ferry::event& ready() noexcept { return ready_; }

private:
    void other_side() override { ready_.set(); }
    ferry::event ready_;
};

task<int> one_when_set(ferry::event& ready) {
    co_await ready.wait();
    co_return 1;
}

class generator_world final : public event_beneath {
public:
    generator_world(stepping_loop& loop, bool contended) : event_beneath(loop, contended) {}

private:
    ferry::async_generator<int> numbers() {
        co_await ready().wait();
        co_yield 1;
        co_await ready().wait();
        co_yield 2;
    }
    task<int> use() override {
        ferry::async_generator<int> values = numbers();
        const int* const first = co_await values.next();
        co_return first == nullptr ? 0 : *first;
    }
};

class as_result_world final : public event_beneath {
public:
    as_result_world(stepping_loop& loop, bool contended, bool of_a_task)
        : event_beneath(loop, contended), of_a_task_(of_a_task) {}

private:
    task<int> use() override {
        int value = 0;
        if (of_a_task_) {
            const ferry::outcome<int> ended = co_await ferry::as_result(one_when_set(ready()));
            value = ended.has_value() ? 1 : ended.is_cancelled() ? 0 : 100;
        } else {
            const ferry::outcome<void> ended = co_await ferry::as_result(ready().wait());
            value = ended.has_value() ? 1 : ended.is_cancelled() ? 0 : 100;
        }
        if (value == 0) co_await ferry::yield_now();  // the cancellation is pending
        co_return value;
    }
    bool of_a_task_;
};

class try_timeout_world final : public event_beneath {
public:
    try_timeout_world(stepping_loop& loop, bool contended) : event_beneath(loop, contended) {}

private:
    task<int> use() override {
        const bool in_time = co_await ferry::try_timeout(2h, ready().wait());
        co_return in_time ? 1 : 100;
    }
};

class cleanup_world final : public event_beneath {
public:
    cleanup_world(stepping_loop& loop, bool contended) : event_beneath(loop, contended) {
        ends_at_once = false;  // the cleanup takes its time
    }
    std::string wrong() override { return cleaned_ == 1 ? "" : "the cleanup did not run to its end"; }

private:
    task<> clean() {
        co_await ferry::sleep_for(1s);
        ++cleaned_;
    }
    task<int> use() override { co_return co_await ferry::with_cleanup(one_when_set(ready()), clean()); }
    int cleaned_ = 0;
};

class all_world final : public event_beneath {
public:
    all_world(stepping_loop& loop, bool contended, bool range)
        : event_beneath(loop, contended), second_(loop), range_(range) {
        second_.set();
    }

private:
    task<int> use() override {
        if (range_) {
            std::vector<task<int>> both;
            both.push_back(one_when_set(ready()));
            both.push_back(one_when_set(second_));
            const std::vector<int> ones = co_await ferry::when_all(std::move(both));
            co_return ones.at(0) * ones.at(1);
        }
        const std::tuple<int, int> ones = co_await ferry::when_all(one_when_set(second_), one_when_set(ready()));
        co_return std::get<0>(ones) * std::get<1>(ones);
    }
    ferry::event second_;
    bool range_;
};

/// Two take from one queue: whatever either has taken comes out of when_any.
class any_world final : public world {
public:
    any_world(stepping_loop& loop, bool contended, bool range) : world(contended), queue_(loop, 2), range_(range) {
        if (!contended) other_side();
    }
    std::string wrong() override {
        return popped_ + queue_.size() == produced_ ? "" : "an item was lost, or came twice";
    }

private:
    task<int> take() { co_return co_await queue_.pop(); }
    task<int> use() override {
        if (range_) {
            std::vector<task<int>> both;
            both.push_back(take());
            both.push_back(take());
            const auto taken = co_await ferry::when_any(std::move(both));
            for (const auto& each : taken.values()) popped_ += each.has_value();
            co_return taken.values()[taken.index()].value();
        }
        const auto taken = co_await ferry::when_any(queue_.pop(), take());
        popped_ += taken.get<0>().has_value();
        popped_ += taken.get<1>().has_value();
        co_return taken.index() == 0 ? taken.get<0>().value() : taken.get<1>().value();
    }
    void other_side() override {
        for (int i = 0; i < 2; ++i) produced_ += queue_.try_push(1);
    }
    ferry::bounded_queue<int> queue_;
    bool range_;
    std::size_t produced_ = 0;
    std::size_t popped_ = 0;
};

/// Somebody else's awaitable: it resumes whoever waits when its other side says so.
class foreign_world final : public world {
public:
    foreign_world(stepping_loop&, bool contended) : world(contended), set_(!contended) {
        is_checkpoint = false;  // it knows nothing of cancellations
        is_withdrawn = false;
        ends_at_once = false;
    }

private:
    class awaiter {
    public:
        explicit awaiter(foreign_world& owner) noexcept : owner_(owner) {}
        [[nodiscard]] bool await_ready() const noexcept { return owner_.set_; }
        void await_suspend(std::coroutine_handle<> frame) const noexcept { owner_.waits_ = frame; }
        [[nodiscard]] int await_resume() const noexcept { return 1; }

    private:
        foreign_world& owner_;
    };
    task<int> use() override { co_return co_await awaiter(*this); }
    void other_side() override {
        set_ = true;
        if (waits_) std::exchange(waits_, {}).resume();
    }
    bool set_;
    std::coroutine_handle<> waits_;
};
}  // namespace

TEST_CASE("generators, as_result and try_timeout are cancelled at any step, in any nesting",
          "[core][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<generator_world, false>) == "");
    CHECK(cancel_everywhere(&make<generator_world, true>) == "");
    CHECK(cancel_everywhere(&make<as_result_world, false, false>) == "");
    CHECK(cancel_everywhere(&make<as_result_world, true, false>) == "");
    CHECK(cancel_everywhere(&make<as_result_world, true, true>) == "");
    CHECK(cancel_everywhere(&make<try_timeout_world, false>) == "");
    CHECK(cancel_everywhere(&make<try_timeout_world, true>) == "");
}

TEST_CASE("with_cleanup cleans up after a cancellation at any step, in any nesting", "[core][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<cleanup_world, false>) == "");
    CHECK(cancel_everywhere(&make<cleanup_world, true>) == "");
}

TEST_CASE("when_all and when_any are cancelled at any step, in any nesting", "[core][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<all_world, false, false>) == "");
    CHECK(cancel_everywhere(&make<all_world, true, false>) == "");
    CHECK(cancel_everywhere(&make<all_world, true, true>) == "");
    CHECK(cancel_everywhere(&make<any_world, false, false>) == "");
    CHECK(cancel_everywhere(&make<any_world, true, false>) == "");
    CHECK(cancel_everywhere(&make<any_world, true, true>) == "");
}

TEST_CASE("a foreign awaitable outlasts a cancellation at any step, in any nesting", "[core][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<foreign_world, false>) == "");
    CHECK(cancel_everywhere(&make<foreign_world, true>) == "");
}
