// tests/core/combine_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/combine.hpp>
#include <ferry/core/error.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

using ferry::task;
using namespace std::chrono_literals;

namespace {
std::vector<std::string> suppressed;

/// Keeps what goes to the suppressed-exception handler while it lives.
class suppressed_exceptions {
public:
    suppressed_exceptions() : before_(ferry::set_suppressed_exception_handler(&keep)) { suppressed.clear(); }
    ~suppressed_exceptions() { ferry::set_suppressed_exception_handler(before_); }
    suppressed_exceptions(const suppressed_exceptions&) = delete;
    suppressed_exceptions& operator=(const suppressed_exceptions&) = delete;

private:
    static void keep(std::exception_ptr error, const char* name) noexcept {
        try {
            std::rethrow_exception(error);
        } catch (const std::exception& caught) {
            suppressed.push_back(std::string(name) + ": " + caught.what());
        }
    }
    ferry::exception_handler before_;
};

task<int> value_after(std::chrono::seconds delay, int value) {
    co_await ferry::sleep_for(delay);
    co_return value;
}
task<int> value_now(int value) { co_return value; }
task<> fail_after(std::chrono::seconds delay, const char* text) {
    co_await ferry::sleep_for(delay);
    throw std::runtime_error(text);
}
task<> fail_now(const char* text) {
    throw std::runtime_error(text);
    co_return;
}
/// Says in `order` when its cancellation arrives, and ends a second later.
task<int> slow_to_end(std::vector<int>& order, int id) {
    try {
        co_await ferry::sleep_for(1h);
    } catch (const ferry::cancelled&) {
        order.push_back(id);
    }
    co_return id;
}
task<> fail_when_cancelled(const char* text) {
    try {
        co_await ferry::sleep_for(1h);
    } catch (const ferry::cancelled&) {}
    throw std::runtime_error(text);
}
task<> disconnected_after(std::chrono::seconds delay) {
    co_await ferry::sleep_for(delay);
    throw ferry::disconnected("the client is gone");
}
task<> disconnected_when_cancelled() {
    try {
        co_await ferry::sleep_for(1h);
    } catch (const ferry::cancelled&) {}
    throw ferry::disconnected("gone");
}
task<> note(std::vector<int>& order, int id) {
    order.push_back(id);
    co_await ferry::yield_now();
    order.push_back(10 * id);
}
}  // namespace

TEST_CASE("when_all starts its awaitables in place and yields their values in order", "[core][combine][order]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    std::vector<int> order;
    const auto body = [&]() -> task<> {
        const auto values =
            co_await ferry::when_all(value_after(2s, 1), ferry::sleep_for(3s), value_after(1s, 3), note(order, 4));
        CHECK(std::get<0>(values) == 1);
        CHECK(std::get<2>(values) == 3);
        const auto none = co_await ferry::when_all();
        CHECK(std::tuple_size_v<std::remove_const_t<decltype(none)>> == 0);
        const auto at_once = co_await ferry::when_all(value_now(5), value_now(6));
        CHECK(at_once == std::make_tuple(5, 6));
    };
    loop.run(body());
    CHECK(clock.elapsed() == 3s);
    loop.run(ferry::when_all(note(order, 1), note(order, 2)));
    CHECK(order == std::vector<int>{4, 40, 1, 2, 10, 20});
}

TEST_CASE("when_all moves values that can only be moved", "[core][combine]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    const auto make = [](int value) -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(value); };
    const auto values = loop.run(ferry::when_all(make(1), make(2)));
    CHECK(*std::get<0>(values) + *std::get<1>(values) == 3);
}

TEST_CASE("when one of when_all throws, the others are cancelled and awaited before it throws",
          "[core][combine][order]") {
    const ferry_test::frame_count frames;
    const suppressed_exceptions handler;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    std::vector<int> order;
    REQUIRE_THROWS_AS(loop.run(ferry::when_all(slow_to_end(order, 1), fail_after(1s, "first"), slow_to_end(order, 2))),
                      std::runtime_error);
    CHECK(order == std::vector<int>{1, 2});
    CHECK(clock.elapsed() == 1s);
    CHECK(suppressed.empty());
    SECTION("those that have not started never do") {
        order.clear();
        REQUIRE_THROWS_AS(loop.run(ferry::when_all(fail_now("at once"), note(order, 1))), std::runtime_error);
        CHECK(order.empty());
    }
}

