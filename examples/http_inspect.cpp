// Answers every request with what the server's parser made of it, as JSON.
//   ./examples/run http_inspect --port 8000        prints "listening on http://127.0.0.1:8000/"
//   curl -d hi http://127.0.0.1:8000/a?b           prints {"method":"POST","target":"/a?b","version":"1.1",
//       "headers":[["Host","127.0.0.1:8000"],...],"body_hex":"6869","trailers":[]}
// An octet of a header above 127 becomes the code point of that number.
// SPDX-License-Identifier: BSL-1.0
#include <ferry/ferry.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace app = ferry::app;
using ferry::value;

namespace {
/// Octets as text: each is the code point of that number.
std::string text_of(std::string_view octets) {
    std::string utf8;
    for (const char c : octets) {
        const auto octet = static_cast<unsigned char>(c);
        if (octet >= 0x80) utf8.push_back(static_cast<char>(0xC0 | octet >> 6));
        utf8.push_back(octet < 0x80 ? c : static_cast<char>(0x80 | (octet & 0x3F)));
    }
    return utf8;
}

void append_hex(std::string& to, std::string_view octets) {
    for (const char c : octets) {
        constexpr std::string_view digits = "0123456789abcdef";
        to.push_back(digits[static_cast<unsigned char>(c) >> 4]);
        to.push_back(digits[static_cast<unsigned char>(c) & 15]);
    }
}

value fields_of(const ferry::http::headers& fields) {
    std::vector<value> list;
    for (const ferry::http::header field : fields)
        list.push_back(value::list({text_of(field.name), text_of(field.value)}));
    return value::list(std::move(list));
}

ferry::task<> inspect(app::scope scope, app::receive receive, app::send send) {
    const ferry::http::request_head& head = scope.head();
    std::string body_hex;
    value trailers = value::list();
    for (bool more = true; more;) {
        const app::message next = co_await receive();
        const auto* piece = std::get_if<app::http_request>(&next);
        if (piece == nullptr) co_return;  // the client is gone, or its body was wrong and it has been told
        append_hex(body_hex, piece->body());
        if (piece->trailers() != nullptr) trailers = fields_of(*piece->trailers());
        more = piece->more_body();
    }
    value said = value::object();
    said.set("method", head.method()).set("target", head.target()).set("version", head.version());
    said.set("headers", fields_of(head.headers())).set("body_hex", std::move(body_hex)).set("trailers", trailers);
    co_await send(app::http_response_start(200).header("content-type", "application/json"));
    co_await send(app::http_response_body(ferry::json::dump(said) + "\n"));
}
}  // namespace

int main(int argc, char** argv) {
    // The body is kept until the answer: no more than 1 MiB of it.
    const auto limits = ferry::http::request_limits().max_body_bytes(1024 * 1024);
    // A WebSocket handshake, well-formed or not, is a request that is shown like any other.
    return ferry::serve_main(&inspect, argc, argv, ferry::serve_options().http_limits(limits).websockets(false));
}
