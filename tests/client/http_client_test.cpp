// tests/client/http_client_test.cpp - against ferry's own server, and against servers that do not keep the rules
// SPDX-License-Identifier: BSL-1.0
#include <ferry/client/http_client.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/virtual_clock.hpp>
#include <ferry/net/listener.hpp>

#include "client/scripted_server.hpp"
#include "server/apps.hpp"
#include "support/catch.hpp"
#include "support/site.hpp"

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include <unistd.h>

namespace net = ferry::net;
using namespace ferry_test;
using namespace std::chrono_literals;
using ferry::client_request;
using ferry::client_response;
using ferry::http_client;
using ferry::http_client_options;

namespace {
std::string url_of(const site& server, const std::string& path = "/") {
    return "http://" + server.address().to_string() + path;
}
/// Lets the server's time stand still while something runs on its loop.
template <class T>
T finish(site& server, ferry::task<T> what) {
    ferry::future<T> result = ferry::spawn(server.loop(), std::move(what));
    server.until([&] { return result.is_ready(); });
    return server.loop().run(std::move(result));
}
template <class T>
T finish(ferry::event_loop& loop, ferry::virtual_clock& clock, ferry::task<T> what, std::chrono::seconds step) {
    ferry::future<T> result = ferry::spawn(loop, std::move(what));
    for (int turn = 0; turn < 1000 && !result.is_ready(); ++turn) {
        loop.run_until_idle();
        if (!result.is_ready()) clock.advance(step);
    }
    return loop.run(std::move(result));
}
/// The text of what it throws.
template <class Error, class Run>
std::string error_of(Run run) {
    try {
        run();
    } catch (const Error& error) {
        return error.what();
    }
    return "nothing of that kind was thrown";
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Sends each piece back when it comes, in as many pieces.
ferry::task<> echo_pieces(app::scope, app::receive receive, app::send send) {
    co_await send(app::http_response_start(200));
    for (bool more = true; more;) {
        app::message next = co_await receive();
        auto* piece = std::get_if<app::http_request>(&next);
        if (piece == nullptr) co_return;
        more = piece->more_body();
        co_await send(app::http_response_body(piece->take_body(), more));
    }
}
ferry::task<> say_method(app::scope scope, app::receive, app::send send) {
    co_await send(app::http_response_start(200).header("x-method", scope.method()));
    co_await send(app::http_response_body(std::string(scope.method())));
}
const std::string ok = "HTTP/1.1 200 OK\r\n";
const std::string ok_hi = ok + "Content-Length: 2\r\n\r\nhi";
}  // namespace

TEST_CASE("a response is fetched whole, and its connection used again", "[client][http_client]") {
    site server(say_path);
    http_client client(server.loop());
    for (const std::string path : {"/first", "/second?x", "/third"}) {
        const client_response answer = finish(server, client.get(url_of(server, path)));
        CHECK(answer.status() == 200);
        CHECK(answer.ok());
        CHECK(answer.body() == path.substr(0, path.find('?')));
        CHECK(answer.header("Content-Type") == "text/plain");
        CHECK(client.idle_connections() == 1);
    }
    CHECK(server.server().connections() == 1);
    client.close_idle();
    CHECK(client.idle_connections() == 0);
    server.until_empty();
}

TEST_CASE("requests at the same time have a connection each, and few of them are kept", "[client][http_client]") {
    site server(say_path);
    http_client client(server.loop(), http_client_options().max_idle_connections(2));
    std::vector<ferry::future<client_response>> answers;
    for (int i = 0; i < 5; ++i) {
        answers.push_back(ferry::spawn(server.loop(), client.get(url_of(server, "/" + std::to_string(i)))));
    }
    for (int i = 0; i < 5; ++i) {
        server.until([&] { return answers[static_cast<std::size_t>(i)].is_ready(); });
        CHECK(server.loop().run(std::move(answers[static_cast<std::size_t>(i)])).body() == "/" + std::to_string(i));
    }
    CHECK(client.idle_connections() == 2);
    server.until([&] { return server.server().connections() == 2; });
}

TEST_CASE("requests beyond the limit wait in their order, and use the connections that there are",
          "[client][http_client][order]") {
    std::size_t limit = 1;
    SECTION("which is one") {}
    SECTION("which is two: then it is the network that says whose request arrives first") { limit = 2; }
    std::string asked;
    ferry::event_loop* loop = nullptr;
    std::optional<ferry::event> go_on;
    site server([&](app::scope what, app::receive, app::send send) -> ferry::task<> {
        asked += what.path();
        co_await go_on->wait();
        co_await respond(send, std::string(what.path()));
    });
    loop = &server.loop();
    go_on.emplace(*loop);
    http_client client(*loop, http_client_options().max_connections_per_host(limit));
    std::vector<ferry::future<client_response>> answers;
    for (int i = 0; i < 5; ++i) {
        answers.push_back(ferry::spawn(*loop, client.get(url_of(server, "/" + std::to_string(i)))));
    }
    server.until([&] { return asked.size() == 2 * limit; });
    for (int i = 0; i < 20; ++i) server.turn();
    CHECK(asked.size() == 2 * limit);
    CHECK(client.active_connections() == limit);
    CHECK(server.server().connections() == limit);
    go_on->set();
    for (ferry::future<client_response>& answer : answers) {
        server.until([&] { return answer.is_ready(); });
        CHECK(loop->run(std::move(answer)).status() == 200);
    }
    if (limit == 1) CHECK(asked == "/0/1/2/3/4");
    CHECK(asked.size() == 10);
    CHECK(server.server().connections() == limit);
    CHECK(client.active_connections() == 0);
}

TEST_CASE("a call counts until it is destroyed, and a request that waits can be cancelled", "[client][http_client]") {
    site server(say_path);
    http_client client(server.loop(), http_client_options().max_connections(1));
    std::optional<ferry::http_call> call(finish(server, client.open(client_request::get(url_of(server)))));
    CHECK(client.active_connections() == 1);
    const auto hasty = ferry::spawn(server.loop(), [&]() -> ferry::task<bool> {
        auto answer = co_await ferry::try_timeout(1s, client.get(url_of(server, "/hasty")));
        co_return answer.has_value();
    });
    const auto patient = ferry::spawn(server.loop(), client.get(url_of(server, "/patient")));
    server.advance(1s);
    server.until([&] { return hasty.is_ready(); });
    CHECK_FALSE(patient.is_ready());
    CHECK(client.active_connections() == 1);
    call.reset();
    server.until([&] { return patient.is_ready(); });
    CHECK(client.active_connections() == 0);
}

TEST_CASE("a request that fails, however it does, gives its place back", "[client][http_client]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    net::address nobody;
    { nobody = net::listener(loop, net::address("127.0.0.1", 0)).local(); }
    scripted_server server(loop, {"nonsense", ok + "Content-Length: 5\r\n\r\nhell", ok_hi});
    http_client client(loop, http_client_options().max_connections(1).stall_timeout(3s));
    CHECK_THROWS_AS(finish(loop, clock, client.get("http://" + nobody.to_string() + "/"), 0s), std::system_error);
    CHECK_THROWS_AS(finish(loop, clock, client.get("http://" + nobody.to_string() + "/"), 0s), std::system_error);
    CHECK_THROWS_AS(finish(loop, clock, client.get(server.url()), 0s), ferry::bad_response);
    CHECK_THROWS_AS(finish(loop, clock, client.get(server.url()), 1s), ferry::timeout_error);
    CHECK(client.active_connections() == 0);
    CHECK(finish(loop, clock, client.get(server.url()), 0s).body() == "hi");
    CHECK_THROWS_AS(http_client_options().max_connections(0), std::invalid_argument);
    CHECK_THROWS_AS(http_client_options().max_connections_per_host(0), std::invalid_argument);
    loop.close();
}

TEST_CASE("any method, any body, and any way to frame an answer", "[client][http_client]") {
    site server(echo_pieces);
    http_client client(server.loop());
    for (const std::string& body : {std::string(), std::string("hi"), std::string(500'000, 'x')}) {
        const auto answer = finish(server, client.fetch(client_request::post(url_of(server), body)));
        CHECK((answer.body() == body));
    }
    CHECK(client.idle_connections() == 1);

    site methods(say_method);
    for (const std::string method : {"DELETE", "HEAD", "FROB"}) {
        const auto answer = finish(methods, http_client(methods.loop()).fetch(client_request(method, url_of(methods))));
        CHECK(answer.header("x-method") == method);
        CHECK(answer.body() == (method == "HEAD" ? "" : method));
    }
}

TEST_CASE("megabytes pass both ways though the server answers before it has read them", "[client][http_client]") {
    site server(echo_pieces);
    http_client client(server.loop(), http_client_options().max_body_bytes(100'000'000));
    std::string body;
    for (int i = 0; body.size() < 8'000'000; ++i) body += std::to_string(i) + " ";
    const auto answer = finish(server, client.fetch(client_request("PUT", url_of(server)).body(body)));
    CHECK((answer.body() == body));
    CHECK(client.idle_connections() == 1);
}

TEST_CASE("a request goes up in pieces while its response comes down in pieces", "[client][http_client]") {
    site server(echo_pieces);
    http_client client(server.loop());
    const bool as_expected = finish(server, [](http_client& from, std::string url) -> ferry::task<bool> {
        ferry::http_call call = co_await from.upload(client_request("POST", url).header("x-kind", "streamed"));
        const bool sent = co_await call.send("one");
        const ferry::http::response_head& head = co_await call.response();
        std::string first = co_await call.read();
        co_await call.send("two");
        std::string second = co_await call.read();
        co_await call.finish();
        std::string last = co_await call.read();
        std::string after_the_end = co_await call.read();
        co_return sent&& head.status() == 200 && first == "one" && second == "two" && last.empty() &&
            after_the_end.empty();
    }(client, url_of(server)));
    CHECK(as_expected);
    CHECK(client.idle_connections() == 1);
}

TEST_CASE("a call that is given up in the middle closes its connection", "[client][http_client]") {
    site server(say_path);
    http_client client(server.loop());
    { const ferry::http_call call = finish(server, client.open(client_request::get(url_of(server)))); }
    CHECK(client.idle_connections() == 0);  // its body was not read
    server.until_empty();
    {
        ferry::http_call call = finish(server, client.open(client_request::get(url_of(server))));
        CHECK(finish(server, call.read_all()) == "/");
    }
    CHECK(client.idle_connections() == 1);
    { const ferry::http_call call = finish(server, client.upload(client_request("POST", url_of(server)))); }
    CHECK(client.idle_connections() == 0);
    server.until_empty();
}

TEST_CASE("an idle connection that the server has closed is not used again", "[client][http_client]") {
    site server(say_path);
    http_client client(server.loop(), http_client_options().keep_alive_timeout(1h));
    CHECK(finish(server, client.get(url_of(server))).status() == 200);
    server.advance(5s);
    server.advance(5s);  // that the client does not close is its own business
    server.until_empty();
    CHECK(client.idle_connections() == 1);
    CHECK(finish(server, client.fetch(client_request::post(url_of(server), "x"))).status() == 200);
    CHECK(server.server().connections() == 1);
}

TEST_CASE("an idle connection is used for as long as it may be", "[client][http_client]") {
    site server(say_path, ferry::serve_options().keep_alive_timeout(100s));
    http_client client(server.loop());
    CHECK(finish(server, client.get(url_of(server))).status() == 200);
    server.advance(3999ms);
    CHECK(finish(server, client.get(url_of(server))).status() == 200);
    CHECK(server.server().connections() == 1);
    server.advance(4s);
    const auto second = ferry::spawn(server.loop(), client.get(url_of(server)));
    server.until([&] { return second.is_ready(); });
    server.until([&] { return server.server().connections() == 1; });  // the old one has been closed
    CHECK(client.idle_connections() == 1);
}

TEST_CASE("a kept connection that fails before the answer begins is replaced, where asking twice is like once",
          "[client][http_client]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    scripted_server server(loop, {ok_hi, "", ok_hi, "", ok_hi});
    http_client client(loop);
    CHECK(finish(loop, clock, client.get(server.url()), 0s).body() == "hi");
    SECTION("fetched") { CHECK(finish(loop, clock, client.get(server.url()), 0s).body() == "hi"); }
    SECTION("in pieces") {
        ferry::http_call call = finish(loop, clock, client.open(client_request::get(server.url())), 0s);
        CHECK(finish(loop, clock, call.read_all(), 0s) == "hi");
    }
    SECTION("but not where it may be another order") {
        const std::string text = error_of<ferry::disconnected>(
            [&] { finish(loop, clock, client.fetch(client_request::post(server.url(), "x")), 0s); });
        CHECK(contains(text, "POST " + server.url()));
        CHECK(server.connections() == 1);
        loop.close();
        return;
    }
    CHECK(server.connections() == 2);
    CHECK(server.said().heads().size() == 3);
    loop.close();
}

TEST_CASE("what a server may do that is not HTTP ends in an error that names the request", "[client][http_client]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    http_client client(loop);
    const auto answered = [&](const std::string& octets, auto expected) {
        scripted_server server(loop, {octets});
        const std::string text =
            error_of<decltype(expected)>([&] { finish(loop, clock, client.get(server.url()), 0s); });
        CHECK(contains(text, "GET " + server.url()));
        return text;
    };
    const ferry::bad_response bad("");
    const ferry::disconnected gone("");
    CHECK(contains(answered("SSH-2.0-x\r\n", bad), "does not begin with an HTTP version"));
    CHECK(contains(answered(ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi", bad),
                   "more than one Content-Length"));
    CHECK(contains(answered(ok + "Content-Length: 2000000\r\n\r\n", bad), "max_body_bytes"));
    CHECK(contains(answered(ok + "\r\n" + std::string(1024 * 1024 + 1, 'x'), bad), "max_body_bytes"));
    CHECK(contains(answered("", gone), "there was no response"));
    CHECK(contains(answered(ok + "Content-Le", gone), "the response was cut"));
    CHECK(contains(answered(ok + "Content-Length: 3\r\n\r\nhi", gone), "the response was cut"));
    CHECK(client.idle_connections() == 0);
    loop.close();
}

TEST_CASE("a response that ends with its connection, interim ones, redirects and statuses are no errors",
          "[client][http_client]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    http_client client(loop);
    const auto fetch = [&](const std::string& octets) {
        scripted_server server(loop, {octets, ok_hi});
        return finish(loop, clock, client.get(server.url()), 0s);
    };
    {
        scripted_server server(loop, {ok + "\r\nuntil the end"});
        CHECK(finish(loop, clock, client.get(server.url()), 0s).body() == "until the end");
    }
    CHECK(fetch("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok_hi).body() == "hi");
    const client_response moved = fetch("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
    CHECK(moved.status() == 302);
    CHECK(moved.header("location") == "/elsewhere");
    const client_response missing = fetch("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    CHECK(missing.status() == 404);
    CHECK_FALSE(missing.ok());
    const client_response trailed = fetch(ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-T: v\r\n\r\n");
    CHECK(trailed.body() == "hi");
    CHECK(trailed.trailers().find("x-t") == "v");
    loop.close();
}

TEST_CASE("octets that nobody asked for spoil a connection", "[client][http_client]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    scripted_server server(loop, {ok_hi + ok_hi, ok_hi});
    http_client client(loop);
    CHECK(finish(loop, clock, client.get(server.url()), 0s).body() == "hi");
    CHECK(client.idle_connections() == 0);
    loop.close();
}

TEST_CASE("a server that is silent is given up in time, wherever it is silent", "[client][http_client]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    http_client client(loop, http_client_options().response_timeout(7s).stall_timeout(3s));
    const auto silent = [&](const std::string& octets) {
        // Answers, and waits for another request.
        scripted_server server(loop, {octets, ok_hi});
        const auto began = clock.elapsed();
        const std::string text = error_of<ferry::timeout_error>(
            [&] { finish(loop, clock, client.fetch(client_request::get(server.url())), 1s); });
        CHECK(contains(text, "GET " + server.url()));
        return clock.elapsed() - began;
    };
    CHECK(silent("HTTP/1.1 200") == 7s);
    CHECK(silent(ok + "Content-Length: 5\r\n\r\nhell") == 3s);
    loop.close();
}

TEST_CASE("an upload that nobody reads is given up in time", "[client][http_client]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    net::listener door(loop, net::address("127.0.0.1", 0));  // which accepts nobody
    http_client client(loop, http_client_options().stall_timeout(3s).response_timeout(1h));
    const std::string text = error_of<ferry::timeout_error>([&] {
        const std::string url = "http://" + door.local().to_string() + "/";
        finish(loop, clock, client.fetch(client_request::post(url, std::string(32'000'000, 'x'))), 1s);
    });
    CHECK(contains(text, "the server has taken nothing for 3000 ms"));
    CHECK(clock.elapsed() >= 3s);
}

TEST_CASE("an answer to a request that is not read to its end is taken all the same", "[client][http_client]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    scripted_server server(loop, {"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno", ok_hi});
    http_client client(loop);
    const auto answer =
        finish(loop, clock, client.fetch(client_request::post(server.url(), std::string(32'000'000, 'x'))), 0s);
    CHECK(answer.status() == 413);
    CHECK(answer.body() == "no");
    CHECK(client.idle_connections() == 0);
    loop.close();
}

TEST_CASE("a body that asks for leave waits for it, for a while, and stays away where it is not wanted",
          "[client][http_client]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    http_client client(loop);
    SECTION("given") {
        site continues(echo_body);
        http_client own(continues.loop());
        const auto answer = finish(
            continues, own.fetch(client_request::post(url_of(continues), "hello").header("Expect", "100-continue")));
        CHECK(answer.body() == "hello");
        CHECK(own.idle_connections() == 1);
    }
    SECTION("refused") {
        scripted_server server(loop, {"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"});
        client_request what = client_request::post(server.url(), "hello").header("Expect", "100-continue");
        CHECK(finish(loop, clock, client.fetch(std::move(what)), 0s).status() == 417);
        CHECK(server.said().unread().empty());
        CHECK(client.idle_connections() == 0);
    }
    SECTION("never said") {
        scripted_server server(loop, {"HTTP/1.1 103 Early Hints\r\n\r\n", ok_hi});
        // The body looks to that server like another head, which it answers.
        client_request what = client_request::post(server.url(), "hello\r\n\r\n").header("Expect", "100-continue");
        ferry::future<client_response> answer = ferry::spawn(loop, client.fetch(std::move(what)));
        while (server.said().heads().empty()) loop.run_until_idle();
        for (int turn = 0; turn < 20; ++turn) loop.run_until_idle();
        CHECK(server.said().heads().size() == 1);
        clock.advance(1s);
        while (!answer.is_ready()) loop.run_until_idle();
        CHECK(loop.run(std::move(answer)).body() == "hi");
        CHECK(server.said().heads().at(1) == "hello\r\n\r\n");
    }
    loop.close();
}

TEST_CASE("nothing is sent of a request that would break out of its lines", "[client][http_client]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    scripted_server server(loop, {ok_hi});
    http_client client(loop);
    const auto refused = [&](client_request what) {
        CHECK_THROWS_AS(finish(loop, clock, client.fetch(std::move(what)), 0s), std::invalid_argument);
    };
    refused(client_request("GET\r\nX: y", server.url()));
    refused(client_request("CONNECT", server.url()));
    refused(client_request::get(server.url() + "\r\nX: y"));
    refused(client_request::get(server.url()).header("content-length", "x"));
    refused(client_request::get("https://a.test/"));
    CHECK_THROWS_AS(client_request::get(server.url()).header("a", "b\r\nc: d"), std::invalid_argument);
    CHECK(server.said().heads().empty());
    loop.close();
}

TEST_CASE("a server that is not there is a system_error that names its address", "[client][http_client]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    http_client client(loop);
    const net::address nobody = net::listener(loop, net::address("127.0.0.1", 0)).local();
    const std::string text =
        error_of<std::system_error>([&] { finish(loop, clock, client.get("http://" + nobody.to_string() + "/"), 0s); });
    CHECK(contains(text, nobody.to_string()));
}

TEST_CASE("a server may be reached at a path", "[client][http_client]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    const net::address at = net::address::of_path("@ferry-http-client-test-" + std::to_string(::getpid()));
    ferry::server server(loop, say_path, {at}, ferry::serve_options().on_listening([](const net::address&) {}));
    const auto running = ferry::spawn(loop, server.run());
    http_client client(loop, http_client_options().connect_to(at));
    CHECK(finish(loop, clock, client.get("http://any.test/path"), 0s).body() == "/path");
    loop.close();
}

TEST_CASE("a fetch that is cancelled anywhere leaves nothing behind", "[client][http_client]") {
    site server(echo_pieces);
    for (int turns = 0; turns < 40; ++turns) {
        http_client client(server.loop());
        const auto cut_short = [&]() -> ferry::task<> {
            co_await ferry::with_task_group([&](ferry::task_group& tasks) -> ferry::task<> {
                tasks.start(client.fetch(client_request::post(url_of(server), std::string(200'000, 'x'))));
                for (int turn = 0; turn < turns; ++turn) co_await ferry::yield_now();
                tasks.cancel();
            });
        };
        finish(server, cut_short());
        CHECK(client.idle_connections() <= 1);
        CHECK(client.active_connections() == 0);
        const auto answer = finish(server, client.fetch(client_request::post(url_of(server), "and now")));
        CHECK(answer.body() == "and now");
    }
    server.until_empty();
}
