// tests/interop/peer.cpp - ferry's side of the tests with other programs: does what it is told, and prints how that ended
// SPDX-License-Identifier: BSL-1.0
//
//   peer serve [--host NAME] [--port NUMBER] [--idle SECONDS] [--ping SECONDS]
//       /length/N, /chunks/N   N octets, of declared length or in chunks
//       /status/N              that status
//       /echo                  the request's body, as it comes
//       /hang                  nothing, until the client has gone
//       /page                  an empty page, for a browser
//       any WebSocket          does what the messages say, see below
//     prints for each request "METHOD PATH asked", and at its end the same with "done", or with "gone" where the client has
//     left; for each WebSocket "PATH closed CODE REASON".
//     Every response names its connection, in x-connection.
//   peer connect URL [--offer SUBPROTOCOL]... [--ping SECONDS]
//     a WebSocket that does what the messages say; prints "open SUBPROTOCOL" and "closed CODE REASON"
//   peer fetch {METHOD[,chunked][,expect] URL SIZE}...
//     requests one after another with so much body, in chunks and asking for 100 Continue or not; prints for each
//     "STATUS SIZE pattern|other CONNECTION TRAILER": of the answer's body, its x-connection and the trailer x-trailer, or "-"
//
// A text message "close CODE REASON" is answered with this close, "pieces N" with N octets of text in 1000 octets a piece;
// any other message is sent back.
#include <ferry/ferry.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace app = ferry::app;
using ferry::task;

