// tests/client/cancel_everywhere_test.cpp - a client's waits, cancelled at every step
// SPDX-License-Identifier: BSL-1.0
#include "support/cancel_everywhere.hpp"

#include <ferry/client/detail/connection_limit.hpp>
#include <ferry/client/detail/message_queue.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <optional>
#include <string>

using ferry::task;
using ferry_test::cancel_everywhere;
using ferry_test::make;
using ferry_test::stepping_loop;
using ferry_test::world;
using namespace std::chrono_literals;

namespace {
class receive_world final : public world {
public:
    receive_world(stepping_loop& loop, bool contended) : world(contended), loop_(loop) {
        delivers_completed = false;  // a message that the cancelled one did not take is there for the next receive()
        if (!contended) other_side();
    }
    std::string wrong() override {
        int left = 0;
        while (loop_.run(ferry::try_timeout(0s, queue_.receive()))) ++left;
        return left + taken_ == pushed_ ? "" : "a message was lost, or came twice";
    }

private:
    task<int> use() override {
        std::optional<ferry::websocket_message> next = co_await queue_.receive();
        ++taken_;
        co_return next && next->data() == "x" ? 1 : 0;
    }
    void other_side() override {
        queue_.push(ferry::websocket_message("x", true, false));
        ++pushed_;
    }
    stepping_loop& loop_;
    ferry::detail::message_queue queue_{ferry::websocket::session_options()};
    int pushed_ = 0;
    int taken_ = 0;
};

class room_world final : public world {
public:
    room_world(stepping_loop& loop, bool contended) : world(contended), loop_(loop) {
        delivers_completed = false;  // the room is there for the next wait
        for (std::size_t i = contended ? 0 : 1; i < ferry::websocket::session_options().max_queued_messages(); ++i) {
            queue_.push(ferry::websocket_message("x", true, false));
        }
    }

private:
    task<int> use() override {
        co_await queue_.room();
        co_return queue_.full() ? 0 : 1;
    }
    void other_side() override { loop_.spawn(take_one()); }
    task<> take_one() { static_cast<void>(co_await queue_.receive()); }
    stepping_loop& loop_;
    ferry::detail::message_queue queue_{ferry::websocket::session_options()};
};

class limit_world final : public world {
public:
    limit_world(stepping_loop& loop, bool contended) : world(contended) {
        if (contended) loop.run(take());
    }
    std::string wrong() override {
        complete();
        return limit_.in_use() == 0 ? "" : "a place under the limit was lost";
    }

private:
    task<int> use() override {
        co_await take();
        limit_.release(place_);
        co_return 1;
    }
    void other_side() override { limit_.release(place_); }
    task<> take() { co_await limit_.acquire(place_); }
    const std::string place_ = "a.test 80";
    ferry::detail::connection_limit limit_{1, 1};
};
}  // namespace

TEST_CASE("a WebSocket client's waits are cancelled at any step, in any nesting", "[client][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<receive_world, true>) == "");
    CHECK(cancel_everywhere(&make<receive_world, false>) == "");
}

TEST_CASE("a WebSocket client's reader is cancelled at any step, in any nesting", "[client][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<room_world, true>) == "");
    CHECK(cancel_everywhere(&make<room_world, false>) == "");
}

TEST_CASE("an HTTP client's wait for a connection is cancelled at any step, in any nesting",
          "[client][cancel_everywhere]") {
    CHECK(cancel_everywhere(&make<limit_world, true>) == "");
    CHECK(cancel_everywhere(&make<limit_world, false>) == "");
}
