// tests/client/detail/connection_limit_test.cpp - who may go on, and when
// SPDX-License-Identifier: BSL-1.0
#include <ferry/client/detail/connection_limit.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using ferry::detail::connection_limit;

namespace {
/// A limit, those who want something of it, and who has got it, in that order.
class door {
public:
    door(std::size_t in_all, std::size_t to_each) : limit(in_all, to_each) {}
    ~door() { loop.close(); }

    void ask(std::string who) {
        asking_.push_back(ferry::spawn(loop, enter(std::move(who))));
        loop.run_until_idle();
    }
    void leave(const std::string& who) {
        limit.release(who.substr(0, 1));
        loop.run_until_idle();
    }
    /// The first letter of `who` is the place.
    ferry::task<> enter(std::string who) {
        const std::string place = who.substr(0, 1);
        co_await limit.acquire(place);
        inside += (inside.empty() ? "" : " ") + who;
    }

    ferry::virtual_clock clock;
    ferry::event_loop loop{clock};
    connection_limit limit;
    std::string inside;

private:
    std::vector<ferry::future<void>> asking_;
};
}  // namespace

TEST_CASE("those who want one connection too many wait in their order", "[client][connection_limit]") {
    door way(10, 2);
    for (const std::string who : {"a1", "a2", "a3", "a4", "a5"}) way.ask(who);
    CHECK(way.inside == "a1 a2");
    way.leave("a1");
    CHECK(way.inside == "a1 a2 a3");
    way.ask("a6");
    way.leave("a2");
    way.leave("a3");
    CHECK(way.inside == "a1 a2 a3 a4 a5");
    CHECK(way.limit.in_use() == 2);
    way.leave("a4");
    way.leave("a5");
    way.leave("a6");
    CHECK(way.inside == "a1 a2 a3 a4 a5 a6");
    CHECK(way.limit.in_use() == 0);
}

TEST_CASE("who waits for a full place does not hold up those who want to go elsewhere", "[client][connection_limit]") {
    door way(3, 2);
    for (const std::string who : {"a1", "a2", "a3", "b1"}) way.ask(who);
    CHECK(way.inside == "a1 a2 b1");
    for (const std::string who : {"b2", "c1"}) way.ask(who);
    CHECK(way.inside == "a1 a2 b1");
    way.leave("b1");
    CHECK(way.inside == "a1 a2 b1 b2");  // a3 has waited longer, but its place is full
    way.leave("a1");
    CHECK(way.inside == "a1 a2 b1 b2 a3");
    way.leave("b2");
    CHECK(way.inside == "a1 a2 b1 b2 a3 c1");
}

TEST_CASE("a wait for a connection that is cancelled leaves its place to the next", "[client][connection_limit]") {
    door way(1, 1);
    way.ask("a1");
    auto hasty = ferry::spawn(way.loop, [&]() -> ferry::task<bool> {
        try {
            co_await ferry::timeout(1s, way.enter("a2"));
        } catch (const ferry::timeout_error&) {
            co_return true;
        }
        co_return false;
    });
    way.ask("a3");
    way.clock.advance(1s);
    way.loop.run_until_idle();
    REQUIRE(hasty.is_ready());
    CHECK(way.loop.run(std::move(hasty)));
    CHECK(way.inside == "a1");
    way.leave("a1");
    CHECK(way.inside == "a1 a3");
    CHECK(way.limit.in_use() == 1);
}

TEST_CASE("what was granted before the cancellation is granted", "[client][connection_limit]") {
    door way(1, 1);
    way.ask("a1");
    auto late = ferry::spawn(way.loop, [&]() -> ferry::task<> { co_await ferry::timeout(1s, way.enter("a2")); });
    way.loop.run_until_idle();
    way.limit.release("a");
    way.clock.advance(1s);
    way.loop.run_until_idle();
    CHECK(way.inside == "a1 a2");
    CHECK(way.limit.in_use() == 1);
}
