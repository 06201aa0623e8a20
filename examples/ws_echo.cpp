// Sends every WebSocket message back.
//   ./examples/run ws_echo --port 8000             prints "listening on http://127.0.0.1:8000/"
//   then, in a browser's console on that page:
//     w = new WebSocket("ws://127.0.0.1:8000/"); w.onmessage = m => console.log(m.data); w.onopen = () => w.send("hi")
//   prints "hi"
// SPDX-License-Identifier: BSL-1.0
#include <ferry/ferry.hpp>

#include <utility>
#include <variant>

namespace app = ferry::app;

ferry::task<> page(app::scope, app::receive, app::send send) {
    co_await send(app::http_response_start(200).header("content-type", "text/html; charset=utf-8"));
    co_await send(app::http_response_body("<!doctype html><title>echo</title>open the console and connect\n"));
}

ferry::task<> echo(app::scope, app::receive receive, app::send send) {
    for (;;) {
        app::message incoming = co_await receive();
        if (std::holds_alternative<app::websocket_connect>(incoming)) {
            co_await send(app::websocket_accept());
        } else if (auto* message = std::get_if<app::websocket_receive>(&incoming)) {
            const bool is_text = message->is_text();
            app::websocket_send answer = is_text ? app::websocket_send::text(message->take_data())
                                                 : app::websocket_send::binary(message->take_data());
            co_await send(answer);
        } else {
            co_return;  // websocket_disconnect
        }
    }
}

// One application for both protocols; a router would do the same by path.
ferry::task<> site(app::scope scope, app::receive receive, app::send send) {
    if (scope.is_websocket()) {
        co_await echo(std::move(scope), receive, send);
    } else {
        co_await page(std::move(scope), receive, send);
    }
}

// It takes more than a server should by default: the conformance suites send messages of 16 MiB, and 4 MiB in frames of
// 64 octets.
int main(int argc, char** argv) {
    const auto limits = ferry::websocket::session_options().max_message_bytes(16 << 20).max_fragments(1 << 17);
    return ferry::serve_main(&site, argc, argv, ferry::serve_options().websocket_limits(limits));
}