TEST_CASE("the failures beside the one that is thrown go to the suppressed-exception handler", "[core][combine]") {
    const ferry_test::frame_count frames;
    const suppressed_exceptions handler;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    std::string thrown;
    SECTION("of when_all") {
        try {
            loop.run(ferry::when_all(fail_when_cancelled("second").named("b"), fail_after(1s, "first").named("a")));
        } catch (const std::runtime_error& error) {
            thrown = error.what();
        }
        CHECK(thrown == "first");
    }
    SECTION("of when_any, also when the first ended in a value") {
        const auto first = loop.run(ferry::when_any(fail_when_cancelled("second").named("b"), value_after(1s, 1)));
        CHECK(first.index() == 1);
    }
    CHECK(suppressed == std::vector<std::string>{"b: second"});
}

TEST_CASE("of a peer that goes away who awaits several hears once", "[core][combine]") {
    const ferry_test::frame_count frames;
    const suppressed_exceptions handler;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    SECTION("of when_all") {
        REQUIRE_THROWS_AS(loop.run(ferry::when_all(disconnected_when_cancelled().named("b"), disconnected_after(1s),
                                                   fail_when_cancelled("another reason").named("c"))),
                          ferry::disconnected);
        CHECK(suppressed == std::vector<std::string>{"c: another reason"});
    }
    SECTION("of when_any") {
        REQUIRE_THROWS_AS(loop.run(ferry::when_any(disconnected_when_cancelled(), disconnected_after(1s))),
                          ferry::disconnected);
        CHECK(suppressed.empty());
    }
    SECTION("but it is told beside a value, and beside another failure") {
        loop.run(ferry::when_any(disconnected_when_cancelled().named("b"), value_after(1s, 1)));
        REQUIRE_THROWS_AS(loop.run(ferry::when_all(disconnected_when_cancelled().named("c"), fail_after(1s, "first"))),
                          std::runtime_error);
        CHECK(suppressed == std::vector<std::string>{"b: gone", "c: gone"});
    }
}

TEST_CASE("when_any yields the index of the first and its value", "[core][combine]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    const auto body = [&]() -> task<> {
        const auto first = co_await ferry::when_any(ferry::sleep_for(2s), value_after(1s, 5), value_after(3s, 6));
        CHECK(first.index() == 1);
        CHECK(first.get<1>() == 5);
        CHECK(!first.get<0>().has_value());
        CHECK(!first.get<2>().has_value());
    };
    loop.run(body());
    CHECK(clock.elapsed() == 1s);
    CHECK(loop.timers().empty());
}

TEST_CASE("the losers of when_any are cancelled and awaited, and a value they end with is kept", "[core][combine]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    std::vector<int> order;
    const auto body = [&]() -> task<> {
        const auto first = co_await ferry::when_any(slow_to_end(order, 8), value_after(1s, 5));
        order.push_back(9);
        CHECK(first.index() == 1);
        CHECK(first.get<0>() == 8);
        CHECK(first.get<1>() == 5);
    };
    loop.run(body());
    CHECK(order == std::vector<int>{8, 9});
}

TEST_CASE("when_any does not start the rest once one has ended at once", "[core][combine]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    std::vector<int> order;
    const auto first = loop.run(ferry::when_any(value_now(1), note(order, 1)));
    CHECK(first.index() == 0);
    CHECK(order.empty());
}

TEST_CASE("when_any throws what the first to end threw", "[core][combine]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    std::vector<int> order;
    REQUIRE_THROWS_AS(loop.run(ferry::when_any(slow_to_end(order, 1), fail_after(1s, "first"))), std::runtime_error);
    CHECK(order == std::vector<int>{1});
}

