// tests/loop/fork_test.cpp - what a forked child may do with its parent's loops, and with its own
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/error.hpp>
#include <ferry/core/process.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/shared_future.hpp>
#include <ferry/loop/signals.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include "support/catch.hpp"
#include "support/forked.hpp"

#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

using ferry::event_loop;
using ferry::task;
using ferry_test::in_child;
using namespace std::chrono_literals;

namespace {
task<int> answer() {
    co_await ferry::sleep_for(1ms);
    co_return 42;
}

task<> wait_for(ferry::event& flag, bool& ended) {
    co_await flag.wait();
    ended = true;
}

std::string refusal(const std::function<void()>& call) {
    try {
        call();
        return "done";
    } catch (const ferry::closed_error& error) {
        return error.what();
    }
}

constexpr const char* way_out = "the loop belongs to the process that forked this one; make another one here";

/// A watch that counts how often it was ready.
class counting_watch final : public ferry::io_watch {
public:
    using io_watch::io_watch;
    void on_ready(bool, bool) noexcept override { ++count; }
    bool wants_readable() const noexcept override { return true; }
    bool wants_writable() const noexcept override { return false; }
    int count = 0;
};
}  // namespace

TEST_CASE("a forked child is refused its parent's loop, with the way out", "[loop][fork]") {
    event_loop loop;
    loop.run_once();  // with its descriptors
    const auto refused = [&](const std::string& operation, const std::function<void()>& call) {
        CHECK(in_child([&] { return refusal(call); }) == operation + way_out);
    };
    refused("post: ", [&] { loop.post([] {}); });
    refused("spawn(answer): ", [&] { loop.spawn(answer()); });
    refused("run(answer): ", [&] { loop.run(answer()); });
    refused("event_loop::run: ", [&] { loop.run(); });
    refused("event_loop::run_once: ", [&] { loop.run_once(); });
    refused("event_loop::run_until_idle: ", [&] { loop.run_until_idle(); });
    refused("event_loop::cancel_tasks: ", [&] { loop.cancel_tasks(); });
    refused("event_loop::close: ", [&] { loop.close(); });
    CHECK(loop.run(answer()) == 42);  // the parent's loop does not know of it
}

TEST_CASE("a forked child makes loops of its own", "[loop][fork]") {
    event_loop loop;
    loop.spawn(answer());
    const std::string said = in_child([&] {
        event_loop own;
        auto spawned = own.spawn(answer());
        return std::to_string(own.run(answer()) + own.run(std::move(spawned)) + ferry::run(answer()));
    });
    CHECK(said == "126");
}

TEST_CASE("a child that is forked inside a turn may run a loop of its own there", "[loop][fork]") {
    const auto body = [&]() -> task<std::string> {
        ferry_test::forked process;
        if (process.is_child()) process.say(std::to_string(ferry::run(answer())));
        co_return process.said();
    };
    CHECK(ferry::run(body()) == "42");
}

TEST_CASE("a child whose fork was in a task ends with that task, or with an error when the task waits",
          "[loop][fork]") {
    std::optional<ferry_test::forked> process;
    std::string said;
    SECTION("the task returns") {
        const auto body = [&]() -> task<int> {
            process.emplace();
            co_return process->is_child() ? 1 : 2;
        };
        const int value = ferry::run(body());
        if (process->is_child()) process->say("returned " + std::to_string(value));
        CHECK(value == 2);
        CHECK(process->said() == "returned 1");
    }
    SECTION("the task waits") {
        const auto body = [&]() -> task<> {
            process.emplace();
            co_await ferry::sleep_for(1ms);
        };
        said = refusal([&] { ferry::run(body()); });
        if (process->is_child()) process->say(said);
        CHECK(said == "done");
        CHECK(process->said() == std::string("event_loop::run: ") + way_out);
    }
}

