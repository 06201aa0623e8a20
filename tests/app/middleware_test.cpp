// tests/app/middleware_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/app/middleware.hpp>
#include <ferry/app/router.hpp>

#include "app/ends.hpp"
#include "support/catch.hpp"

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace ferry_test;
using lines = std::vector<std::string>;

namespace {
/// Appends a letter to every body, and to the user's name in the scope.
class marked_user {
public:
    explicit marked_user(std::string text) : text_(std::move(text)) {}
    const std::string& text() const noexcept { return text_; }

private:
    std::string text_;
};

class mark : public app::middleware_tag {
public:
    explicit mark(char letter) noexcept : letter_(letter) {}

    template <app::application App>
    auto operator()(App application) const {
        return [letter = letter_, application](app::scope what, app::receive in, app::send out) -> ferry::task<> {
            const auto* user = what.get<marked_user>();
            const std::string name = user == nullptr ? std::string() : user->text();
            filter marking(out, letter);
            co_await application(what.with(marked_user(name + letter)), in, marking.handle());
        };
    }

private:
    class filter : public app::send_filter<filter> {
    public:
        filter(app::send next_one, char letter) noexcept : send_filter(next_one), letter_(letter) {}
        void deliver(app::http_response_body& piece) {
            piece.body() += letter_;
            next().deliver(piece);
        }

    private:
        char letter_;
    };

    char letter_;
};

ferry::task<> say_user(app::scope what, app::receive, app::send send) {
    const auto* user = what.get<marked_user>();
    const std::string name = user == nullptr ? std::string("nobody") : user->text();
    co_await send(app::http_response_body(name + "-"));
}
}  // namespace

TEST_CASE("the leftmost middleware sees a request first and its response last", "[app][middleware]") {
    CHECK(lines_of(mark('a') | mark('b') | mark('c') | &say_user, scope_for("/")) == lines{"body abc-cba"});
    CHECK(lines_of(&say_user, scope_for("/")) == lines{"body nobody-"});
}

TEST_CASE("middlewares compose in any grouping, and apply to any application", "[app][middleware]") {
    const auto both = mark('a') | mark('b');
    static_assert(app::middleware<decltype(both)>);
    static_assert(!app::application<decltype(both)>);
    CHECK(lines_of(mark('x') | (both | &say_user), scope_for("/")) == lines{"body xab-bax"});
    CHECK(lines_of((mark('x') | both) | &say_user, scope_for("/")) == lines{"body xab-bax"});

    app::router site;
    site.http("/", mark('r') | &say_user);
    CHECK(lines_of(both | site, scope_for("/")) == lines{"body abr-rba"});
    CHECK(lines_of(mark('e') | app::any_application(&say_user), scope_for("/")) == lines{"body e-e"});
}

TEST_CASE("a middleware does not change the scope of its caller", "[app][middleware]") {
    const app::scope what = scope_for("/");
    static_cast<void>(lines_of(mark('a') | &say_user, what));
    CHECK(what.get<marked_user>() == nullptr);
}
