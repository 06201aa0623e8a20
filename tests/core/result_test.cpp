// tests/core/result_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/result.hpp>

#include "support/catch.hpp"

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

using ferry::detail::result;

namespace {
struct throws_when_made {
    explicit throws_when_made(int) { throw std::runtime_error("not made"); }
};
}  // namespace

TEST_CASE("a result is empty, then a value or an exception", "[core][result]") {
    result<std::string> outcome;
    CHECK(outcome.empty());
    CHECK(!outcome.has_value());
    CHECK(!outcome.has_exception());
    SECTION("a value") {
        outcome.set_value(3u, 'x');
        CHECK(outcome.has_value());
        CHECK(!outcome.has_exception());
        CHECK(outcome.take() == "xxx");
    }
    SECTION("an exception") {
        outcome.set_exception(std::make_exception_ptr(std::runtime_error("no")));
        CHECK(outcome.has_exception());
        CHECK(!outcome.has_value());
        CHECK(outcome.exception() != nullptr);
        REQUIRE_THROWS_AS(outcome.take(), std::runtime_error);
        REQUIRE_THROWS_AS(outcome.take(), std::runtime_error);  // as often as it is asked
    }
}

TEST_CASE("a result keeps a reference as one", "[core][result]") {
    int number = 1;
    result<int&> outcome;
    outcome.set_value(number);
    CHECK(&outcome.take() == &number);
    std::string text = "moved";
    result<std::string&&> moving;
    moving.set_value(text);
    const std::string taken = moving.take();
    CHECK(taken == "moved");
}

TEST_CASE("a result destroys what it holds once", "[core][result]") {
    const auto shared = std::make_shared<int>(1);
    {
        result<std::shared_ptr<int>> outcome;
        outcome.set_value(shared);
        CHECK(shared.use_count() == 2);
    }
    CHECK(shared.use_count() == 1);
    result<std::shared_ptr<int>> taken;
    taken.set_value(shared);
    const std::shared_ptr<int> out = taken.take();
    CHECK(shared.use_count() == 2);
}

TEST_CASE("a result whose value cannot be made stays empty, and can still take the exception", "[core][result]") {
    result<throws_when_made> outcome;
    REQUIRE_THROWS_AS(outcome.set_value(1), std::runtime_error);
    CHECK(outcome.empty());
    outcome.set_exception(std::make_exception_ptr(std::logic_error("instead")));
    REQUIRE_THROWS_AS(outcome.take(), std::logic_error);
}

TEST_CASE("set_from keeps what comes out of a call", "[core][result]") {
    result<std::unique_ptr<int>> value;
    value.set_from([] { return std::make_unique<int>(4); });
    CHECK(*value.take() == 4);
    result<void> nothing;
    int calls = 0;
    nothing.set_from([&calls] { ++calls; });
    CHECK(nothing.has_value());
    nothing.take();
    CHECK(calls == 1);
    result<void> failure;
    failure.set_from([] { throw std::runtime_error("no"); });
    REQUIRE_THROWS_AS(failure.take(), std::runtime_error);
}
