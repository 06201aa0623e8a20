// tests/loop/future_stress_test.cpp - results set on one thread while others wait, give up, or let go
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/combine.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/outcome.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/shared_future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>

#include "core/frame_count.hpp"
#include "loop/unhandled_exceptions.hpp"
#include "support/catch.hpp"
#include "support/race.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <utility>

using ferry::event_loop;
using ferry::task;
using ferry_test::dice;
using ferry_test::race;
using namespace std::chrono_literals;

namespace {
using microseconds = std::chrono::microseconds;

/// Sets a value, an exception, or nothing at all.
void settle(ferry::promise<std::unique_ptr<int>> promise, int how) {
    if (how == 0) promise.set_exception(std::make_exception_ptr(std::out_of_range("told")));
    if (how >= 2) promise.set_value(std::make_unique<int>(7));
}
enum class end { value, failed, broken, closed, wrong };
template <class Get>
end end_of(Get get) {
    try {
        return *get() == 7 ? end::value : end::wrong;
    } catch (const std::out_of_range&) {
        return end::failed;
    } catch (const ferry::broken_promise&) {
        return end::broken;
    } catch (const ferry::closed_error&) {
        return end::closed;
    }
}
end expected(int how) { return how == 0 ? end::failed : how == 1 ? end::broken : end::value; }

task<std::unique_ptr<int>> seven_after(int yields) {
    for (int i = 0; i < yields; ++i) co_await ferry::yield_now();
    co_return std::make_unique<int>(7);
}
}  // namespace

