// tests/loop/task_group_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/error.hpp>
#include <ferry/core/exception_handlers.hpp>
#include <ferry/core/shield.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using ferry::task;
using ferry::task_group;
using namespace std::chrono_literals;

namespace {
std::vector<std::string> suppressed;
void keep(std::exception_ptr error, const char* name) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& caught) {
        suppressed.push_back(std::string(name) + ": " + caught.what());
    }
}

task<> note_after(std::chrono::seconds delay, std::vector<int>& order, int id) {
    try {
        co_await ferry::sleep_for(delay);
        order.push_back(id);
    } catch (const ferry::cancelled&) {
        order.push_back(-id);
        throw;
    }
}
task<> fail_after(std::chrono::seconds delay, const char* text) {
    co_await ferry::sleep_for(delay);
    throw std::runtime_error(text);
}
task<> fail_when_cancelled(const char* text) {
    try {
        co_await ferry::sleep_for(1h);
    } catch (const ferry::cancelled&) {}
    throw std::runtime_error(text);
}
task<> disconnected_when_cancelled() {
    try {
        co_await ferry::sleep_for(1h);
    } catch (const ferry::cancelled&) {}
    throw ferry::disconnected("gone");
}

struct fixture {
    ferry_test::frame_count frames;
    ferry::virtual_clock clock;
    ferry::event_loop loop{clock};
    std::vector<int> order;
};
}  // namespace

TEST_CASE("with_task_group ends when its body and all children have ended", "[loop][task_group]") {
    fixture test;
    const auto body = [&](task_group& group) -> task<int> {
        group.start(note_after(3s, test.order, 3));
        group.start(note_after, 1s, std::ref(test.order), 1);
        CHECK(group.size() == 2);
        CHECK(test.order.empty());
        co_await ferry::sleep_for(2s);
        CHECK(group.size() == 1);
        test.order.push_back(2);
        co_return 7;
    };
    CHECK(test.loop.run(ferry::with_task_group(body)) == 7);
    CHECK(test.order == std::vector<int>{1, 2, 3});
    CHECK(test.clock.elapsed() == 3s);
}

TEST_CASE("group.start only schedules, in order", "[loop][task_group][order]") {
    fixture test;
    const auto child = [&](int id) -> task<> {
        test.order.push_back(id);
        co_return;
    };
    const auto body = [&](task_group& group) -> task<> {
        group.start(child(1));
        group.start(child, 2);
        group.start(child(3));
        test.order.push_back(0);
        co_return;
    };
    test.loop.run(ferry::with_task_group(body));
    CHECK(test.order == std::vector<int>{0, 1, 2, 3});
}

TEST_CASE("children may start siblings, also after the body has ended", "[loop][task_group]") {
    fixture test;
    std::function<task<>(task_group&, int)> chain = [&](task_group& group, int left) -> task<> {
        co_await ferry::sleep_for(1s);
        test.order.push_back(left);
        if (left > 0) group.start(chain(group, left - 1));
    };
    const auto body = [&](task_group& group) -> task<> {
        group.start(chain(group, 3));
        co_return;
    };
    test.loop.run(ferry::with_task_group(body));
    CHECK(test.order == std::vector<int>{3, 2, 1, 0});
    CHECK(test.clock.elapsed() == 4s);
}

TEST_CASE("a child's error cancels the body and the other children, and is thrown when all have ended",
          "[loop][task_group][order]") {
    fixture test;
    const auto body = [&](task_group& group) -> task<> {
        group.start(note_after(1h, test.order, 1));
        group.start(fail_after(1s, "the child"));
        co_await note_after(2h, test.order, 2);
    };
    std::string thrown;
    try {
        test.loop.run(ferry::with_task_group(body));
    } catch (const std::runtime_error& error) {
        thrown = error.what();
    }
    CHECK(thrown == "the child");
    CHECK(test.order == std::vector<int>{-2, -1});
    CHECK(test.clock.elapsed() == 1s);
}

TEST_CASE("the body's error cancels the children", "[loop][task_group]") {
    fixture test;
    const auto body = [&](task_group& group) -> task<int> {
        group.start(note_after(1h, test.order, 1));
        co_await ferry::sleep_for(1s);
        throw std::out_of_range("the body");
    };
    REQUIRE_THROWS_AS(test.loop.run(ferry::with_task_group(body)), std::out_of_range);
    CHECK(test.order == std::vector<int>{-1});
}

