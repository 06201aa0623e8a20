// tests/bridge/construction_count_test.cpp - every entry point destroys what it is given, once; run with g++ 11 and 12
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/connection_per_worker.hpp>
#include <ferry/bridge/limiter.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/temporaries.hpp>
#include <ferry/loop/bounded_queue.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>

#include "bridge/tracer.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

using ferry::event_loop;
using ferry::task;
using ferry_test::tracer;
using namespace std::chrono_literals;

namespace {
/// Checks at its end that as many tracers live as at its beginning.
class tracer_count {
public:
    tracer_count() : live_(tracer::live()), copies_(tracer::copies()) {}
    ~tracer_count() { CHECK(tracer::live() == live_); }
    tracer_count(const tracer_count&) = delete;
    tracer_count& operator=(const tracer_count&) = delete;
    /// Copies made since it was asked last.
    [[nodiscard]] int copies() { return tracer::copies() - std::exchange(copies_, tracer::copies()); }

private:
    std::size_t live_;
    int copies_;
};

/// A callable with a constructor: safe as a temporary everywhere.
class adder {
public:
    explicit adder(tracer own) : own_(std::move(own)) {}
    int operator()(const tracer& other) const { return own_.value() + other.value(); }

private:
    tracer own_;
};
/// The same with a connection, itself a tracer.
class adder_with_handle : public adder {
public:
    using adder::adder;
    int operator()(tracer& handle, const tracer& other) const { return handle.value() + adder::operator()(other); }
};
/// The same, asynchronous; the second half of the sum is taken after a suspension.
class async_adder {
public:
    explicit async_adder(tracer own) : own_(std::move(own)) {}
    task<int> operator()(const tracer& other) const {
        const int half = own_.value();
        co_await ferry::yield_now();
        co_return half + other.value();
    }

private:
    tracer own_;
};
class grouped_adder : public async_adder {
public:
    using async_adder::async_adder;
    task<int> operator()(ferry::task_group& group, const tracer& other) const {
        group.start(static_cast<const async_adder&>(*this), other);
        co_return co_await async_adder::operator()(other);
    }
};
class account {
public:
    explicit account(tracer balance) : balance_(std::move(balance)) {}
    int plus(const tracer& amount) const { return balance_.value() + amount.value(); }
    task<int> plus_later(const tracer& amount) const {
        co_await ferry::yield_now();
        co_return balance_.value() + amount.value();
    }

private:
    tracer balance_;
};

int value_of(tracer given) { return given.value(); }
int value_behind(std::unique_ptr<tracer> given) { return given->value(); }
tracer make(int value) { return tracer(value); }
int fail(const tracer&) { throw std::runtime_error("as asked"); }

task<int> value_later(tracer given) {
    co_await ferry::yield_now();
    co_return given.value();
}
task<tracer> make_later(int value) {
    co_await ferry::yield_now();
    co_return tracer(value);
}
task<int> fail_later(tracer) {
    co_await ferry::yield_now();
    throw std::runtime_error("as asked");
}
task<> never(tracer given) {
    co_await ferry::sleep_for(1h);
    static_cast<void>(given.value());
}

template <class Awaitable>
task<bool> fails(Awaitable what) {
    try {
        co_await std::move(what);
    } catch (const std::runtime_error&) {
        co_return true;
    }
    co_return false;
}
}  // namespace

TEST_CASE("the tracer sees copies, moves and the end of each object", "[bridge][construction_count]") {
    tracer_count count;
    const std::size_t before = tracer::live();
    std::optional<tracer> first(std::in_place, 1);
    CHECK(tracer::live() == before + 1);
    const tracer copy = *first;
    CHECK(count.copies() == 1);
    const tracer moved = std::move(*first);
    CHECK(count.copies() == 0);
    CHECK(tracer::live() == before + 3);
    first.reset();
    CHECK(tracer::live() == before + 2);
    CHECK(copy.value() + moved.value() == 2);
}

