// Fetches URLs one after another, over one connection where the server allows it, and prints what they hold.
//   ./examples/run http_get http://127.0.0.1:8000/a http://127.0.0.1:8000/b
//   prints the bodies; on stderr a line for each, "200 OK, 9 bytes: http://127.0.0.1:8000/a"
// SPDX-License-Identifier: BSL-1.0
#include <ferry/ferry.hpp>

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

namespace {
/// Prints the body as it comes: its size does not matter.
ferry::task<> fetch(ferry::http_client& client, std::string url) {
    ferry::http_call call = co_await client.open(ferry::client_request::get(url).header("User-Agent", "ferry"));
    const ferry::http::response_head& head = co_await call.response();
    std::size_t bytes = 0;
    for (std::string piece = co_await call.read(); !piece.empty(); piece = co_await call.read()) {
        std::fwrite(piece.data(), 1, piece.size(), stdout);
        bytes += piece.size();
    }
    std::fprintf(stderr, "%d %s, %zu bytes: %s\n", head.status(), std::string(head.reason()).c_str(), bytes,
                 url.c_str());
}

ferry::task<> fetch_all(std::vector<std::string> urls) {
    ferry::http_client client(*ferry::event_loop::current());
    for (const std::string& url : urls) co_await fetch(client, url);
}
}  // namespace

int main(int argc, char** argv) {
    try {
        ferry::run(fetch_all(std::vector<std::string>(argv + 1, argv + argc)));
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
        return 1;
    }
}
