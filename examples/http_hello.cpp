// Answers every request with a greeting: the smallest ferry application.
//   ./examples/run http_hello --port 8000          prints "listening on http://127.0.0.1:8000/"
//   curl http://127.0.0.1:8000/ferry               prints "hello, /ferry"
// SPDX-License-Identifier: BSL-1.0
#include <ferry/ferry.hpp>

#include <string>

namespace app = ferry::app;

ferry::task<> hello(app::scope scope, app::receive, app::send send) {
    co_await send(app::http_response_start(200).header("content-type", "text/plain; charset=utf-8"));
    co_await send(app::http_response_body("hello, " + std::string(scope.path()) + "\n"));
}

int main(int argc, char** argv) { return ferry::serve_main(&hello, argc, argv); }
