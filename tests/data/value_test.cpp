// tests/data/value_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/data/value.hpp>

#include "support/catch.hpp"

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using ferry::value;
using ferry::value_error;
using ferry::value_kind;

namespace {
template <class Action>
std::string error_of(Action action) {
    try {
        action();
    } catch (const value_error& error) {
        return error.what();
    }
    return "no error";
}
}  // namespace

TEST_CASE("a value knows what it was made from", "[data][value]") {
    CHECK(value().kind() == value_kind::null);
    CHECK(value(nullptr).is_null());
    CHECK(value(true).as_bool());
    CHECK(value(-3).as_int() == -3);
    CHECK(value(std::uint8_t{200}).as_int() == 200);
    CHECK(value(0).kind() == value_kind::integer);  // a literal zero is no null pointer
    CHECK(value(1.5F).as_double() == 1.5);
    CHECK(value(2).as_double() == 2.0);
    CHECK(value("text").as_text() == "text");
    CHECK(value(std::string_view("a\0b", 3)).as_text().size() == 3);
    CHECK(value::bytes("text").as_bytes() == "text");
    CHECK(value::list({1, "two", nullptr}).size() == 3);
    CHECK(value::map({{"one", 1}}).at("one").as_int() == 1);
    CHECK(value::object().size() == 0);
    CHECK(value::list().as_list().empty());
}

TEST_CASE("a value takes only what it can hold as it is", "[data][value]") {
    static_assert(!std::is_convertible_v<void*, value>);  // would have become true
    static_assert(!std::is_convertible_v<char, value>);   // a number or a text?
    static_assert(!std::is_convertible_v<value_kind, value>);
    static_assert(sizeof(value) == 16);
    CHECK(value(std::numeric_limits<std::int64_t>::max()).as_int() == std::numeric_limits<std::int64_t>::max());
    CHECK(value(std::numeric_limits<std::int64_t>::min()).as_int() == std::numeric_limits<std::int64_t>::min());
    REQUIRE_THROWS_AS(value(std::numeric_limits<std::uint64_t>::max()), value_error);
}

TEST_CASE("value accessors say what they expected and what they found", "[data][value]") {
    const value number = 3;
    const value map = value::map({{"type", "say"}, {"n", 3}});
    CHECK(error_of([&] { (void)number.as_text(); }) == "value: expected text, found integer");
    CHECK(error_of([&] { (void)number.as_bool(); }) == "value: expected boolean, found integer");
    CHECK(error_of([&] { (void)value("3").as_int(); }) == "value: expected integer, found text");
    CHECK(error_of([&] { (void)value(3.0).as_int(); }) == "value: expected integer, found real");
    CHECK(error_of([&] { (void)value("3").as_double(); }) == "value: expected real, found text");
    CHECK(error_of([&] { (void)value("3").as_bytes(); }) == "value: expected bytes, found text");
    CHECK(error_of([&] { (void)map.as_list(); }) == "value: expected list, found map");
    CHECK(error_of([&] { (void)number.as_map(); }) == "value: expected map, found integer");
    CHECK(error_of([&] { (void)number.find("type"); }) == "value: expected map, found integer");
    CHECK(error_of([&] { (void)number.size(); }) == "value: expected list or map, found integer");
    CHECK(error_of([&] { (void)map.at("text"); }) == "value: no key \"text\" in a map of 2: type, n");
    CHECK(error_of([&] { (void)value::list({1, 2}).at(2); }) == "value: no item 2 in a list of 2");

    value wide = value::object();
    for (char key = 'a'; key < 'k'; ++key) wide.set(std::string(1, key), 0);
    CHECK(error_of([&] { (void)wide.at("z"); }) == "value: no key \"z\" in a map of 10: a, b, c, d, e, f, g, h, ...");
}

TEST_CASE("a value's look-ups answer for keys that are not there", "[data][value]") {
    const value said = value::map({{"type", "say"}, {"n", 3}});
    CHECK(said.find("type")->as_text() == "say");
    CHECK(said.find("typ") == nullptr);
    CHECK(said.get("absent").is_null());
    CHECK(said.get("type").text_or("none") == "say");
    CHECK(said.get("absent").text_or("none") == "none");
    CHECK(said.get("n").text_or("none") == "none");
}

TEST_CASE("what is read from a temporary value outlives it", "[data][value]") {
    const auto make = [] { return value::map({{"items", value::list({std::string(100, 'a')})}}); };
    const std::string& text = make().at("items").at(0).as_text();
    CHECK(text == std::string(100, 'a'));
    std::size_t items = 0;
    for (const value& item : make().get("items").as_list()) items += item.as_text().size();
    CHECK(items == 100);
    static_assert(std::is_same_v<decltype(make().get("items").text_or("")), std::string>);
}

TEST_CASE("a value is built by chained setters as well as by braces", "[data][value]") {
    const value built = value::object().set("type", "say").set("n", 3).set("to", value::list().push_back("a"));
    CHECK(built == value::map({{"type", "say"}, {"n", 3}, {"to", value::list({"a"})}}));
    value named = value::object();
    named.set("n", 1).set("n", 2);
    CHECK(named == value::map({{"n", 2}}));
    REQUIRE_THROWS_AS(value().set("n", 1), value_error);
    REQUIRE_THROWS_AS(value::object().push_back(1), value_error);
}

