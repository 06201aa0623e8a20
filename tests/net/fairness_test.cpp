// tests/net/fairness_test.cpp - sockets that are always ready delay nobody by more than a bounded batch
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/poller.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/net/address.hpp>
#include <ferry/net/socket.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

#include <sys/socket.h>

using ferry::event_loop;
using ferry::task;
using namespace std::chrono_literals;

namespace {
/// Real descriptors, and a clock that the test moves.
class hand_clock final : public ferry::poller {
public:
    [[nodiscard]] time_point now() const noexcept override { return time_point(ticks_); }
    std::size_t wait(time_point, bool outside) override { return descriptors_.wait(time_point::min(), outside); }
    void add(ferry::io_watch& watch) override { descriptors_.add(watch); }
    void remove(ferry::io_watch& watch) noexcept override { descriptors_.remove(watch); }
    [[nodiscard]] int native_handle() override { return descriptors_.native_handle(); }
    void tick() noexcept { ++ticks_; }
    [[nodiscard]] std::chrono::nanoseconds ticks() const noexcept { return ticks_; }

private:
    ferry::epoll_poller descriptors_;
    std::chrono::nanoseconds ticks_{0};
};

/// Writes a byte and reads one, for ever: the other end is its own.
task<> echo_to_itself(ferry::net::socket& one, ferry::net::socket& other, hand_clock& clock, const bool& over) {
    char byte = 'x';
    while (!over) {
        clock.tick();
        co_await one.send_all("x");
        co_await other.receive(&byte, 1);
    }
}
task<> sleeper(hand_clock& clock, std::chrono::nanoseconds& latest, int times) {
    for (int i = 0; i < times; ++i) {
        const auto due = clock.now() + 1'000ns;
        co_await ferry::sleep_until(due);
        latest = std::max(latest, clock.now() - due);
    }
}
}  // namespace

TEST_CASE("tasks on sockets that are always ready give way after 64 completions each", "[net][fairness][order]") {
    const ferry_test::frame_count frames;
    hand_clock clock;
    event_loop loop(clock);
    bool over = false;
    constexpr std::size_t pairs = 3;
    std::vector<ferry::net::socket> sockets;
    for (std::size_t i = 0; i < pairs; ++i) {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
        for (int end : ends) sockets.emplace_back(loop, end, ferry::net::address("127.0.0.1", 1));
    }
    for (std::size_t i = 0; i < pairs; ++i) {
        auto dropped = ferry::spawn(loop, echo_to_itself(sockets[2 * i], sockets[2 * i + 1], clock, over));
    }
    std::chrono::nanoseconds latest{0};
    auto sleeping = ferry::spawn(loop, sleeper(clock, latest, 10));
    int turns = 0;
    for (; !sleeping.is_ready() && turns < 10'000; ++turns) loop.run_once();
    REQUIRE(sleeping.is_ready());
    over = true;
    loop.run_until_idle();
    // Two slices of 16 steps, of which each is 64 completions, of which two make a tick.
    CHECK(latest <= 32ns * 33);
    CHECK(turns < 10'000);
}
