// tests/bench/core/peers_libuv.cpp - the same workloads with libuv, as far as it has them
//   peer_libuv timers|post [ROUNDS]
// SPDX-License-Identifier: BSL-1.0
#include <uv.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <string_view>
#include <vector>

#include "bench.hpp"
#include "delays.hpp"

namespace {
using namespace ferry_bench;
constexpr const char* who = "libuv";
constexpr std::size_t posts = 200'000;

/// A loop that is closed in the end, with every handle in it.
class uv_loop {
public:
    uv_loop() { uv_loop_init(&loop_); }
    ~uv_loop() {
        uv_walk(
            &loop_, [](uv_handle_t* handle, void*) { uv_close(handle, nullptr); }, nullptr);
        uv_run(&loop_, UV_RUN_DEFAULT);
        uv_loop_close(&loop_);
    }
    uv_loop(const uv_loop&) = delete;
    uv_loop& operator=(const uv_loop&) = delete;
    [[nodiscard]] uv_loop_t* get() noexcept { return &loop_; }

private:
    uv_loop_t loop_{};
};

/// libuv counts in milliseconds.
void arm_timers() {
    const auto far = far_delays();
    const auto near = near_delays();
    std::vector<uv_timer_t> timers(timer_count);
    uv_loop loop;
    for (uv_timer_t& timer : timers) uv_timer_init(loop.get(), &timer);
    const auto arm_all = [&](const std::vector<std::chrono::nanoseconds>& delays) {
        for (std::size_t i = 0; i < timer_count; ++i) {
            uv_timer_start(
                &timers[i], [](uv_timer_t*) {}, static_cast<std::uint64_t>(delays[i].count() / 1'000'000), 0);
        }
    };
    const cpu_timer arming;
    arm_all(far);
    report("timers/arm", who, arming.nanoseconds() / timer_count);
    const cpu_timer cancelling;
    for (uv_timer_t& timer : timers) uv_timer_stop(&timer);
    report("timers/cancel", who, cancelling.nanoseconds() / timer_count);
    const cpu_timer firing;
    arm_all(near);
    uv_run(loop.get(), UV_RUN_DEFAULT);
    report("timers/fire", who, firing.nanoseconds() / timer_count);
}

/// uv_async_send() carries nothing and may be merged with others, so a list under a mutex carries the work: what
/// libuv's manual recommends.
class uv_mailbox {
public:
    using function = void (*)(uv_mailbox& self);
    explicit uv_mailbox(uv_loop& loop) {
        async_.data = this;
        uv_async_init(loop.get(), &async_, [](uv_async_t* async) { static_cast<uv_mailbox*>(async->data)->run_all(); });
    }
    uv_mailbox(const uv_mailbox&) = delete;
    uv_mailbox& operator=(const uv_mailbox&) = delete;

    void post(function work) {
        {
            const std::lock_guard lock(mutex_);
            posted_.push_back(work);
        }
        uv_async_send(&async_);
    }
    void stop() noexcept { uv_stop(async_.loop); }

    std::size_t seen = 0;
    wake_meter meter;

private:
    void run_all() {
        {
            const std::lock_guard lock(mutex_);
            running_.swap(posted_);
        }
        for (const function work : running_) work(*this);
        running_.clear();
    }
    uv_async_t async_{};
    std::mutex mutex_;  // guards posted_
    std::vector<function> posted_;
    std::vector<function> running_;
};

void post_callables() {
    uv_loop loop;
    uv_mailbox mailbox(loop);
    second_thread producer([&] {
        for (std::size_t i = 0; i < posts; ++i) {
            mailbox.post([](uv_mailbox& self) {
                if (++self.seen == posts) self.stop();
            });
        }
    });
    producer.release();
    const cpu_timer timer;
    uv_run(loop.get(), UV_RUN_DEFAULT);
    const double worked = timer.nanoseconds();
    report("post/callable", who, std::max(worked, producer.worked()) / posts);
}

void wake_up() {
    uv_loop loop;
    uv_mailbox mailbox(loop);
    second_thread waker([&] {
        mailbox.meter.drive([&] {
            mailbox.post([](uv_mailbox& self) {
                if (self.meter.woken()) self.stop();
            });
        });
    });
    waker.release();
    uv_run(loop.get(), UV_RUN_DEFAULT);
    report("post/wake", who, mailbox.meter.median_microseconds());
}
}  // namespace

int main(int count, char** arguments) {
    const std::string_view workload = count > 1 ? arguments[1] : "";
    const int rounds = count > 2 ? std::atoi(arguments[2]) : 1;
    pin_to(0);
    for (int round = 0; round < rounds; ++round) {
        if (workload == "timers") {
            arm_timers();
        } else if (workload == "post") {
            post_callables();
            if (round % 5 == 0) wake_up();
        } else {
            return EXIT_FAILURE;
        }
    }
}