TEST_CASE("to_thread destroys once what it is given", "[bridge][construction_count]") {
    tracer_count count;
    ferry::thread_pool pool(2);
    const auto body = [&]() -> task<> {
        const tracer named(1);
        int sum = co_await ferry::to_thread(value_of, tracer(2));
        CHECK(sum == 2);
        sum = co_await ferry::to_thread(pool, value_of, tracer(3));
        CHECK(sum == 3);
        sum = co_await ferry::to_thread(adder(tracer(4)), tracer(5));
        CHECK(sum == 9);
        sum = co_await ferry::to_thread(pool, adder(tracer(4)), tracer(6));
        CHECK(sum == 10);
        sum = co_await ferry::to_thread(value_behind, std::make_unique<tracer>(7));
        CHECK(sum == 7);
        sum = co_await ferry::to_thread(
            [](const tracer& given, const std::string& text) { return given.value() + static_cast<int>(text.size()); },
            tracer(8), std::string("a text that is longer than any small buffer"));
        CHECK(sum == 51);
        sum = co_await ferry::to_thread([&named](tracer given) { return named.value() + given.value(); }, tracer(9));
        CHECK(sum == 10);
        CHECK(count.copies() == 0);  // temporaries are moved all the way

        sum = co_await ferry::to_thread(value_of, named);
        CHECK(sum == 1);
        CHECK(count.copies() == 1);
        auto job = [own = named](const tracer& given) { return own.value() + given.value(); };
        static_cast<void>(count.copies());
        sum = co_await ferry::to_thread(job, tracer(10));
        CHECK(sum == 11);
        sum = co_await ferry::to_thread(pool, job, tracer(10));
        CHECK(sum == 11);
        CHECK(count.copies() == 2);
        sum = co_await ferry::to_thread(ferry::moved(job), tracer(11));
        CHECK(sum == 12);
        CHECK(count.copies() == 0);
        const std::function<int(const tracer&)> erased = adder(tracer(12));
        static_cast<void>(count.copies());
        sum = co_await ferry::to_thread(erased, std::cref(named));
        CHECK(sum == 13);
        CHECK(count.copies() == 1);
        sum = co_await ferry::to_thread(std::function<int(const tracer&)>(adder(tracer(13))), tracer(1));
        CHECK(sum == 14);
        static_cast<void>(count.copies());

        const tracer result = co_await ferry::to_thread(make, 14);
        CHECK(result.value() == 14);
        co_await ferry::to_thread(make, 15);
        CHECK(count.copies() == 0);
        { [[maybe_unused]] const auto dropped = ferry::to_thread(pool, adder(tracer(16)), tracer(17)); }
        bool failed = co_await fails(ferry::to_thread(fail, tracer(18)));
        CHECK(failed);
        pool.close();
        failed = co_await fails(ferry::to_thread(pool, adder(tracer(19)), tracer(20)));
        CHECK(failed);
        CHECK(count.copies() == 0);
    };
    ferry::run(body());
}

TEST_CASE("limited calls and calls with a connection destroy once what they are given",
          "[bridge][construction_count]") {
    tracer_count count;
    ferry::thread_pool pool(2);
    ferry::limiter one(1);
    const auto open = [] { return tracer(100); };
    ferry::connection_per_worker connections(open);
    const auto body = [&]() -> task<> {
        int sum = co_await ferry::to_thread(one, adder(tracer(1)), tracer(2));
        CHECK(sum == 3);
        sum = co_await ferry::to_thread(pool, one, adder(tracer(1)), tracer(3));
        CHECK(sum == 4);
        sum = co_await ferry::to_thread(ferry::abandonable, pool, one, adder(tracer(1)), tracer(4));
        CHECK(sum == 5);
        sum = co_await ferry::sync_to_async(adder(tracer(1))).limited(one).on(pool)(tracer(5));
        CHECK(sum == 6);
        sum = co_await connections.to_thread(pool, adder_with_handle(tracer(1)), tracer(6));
        CHECK(sum == 107);
        sum = co_await connections.to_thread(pool, one, adder_with_handle(tracer(1)), tracer(7));
        CHECK(sum == 108);
        sum = co_await ferry::sync_to_async(connections.with_connection(adder_with_handle(tracer(1))))
                  .on(pool)(tracer(8));
        CHECK(sum == 109);
        CHECK(count.copies() == 0);
        pool.close();
        const bool failed = co_await fails(connections.to_thread(pool, one, adder_with_handle(tracer(9)), tracer(10)));
        CHECK(failed);
    };
    ferry::run(body());
}