TEST_CASE("a cancellation of who awaits them reaches the children of when_all and when_any", "[core][combine][order]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    std::vector<int> order;
    const auto body = [&]() -> task<> {
        static_cast<void>(co_await ferry::when_all(slow_to_end(order, 1), ferry::sleep_for(1h)));
    };
    const auto any = [&]() -> task<> {
        static_cast<void>(co_await ferry::when_any(slow_to_end(order, 2), ferry::when_all(slow_to_end(order, 3))));
        order.push_back(4);
    };
    auto all_done = ferry::spawn(loop, body());
    auto any_done = ferry::spawn(loop, any());
    loop.run_until_idle();
    loop.cancel_tasks();
    CHECK(order == std::vector<int>{1, 2, 3, 4});
    REQUIRE_THROWS_AS(all_done.get(), ferry::cancelled);
    any_done.get();  // its children had values
}

TEST_CASE("when_any delivers what a child had completed when who awaits it is cancelled", "[core][combine]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    ferry::event never(loop);
    ferry::promise<int> promise;
    int delivered = 0;
    bool next_throws = false;
    const auto body = [&](ferry::future<int> result) -> task<> {
        const auto first = co_await ferry::when_any(never.wait(), std::move(result));
        delivered = first.index() == 1 ? first.get<1>().value() : -1;
        try {
            co_await ferry::yield_now();
        } catch (const ferry::cancelled&) {
            next_throws = true;
        }
    };
    auto done = ferry::spawn(loop, body(promise.get_future()));
    loop.run_until_idle();
    promise.set_value(7);  // on its way through the inbox
    loop.cancel_tasks();   // the other child ends before it arrives
    CHECK(delivered == 7);
    CHECK(next_throws);
}

TEST_CASE("when_any that is cancelled throws cancelled, or the error of its own that a child ends in",
          "[core][combine]") {
    const ferry_test::frame_count frames;
    const suppressed_exceptions kept;
    ferry::event_loop loop;
    ferry::event never(loop);
    const auto fails_in_the_end = [&]() -> task<> {
        try {
            co_await never.wait();
        } catch (const ferry::cancelled&) {}
        throw std::runtime_error("its own");
    };
    const auto body = [&](bool fails) -> task<> {
        if (fails) {
            static_cast<void>(co_await ferry::when_any(never.wait(), fails_in_the_end(), never.wait()));
        } else {
            static_cast<void>(co_await ferry::when_any(never.wait(), never.wait()));
        }
    };
    auto plain = ferry::spawn(loop, body(false));
    auto failing = ferry::spawn(loop, body(true));
    loop.run_until_idle();
    loop.cancel_tasks();
    REQUIRE_THROWS_AS(plain.get(), ferry::cancelled);
    REQUIRE_THROWS_AS(failing.get(), std::runtime_error);
    CHECK(suppressed.empty());
}

TEST_CASE("a task that awaits its children says so in its record", "[core][combine]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    const ferry::detail::wait_node* record = nullptr;
    const auto body = [&]() -> task<> {
        record = &(co_await ferry::detail::current_task()).record();
        static_cast<void>(co_await ferry::when_any(ferry::sleep_for(1s)));
        static_cast<void>(co_await ferry::when_all(ferry::sleep_for(1s)));
    };
    auto done = ferry::spawn(loop, body());
    loop.run_until_idle();
    CHECK(std::string(record->waits_in()) == "when_any");
    clock.advance(1s);
    loop.run_until_idle();
    CHECK(std::string(record->waits_in()) == "when_all");
    clock.advance(1s);
    loop.run(std::move(done));
}

namespace {
task<int> tree(int depth, ferry::event* leaf_waits_for) {
    if (depth == 0) {
        if (leaf_waits_for != nullptr) co_await leaf_waits_for->wait();
        co_return 1;
    }
    const int right = depth > 12 ? 0 : depth - 1;  // a thread that ends in a bush
    const auto both = co_await ferry::when_all(tree(depth - 1, leaf_waits_for), tree(right, leaf_waits_for));
    co_return std::get<0>(both) + std::get<1>(both);
}
}  // namespace

