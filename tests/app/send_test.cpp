// tests/app/send_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/app/send.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/core/outcome.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>

#include "app/ends.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace ferry_test;
using namespace std::chrono_literals;
using lines = std::vector<std::string>;

namespace {
ferry::task<> send_one_of_each(app::send send) {
    co_await send(app::http_response_start(200).header("a", "b"));
    co_await send(app::http_response_body("piece", true));
    app::http_response_body last("last");
    co_await send(last);
    co_await send(app::websocket_accept("chat"));
    co_await send(app::websocket_send::text("hello"));
    co_await send(app::websocket_close(1001, "bye"));
    co_await send(app::custom_message("lights.off"));
}
ferry::task<> send_body(app::send send, std::string text) { co_await send(app::http_response_body(std::move(text))); }
ferry::task<> send_body_in_time(app::send send, std::string text) {
    co_await ferry::timeout(0ns, send_body(send, std::move(text)));
}
ferry::task<> send_owned(app::send send) {
    auto later = send.owned(app::http_response_body(std::string(100, 'x')));
    co_await send(app::http_response_start(200));
    co_await std::move(later);
}
ferry::task<> send_in_all_ways(app::send send) {
    app::http_response_start start(200);
    co_await send(start);
    app::http_response_body first("first", true);
    const auto sent = co_await ferry::as_result(send(first));
    CHECK(sent.has_value());
    co_await ferry::timeout(1s, send(app::http_response_body("second", true)));
    app::http_response_body third("third", true);
    app::http_response_body fourth("fourth", true);
    co_await ferry::when_all(send(third), send(fourth));
    co_await ferry::with_task_group([send](ferry::task_group& group) -> ferry::task<> {
        group.start(send_body, send, "fifth");
        group.start(send.owned(app::http_response_body("sixth")));
        co_return;
    });
}

/// Watches one message and overrides nothing else.
class status_watch : public app::send_filter<status_watch> {
public:
    using send_filter::send_filter;
    void deliver(app::http_response_start& start) {
        status = start.status();
        start.headers().add("seen", "yes");
        next().deliver(start);
    }
    int status = 0;
};

/// Puts its letter in front of each body, and swallows empty ones.
class prefix : public app::send_filter<prefix> {
public:
    prefix(app::send next, char letter) noexcept : send_filter(next), letter_(letter) {}
    void deliver(app::http_response_body& piece) {
        if (piece.body().empty()) return;
        app::http_response_body replaced(letter_ + piece.body(), piece.more_body());
        next().deliver(replaced);
    }

private:
    char letter_;
};
}  // namespace

TEST_CASE("a send handle is two words, and its awaiters are small", "[app][send]") {
    static_assert(sizeof(app::send) == 2 * sizeof(void*));
    static_assert(std::is_trivially_copyable_v<app::send>);
    static_assert(sizeof(app::send::awaiter<app::http_response_start>) <= 48);
    static_assert(sizeof(app::send::awaiter<app::websocket_send>) <= 48);
    ferry::event_loop loop;
    recording_sink sink;
    loop.run(send_one_of_each(app::send(sink)));
    CHECK(sink.lines == lines{"start 200 a=b", "body piece...", "body last", "accept chat", "send hello",
                              "close 1001 bye", "custom lights.off"});
}

TEST_CASE("a send filter sees what it overrides, and everything else passes", "[app][send]") {
    ferry::event_loop loop;
    recording_sink sink;
    status_watch watch{app::send(sink)};
    loop.run(send_one_of_each(watch.handle()));
    CHECK(watch.status == 200);
    CHECK(sink.lines.size() == 7);
    CHECK(sink.lines[0] == "start 200 a=b seen=yes");
    CHECK(sink.lines[5] == "close 1001 bye");
}

TEST_CASE("messages pass send filters from the application outwards", "[app][send]") {
    ferry::event_loop loop;
    recording_sink sink;
    prefix outer(app::send(sink), 'o');
    prefix inner(outer.handle(), 'i');
    loop.run(send_body(inner.handle(), "-"));
    loop.run(send_body(inner.handle(), ""));
    CHECK(sink.lines == lines{"body oi-"});
}

TEST_CASE("layers of filters cost no coroutine for a message", "[app][send]") {
    ferry::event_loop loop;
    recording_sink sink;
    prefix outer(app::send(sink), 'o');
    status_watch inner(outer.handle());
    sink.above(true);
    const auto before = ferry::detail::frame_allocator::live();
    const auto waiting = ferry::spawn(loop, send_body(inner.handle(), "x"));
    loop.run_until_idle();
    const auto task_and_body = ferry::detail::frame_allocator::live() - before;
    sink.above(false);
    loop.run_until_idle();
    const auto direct_before = ferry::detail::frame_allocator::live();
    sink.above(true);
    const auto direct = ferry::spawn(loop, send_body(app::send(sink), "x"));
    loop.run_until_idle();
    CHECK(ferry::detail::frame_allocator::live() - direct_before == task_and_body);
    sink.above(false);
    loop.run_until_idle();
    CHECK(sink.lines == lines{"body ox", "body x"});
}

TEST_CASE("a message is sent alone, in time, beside others, and by the children of a group", "[app][send][order]") {
    ferry::event_loop loop;
    recording_sink sink;
    loop.run(send_in_all_ways(app::send(sink)));
    CHECK(sink.lines == lines{"start 200", "body first...", "body second...", "body third...", "body fourth...",
                              "body fifth", "body sixth"});
}

TEST_CASE("sending waits while the output is above its high-water mark", "[app][send][order]") {
    ferry::event_loop loop;
    recording_sink sink;
    const app::send send(sink);
    sink.above(true);
    const auto first = ferry::spawn(loop, send_body(send, "first"));
    const auto second = ferry::spawn(loop, send_body(send, "second"));
    loop.run_until_idle();
    CHECK(sink.lines.empty());
    sink.above(false);
    CHECK(sink.lines.empty());  // nothing is resumed in place
    loop.run_until_idle();
    CHECK(sink.lines == lines{"body first", "body second"});
    CHECK(first.is_ready());
    CHECK(second.is_ready());
}

TEST_CASE("cancelling a send that waits sends nothing", "[app][send]") {
    ferry::event_loop loop;
    recording_sink sink;
    const app::send send(sink);
    sink.above(true);
    const auto patient = ferry::spawn(loop, send_body(send, "patient"));
    CHECK_THROWS_AS(loop.run(send_body_in_time(send, "hasty")), ferry::timeout_error);
    sink.above(false);
    loop.run_until_idle();
    CHECK(sink.lines == lines{"body patient"});
    CHECK(patient.is_ready());
}

TEST_CASE("try_send takes the message only below the mark", "[app][send]") {
    recording_sink sink;
    const app::send send(sink);
    app::http_response_body piece("text");
    sink.above(true);
    CHECK_FALSE(send.try_send(piece));
    CHECK(piece.body() == "text");
    CHECK(sink.lines.empty());
    sink.above(false);
    CHECK(send.try_send(piece));
    CHECK(sink.lines == lines{"body text"});
}

TEST_CASE("an owned message may wait to be sent", "[app][send]") {
    ferry::event_loop loop;
    recording_sink sink;
    loop.run(send_owned(app::send(sink)));
    CHECK(sink.lines == lines{"start 200", "body " + std::string(100, 'x')});
}