namespace {
constexpr std::size_t max_message_bytes = 16 * 1024 * 1024;

void say(const std::string& line) {
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
}

/// The octets of every body and message that is made here, from this one on.
std::string pattern(std::size_t from, std::size_t count) {
    std::string octets(count, ' ');
    for (std::size_t at = 0; at < count; ++at) octets[at] = static_cast<char>('A' + (from + at) % 26);
    return octets;
}

// ---- HTTP --------------------------------------------------------------------------------------------------------
app::http_response_start start_of(const app::scope& scope, int status = 200) {
    return app::http_response_start(status)
        .header("content-type", "application/octet-stream")
        .header("x-connection", scope.client().to_string());
}

task<> send_pattern(app::scope scope, app::send send, std::size_t size, bool declared) {
    app::http_response_start start = start_of(scope);
    if (declared) start.header("content-length", std::to_string(size));
    co_await send(start);
    constexpr std::size_t piece_bytes = 10'000;
    for (std::size_t at = 0; at < size; at += piece_bytes) {
        app::http_response_body piece(pattern(at, std::min(piece_bytes, size - at)), true);
        co_await send(piece);
    }
    co_await send(app::http_response_body());
}

task<> send_back(app::scope scope, app::receive receive, app::send send) {
    bool started = false;
    for (bool more = true; more;) {
        app::message next = co_await receive();
        auto* piece = std::get_if<app::http_request>(&next);
        if (piece == nullptr) throw ferry::disconnected("the client has gone");
        if (!std::exchange(started, true)) co_await send(start_of(scope));
        more = piece->more_body();
        app::http_response_body same(piece->take_body(), more);
        co_await send(same);
    }
}

task<> hang(app::receive receive) {
    for (app::message next = co_await receive(); !std::holds_alternative<app::http_disconnect>(next);)
        next = co_await receive();
    throw ferry::disconnected("the client has gone");
}

task<> respond(app::scope scope, app::receive receive, app::send send) {
    const std::string path(scope.path());
    const std::size_t cut = std::min(path.rfind('/') + 1, path.size());
    const std::string what = path.substr(0, cut);
    const std::string number = path.substr(cut);
    if (what == "/length/" || what == "/chunks/") {
        co_await send_pattern(scope, send, std::stoul(number), what == "/length/");
    } else if (what == "/status/") {
        co_await send(start_of(scope, std::stoi(number)));
        co_await send(app::http_response_body());
    } else if (path == "/echo") {
        co_await send_back(scope, receive, send);
    } else if (path == "/hang") {
        co_await hang(receive);
    } else if (path == "/page") {
        co_await send(app::http_response_start(200).header("content-type", "text/html"));
        co_await send(app::http_response_body("<!doctype html><title>peer</title><link rel=icon href=data:,>\n"));
    } else {
        co_await send(start_of(scope, 404));
        co_await send(app::http_response_body("no such page\n"));
    }
}

// ---- WebSocket ---------------------------------------------------------------------------------------------------
/// What a message asks for: `close` or `pieces`, or neither.
struct command {
    explicit command(std::string_view message) {
        const std::size_t blank = std::min(message.find(' '), message.size());
        const std::string_view name = message.substr(0, blank);
        close = name == "close";
        pieces = name == "pieces";
        if (!close && !pieces) return;
        std::size_t used = 0;
        rest = message.substr(std::min(blank + 1, message.size()));
        number = std::stoul(rest, &used);
        rest.erase(0, std::min(used + 1, rest.size()));
    }
    bool close = false;
    bool pieces = false;
    std::size_t number = 0;
    std::string rest;
};

constexpr std::size_t message_piece_bytes = 1000;

task<> obey(const app::websocket_receive& said, app::send send) {
    const command wanted(said.is_text() ? std::string_view(said.data()) : std::string_view());
    if (wanted.close) {
        co_await send(app::websocket_close(static_cast<std::uint16_t>(wanted.number), wanted.rest));
    } else if (wanted.pieces) {
        for (std::size_t at = 0; at < wanted.number; at += message_piece_bytes) {
            const std::size_t size = std::min(message_piece_bytes, wanted.number - at);
            app::websocket_send piece = app::websocket_send::text_piece(pattern(at, size), at + size < wanted.number);
            co_await send(piece);
        }
    } else {
        app::websocket_send same =
            said.is_text() ? app::websocket_send::text(said.data()) : app::websocket_send::binary(said.data());
        co_await send(same);
    }
}

task<> talk(app::scope scope, app::receive receive, app::send send) {
    co_await receive();  // websocket_connect
    const std::vector<std::string>& offered = scope.subprotocols();
    const bool speaks_it = std::find(offered.begin(), offered.end(), "pattern.v2") != offered.end();
    app::websocket_accept accept(speaks_it ? "pattern.v2" : "");
    co_await send(accept);
    for (;;) {
        app::message next = co_await receive();
        if (auto* end = std::get_if<app::websocket_disconnect>(&next)) {
            say(std::string(scope.path()) + " closed " + std::to_string(end->code()) + " " + end->reason());
            co_return;
        }
        try {
            co_await obey(std::get<app::websocket_receive>(next), send);
        } catch (const ferry::disconnected&) {  // the next message says how
        }
    }
}

task<> site(app::scope scope, app::receive receive, app::send send) {
    if (scope.is_websocket()) {
        co_await talk(std::move(scope), receive, send);
        co_return;
    }
    const std::string name = std::string(scope.method()) + " " + std::string(scope.path());
    say(name + " asked");
    try {
        co_await respond(std::move(scope), receive, send);
    } catch (const ferry::disconnected&) {
        say(name + " gone");
        co_return;
    }
    say(name + " done");
}

// ---- the WebSocket client ----------------------------------------------------------------------------------------
task<> obey(ferry::websocket_message& said, ferry::websocket_client& server) {
    const command wanted(said.is_text() ? std::string_view(said.data()) : std::string_view());
    if (wanted.close) {
        co_await server.close(static_cast<std::uint16_t>(wanted.number), wanted.rest);
    } else if (wanted.pieces) {
        for (std::size_t at = 0; at < wanted.number; at += message_piece_bytes) {
            const std::size_t size = std::min(message_piece_bytes, wanted.number - at);
            co_await server.send_text_piece(pattern(at, size), at + size < wanted.number);
        }
    } else if (said.is_text()) {
        co_await server.send_text(said.take_data());
    } else {
        co_await server.send_binary(said.take_data());
    }
}

task<> connect(std::string url, ferry::websocket_options options) {
    ferry::websocket_client server = co_await ferry::connect_websocket(url, options);
    say("open " + server.subprotocol());
    try {
        while (auto message = co_await server.receive()) co_await obey(*message, server);
    } catch (const ferry::disconnected&) {}
    co_await server.close();
    say("closed " + std::to_string(server.close_code()) + " " + server.close_reason());
}

// ---- the HTTP client ---------------------------------------------------------------------------------------------
task<bool> send_pattern(ferry::http_call& call, std::size_t size) {
    constexpr std::size_t piece_bytes = 10'000;
    for (std::size_t at = 0; at < size; at += piece_bytes) {
        const bool wanted = co_await call.send(pattern(at, std::min(piece_bytes, size - at)));
        if (!wanted) co_return false;
    }
    co_await call.finish();
    co_return true;
}

task<ferry::client_response> take(ferry::http_call& call) {
    ferry::http::response_head head = co_await call.response();
    std::string body = co_await call.read_all();
    co_return ferry::client_response(std::move(head), std::move(body), call.trailers());
}

task<ferry::client_response> upload(ferry::http_client& client, ferry::client_request request, std::size_t size) {
    ferry::http_call call = co_await client.upload(std::move(request));
    auto [sent, answer] = co_await ferry::when_all(send_pattern(call, size), take(call));
    co_return std::move(answer);
}

task<ferry::client_response> ask(ferry::http_client& client, std::string how, std::string url, std::size_t size) {
    ferry::client_request request(how.substr(0, how.find(',')), std::move(url));
    if (how.find(",expect") != std::string::npos) request.header("Expect", "100-continue");
    if (how.find(",chunked") != std::string::npos) co_return co_await upload(client, std::move(request), size);
    request.body(pattern(0, size));
    co_return co_await client.fetch(std::move(request));
}

task<> fetch(std::vector<std::string> what) {
    const auto options = ferry::http_client_options().max_body_bytes(4 * max_message_bytes);
    ferry::http_client client(*ferry::event_loop::current(), options);
    for (std::size_t at = 0; at + 2 < what.size(); at += 3) {
        const ferry::client_response answer = co_await ask(client, what[at], what[at + 1], std::stoul(what[at + 2]));
        const bool is_pattern = answer.body() == pattern(0, answer.body().size());
        const std::string_view connection = answer.header("x-connection");
        say(std::to_string(answer.status()) + " " + std::to_string(answer.body().size()) +
            (is_pattern ? " pattern " : " other ") + std::string(connection.empty() ? "-" : connection) + " " +
            std::string(answer.trailers().find("x-trailer").value_or("-")));
    }
}

std::chrono::seconds seconds_of(const std::string& text) { return std::chrono::seconds(std::stoi(text)); }
}  // namespace

