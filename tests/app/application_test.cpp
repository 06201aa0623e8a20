// tests/app/application_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/app/application.hpp>

#include "app/ends.hpp"
#include "support/catch.hpp"

#include <memory>
#include <string>
#include <type_traits>
#include <vector>

using namespace ferry_test;
using lines = std::vector<std::string>;

namespace {
ferry::task<> hello(app::scope, app::receive, app::send send) { co_await send(app::http_response_body("hello")); }
ferry::task<> hello_by_reference(const app::scope&, app::receive, app::send send) {
    co_await send(app::http_response_body("hello"));
}
int not_a_task(app::scope, app::receive, app::send) { return 0; }

class counter {
public:
    ferry::task<> operator()(app::scope, app::receive, app::send send) const {
        ++*calls_;
        co_await send(app::http_response_body(std::to_string(*calls_)));
    }

private:
    std::shared_ptr<int> calls_ = std::make_shared<int>(0);
};
class changes_itself {
public:
    ferry::task<> operator()(app::scope, app::receive, app::send);
};
}  // namespace

TEST_CASE("an application is anything that can be called with scope, receive and send", "[app][application]") {
    static_assert(app::application<decltype(&hello)>);
    static_assert(app::application<decltype(&hello_by_reference)>);
    static_assert(app::application<counter>);
    static_assert(app::application<app::any_application>);
    static_assert(!app::application<decltype(&not_a_task)>);
    static_assert(!app::application<changes_itself>, "it is called for many connections at a time");
    static_assert(!app::application<int>);
    CHECK(lines_of(&hello, scope_for("/")) == lines{"body hello"});
}

TEST_CASE("any_application holds one of any type, and copies share it", "[app][application]") {
    app::any_application first{counter()};
    const app::any_application second = first;
    CHECK(lines_of(first, scope_for("/")) == lines{"body 1"});
    CHECK(lines_of(second, scope_for("/")) == lines{"body 2"});
    first = app::any_application(&hello);
    CHECK(lines_of(first, scope_for("/")) == lines{"body hello"});
    CHECK(lines_of(second, scope_for("/")) == lines{"body 3"});
}

TEST_CASE("an application that captures lives as long as it is held", "[app][application]") {
    const auto counted = std::make_shared<int>(0);
    {
        const app::any_application held([counted](app::scope, app::receive, app::send) -> ferry::task<> {
            ++*counted;
            co_return;
        });
        static_cast<void>(lines_of(held, scope_for("/")));
        CHECK(counted.use_count() == 2);
    }
    CHECK(*counted == 1);
    CHECK(counted.use_count() == 1);
}
