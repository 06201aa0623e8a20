// tests/deadlock/allowance_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/deadlock/allowance.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <string>
#include <thread>
#include <utility>

using ferry::allow_blocking;
using ferry::task;

namespace {
task<int> seven() {
    co_await ferry::yield_now();
    co_return 7;
}
}  // namespace

TEST_CASE("allow_blocking lets a turn block on what other threads and loops do", "[deadlock][allowance]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    ferry::event_loop other;
    ferry::promise<int> promise;
    ferry::future<int> result = promise.get_future();
    int from_thread = 0;
    int from_loop = 0;
    std::thread setter([&promise] { promise.set_value(5); });
    loop.post([&] {
        const allow_blocking ok("the test wants it");
        from_thread = result.get();
        from_loop = other.run(seven());
        CHECK(ferry::event_loop::current() == &loop);  // as before
    });
    loop.run_until_idle();
    setter.join();
    CHECK(from_thread == 5);
    CHECK(from_loop == 7);
}

TEST_CASE("allow_blocking does not let through a wait that could never end", "[deadlock][allowance]") {
    const ferry_test::frame_count frames;
    ferry::event_loop loop;
    const auto body = [&]() -> task<> {
        auto mine = ferry::spawn(seven());
        {
            const allow_blocking ok("the test wants it");
            REQUIRE_THROWS_AS(mine.get(), ferry::deadlock_error);
            REQUIRE_THROWS_AS(loop.run_once(), ferry::deadlock_error);
            REQUIRE_THROWS_AS(loop.close(), ferry::deadlock_error);
        }
        const int value = co_await std::move(mine);
        CHECK(value == 7);
    };
    loop.run(body());
}

TEST_CASE("allowances nest, end with their scope, and concern one thread", "[deadlock][allowance]") {
    ferry::event_loop loop;
    ferry::event_loop other;
    const auto blocks = [&other] { return other.run(seven()) == 7; };
    loop.post([&] {
        {
            const allow_blocking outer("outer");
            {
                const allow_blocking inner("inner");
                CHECK(std::string(inner.reason()) == "inner");
                CHECK(blocks());
            }
            CHECK(blocks());
            bool refused = false;
            std::thread([&refused] {
                ferry::event_loop of_thread;
                of_thread.post([&refused] {
                    ferry::event_loop nested;
                    try {
                        nested.run(seven());
                    } catch (const ferry::blocking_error&) {
                        refused = true;
                    }
                });
                of_thread.run_until_idle();
            }).join();
            CHECK(refused);
        }
        REQUIRE_THROWS_AS(blocks(), ferry::blocking_error);
    });
    loop.run_until_idle();
}
