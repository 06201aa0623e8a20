// tests/loop/shuffled_loop_test.cpp - orders drawn from a seed
// SPDX-License-Identifier: BSL-1.0
#include "support/catch.hpp"

#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/shuffled_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <set>
#include <vector>

namespace {
ferry::task<> note(std::vector<int>& order, int id) {
    order.push_back(id);
    co_await ferry::yield_now();
    order.push_back(id);
}
std::vector<int> order_of(std::uint64_t seed, int tasks) {
    ferry::virtual_clock clock;
    ferry::shuffled_loop loop(seed, clock);
    std::vector<int> order;
    for (int id = 0; id < tasks; ++id) loop.spawn(note(order, id));
    loop.run_until_idle();
    return order;
}
}  // namespace

TEST_CASE("a seed gives the same order every time", "[loop][shuffled_loop]") {
    for (std::uint64_t seed = 0; seed < 20; ++seed) CHECK(order_of(seed, 10) == order_of(seed, 10));
}

TEST_CASE("seeds give every order of three tasks", "[loop][shuffled_loop][order]") {
    std::set<std::vector<int>> starts;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        std::vector<int> order;
        for (int id : order_of(seed, 3)) {
            if (std::set<int>(order.begin(), order.end()).count(id) == 0) order.push_back(id);
        }
        starts.insert(order);
    }
    CHECK(starts.size() == 6);
}

TEST_CASE("everything that is ready runs, in any order", "[loop][shuffled_loop]") {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        std::vector<int> times(100, 0);
        for (int id : order_of(seed, 100)) ++times[static_cast<std::size_t>(id)];
        REQUIRE(times == std::vector<int>(100, 2));
    }
}

TEST_CASE("posted callbacks keep their order among shuffled tasks", "[loop][shuffled_loop]") {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        ferry::virtual_clock clock;
        ferry::shuffled_loop loop(seed, clock);
        std::vector<int> order;
        std::vector<int> posts;
        for (int id = 0; id < 10; ++id) {
            loop.spawn(note(order, id));
            loop.post([&, id] {
                posts.push_back(id);
                loop.post([&, id] { posts.push_back(10 + id); });
            });
        }
        loop.run_until_idle();
        std::vector<int> expected(20);
        std::iota(expected.begin(), expected.end(), 0);
        REQUIRE(posts == expected);
        CHECK(order.size() == 20);
    }
}

TEST_CASE("posted callbacks come anywhere among shuffled tasks", "[loop][shuffled_loop][order]") {
    std::set<std::size_t> places;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        ferry::virtual_clock clock;
        ferry::shuffled_loop loop(seed, clock);
        std::vector<int> order;
        for (int id = 0; id < 3; ++id) loop.spawn(note(order, id));
        loop.post([&] { places.insert(order.size()); });
        loop.run_until_idle();
    }
    CHECK(places == std::set<std::size_t>{0, 1, 2, 3, 4, 5, 6});
}