TEST_CASE("a parent's loop that is destroyed in the child runs and ends no task there", "[loop][fork]") {
    auto loop = std::make_unique<event_loop>();
    ferry::event flag(*loop);
    bool ended = false;
    loop->spawn(wait_for(flag, ended));
    loop->run_until_idle();
    const std::string said = in_child([&] {
        loop.reset();
        return std::string(ended ? "ended" : "left");
    });
    CHECK(said == "left");
    flag.set();
    loop->run_until_idle();
    CHECK(ended);
}

TEST_CASE("a child neither wakes its parent's loop nor takes descriptors out of it", "[loop][fork]") {
    event_loop loop;
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    counting_watch watch(ends[0]);
    loop.watch(watch);
    loop.run_once();  // leaves it marked as sleeping
    const int before = watch.count;
    const std::string said = in_child([&] {
        loop.unwatch(watch);
        loop.stop();
        return refusal([&] { loop.watch(watch); });
    });
    CHECK(said == std::string("watch: ") + way_out);
    pollfd wake{loop.control().wake_descriptor(), POLLIN, 0};
    CHECK(::poll(&wake, 1, 0) == 0);
    REQUIRE(::write(ends[1], "x", 1) == 1);
    loop.run_once(1s);
    CHECK(watch.count == before + 1);
    loop.unwatch(watch);
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST_CASE("a future that a parent's loop was to produce is refused in the child, one of the child's own is not",
          "[loop][fork]") {
    event_loop loop;
    ferry::future<int> from_parent = loop.spawn(answer());
    ferry::shared_future<int> shared = loop.spawn(answer()).share();
    constexpr const char* reason = "(answer): its loop belongs to the process that forked this one";
    CHECK(in_child([&] { return refusal([&] { from_parent.get(); }); }) == std::string("future::get") + reason);
    CHECK(in_child([&] { return refusal([&] { shared.wait(); }); }) == std::string("shared_future::wait") + reason);
    CHECK(in_child([&] {
              ferry::promise<int> promise;
              ferry::future<int> own = promise.get_future();
              promise.set_value(7);
              return std::to_string(own.get());
          }) == "7");
    loop.run(std::move(from_parent));
    loop.run_until_idle();                                                  // the other task, too, in whatever order
    CHECK(in_child([&] { return std::to_string(shared.get()); }) == "42");  // it was there before the fork
}

TEST_CASE("a child's signals do not arrive in its parent", "[loop][fork][signals]") {
    event_loop loop;
    struct sigaction ignore {};
    struct sigaction before {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGUSR1, &ignore, &before);
    {
        ferry::signals mine(loop, {SIGUSR1});
        const std::string said = in_child([&] {
            ::raise(SIGUSR1);  // ignored, as before the parent's loop listened
            const auto body = []() -> task<int> {
                ferry::signals own(*event_loop::current(), {SIGUSR1});
                ::raise(SIGUSR1);
                co_return co_await own.wait();
            };
            return std::to_string(ferry::run(body()) == SIGUSR1);
        });
        CHECK(said == "1");
        int received = 0;
        const auto body = [&]() -> task<> { received = co_await mine.wait(); };
        auto waiting = loop.spawn(body());
        loop.run_until_idle();
        CHECK(received == 0);
        ::raise(SIGUSR1);
        loop.run(std::move(waiting));
        CHECK(received == SIGUSR1);
    }
    ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_CASE("a child that destroys its parent's signals can listen, and stop listening, itself",
          "[loop][fork][signals]") {
    event_loop loop;
    std::optional<ferry::signals> parents;
    parents.emplace(loop, std::initializer_list<int>{SIGUSR1});
    const std::string said = in_child([&] {
        parents.reset();
        event_loop own;
        { const ferry::signals listens(own, {SIGUSR1}); }
        struct sigaction now {};
        ::sigaction(SIGUSR1, nullptr, &now);
        return now.sa_handler == SIG_DFL ? "as before" : "still handled";
    });
    CHECK(said == "as before");
}
