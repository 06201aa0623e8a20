// tests/bench/bridge/peers_asio.cpp - the same with asio's thread_pool, coroutines and futures
//   peer_asio to_thread|block_on [ROUNDS]
// SPDX-License-Identifier: BSL-1.0
#include <asio.hpp>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "bench.hpp"
#include "handoff.hpp"

namespace {
using namespace ferry_bench;
constexpr const char* who = "asio";
constexpr int calls = 20'000;
constexpr int plain_calls = 200'000;
constexpr int parked_calls = 300;
constexpr std::size_t in_flight = 1000;
constexpr std::size_t calls_in_flight = 200'000;

/// The function's result, from the pool to the coroutine.
template <class Fn>
auto call_on(asio::thread_pool& pool, Fn fn) {
    return asio::async_initiate<const asio::use_awaitable_t<>, void(int)>(
        [&pool](auto handler, Fn work) {
            auto executor = asio::get_associated_executor(handler);
            asio::post(pool, [handler = std::move(handler), executor, work = std::move(work)]() mutable {
                const int value = work();
                asio::post(executor, [handler = std::move(handler), value]() mutable { std::move(handler)(value); });
            });
        },
        asio::use_awaitable, std::move(fn));
}

asio::awaitable<void> call_hot(asio::thread_pool& pool, int times) {
    int sum = 0;
    for (int i = 0; i < times; ++i) sum = co_await call_on(pool, [sum] { return sum + 1; });
    keep(sum);
}
asio::awaitable<void> call_parked(asio::thread_pool& pool, std::vector<double>& delays) {
    asio::steady_timer timer(co_await asio::this_coro::executor);
    for (int i = 0; i < parked_calls; ++i) {
        timer.expires_after(std::chrono::microseconds(300));
        co_await timer.async_wait(asio::use_awaitable);
        const double begin = wall_nanoseconds();
        co_await call_on(pool, [i] { return i + 1; });
        delays.push_back(wall_nanoseconds() - begin);
    }
}

void to_thread() {
    asio::thread_pool pool(1);
    asio::io_context context(2);
    const auto run = [&](asio::awaitable<void> work) {
        context.restart();
        asio::co_spawn(context, std::move(work), asio::detached);
        context.run();
    };
    run(call_hot(pool, calls / 10));
    const double begin = wall_nanoseconds();
    run(call_hot(pool, calls));
    report("to_thread/hot", who, (wall_nanoseconds() - begin) / calls);
    std::vector<double> delays;
    run(call_parked(pool, delays));
    report("to_thread/parked", who, median(delays) / 1000);
    const double begin_many = wall_nanoseconds();
    context.restart();
    for (std::size_t i = 0; i < in_flight; ++i) {
        asio::co_spawn(context, call_hot(pool, static_cast<int>(calls_in_flight / in_flight)), asio::detached);
    }
    context.run();
    report("to_thread/1000", who, (wall_nanoseconds() - begin_many) / calls_in_flight);
}

asio::awaitable<int> add_one(int value) { co_return value + 1; }

void block_on() {
    asio::io_context context(2);
    auto work = asio::make_work_guard(context);
    std::thread loop([&] { context.run(); });
    const auto call = [&](int value) { return asio::co_spawn(context, add_one(value), asio::use_future).get(); };
    for (int i = 0; i < calls / 10; ++i) keep(call(i));
    const double begin = wall_nanoseconds();
    for (int i = 0; i < calls; ++i) keep(call(i));
    report("block_on/hot", who, (wall_nanoseconds() - begin) / calls);
    std::vector<double> delays;
    for (int i = 0; i < parked_calls; ++i) {
        pause_until_all_sleep();
        const double began = wall_nanoseconds();
        keep(call(i));
        delays.push_back(wall_nanoseconds() - began);
    }
    report("block_on/parked", who, median(delays) / 1000);
    work.reset();
    loop.join();

    asio::io_context reused(1);
    const auto plain = [&](int value) {
        int result = 0;
        asio::co_spawn(reused, add_one(value), [&](std::exception_ptr, int got) { result = got; });
        reused.run();
        reused.restart();
        return result;
    };
    for (int i = 0; i < 1000; ++i) keep(plain(i));
    const cpu_timer timer;
    for (int i = 0; i < plain_calls; ++i) keep(plain(i));
    report("block_on/plain", "limit", timer.nanoseconds() / plain_calls);
}
}  // namespace

int main(int count, char** arguments) {
    const std::string_view workload = count > 1 ? arguments[1] : "";
    const int rounds = count > 2 ? std::atoi(arguments[2]) : 1;
    for (int round = 0; round < rounds; ++round) {
        if (workload == "to_thread") {
            to_thread();
        } else if (workload == "block_on") {
            block_on();
        } else {
            return EXIT_FAILURE;
        }
    }
}
