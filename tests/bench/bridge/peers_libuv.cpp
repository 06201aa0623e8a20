// tests/bench/bridge/peers_libuv.cpp - the same with uv_queue_work
//   peer_libuv to_thread [ROUNDS]
// SPDX-License-Identifier: BSL-1.0
#include <uv.h>

#include <cstddef>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "bench.hpp"
#include "handoff.hpp"

namespace {
using namespace ferry_bench;
constexpr const char* who = "libuv";
constexpr int calls = 20'000;
constexpr int parked_calls = 300;
constexpr std::size_t in_flight = 1000;
constexpr std::size_t calls_in_flight = 200'000;

/// A call that is made again as soon as it is done, until there have been enough.
class repeated {
public:
    uv_work_t work{};
    std::size_t* left = nullptr;
    int value = 0;

    void queue() {
        work.data = this;
        uv_queue_work(
            uv_default_loop(), &work, [](uv_work_t* self) { ++static_cast<repeated*>(self->data)->value; },
            [](uv_work_t* self, int) {
                repeated& again = *static_cast<repeated*>(self->data);
                if (*again.left == 0) return;
                --*again.left;
                again.queue();
            });
    }
};

void run(std::vector<repeated>& flying, std::size_t times) {
    std::size_t left = times - flying.size();
    for (repeated& each : flying) {
        each.left = &left;
        each.queue();
    }
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}

void to_thread() {
    std::vector<repeated> one(1);
    run(one, calls / 10);
    const double begin = wall_nanoseconds();
    run(one, calls);
    report("to_thread/hot", who, (wall_nanoseconds() - begin) / calls);
    std::vector<double> delays;
    for (int i = 0; i < parked_calls; ++i) {
        pause_until_all_sleep();
        const double began = wall_nanoseconds();
        run(one, 1);
        delays.push_back(wall_nanoseconds() - began);
    }
    report("to_thread/parked", who, median(delays) / 1000);
    std::vector<repeated> many(in_flight);
    const double begin_many = wall_nanoseconds();
    run(many, calls_in_flight);
    report("to_thread/1000", who, (wall_nanoseconds() - begin_many) / calls_in_flight);
}
}  // namespace

int main(int count, char** arguments) {
    const std::string_view workload = count > 1 ? arguments[1] : "";
    const int rounds = count > 2 ? std::atoi(arguments[2]) : 1;
    ::setenv("UV_THREADPOOL_SIZE", "1", 1);
    if (workload != "to_thread") return EXIT_FAILURE;
    for (int round = 0; round < rounds; ++round) to_thread();
}