TEST_CASE("when_all nests deeper than the native stack would allow", "[core][combine]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    ferry::event go(loop);
    loop.post([&go] { go.set(); });
    CHECK(loop.run(tree(5'000, &go)) == 4096 + 4988);
    CHECK(loop.run(tree(5'000, nullptr)) == 4096 + 4988);
}

namespace {
/// The first of two that are ready ends a when_any, and the other one must not start: told by one of them in a chain.
task<std::string> first_of_two(int depth, ferry::event& set) {
    if (depth > 0) co_return co_await first_of_two(depth - 1, set);
    std::string started;
    const auto other = [](std::string& note) -> task<> {
        note = ", but the second one has started";
        co_return;
    };
    const auto any = co_await ferry::when_any(set.wait(), other(started));
    co_return std::to_string(any.index()) + started;
}
task<std::string> order_of_three(int depth) {
    if (depth > 0) co_return co_await order_of_three(depth - 1);
    std::string order;
    const auto note = [](std::string& list, char name) -> task<> {
        list += name;
        co_return;
    };
    co_await ferry::when_all(note(order, 'a'), note(order, 'b'), note(order, 'c'));
    co_return order;
}
}  // namespace

TEST_CASE("when_any and when_all start their awaitables in order at any depth", "[core][combine]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    ferry::event set(loop);
    set.set();
    for (int depth = 0; depth < 130; ++depth) {
        INFO("depth " << depth);
        CHECK(loop.run(first_of_two(depth, set)) == "0");
        CHECK(loop.run(order_of_three(depth)) == "abc");
    }
}

namespace {
ferry::task<int> after(std::chrono::milliseconds delay, int value) {
    co_await ferry::sleep_for(delay);
    if (value < 0) throw std::runtime_error("negative");
    co_return value;
}
std::vector<ferry::task<int>> several(std::vector<int> values) {
    std::vector<ferry::task<int>> made;
    for (int value : values) made.push_back(after(std::chrono::milliseconds(value < 0 ? -value : value), value));
    return made;
}
ferry::task<int&> referring(int& to) { co_return to; }
}  // namespace

TEST_CASE("when_all of a range yields the values in its order", "[core][combine]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    CHECK(loop.run(ferry::when_all(several({3, 1, 2}))) == std::vector<int>{3, 1, 2});
    CHECK(clock.elapsed() == std::chrono::milliseconds(3));
    CHECK(loop.run(ferry::when_all(several({}))).empty());
    int first = 0;
    std::vector<ferry::task<int&>> references;
    references.push_back(referring(first));
    CHECK(loop.run(ferry::when_all(std::move(references))) == std::vector<int*>{&first});
    std::vector<ferry::sleep_awaiter> sleeps(3, ferry::sleep_for(std::chrono::milliseconds(5)));
    loop.run(ferry::when_all(std::move(sleeps)));
    CHECK(clock.elapsed() == std::chrono::milliseconds(8));
}

TEST_CASE("when_all of a range cancels the rest when one throws", "[core][combine]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    CHECK_THROWS_WITH(loop.run(ferry::when_all(several({50, -5, 60}))), "negative");
    CHECK(clock.elapsed() == std::chrono::milliseconds(5));
}

TEST_CASE("when_any of a range yields the first, and cancels the rest", "[core][combine]") {
    const ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    const auto ended = loop.run(ferry::when_any(several({30, 10, 20})));
    CHECK(ended.index() == 1);
    CHECK(ended.values() == std::vector<std::optional<int>>{std::nullopt, 10, std::nullopt});
    CHECK(clock.elapsed() == std::chrono::milliseconds(10));
    CHECK_THROWS_AS(loop.run(ferry::when_any(several({}))), std::invalid_argument);
}

TEST_CASE("when_any yields a reference as a pointer", "[core][combine]") {
    ferry::event_loop loop;
    int value = 1;
    auto ended = loop.run(ferry::when_any(referring(value), ferry::sleep_for(std::chrono::hours(1))));
    CHECK(ended.index() == 0);
    CHECK(*ended.get<0>() == &value);
}