TEST_CASE("a thread that waits with a limit and a result that arrives meanwhile always find each other",
          "[loop][future][mt]") {
    const ferry_test::frame_count frames;
    for (std::uint64_t round = 0; round < 300; ++round) {
        dice ours(round);
        dice theirs(round + 1'000);
        const int how = ours.roll(5);
        ferry::promise<std::unique_ptr<int>> promise;
        ferry::future<std::unique_ptr<int>> future = promise.get_future();
        end seen = end::wrong;
        race(
            [&] {
                theirs.dawdle();
                settle(std::move(promise), how);
            },
            [&] {
                for (int tries = ours.roll(3); tries > 0; --tries) {
                    ours.dawdle();
                    if (future.wait_for(microseconds(ours.roll(3)))) break;
                }
                seen = end_of([&] { return future.get(); });
            });
        CHECK(seen == expected(how));
    }
}

TEST_CASE("a task whose wait is cancelled and a result that arrives meanwhile: it gets one of the two",
          "[loop][future][mt]") {
    const ferry_test::frame_count frames;
    const ferry_test::unhandled_exceptions unhandled;
    std::size_t unreceived = 0;
    for (std::uint64_t round = 0; round < 300; ++round) {
        dice ours(round);
        dice theirs(round + 1'000);
        const int how = ours.roll(5);
        const microseconds limit(ours.roll(4));
        ferry::promise<std::unique_ptr<int>> promise;
        ferry::future<std::unique_ptr<int>> future = promise.get_future();
        end seen = end::wrong;
        bool in_time = true;
        race(
            [&] {
                theirs.dawdle();
                settle(std::move(promise), how);
            },
            [&] {
                ours.dawdle();
                seen = end_of([&] {
                    std::optional<std::unique_ptr<int>> value =
                        ferry::run(ferry::try_timeout(limit, std::move(future)));
                    in_time = value.has_value();
                    return in_time ? std::move(*value) : std::make_unique<int>(7);
                });
            });
        CHECK(seen == (in_time ? expected(how) : end::value));
        if (!in_time && how == 0) ++unreceived;
    }
    CHECK(unhandled.all().size() == unreceived);  // its future was gone
}

TEST_CASE("a future dropped while its promise is set, waited on or not, frees the result once", "[loop][future][mt]") {
    const ferry_test::frame_count frames;
    for (std::uint64_t round = 0; round < 300; ++round) {
        dice random(round);
        const auto counted = std::make_shared<int>(1);
        ferry::promise<std::shared_ptr<int>> promise;
        ferry::future<std::shared_ptr<int>> future = promise.get_future();
        const microseconds limit(random.roll(3));
        race([set = std::move(promise), &counted]() mutable { set.set_value(counted); },
             [mine = std::move(future), limit]() mutable {
                 const ferry::future<std::shared_ptr<int>> dropped = std::move(mine);
                 if (limit.count() > 0) static_cast<void>(dropped.wait_for(limit));
             });
        CHECK(counted.use_count() == 1);
    }
}

TEST_CASE("threads and tasks share one result that arrives while some give up and some let go",
          "[loop][shared_future][mt]") {
    const ferry_test::frame_count frames;
    for (std::uint64_t round = 0; round < 400; ++round) {
        const int how = dice(round).roll(5);
        ferry::promise<std::unique_ptr<int>> promise;
        ferry::shared_future<std::unique_ptr<int>> shared = promise.get_future().share();
        std::array<end, 3> seen{end::wrong, end::wrong, end::wrong};
        const auto blocks = [&](std::size_t id, ferry::shared_future<std::unique_ptr<int>> mine) {
            dice random(round * 3 + id);
            for (int tries = random.roll(3); tries > 0; --tries) {
                if (mine.wait_for(microseconds(random.roll(3)))) break;
            }
            seen[id] = end_of([&] { return &*mine.get(); });
        };
        const auto awaits = [&](std::size_t id, ferry::shared_future<std::unique_ptr<int>> mine) {
            const auto body = [](std::uint64_t seed, ferry::shared_future<std::unique_ptr<int>> of) -> task<int> {
                dice random(seed);
                for (int tries = random.roll(3); tries > 0; --tries) {
                    auto one = ferry::try_timeout(microseconds(random.roll(4)), of.operator co_await());
                    auto other = ferry::try_timeout(microseconds(random.roll(4)), of.operator co_await());
                    const auto both =
                        co_await ferry::when_all(ferry::as_result(std::move(one)), ferry::as_result(std::move(other)));
                    if (std::get<0>(both).error() != nullptr) break;
                }
                const std::unique_ptr<int>& value = co_await of;
                co_return *value;
            };
            seen[id] = end_of([&] {
                static thread_local int result = 0;
                result = ferry::run(body(round * 3 + id, std::move(mine)));
                return &result;
            });
        };
        auto for_thread = shared;
        auto for_task = shared;
        auto for_other_task = std::move(shared);
        race(
            [&] {
                dice random(round + 1'000);
                random.dawdle();
                settle(std::move(promise), how);
            },
            [&] { blocks(0, std::move(for_thread)); }, [&] { awaits(1, std::move(for_task)); },
            [&] { awaits(2, std::move(for_other_task)); });
        for (end each : seen) CHECK(each == expected(how));
    }
}

TEST_CASE("everyone who shares a task's result gets it, or closed_error, when its loop closes meanwhile",
          "[loop][shared_future][mt]") {
    const ferry_test::frame_count frames;
    for (std::uint64_t round = 0; round < 300; ++round) {
        event_loop loop;
        ferry::shared_future<std::unique_ptr<int>> shared = ferry::spawn(loop, seven_after(5)).share();
        std::array<end, 2> seen{end::wrong, end::wrong};
        race([&, mine = shared] { seen[0] = end_of([&] { return &*mine.get(); }); },
             [&, mine = shared] {
                 seen[1] = end_of([&] {
                     static thread_local int result = 0;
                     result = *ferry::run(mine.operator co_await());
                     return &result;
                 });
             },
             [&] {
                 for (int turns = dice(round).roll(8); turns > 0; --turns) loop.run_once();
                 loop.close();
             });
        CHECK((seen[0] == end::value || seen[0] == end::closed));
        CHECK(seen[0] == seen[1]);
    }
}
