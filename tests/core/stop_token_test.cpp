// tests/core/stop_token_test.cpp - requests to stop
// SPDX-License-Identifier: BSL-1.0
#include "support/catch.hpp"

#include <ferry/core/stop_token.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

TEST_CASE("a token sees the request of its source, once and for ever", "[core][stop_token]") {
    ferry::stop_source source;
    const ferry::stop_token token = source.get_token();
    CHECK_FALSE(token.stop_requested());
    CHECK(token.stop_possible());
    CHECK(source.request_stop());
    CHECK_FALSE(source.request_stop());
    CHECK(token.stop_requested());
    CHECK(ferry::stop_token(token).stop_requested());
}

TEST_CASE("a token without a source never stops", "[core][stop_token]") {
    CHECK_FALSE(ferry::stop_token().stop_possible());
    std::optional<ferry::stop_source> source(std::in_place);
    const ferry::stop_token token = source->get_token();
    source.reset();
    CHECK_FALSE(token.stop_possible());
    CHECK_FALSE(token.stop_requested());
}

TEST_CASE("callbacks run once, in order, on the thread that requests, or at once", "[core][stop_token]") {
    ferry::stop_source source;
    std::vector<int> order;
    const auto note = [&order](int id) { return [&order, id] { order.push_back(id); }; };
    const ferry::stop_callback first(source.get_token(), note(1));
    { const ferry::stop_callback gone(source.get_token(), note(2)); }
    const ferry::stop_callback third(source.get_token(), note(3));
    source.request_stop();
    source.request_stop();
    CHECK(order == std::vector<int>{1, 3});
    const ferry::stop_callback late(source.get_token(), note(4));
    CHECK(order == std::vector<int>{1, 3, 4});
}

TEST_CASE("a callback may destroy itself, another callback, and the last source", "[core][stop_token]") {
    class destroyer {
    public:
        explicit destroyer(std::vector<std::unique_ptr<ferry::stop_callback<destroyer>>>& all, int& calls)
            : all_(all), calls_(calls) {}
        void operator()() const {
            ++calls_;
            std::vector<std::unique_ptr<ferry::stop_callback<destroyer>>> both = std::move(all_);
        }

    private:
        std::vector<std::unique_ptr<ferry::stop_callback<destroyer>>>& all_;
        int& calls_;
    };
    int calls = 0;
    std::vector<std::unique_ptr<ferry::stop_callback<destroyer>>> all;
    std::optional<ferry::stop_source> source(std::in_place);
    all.push_back(std::make_unique<ferry::stop_callback<destroyer>>(source->get_token(), destroyer(all, calls)));
    all.push_back(std::make_unique<ferry::stop_callback<destroyer>>(source->get_token(), destroyer(all, calls)));
    const auto drop_source = [&source] { source.reset(); };
    const ferry::stop_callback last(source->get_token(), drop_source);
    CHECK(source->request_stop());
    CHECK(calls == 1);
    CHECK_FALSE(source.has_value());
}

TEST_CASE("no callback runs, and none is touched, after its destructor has returned", "[core][stop_token][mt]") {
    for (int round = 0; round < 500; ++round) {
        ferry::stop_source source;
        std::atomic<int> ready{0};
        std::atomic<int> calls{0};
        std::vector<std::thread> threads;
        for (int id = 0; id < 2; ++id) {
            threads.emplace_back([&] {
                ++ready;
                while (ready.load() < 3) std::this_thread::yield();
                for (int time = 0; time < 20; ++time) {
                    auto alive = std::make_unique<bool>(true);
                    const ferry::stop_callback callback(source.get_token(), [&calls, &alive] {
                        if (*alive) ++calls;
                    });
                }
            });
        }
        ++ready;
        while (ready.load() < 3) std::this_thread::yield();
        source.request_stop();
        for (std::thread& thread : threads) thread.join();
        REQUIRE(calls.load() <= 40);
        REQUIRE(source.stop_requested());
    }
}

TEST_CASE("what was written before the request is seen by who finds it requested", "[core][stop_token][mt]") {
    for (int round = 0; round < 200; ++round) {
        ferry::stop_source source;
        int data = 0;
        int seen = -1;
        std::thread reader([&, token = source.get_token()] {
            while (!token.stop_requested()) std::this_thread::yield();
            seen = data;
        });
        data = 7;
        source.request_stop();
        reader.join();
        REQUIRE(seen == 7);
    }
}
