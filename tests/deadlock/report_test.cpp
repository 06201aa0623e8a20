// tests/deadlock/report_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/spawn.hpp>

#include "support/catch.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using ferry::detail::short_name;

namespace {
std::string reported;
void keep(const char* text) noexcept { reported = text; }

ferry::task<> in_anonymous_namespace() { co_return; }
template <class T>
ferry::task<> of_template(T) {
    co_return;
}
struct member {
    ferry::task<> function() { co_return; }
};
}  // namespace

namespace shop {
ferry::task<> load_user(int) { co_return; }
}  // namespace shop

TEST_CASE("a deadlock_error is a blocking_error is a logic_error", "[deadlock][report]") {
    static_assert(std::is_base_of_v<ferry::blocking_error, ferry::deadlock_error>);
    static_assert(std::is_base_of_v<std::logic_error, ferry::blocking_error>);
    const ferry::deadlock_error error("text", ferry::wait_report("wait-cycle", {"a waits for b"}, "long text"));
    const ferry::deadlock_error copy = error;
    CHECK(std::string(copy.what()) == "text");
    CHECK(std::string(copy.report().kind()) == "wait-cycle");
    CHECK(copy.report().chain() == std::vector<std::string>{"a waits for b"});
    CHECK(copy.report().text() == "long text");
}

TEST_CASE("a function's name is shortened to what a reader calls it", "[deadlock][report]") {
    CHECK(short_name("ferry::task<int> app::load_user(int)") == "app::load_user");
    CHECK(short_name("ferry::task<std::pair<int, char> > app::pairs(std::map<int, int>)") == "app::pairs");
    CHECK(short_name("ferry::task<> app::page<T>::render(const std::string&) [with T = int]") ==
          "app::page<T>::render");
    CHECK(short_name("load_user") == "load_user");
    CHECK(short_name(nullptr) == "?");
    CHECK(short_name("") == "");
}

TEST_CASE("a name that was given stays as it is", "[deadlock][report]") {
    CHECK(short_name("reader") == "reader");
    CHECK(short_name("the chat's writer") == "the chat's writer");
    CHECK(short_name("retry (second attempt)") == "retry (second attempt)");
    CHECK(short_name("(nameless)") == "(nameless)");
    CHECK(short_name("a < b") == "a < b");
}

TEST_CASE("the names that this compiler gives to coroutines are shortened", "[deadlock][report]") {
    member object;
    CHECK(short_name(shop::load_user(1).name()) == "shop::load_user");
    CHECK(short_name(object.function().name()).find("member::function") != std::string::npos);
    CHECK(short_name(in_anonymous_namespace().name()) == "in_anonymous_namespace");
    CHECK(short_name(of_template(1).name()).find("of_template") != std::string::npos);
    const auto lambda = [](int) -> ferry::task<> { co_return; };
    CHECK(!short_name(lambda(1).name()).empty());
}

TEST_CASE("reports go to the sink that was set", "[deadlock][report]") {
    const ferry::report_sink before = ferry::set_report_sink(&keep);
    ferry::detail::report("one text\nof two lines");
    CHECK(reported == "one text\nof two lines");
    CHECK(ferry::set_report_sink(before) == &keep);
}

TEST_CASE("destroying a loop that has tasks inside another loop's turn is reported", "[deadlock][report]") {
    const ferry::report_sink before = ferry::set_report_sink(&keep);
    reported.clear();
    ferry::event_loop outer;
    bool cancelled = false;
    auto inner = std::make_unique<ferry::event_loop>();
    const auto waits = [&]() -> ferry::task<> {
        ferry::promise<int> never;
        try {
            co_await never.get_future();
        } catch (const ferry::cancelled&) {
            cancelled = true;
        }
    };
    auto done = ferry::spawn(*inner, waits());
    inner->run_until_idle();
    outer.post([&] { inner.reset(); });
    outer.run_until_idle();
    ferry::set_report_sink(before);
    CHECK(cancelled);
    CHECK(done.is_ready());
    CHECK(reported.find("destroyed inside a turn") != std::string::npos);
}
