// tests/loop/poll_poller_test.cpp - what is special about poll(); the suite runs on it as a whole with FERRY_POLLER=poll
// SPDX-License-Identifier: BSL-1.0
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/poll_poller.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

#include <sys/socket.h>
#include <unistd.h>

using ferry::event_loop;
using namespace std::chrono_literals;

namespace {
class wanting_watch final : public ferry::io_watch {
public:
    using io_watch::io_watch;
    void on_ready(bool readable, bool writable) noexcept override {
        read += readable ? 1 : 0;
        written += writable ? 1 : 0;
    }
    bool wants_readable() const noexcept override { return reads; }
    bool wants_writable() const noexcept override { return writes; }

    bool reads = false;
    bool writes = false;
    int read = 0;
    int written = 0;
};

class connected {
public:
    connected() { REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0); }
    ~connected() {
        ::close(ends[0]);
        if (ends[1] >= 0) ::close(ends[1]);
    }
    connected(const connected&) = delete;
    connected& operator=(const connected&) = delete;
    void hang_up() { ::close(std::exchange(ends[1], -1)); }
    int ends[2];
};

std::size_t poll_now(ferry::poller& poller) { return poller.wait(event_loop::time_point::min(), false); }
}  // namespace

TEST_CASE("poll reports only what somebody waits for, hang-ups too", "[loop][poll_poller]") {
    connected pair;
    ferry::poll_poller poller;
    wanting_watch watch(pair.ends[0]);
    poller.add(watch);
    CHECK(poll_now(poller) == 0);  // it is writable, but nobody wants to know
    watch.writes = true;
    CHECK(poll_now(poller) == 1);
    CHECK(watch.written == 1);
    CHECK(watch.read == 0);
    watch.writes = false;
    pair.hang_up();
    CHECK(poll_now(poller) == 0);
    watch.reads = true;
    CHECK(poll_now(poller) == 1);
    CHECK(watch.read == 1);
    poller.remove(watch);
    CHECK(poll_now(poller) == 0);
    poller.remove(watch);  // it is out already
}

TEST_CASE("poll waits until its deadline, in nanoseconds", "[loop][poll_poller]") {
    ferry::poll_poller poller;
    const auto deadline = poller.now() + 300us;
    CHECK(poller.wait(deadline, false) == 0);
    CHECK(poller.now() >= deadline);
}

TEST_CASE("a loop on poll is woken by posts, and each wake-up is taken away", "[loop][poll_poller][mt]") {
    ferry::poll_poller poller;
    event_loop loop(poller);
    int posted = 0;
    for (int round = 1; round <= 100; ++round) {
        std::thread other([&] {
            loop.post([&] {
                ++posted;
                loop.stop();
            });
        });
        loop.run();
        other.join();
        REQUIRE(posted == round);
    }
    loop.run_once();
    CHECK(poll_now(poller) == 0);
}

TEST_CASE("a loop on poll cannot be embedded, and says so", "[loop][poll_poller]") {
    ferry::poll_poller poller;
    event_loop loop(poller);
    CHECK_THROWS_AS(loop.native_handle(), std::system_error);
}

TEST_CASE("every loop, and virtual time, can be told to use poll", "[loop][poll_poller]") {
    const ferry::poller_factory before = ferry::set_default_poller(nullptr);
    ferry::use_poll_in_every_loop();
    {
        event_loop loop;
        CHECK_THROWS_AS(loop.native_handle(), std::system_error);
        ferry::virtual_clock clock;
        event_loop timeless(clock);
        CHECK_THROWS_AS(timeless.native_handle(), std::system_error);
        timeless.run(ferry::sleep_for(1h));
        CHECK(clock.elapsed() == 1h);
    }
    ferry::set_default_poller(before);
}
