// tests/core/temporaries_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/temporaries.hpp>

#include "support/catch.hpp"

#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace detail = ferry::detail;

namespace {
struct aggregate {
    std::string text;
};
struct trivial_aggregate {
    int number;
};
struct with_constructor {
    explicit with_constructor(std::string initial) : text(std::move(initial)) {}
    std::string text;
};
template <class T>
struct holder {
    explicit holder(T initial) : value(std::move(initial)) {}
    T value;
};
template <class T>
constexpr bool refused = detail::unsafe_temporary<T&&>;
}  // namespace

TEST_CASE("only a temporary that GCC 11 and 12 destroy twice is refused", "[core][temporaries]") {
    constexpr bool concerned = detail::compiler_destroys_temporaries_twice;
    const std::string text = "captured";
    int number = 0;
    auto by_copy = [text] { return text; };
    auto generic = [text](auto value) { return text + value; };
    auto by_reference = [&number] { return ++number; };
    auto captureless = [](int value) { return value; };

    static_assert(refused<decltype(by_copy)> == concerned);
    static_assert(refused<decltype(generic)> == concerned);
    static_assert(refused<aggregate> == concerned);
    static_assert(!refused<decltype(by_copy)&>);  // named
    static_assert(!refused<aggregate&>);
    static_assert(!refused<decltype(by_reference)>);  // trivial to destroy
    static_assert(!refused<decltype(captureless)>);
    static_assert(!refused<trivial_aggregate>);
    static_assert(!refused<with_constructor>);
    static_assert(!refused<holder<decltype(by_copy)>>);  // named after a lambda, yet none
    static_assert(!refused<std::function<std::string()>>);
    static_assert(!refused<std::string>);
    static_assert(!refused<std::vector<aggregate>>);
    static_assert(!refused<std::tuple<decltype(by_copy), int>>);
    static_assert(!refused<std::unique_ptr<aggregate>>);
    static_assert(!refused<detail::moved_value<decltype(by_copy)>>);
    static_assert(!refused<int (*)(int)>);
    CHECK(by_copy() + generic("!") == "capturedcaptured!");
    CHECK(by_reference() + captureless(1) == 2);
}

TEST_CASE("a lambda is recognised wherever it is written", "[core][temporaries]") {
    if (!detail::compiler_destroys_temporaries_twice) return;  // nobody asks there
    const std::string text = "captured";
    auto outer = [text] { return [text](int, const char*) { return text; }; };
    auto inner = outer();
    using inner_type = decltype(inner);
    CHECK(detail::is_closure<decltype(outer)>());
    CHECK(detail::is_closure<inner_type>());
    CHECK(!detail::is_closure<holder<inner_type>>());
    CHECK(!detail::is_closure<std::pair<inner_type, inner_type>>());
    CHECK(!detail::is_closure<inner_type*>());
    CHECK(!detail::is_closure<std::string (*)(int)>());
    CHECK(inner(0, "") == text);
}

TEST_CASE("moved() moves a named value into what is stored for it", "[core][temporaries]") {
    auto number = std::make_unique<int>(3);
    static_assert(std::is_same_v<detail::stored_type<decltype(ferry::moved(number))>, std::unique_ptr<int>>);
    static_assert(std::is_same_v<detail::stored_type<const std::string&>, std::string>);
    static_assert(std::is_same_v<detail::stored_type<const char(&)[4]>, const char*>);
    detail::stored_type<decltype(ferry::moved(number))> stored = ferry::moved(number);
    CHECK(number == nullptr);
    CHECK(*stored == 3);
}
