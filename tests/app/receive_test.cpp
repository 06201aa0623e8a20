// tests/app/receive_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/app/receive.hpp>
#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>

#include "app/ends.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <string>
#include <type_traits>
#include <vector>

using namespace ferry_test;
using namespace std::chrono_literals;

namespace {
ferry::task<std::string> next_body(app::receive receive) {
    app::message next = co_await receive();
    co_return std::get<app::http_request>(next).take_body();
}
ferry::task<std::string> next_body_in_time(app::receive receive) {
    co_return co_await ferry::timeout(0ns, next_body(receive));
}

/// Adds its letter to each body.
class letter : public app::receive_filter<letter> {
public:
    letter(app::receive next, char what) noexcept : receive_filter(next), letter_(what) {}
    void received(app::message& what) {
        what = app::http_request(std::get<app::http_request>(what).take_body() + letter_);
    }

private:
    char letter_;
};
}  // namespace

TEST_CASE("a receive handle is two words that are copied like numbers", "[app][receive]") {
    static_assert(sizeof(app::receive) == 2 * sizeof(void*));
    static_assert(std::is_trivially_copyable_v<app::receive>);
    static_assert(sizeof(app::receive::awaiter) <= 48);
    ferry::event_loop loop;
    manual_source source;
    const app::receive first(source), second = first;
    source.push(app::http_request("one"));
    source.push(app::http_request("two"));
    CHECK(loop.run(next_body(second)) == "one");
    CHECK(loop.run(next_body(first)) == "two");
}

TEST_CASE("receive waits until there is a message", "[app][receive]") {
    ferry::event_loop loop;
    manual_source source;
    auto waiting = ferry::spawn(loop, next_body(app::receive(source)));
    loop.run_until_idle();
    CHECK_FALSE(waiting.is_ready());
    source.push(app::http_request("here"));
    CHECK_FALSE(waiting.is_ready());  // a push wakes, and resumes nothing in place
    loop.run_until_idle();
    CHECK(loop.run(std::move(waiting)) == "here");
}

TEST_CASE("cancelling a receive that waits loses no message", "[app][receive]") {
    ferry::event_loop loop;
    manual_source source;
    const app::receive receive(source);
    CHECK_THROWS_AS(loop.run(next_body_in_time(receive)), ferry::timeout_error);
    source.push(app::http_request("kept"));
    CHECK(loop.run(next_body(receive)) == "kept");
}

TEST_CASE("each receive filter sees a message as the one below left it", "[app][receive]") {
    ferry::event_loop loop;
    manual_source source;
    letter inner(app::receive(source), 'a');
    letter outer(inner.handle(), 'b');
    source.push(app::http_request("-"));
    CHECK(loop.run(next_body(outer.handle())) == "-ab");
    auto waiting = ferry::spawn(loop, next_body(outer.handle()));
    loop.run_until_idle();
    source.push(app::http_request("+"));
    CHECK(loop.run(std::move(waiting)) == "+ab");
}
