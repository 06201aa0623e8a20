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
}  // namespace ferry_test
