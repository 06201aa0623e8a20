// Serves one page whose body comes from blocking code: to_thread keeps the loop free.
//   ./examples/run blocking_page --port 8000       prints "listening on http://127.0.0.1:8000/"
//   curl http://127.0.0.1:8000/                    prints "42 rows" after half a second
// Ask many times at once: the answers still come after half a second each, since only a worker is blocked.
// SPDX-License-Identifier: BSL-1.0
#include <ferry/ferry.hpp>

#include <chrono>
#include <string>
#include <thread>

namespace app = ferry::app;

// Stands for a database client of 2009: it blocks, and knows nothing of ferry.
int count_rows(const std::string& table) {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    return static_cast<int>(table.size()) * 6;
}

ferry::task<> page(app::scope, app::receive, app::send send) {
    const int rows = co_await ferry::to_thread(count_rows, std::string("persons"));  // blocks a worker, not the loop
    co_await send(app::http_response_start(200).header("content-type", "text/plain"));
    co_await send(app::http_response_body(std::to_string(rows) + " rows\n"));
}

int main(int argc, char** argv) { return ferry::serve_main(&page, argc, argv); }
