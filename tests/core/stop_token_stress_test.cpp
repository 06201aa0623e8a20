// tests/core/stop_token_stress_test.cpp - callbacks that come and go while a stop is requested
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/stop_token.hpp>

#include "support/catch.hpp"
#include "support/race.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

using ferry_test::dice;
using ferry_test::race;

TEST_CASE("a stop callback is called at most once, and never after its destructor", "[core][stop_token][mt]") {
    for (std::uint64_t round = 0; round < 400; ++round) {
        ferry::stop_source source;
        std::atomic<int> first{0};
        int wrong[2] = {0, 0};
        const auto requester = [&](std::uint64_t seed) {
            dice(seed).dawdle();
            if (source.request_stop()) first.fetch_add(1, std::memory_order_relaxed);
        };
        const auto subscriber = [&, token = source.get_token()](int id) {
            dice random(round * 2 + static_cast<std::uint64_t>(id));
            for (int count = 0; count < 20; ++count) {
                const bool before = token.stop_requested();
                // Gone right after the callbacks: a late call would show.
                const auto calls = std::make_unique<int>(0);
                const auto second_calls = std::make_unique<int>(0);
                {
                    const ferry::stop_callback callback(token, [&calls] { ++*calls; });
                    random.dawdle();
                    const ferry::stop_callback second(token, [&second_calls] { ++*second_calls; });
                }
                if (*calls > 1 || *second_calls > 1) ++wrong[id];
                if (before && *calls + *second_calls != 2) ++wrong[id];
            }
        };
        race([&] { requester(round); }, [&] { requester(round + 7); }, [&] { subscriber(0); }, [&] { subscriber(1); });
        CHECK(first.load() == 1);
        CHECK(wrong[0] + wrong[1] == 0);
    }
}

TEST_CASE("a stop callback may destroy itself and the last source, while others come and go",
          "[core][stop_token][mt]") {
    using callback = ferry::stop_callback<std::function<void()>>;
    for (std::uint64_t round = 0; round < 300; ++round) {
        std::optional<ferry::stop_source> source(std::in_place);
        const ferry::stop_token token = source->get_token();
        int calls = 0;
        int calls_of_next = 0;
        std::optional<callback> mine;
        std::optional<callback> next;
        mine.emplace(token, [&] {
            std::optional<ferry::stop_source>& last = source;
            ++calls;
            mine.reset();
            last.reset();
        });
        next.emplace(token, [&calls_of_next] { ++calls_of_next; });
        race([&] { source->request_stop(); },
             [&, token] {
                 dice(round).dawdle();
                 next.reset();  // waits while it is called
                 const ferry::stop_callback late(token, [] {});
             });
        CHECK(calls == 1);
        CHECK(calls_of_next <= 1);
        CHECK(!mine.has_value());
        CHECK(token.stop_requested());
    }
}