TEST_CASE("the first error is thrown, later ones go to the suppressed-exception handler", "[loop][task_group]") {
    fixture test;
    suppressed.clear();
    const ferry::exception_handler before = ferry::set_suppressed_exception_handler(&keep);
    const auto body = [&](task_group& group) -> task<> {
        group.start(fail_when_cancelled("second").named("b"));
        group.start(fail_after(1s, "first").named("a"));
        co_await fail_when_cancelled("third").named("c");
    };
    REQUIRE_THROWS_AS(test.loop.run(ferry::with_task_group(body)), std::runtime_error);
    ferry::set_suppressed_exception_handler(before);
    REQUIRE(suppressed.size() == 2);
    CHECK((suppressed[0] == "b: second" || suppressed[1] == "b: second"));
}

TEST_CASE("a peer that goes away is one event, however many of a group's tasks meet it", "[loop][task_group]") {
    fixture test;
    suppressed.clear();
    const ferry::exception_handler before = ferry::set_suppressed_exception_handler(&keep);
    const auto body = [&](task_group& group) -> task<> {
        group.start(disconnected_when_cancelled().named("a"));
        group.start(fail_when_cancelled("another reason").named("b"));
        co_await ferry::sleep_for(1s);
        throw ferry::disconnected("the client is gone");
    };
    REQUIRE_THROWS_AS(test.loop.run(ferry::with_task_group(body)), ferry::disconnected);
    CHECK(suppressed == std::vector<std::string>{"b: another reason"});
    suppressed.clear();
    const auto other_body = [&](task_group& group) -> task<> {
        group.start(disconnected_when_cancelled().named("a"));
        co_await fail_after(1s, "another reason");
    };
    REQUIRE_THROWS_AS(test.loop.run(ferry::with_task_group(other_body)), std::runtime_error);
    CHECK(suppressed == std::vector<std::string>{"a: gone"});
    ferry::set_suppressed_exception_handler(before);
}

TEST_CASE("group.cancel ends body and children, and is no error where the body returns nothing", "[loop][task_group]") {
    fixture test;
    const auto body = [&](task_group& group) -> task<> {
        group.start(note_after(1h, test.order, 1));
        co_await ferry::sleep_for(1s);
        group.cancel();
        co_await ferry::sleep_for(1h);
        test.order.push_back(100);
    };
    const auto around = [&]() -> task<> {
        co_await ferry::with_task_group(body);
        co_await ferry::sleep_for(1s);  // what is around the group goes on
        test.order.push_back(2);
    };
    test.loop.run(around());
    CHECK(test.order == std::vector<int>{-1, 2});
    CHECK(test.clock.elapsed() == 2s);
}

TEST_CASE("group.cancel throws cancelled where the body owes a value", "[loop][task_group]") {
    fixture test;
    const auto owes = [](task_group& group) -> task<int> {
        group.cancel();
        co_await ferry::sleep_for(1h);
        co_return 1;
    };
    const auto has = [&](task_group& group) -> task<int> {
        group.start(note_after(1h, test.order, 1));
        group.cancel();
        co_return 2;
    };
    REQUIRE_THROWS_AS(test.loop.run(ferry::with_task_group(owes)), ferry::cancelled);
    CHECK(test.loop.run(ferry::with_task_group(has)) == 2);
}

TEST_CASE("a child that is started in a cancelled group meets the cancellation at its first checkpoint",
          "[loop][task_group]") {
    fixture test;
    const auto body = [&](task_group& group) -> task<> {
        group.cancel();
        group.start(note_after(1h, test.order, 1));
        co_return;
    };
    test.loop.run(ferry::with_task_group(body));
    CHECK(test.order == std::vector<int>{-1});
}

TEST_CASE("a cancellation from outside reaches the children and goes on outside", "[loop][task_group]") {
    fixture test;
    const auto body = [&](task_group& group) -> task<> {
        group.start(note_after(1h, test.order, 1));
        co_await ferry::sleep_for(1h);
    };
    const auto around = [&]() -> task<> { co_await ferry::with_task_group(body); };
    auto done = ferry::spawn(test.loop, around());
    test.loop.run_until_idle();
    test.loop.cancel_tasks();
    CHECK(test.order == std::vector<int>{-1});
    REQUIRE_THROWS_AS(done.get(), ferry::cancelled);
}