TEST_CASE("sync_to_async destroys once what it is given", "[bridge][construction_count]") {
    tracer_count count;
    ferry::thread_pool pool(1);
    const auto body = [&]() -> task<> {
        int sum = co_await ferry::sync_to_async(adder(tracer(1)))(tracer(2));
        CHECK(sum == 3);
        sum = co_await ferry::sync_to_async(adder(tracer(1))).on(pool)(tracer(3));
        CHECK(sum == 4);
        sum = co_await ferry::sync_to_async(value_of)(tracer(4));
        CHECK(sum == 4);
        sum = co_await ferry::sync_to_async(&account::plus)(account(tracer(5)), tracer(6));
        CHECK(sum == 11);
        CHECK(count.copies() == 0);

        auto job = [own = std::make_unique<tracer>(7)](const tracer& given) { return own->value() + given.value(); };
        const auto move_only = ferry::sync_to_async(ferry::moved(job));
        for (int repeat = 0; repeat < 2; ++repeat) {
            sum = co_await move_only(tracer(8));
            CHECK(sum == 15);
        }
        CHECK(count.copies() == 0);

        account shared(tracer(9));
        const auto plus = ferry::sync_to_async(&account::plus).on(pool);
        sum = co_await plus(shared, tracer(10));
        CHECK(sum == 19);
        CHECK(count.copies() == 1);
        sum = co_await plus(&shared, tracer(11));
        CHECK(sum == 20);
        sum = co_await plus(std::ref(shared), tracer(12));
        CHECK(sum == 21);
        CHECK(count.copies() == 0);

        auto gone = std::make_optional(ferry::sync_to_async(adder(tracer(13))));
        auto call = (*gone)(tracer(14));
        gone.reset();
        sum = co_await std::move(call);
        CHECK(sum == 27);
        { [[maybe_unused]] const auto dropped = plus(&shared, tracer(15)); }
        const bool failed = co_await fails(ferry::sync_to_async(fail)(tracer(16)));
        CHECK(failed);
        CHECK(count.copies() == 0);
    };
    ferry::run(body());
}

TEST_CASE("block_on and async_to_sync destroy once what they are given", "[bridge][construction_count]") {
    tracer_count count;
    CHECK(ferry::block_on(value_later(tracer(1))) == 1);
    CHECK(ferry::block_on(make_later(2)).value() == 2);
    ferry::loop_thread background;
    CHECK(ferry::block_on(background.loop(), value_later(tracer(3))) == 3);
    CHECK(ferry::block_on(background.loop(), make_later(4)).value() == 4);
    CHECK(ferry::block_on(background.loop(), ferry::to_thread(adder(tracer(5)), tracer(6))) == 11);
    REQUIRE_THROWS_AS(ferry::block_on(fail_later(tracer(7))), std::runtime_error);
    REQUIRE_THROWS_AS(ferry::block_on(background.loop(), fail_later(tracer(8))), std::runtime_error);

    CHECK(ferry::async_to_sync(value_later)(tracer(9)) == 9);
    auto add = ferry::async_to_sync(async_adder(tracer(10)));
    CHECK(add(tracer(11)) == 21);
    const tracer named(12);
    CHECK(add(named) == 22);
    account bank(tracer(13));
    auto plus = ferry::async_to_sync(&account::plus_later);
    CHECK(plus(bank, tracer(14)) == 27);
    CHECK(plus(&bank, named) == 25);
    CHECK(ferry::async_to_sync(
              [own = std::make_unique<tracer>(15)](int more) -> task<int> { co_return own->value() + more; })(1) == 16);
    CHECK(count.copies() == 0);

    event_loop closed;
    closed.close();
    REQUIRE_THROWS_AS(ferry::block_on(closed, value_later(tracer(16))), ferry::closed_error);
    REQUIRE_THROWS_AS(ferry::spawn(closed, value_later, tracer(17)), ferry::closed_error);
}

