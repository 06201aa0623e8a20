// tests/server/apps.hpp - what the applications of these tests have in common
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/message.hpp>
#include <ferry/app/receive.hpp>
#include <ferry/app/scope.hpp>
#include <ferry/app/send.hpp>
#include <ferry/core/task.hpp>

#include <string>
#include <utility>
#include <variant>

namespace ferry_test {
namespace app = ferry::app;

inline ferry::task<> respond(app::send send, std::string body) {
    co_await send(app::http_response_start(200).header("content-type", "text/plain"));
    co_await send(app::http_response_body(std::move(body)));
}

/// Answers with the path.
inline ferry::task<> say_path(app::scope scope, app::receive, app::send send) {
    co_await respond(send, std::string(scope.path()));
}

/// The request's body; what there was of it if the client left in the middle.
inline ferry::task<std::string> whole_body(app::receive receive) {
    std::string body;
    for (;;) {
        const app::message next = co_await receive();
        const auto* piece = std::get_if<app::http_request>(&next);
        if (piece == nullptr) co_return body;
        body += piece->body();
        if (!piece->more_body()) co_return body;
    }
}

inline ferry::task<> echo_body(app::scope, app::receive receive, app::send send) {
    co_await respond(send, co_await whole_body(receive));
}

/// Everything up to the disconnect.
inline ferry::task<> until_disconnect(app::receive receive) {
    for (;;) {
        const app::message next = co_await receive();
        if (std::holds_alternative<app::http_disconnect>(next)) co_return;
        if (std::holds_alternative<app::websocket_disconnect>(next)) co_return;
    }
}

/// Accepts, and sends every message back.
inline ferry::task<> echo(app::scope, app::receive receive, app::send send) {
    co_await send(app::websocket_accept());
    for (;;) {
        app::message next = co_await receive();
        if (std::holds_alternative<app::websocket_disconnect>(next)) co_return;
        auto* data = std::get_if<app::websocket_receive>(&next);
        if (data == nullptr) continue;  // websocket_connect
        const bool is_text = data->is_text();
        app::websocket_send answer =
            is_text ? app::websocket_send::text(data->take_data()) : app::websocket_send::binary(data->take_data());
        co_await send(answer);
    }
}

/// Accepts if that is still to do, and writes "CODE:REASON" when the end comes.
inline auto note_disconnect(std::string& where) {
    return [&where](app::scope, app::receive receive, app::send send) -> ferry::task<> {
        for (;;) {
            const app::message next = co_await receive();
            if (std::holds_alternative<app::websocket_connect>(next)) co_await send(app::websocket_accept());
            const auto* end = std::get_if<app::websocket_disconnect>(&next);
            if (end == nullptr) continue;
            where = std::to_string(end->code()) + ":" + end->reason();
            co_return;
        }
    };
}
}  // namespace ferry_test