TEST_CASE("a cancellation does not cut short the wait for the children", "[loop][task_group]") {
    fixture test;
    const auto stubborn = [&]() -> task<> {
        try {
            co_await ferry::sleep_for(1h);
        } catch (const ferry::cancelled&) {}
        co_await ferry::with_task_group([&](task_group&) -> task<> {
            test.order.push_back(1);
            co_return;
        });
    };
    const auto body = [&](task_group& group) -> task<> {
        group.start(stubborn());
        co_return;
    };
    const auto around = [&]() -> task<> {
        co_await ferry::with_task_group(body);
        test.order.push_back(2);
    };
    auto done = ferry::spawn(test.loop, around());
    test.loop.run_until_idle();
    test.loop.cancel_tasks();
    CHECK(test.order == std::vector<int>{1, 2});
    done.get();
}

TEST_CASE("a group whose child a cancellation from outside cut short throws cancelled", "[loop][task_group]") {
    fixture test;
    const auto body = [&](task_group& group) -> task<int> {
        group.start(note_after(1h, test.order, 1));
        co_return 5;  // it has ended when the cancellation comes
    };
    SECTION("of its task") {
        auto done = ferry::spawn(test.loop, ferry::with_task_group(body));
        test.loop.run_until_idle();
        test.loop.cancel_tasks();
        REQUIRE_THROWS_AS(done.get(), ferry::cancelled);
    }
    SECTION("of a timeout, which then does not pass for a success") {
        REQUIRE_THROWS_AS(test.loop.run(ferry::timeout(1s, ferry::with_task_group(body))), ferry::timeout_error);
    }
    CHECK(test.order == std::vector<int>{-1});
}

TEST_CASE("a group that cancelled itself stays a success when a cancellation from outside follows",
          "[loop][task_group]") {
    fixture test;
    bool next_throws = false;
    int value = 0;
    const auto slow = [&]() -> task<> {
        co_await ferry::with_cleanup(note_after(1h, test.order, 1), ferry::sleep_for(1s));
    };
    const auto body = [&](task_group& group) -> task<int> {
        group.start(slow());
        co_await ferry::yield_now();
        co_await ferry::yield_now();
        group.cancel();
        co_return 5;
    };
    const auto around = [&]() -> task<> {
        value = co_await ferry::with_task_group(body);
        try {
            co_await ferry::yield_now();
        } catch (const ferry::cancelled&) {
            next_throws = true;
        }
    };
    auto done = ferry::spawn(test.loop, around());
    test.loop.run_until_idle();
    CHECK(test.order == std::vector<int>{-1});
    test.loop.cancel_tasks();
    CHECK(value == 5);
    CHECK(next_throws);
}

TEST_CASE("with_task_group and group.start keep a lambda that captures", "[loop][task_group]") {
    fixture test;
    const auto shared = std::make_shared<int>(3);
    const auto make = [&] {
        auto child = [shared](int factor) -> task<> {
            co_await ferry::sleep_for(1s);
            CHECK(*shared * factor == 6);
        };
        auto body = [shared, child](task_group& group) -> task<int> {
            group.start(child, 2);
            co_await ferry::sleep_for(2s);
            group.start(child, 2);
            co_return *shared;
        };
        return ferry::with_task_group(ferry::moved(body));
    };
    CHECK(test.loop.run(make()) == 3);
    CHECK(shared.use_count() == 1);
}

TEST_CASE("the body's task says that it waits for its group", "[loop][task_group]") {
    fixture test;
    const ferry::detail::wait_node* record = nullptr;
    const auto body = [&](task_group& group) -> task<> {
        record = &(co_await ferry::detail::current_task()).record();
        group.start(ferry::sleep_for(1s));
    };
    auto done = ferry::spawn(test.loop, ferry::with_task_group(body));
    test.loop.run_until_idle();
    CHECK(std::string(record->waits_in()) == "with_task_group");
    test.loop.run(std::move(done));
}