TEST_CASE("copies of a value share until one of them is changed", "[data][value]") {
    const std::string payload(1000, 'x');
    value original = value::map({{"payload", payload}, {"items", value::list({1})}});
    value copy = original;
    CHECK(&copy.as_map() == &original.as_map());

    copy.set("n", 1);
    CHECK(original.find("n") == nullptr);
    CHECK(copy.at("n").as_int() == 1);
    CHECK(&copy.at("payload").as_text() == &original.at("payload").as_text());  // copied one level deep only

    const auto* entries = &copy.as_map();
    copy.set("m", 2);
    CHECK(&copy.as_map() == entries);  // nobody shares it any more

    CHECK(copy.erase("n"));
    CHECK(!copy.erase("n"));
    value third = copy;
    CHECK(!third.erase("n"));
    CHECK(&third.as_map() == &copy.as_map());  // nothing was removed, so nothing was copied
}

TEST_CASE("taking a value's content copies it only if it is shared", "[data][value]") {
    value text = std::string(1000, 'x');
    const char* const octets = text.as_text().data();
    const value copy = text;
    const std::string copied = std::move(text).as_text();
    CHECK(copied.data() != octets);
    CHECK(copy.as_text().data() == octets);

    value list = value::list({"a", "b"});
    const value* const items = list.as_list().data();
    const std::vector<value> taken = std::move(list).as_list();
    CHECK(taken.data() == items);
    value map = value::map({{"a", 1}});
    const value::entry* const entries = map.as_map().data();
    CHECK(std::move(map).as_map().data() == entries);
    CHECK(value::bytes("abc").as_bytes() == "abc");
}

TEST_CASE("a value may hold a copy of itself", "[data][value]") {
    value v = value::list({1});
    v.push_back(v);
    CHECK(v == value::list({1, value::list({1})}));
    value m = value::object();
    m.set("me", m);
    CHECK(m.at("me").size() == 0);
    const value& itself = v;
    v = itself;
    CHECK(v.size() == 2);
    v = v.at(1);
    CHECK(v == value::list({1}));
}

TEST_CASE("copies of a value are read, changed and dropped on different threads", "[data][value]") {
    const value original = value::map({{"text", std::string(100, 'x')}, {"items", value::list({1, 2})}});
    std::vector<std::size_t> sizes(4);
    std::vector<std::thread> threads;
    for (std::size_t& size : sizes) {
        threads.emplace_back([&size, copy = original] {
            for (int i = 0; i < 1000; ++i) {
                value mine = copy;
                mine.set("n", i);
                size += mine.size() + mine.at("text").as_text().size();
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(sizes == std::vector<std::size_t>(4, 103000));
    CHECK(original.size() == 2);
}

TEST_CASE("a moved-from value is null", "[data][value]") {
    value from = "text";
    const value to = std::move(from);
    CHECK(from.is_null());
    CHECK(to.as_text() == "text");
}

TEST_CASE("values are equal if kind and content are", "[data][value]") {
    CHECK(value(1) == value(1));
    CHECK(value(1) != value(1.0));
    CHECK(value("a") != value::bytes("a"));
    CHECK(value() != value(false));
    CHECK(value(std::numeric_limits<double>::quiet_NaN()) != value(std::numeric_limits<double>::quiet_NaN()));
    CHECK(value::list({1, 2}) != value::list({2, 1}));
    CHECK(value::map({{"a", 1}, {"b", 2}}) == value::map({{"b", 2}, {"a", 1}}));
    CHECK(value::map({{"a", 1}, {"b", 2}}) != value::map({{"a", 1}, {"c", 2}}));
    CHECK(value::map({{"a", 1}}) != value::map({{"a", 1}, {"b", 2}}));
}

TEST_CASE("a map value keeps the order of its keys and the last of equal ones", "[data][value]") {
    const value few = value::map({{"z", 1}, {"a", 2}, {"z", 3}, {"m", 4}, {"a", 5}});
    REQUIRE(few.size() == 3);
    CHECK(few.as_map()[0] == value::entry("z", 3));
    CHECK(few.as_map()[1] == value::entry("a", 5));
    CHECK(few.as_map()[2] == value::entry("m", 4));

    std::vector<value::entry> many;
    for (int i = 0; i < 100; ++i) many.emplace_back("key " + std::to_string(i * 37 % 60), i);
    const value merged = value::map(many);
    REQUIRE(merged.size() == 60);
    for (int i = 0; i < 60; ++i) {
        const std::string key = "key " + std::to_string(i * 37 % 60);
        CHECK(merged.as_map()[static_cast<std::size_t>(i)].first == key);
        CHECK(merged.at(key).as_int() == (i < 40 ? i + 60 : i));
    }
}

TEST_CASE("a map value of any size finds, replaces and erases by key", "[data][value]") {
    // Around 16 entries a map changes from comparing all keys to an index.
    for (const int count : {1, 15, 16, 17, 18, 40, 300}) {
        value map = value::object();
        std::vector<std::string> keys;
        for (int i = 0; i < count; ++i) keys.push_back(std::to_string(i * 7919 % 1009));
        for (int i = 0; i < count; ++i) map.set(keys[static_cast<std::size_t>(i)], i);
        for (int i = 0; i < count; ++i) map.set(keys[static_cast<std::size_t>(i)], -i);
        REQUIRE(map.size() == static_cast<std::size_t>(count));
        for (int i = 0; i < count; ++i) {
            CHECK(map.as_map()[static_cast<std::size_t>(i)].first == keys[static_cast<std::size_t>(i)]);
            CHECK(map.at(keys[static_cast<std::size_t>(i)]).as_int() == -i);
        }
        CHECK(map.find("absent") == nullptr);
        for (int i = 0; i < count; i += 2) CHECK(map.erase(keys[static_cast<std::size_t>(i)]));
        CHECK(map.size() == static_cast<std::size_t>(count / 2));
        for (int i = 0; i < count; ++i) {
            const value* found = map.find(keys[static_cast<std::size_t>(i)]);
            REQUIRE((found != nullptr) == (i % 2 == 1));
            if (found != nullptr) CHECK(found->as_int() == -i);
        }
    }
}
