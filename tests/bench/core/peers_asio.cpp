// tests/bench/core/peers_asio.cpp - the same workloads with asio
//   peer_asio await|yield|timers|post [ROUNDS]
// SPDX-License-Identifier: BSL-1.0
#include <asio.hpp>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "await_chain.hpp"
#include "bench.hpp"
#include "delays.hpp"

namespace {
using namespace ferry_bench;
constexpr const char* who = "asio";
constexpr int switches = 100'000;
constexpr std::size_t posts = 200'000;

/// Runs the coroutine on a context that only this thread uses.
template <class Coroutine>
double run_alone(Coroutine coroutine) {
    asio::io_context context(1);
    asio::co_spawn(context, std::move(coroutine), asio::detached);
    const cpu_timer timer;
    context.run();
    return timer.nanoseconds();
}

void await_tasks() {
    report("await/flat", who, run_alone(await_flat<asio::awaitable<int>>(flat_awaits)) / flat_awaits);
    constexpr double calls = deep_chains * (depth + 1.0);
    report("await/deep", who, run_alone(await_deep<asio::awaitable<int>>(deep_chains)) / calls);
}

asio::awaitable<void> give_way(asio::io_context& context, int times) {
    for (int i = 0; i < times; ++i) co_await asio::post(context, asio::use_awaitable);
}

void yield_between(const char* workload, int tasks) {
    asio::io_context context(1);
    for (int i = 0; i < tasks; ++i) asio::co_spawn(context, give_way(context, switches / tasks), asio::detached);
    const cpu_timer timer;
    context.run();
    report(workload, who, timer.nanoseconds() / switches);
}

void arm_timers() {
    asio::io_context context(1);
    std::vector<asio::steady_timer> timers;
    timers.reserve(timer_count);
    for (std::size_t i = 0; i < timer_count; ++i) timers.emplace_back(context);
    const auto nothing = [](const asio::error_code&) {};
    const auto arm_all = [&](const std::vector<std::chrono::nanoseconds>& delays) {
        const auto start = std::chrono::steady_clock::now();
        for (std::size_t i = 0; i < timer_count; ++i) {
            timers[i].expires_at(start + delays[i]);
            timers[i].async_wait(nothing);
        }
    };
    const auto far = far_delays();
    const auto near = near_delays();

    const cpu_timer arming;
    arm_all(far);
    report("timers/arm", who, arming.nanoseconds() / timer_count);
    const cpu_timer cancelling;
    for (asio::steady_timer& timer : timers) timer.cancel();
    context.run();  // the handlers
    report("timers/cancel", who, cancelling.nanoseconds() / timer_count);
    context.restart();
    const cpu_timer firing;
    arm_all(near);
    context.run();
    report("timers/fire", who, firing.nanoseconds() / timer_count);
}

void post_callables() {
    asio::io_context context(2);
    const auto work = asio::make_work_guard(context);
    std::size_t seen = 0;
    second_thread producer([&] {
        for (std::size_t i = 0; i < posts; ++i) {
            asio::post(context, [&] {
                if (++seen == posts) context.stop();
            });
        }
    });
    producer.release();
    const cpu_timer timer;
    context.run();
    const double worked = timer.nanoseconds();
    report("post/callable", who, std::max(worked, producer.worked()) / posts);
}

void wake_up() {
    asio::io_context context(2);
    const auto work = asio::make_work_guard(context);
    wake_meter meter;
    second_thread waker([&] {
        meter.drive([&] {
            asio::post(context, [&] {
                if (meter.woken()) context.stop();
            });
        });
    });
    waker.release();
    context.run();
    report("post/wake", who, meter.median_microseconds());
}
}  // namespace

int main(int count, char** arguments) {
    const std::string_view workload = count > 1 ? arguments[1] : "";
    const int rounds = count > 2 ? std::atoi(arguments[2]) : 1;
    pin_to(0);
    for (int round = 0; round < rounds; ++round) {
        if (workload == "await") {
            await_tasks();
        } else if (workload == "yield") {
            yield_between("yield/2", 2);
            yield_between("yield/1000", 1000);
        } else if (workload == "timers") {
            arm_timers();
        } else if (workload == "post") {
            post_callables();
            if (round % 5 == 0) wake_up();
        } else {
            return EXIT_FAILURE;
        }
    }
}
