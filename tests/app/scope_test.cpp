// tests/app/scope_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/app/scope.hpp>

#include "app/ends.hpp"
#include "support/catch.hpp"

#include <memory>
#include <string>
#include <type_traits>

using namespace ferry_test;

namespace {
struct user {
    std::string name;
};
struct session {
    int number;
};
}  // namespace

TEST_CASE("a scope tells what was asked for, by whom, and where", "[app][scope]") {
    const app::scope what = scope_of(
        "POST /caf%C3%A9/a%2Fb?x=%20y&z HTTP/1.0\r\nHost: test\r\nX-Twice: one\r\nx-twice: two\r\nX-Empty:\r\n\r\n");
    CHECK(what.is_http());
    CHECK_FALSE(what.is_websocket());
    CHECK(what.method() == "POST");
    CHECK(what.http_version() == "1.0");
    CHECK(what.path() == "/café/a/b");
    CHECK(what.raw_path() == "/caf%C3%A9/a%2Fb");
    CHECK(what.query_string() == "x=%20y&z");
    CHECK(what.header("x-twice") == "one");
    CHECK(what.header("X-EMPTY").empty());
    CHECK(what.header("absent").empty());
    CHECK(what.headers().count("x-twice") == 2);
    CHECK(what.client().to_string() == "192.0.2.7:50000");
    CHECK(what.server().to_string() == "127.0.0.1:8000");
    CHECK(scope_for("/", app::protocol::websocket).is_websocket());
}

TEST_CASE("a proxy's absolute target has the same path", "[app][scope]") {
    const app::scope what = scope_for("http://test:8000/page?q");
    CHECK(what.path() == "/page");
    CHECK(what.query_string() == "q");
}

TEST_CASE("a slot holds one object for each type", "[app][scope]") {
    const app::scope plain = scope_for("/");
    CHECK(plain.get<user>() == nullptr);
    const app::scope both = plain.with(user{"ada"}).with(session{7});
    REQUIRE(both.get<user>() != nullptr);
    CHECK(both.get<user>()->name == "ada");
    CHECK(both.get<session>()->number == 7);
    CHECK(both.get<int>() == nullptr);
}

TEST_CASE("what is put into a copy of a scope is in no other", "[app][scope]") {
    const app::scope first = scope_for("/").with(user{"ada"});
    const app::scope second = first.with(user{"grace"});
    const app::scope third = first;
    CHECK(first.get<user>()->name == "ada");
    CHECK(second.get<user>()->name == "grace");
    CHECK(third.get<user>() == first.get<user>());
}

TEST_CASE("copies of a scope share what they hold, and it lives as long as they", "[app][scope]") {
    static_assert(std::is_nothrow_move_constructible_v<app::scope>);
    static_assert(sizeof(app::scope) <= 4 * sizeof(void*));
    const auto counted = std::make_shared<int>(1);
    {
        app::scope copy = scope_for("/").with(counted);
        const app::scope other = copy;
        CHECK(counted.use_count() == 2);
        copy = scope_for("/");
        CHECK(counted.use_count() == 2);
        CHECK(**other.get<std::shared_ptr<int>>() == 1);
    }
    CHECK(counted.use_count() == 1);
}