TEST_CASE("spawn destroys once what it is given", "[bridge][construction_count]") {
    tracer_count count;
    event_loop loop;
    const auto body = [&]() -> task<> {
        int sum = co_await ferry::spawn(loop, value_later(tracer(1)));
        CHECK(sum == 1);
        sum = co_await ferry::spawn(value_later(tracer(2)));
        CHECK(sum == 2);
        sum = co_await ferry::spawn(loop, value_later, tracer(3));
        CHECK(sum == 3);
        sum = co_await ferry::spawn(async_adder(tracer(4)), tracer(5));
        CHECK(sum == 9);
        sum = co_await ferry::spawn(loop, ferry::to_thread(adder(tracer(6)), tracer(7)));
        CHECK(sum == 13);
        const tracer result = co_await ferry::spawn(make_later, 8);
        CHECK(result.value() == 8);
        CHECK(count.copies() == 1);  // value_later takes the argument that is kept for it by value

        auto job = [own = std::make_unique<tracer>(9)](int more) -> task<int> {
            co_await ferry::yield_now();
            co_return own->value() + more;
        };
        sum = co_await ferry::spawn(ferry::moved(job), 1);
        CHECK(sum == 10);
        const bool failed = co_await fails(ferry::spawn(fail_later(tracer(10))));
        CHECK(failed);
        { auto unobserved = ferry::spawn(value_later(tracer(11))); }
    };
    loop.run(body());
    auto cancelled = ferry::spawn(loop, never(tracer(12)));
    loop.run_until_idle();
    auto not_started = ferry::spawn(loop, value_later(tracer(13)));
    loop.close();
    CHECK(count.copies() == 0);
}

TEST_CASE("a task group destroys once what it is given", "[bridge][construction_count]") {
    tracer_count count;
    int total = 0;
    const auto child = [&total](const tracer& first, const tracer& second) -> task<> {
        co_await ferry::yield_now();
        total += first.value() + second.value();
    };
    const auto parent = [&](ferry::task_group& group, const tracer& kept) -> task<int> {
        group.start(child, tracer(1), kept);
        group.start(value_later(tracer(3)));
        group.start(async_adder(tracer(4)), tracer(5));
        group.start(ferry::to_thread(adder(tracer(6)), tracer(7)));
        co_await ferry::yield_now();
        co_return kept.value();
    };
    const auto body = [&]() -> task<> {
        int kept = co_await ferry::with_task_group(parent, tracer(2));
        CHECK(kept == 2);
        CHECK(total == 3);
        CHECK(count.copies() == 1);  // kept, for the child that may outlast the body
        const tracer named(8);
        kept = co_await ferry::with_task_group(parent, named);
        CHECK(kept == 8);
        CHECK(count.copies() == 2);
        kept = co_await ferry::with_task_group(grouped_adder(tracer(9)), tracer(10));
        CHECK(kept == 19);
        CHECK(count.copies() == 2);  // of the adder and of its argument, for the child
        auto job = [own = std::make_unique<tracer>(11)](ferry::task_group& group) -> task<> {
            group.start(never(tracer(12)));
            co_await ferry::yield_now();
            group.cancel();
            co_await ferry::sleep_for(own->value() * 1h);
        };
        co_await ferry::with_task_group(ferry::moved(job));
        { auto dropped = ferry::with_task_group(parent, tracer(13)); }
        CHECK(count.copies() == 0);
    };
    ferry::run(body());
}

TEST_CASE("timeout, when_all and when_any destroy once what they are given", "[bridge][construction_count]") {
    tracer_count count;
    const auto body = [&]() -> task<> {
        int sum = co_await ferry::timeout(1h, value_later(tracer(1)));
        CHECK(sum == 1);
        sum = co_await ferry::timeout(1h, ferry::to_thread(adder(tracer(2)), tracer(3)));
        CHECK(sum == 5);
        bool failed = co_await fails(ferry::timeout(0ns, never(tracer(4))));
        CHECK(failed);
        { auto dropped = ferry::timeout(1h, ferry::to_thread(adder(tracer(5)), tracer(6))); }

        auto all = co_await ferry::when_all(make_later(7), ferry::to_thread(make, 8), value_later(tracer(9)),
                                            value_later(tracer(10)));
        CHECK(std::get<0>(all).value() + std::get<1>(all).value() + std::get<2>(all) == 24);
        auto any = co_await ferry::when_any(make_later(11), never(tracer(12)),
                                            ferry::to_thread(adder(tracer(13)), tracer(14)));
        CHECK(any.get<0>().has_value());
        failed = co_await fails(ferry::when_all(never(tracer(15)), fail_later(tracer(16)), make_later(17)));
        CHECK(failed);
        { auto dropped = ferry::when_any(value_later(tracer(18)), ferry::to_thread(adder(tracer(19)), tracer(20))); }
        CHECK(count.copies() == 0);
    };
    ferry::run(body());
}

