// tests/app/router_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/app/router.hpp>

#include "app/ends.hpp"
#include "support/catch.hpp"

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

using namespace ferry_test;

namespace {
/// Says its name, and what {a} and {b} stood for.
auto named(std::string name) {
    return [name](app::scope what, app::receive, app::send send) -> ferry::task<> {
        const auto* parameters = what.get<app::path_parameters>();
        std::string text = name;
        for (const std::string_view parameter : {"a", "b"}) {
            text.append(" ").append(parameters->find(parameter));
        }
        co_await send(app::http_response_body(text));
    };
}

/// What the route says to a path; the status for one that has none.
std::string answer(const app::router& site, const std::string& target, app::protocol type = app::protocol::http) {
    const std::vector<std::string> lines = lines_of(site, scope_for(target, type));
    return lines.at(0).substr(0, lines[0].find(" content-type"));
}

bool refuses(std::string_view pattern) {
    app::router site;
    try {
        site.http(pattern, named("x"));
        return false;
    } catch (const std::invalid_argument& error) {
        return std::string_view(error.what()).find(pattern) != std::string_view::npos;
    }
}
}  // namespace

TEST_CASE("a router chooses by the whole path", "[app][router]") {
    app::router site;
    site.http("/", named("root")).http("/room", named("rooms")).http("/room/{a}", named("room"));
    site.http("/room/{a}/line/{b}", named("line"));
    CHECK(answer(site, "/") == "body root  ");
    CHECK(answer(site, "/?query") == "body root  ");
    CHECK(answer(site, "/room") == "body rooms  ");
    CHECK(answer(site, "/room/lobby") == "body room lobby ");
    CHECK(answer(site, "/room/lobby/line/12?x") == "body line lobby 12");
}

TEST_CASE("what no route matches gets 404", "[app][router]") {
    app::router site;
    site.http("/room/{a}", named("room")).http("/exact", named("exact"));
    for (const std::string target :
         {"/", "/room", "/room/", "/room//", "/room/a/b", "/exact/", "/exac", "/Exact", "//exact"}) {
        CHECK(answer(site, target) == "start 404");
    }
    CHECK(answer(app::router(), "/") == "start 404");
}

TEST_CASE("the first route that matches wins", "[app][router]") {
    app::router site;
    site.http("/room/new", named("new")).http("/room/{a}", named("first")).http("/room/{b}", named("second"));
    CHECK(answer(site, "/room/new") == "body new  ");
    CHECK(answer(site, "/room/old") == "body first old ");
}

TEST_CASE("names are percent-decoded, and an escaped slash belongs to its segment", "[app][router]") {
    app::router site;
    site.http("/file/{a}", named("file")).http("/caf\xc3\xa9", named("coffee")).http("/a b", named("space"));
    CHECK(answer(site, "/file/a%2Fb") == "body file a/b ");
    CHECK(answer(site, "/file/%7bx%7D%20+") == "body file {x} + ");
    CHECK(answer(site, "/caf%C3%A9") == "body coffee  ");
    CHECK(answer(site, "/a%20b") == "body space  ");
    CHECK(answer(site, "/file%2Fa") == "start 404");
    CHECK(answer(site, "/file/a/../b") == "start 404");  // nothing is normalised
}

TEST_CASE("HTTP and WebSocket have routes of their own", "[app][router]") {
    app::router site;
    site.http("/x", named("page")).websocket("/x", named("socket")).http("/only", named("page"));
    CHECK(answer(site, "/x") == "body page  ");
    CHECK(answer(site, "/x", app::protocol::websocket) == "body socket  ");
    CHECK(answer(site, "/only", app::protocol::websocket) == "start 404");  // denies the handshake
}

TEST_CASE("a pattern that cannot match what it seems to say is refused", "[app][router]") {
    for (const std::string_view pattern : {"room", "{a}", "/{}", "/a{b}", "/{a}b", "/{a", "/a}", "/{a}{b}", "/{{a}}"}) {
        CHECK(refuses(pattern));
    }
    CHECK(refuses("/{"));
    CHECK(refuses("/{a}/{a}"));
    CHECK_FALSE(refuses("/{a}/{b}/"));
}

TEST_CASE("a router inside a router keeps what the outer one found", "[app][router]") {
    app::router inner, outer;
    inner.http("/x/{b}", named("inner"));
    outer.http("/x/{a}", inner);
    CHECK(answer(outer, "/x/1") == "body inner  1");  // the inner one's parameters are the newest
}