int main(int argc, char** argv) try {
    const auto limits = ferry::websocket::session_options().max_message_bytes(max_message_bytes);
    const std::string_view mode = argc > 1 ? argv[1] : "";
    if (mode == "connect" && argc > 2) {
        ferry::websocket_options options;
        options.limits(limits);
        for (int at = 3; at + 1 < argc; at += 2) {
            const std::string_view option = argv[at];
            if (option == "--offer") options.subprotocol(argv[at + 1]);
            if (option == "--ping")
                options.ping_interval(seconds_of(argv[at + 1])).pong_timeout(seconds_of(argv[at + 1]));
        }
        ferry::run(connect(argv[2], options));
        return 0;
    }
    if (mode == "fetch") {
        ferry::run(fetch(std::vector<std::string>(argv + 2, argv + argc)));
        return 0;
    }
    if (mode != "serve") throw std::invalid_argument("the first argument is serve, connect or fetch");
    auto options = ferry::serve_options().websocket_limits(limits);
    const std::vector<std::string> rest = options.take_arguments(argc - 1, argv + 1);
    for (std::size_t at = 0; at + 1 < rest.size(); at += 2) {
        if (rest[at] == "--idle") options.keep_alive_timeout(seconds_of(rest[at + 1]));
        if (rest[at] == "--ping")
            options.ping_interval(seconds_of(rest[at + 1])).pong_timeout(seconds_of(rest[at + 1]));
    }
    ferry::serve(&site, options);
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
}
