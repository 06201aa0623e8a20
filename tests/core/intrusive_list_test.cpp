// tests/core/intrusive_list_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/intrusive_list.hpp>

#include "support/catch.hpp"

#include <cstddef>
#include <vector>

namespace {
struct number : ferry::detail::list_hook<number> {
    explicit number(int initial) : value(initial) {}
    int value;
};
using list = ferry::detail::intrusive_list<number>;

std::vector<int> values(const list& numbers) {
    std::vector<int> result;
    for (const number* at = numbers.front(); at != nullptr; at = list::next(*at)) result.push_back(at->value);
    return result;
}
}  // namespace

TEST_CASE("intrusive_list gives its elements back in the order they came", "[core][intrusive_list]") {
    number one(1), two(2), three(3);
    list numbers;
    CHECK(numbers.empty());
    CHECK(numbers.pop_front() == nullptr);
    for (number* element : {&one, &two, &three}) numbers.push_back(*element);
    CHECK(values(numbers) == std::vector<int>{1, 2, 3});
    CHECK(numbers.pop_front() == &one);
    CHECK(numbers.pop_front() == &two);
    CHECK(numbers.front() == &three);
    CHECK(numbers.pop_front() == &three);
    CHECK(numbers.empty());
    CHECK(numbers.pop_front() == nullptr);
}

TEST_CASE("intrusive_list loses an element from any place", "[core][intrusive_list]") {
    for (std::size_t erased = 0; erased < 3; ++erased) {
        number elements[] = {number(0), number(1), number(2)};
        std::vector<int> expected;
        list numbers;
        for (number& element : elements) numbers.push_back(element);
        numbers.erase(elements[erased]);
        for (std::size_t i = 0; i < 3; ++i) {
            if (i != erased) expected.push_back(static_cast<int>(i));
        }
        CHECK(values(numbers) == expected);
        numbers.push_back(elements[erased]);  // and may come again
        expected.push_back(static_cast<int>(erased));
        CHECK(values(numbers) == expected);
        while (numbers.pop_front() != nullptr) expected.pop_back();
        CHECK(expected.empty());
    }
}

TEST_CASE("a copy of a linked element is in no list", "[core][intrusive_list]") {
    number one(1), two(2);
    list numbers;
    numbers.push_back(one);
    numbers.push_back(two);
    number copy = one;
    list others;
    others.push_back(copy);
    copy = two;  // assignment leaves its place alone, too
    CHECK(values(others) == std::vector<int>{2});
    CHECK(values(numbers) == std::vector<int>{1, 2});
}