TEST_CASE("post destroys its callable once, run or refused", "[bridge][construction_count]") {
    tracer_count count;
    event_loop loop;
    int sum = 0;
    loop.post([&sum, own = tracer(1)] { sum += own.value(); });
    loop.post([&sum, own = std::make_unique<tracer>(2)] { sum += own->value(); });
    const tracer named(3);
    CHECK(count.copies() == 0);
    auto job = [&sum, own = named] { sum += own.value(); };
    loop.post(job);
    CHECK(count.copies() == 2);
    loop.run_until_idle();
    CHECK(sum == 6);
    loop.post([&sum, own = tracer(4)] { sum += own.value(); });
    loop.close();
    CHECK(sum == 10);
    REQUIRE_THROWS_AS(loop.post([own = tracer(5)] { static_cast<void>(own.value()); }), ferry::closed_error);
    CHECK(count.copies() == 0);
}

TEST_CASE("a bounded_queue destroys its items once", "[bridge][construction_count]") {
    tracer_count count;
    const auto body = [&]() -> task<> {
        ferry::bounded_queue<tracer> queue(*event_loop::current(), 2);
        const auto push_three = [&]() -> task<> {
            co_await queue.push(tracer(1));
            co_await queue.push(tracer(2));
            co_await queue.push(tracer(3));  // waits
        };
        auto pushing = ferry::spawn(push_three());
        co_await ferry::yield_now();
        const tracer first = co_await queue.pop();
        CHECK(first.value() == 1);
        co_await queue.pop();
        co_await std::move(pushing);
        CHECK(queue.size() == 1);
        std::optional<tracer> tried = queue.try_pop();
        CHECK(tried->value() == 3);

        const auto pop_one = [&]() -> task<int> {
            const tracer item = co_await queue.pop();
            co_return item.value();
        };
        auto popping = ferry::spawn(pop_one());  // waits, and is handed the item
        co_await ferry::yield_now();
        co_await queue.push(tracer(4));
        const int handed = co_await std::move(popping);
        CHECK(handed == 4);

        tracer five(5);
        CHECK(queue.try_push(std::move(five)));
        tracer six(6);
        CHECK(queue.try_push(std::move(six)));
        tracer seven(7);
        CHECK(!queue.try_push(std::move(seven)));
        CHECK(seven.value() == 7);  // stays the caller's
        const bool expired = co_await fails(ferry::timeout(0ns, queue.push(std::move(seven))));
        CHECK(expired);
        queue.close();
        const bool refused = co_await fails(queue.push(tracer(8)));
        CHECK(refused);
        { [[maybe_unused]] const auto dropped = queue.push(tracer(9)); }
        CHECK(queue.size() == 2);
        CHECK(count.copies() == 0);
    };
    ferry::run(body());
}

TEST_CASE("a promise destroys its value once, received or not", "[bridge][construction_count]") {
    tracer_count count;
    {
        ferry::promise<tracer> promise;
        auto future = promise.get_future();
        promise.set_value(tracer(1));
        CHECK(future.get().value() == 1);
    }
    {
        ferry::promise<tracer> promise;
        auto future = promise.get_future();
        promise.set_value(2);  // constructs it in place
        const auto body = [&]() -> task<int> {
            const tracer value = co_await std::move(future);
            co_return value.value();
        };
        CHECK(ferry::run(body()) == 2);
    }
    {
        ferry::promise<tracer> promise;
        { auto dropped = promise.get_future(); }
        promise.set_value(tracer(3));
    }
    {
        std::optional<ferry::future<tracer>> kept;
        {
            ferry::promise<tracer> promise;
            kept = promise.get_future();
            promise.set_value(tracer(4));
        }
        CHECK(kept->is_ready());
    }
    CHECK(count.copies() == 0);
}
