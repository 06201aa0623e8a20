// Runs every case of a WebSocket conformance suite's server against ferry's client, which sends each message back.
//   ./examples/run ws_conformance_client --url ws://127.0.0.1:9001 --agent ferry
//   prints "517 cases", a line for each case that could not be run, and "done"; the suite's server has the reports
// The suite tells how many cases there are at /getCaseCount, runs one at /runCase, and writes at /updateReports.
// SPDX-License-Identifier: BSL-1.0
#include <ferry/ferry.hpp>

#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <string_view>

ferry::websocket_options patient() {
    ferry::websocket_options options;
    options.limits(ferry::websocket::session_options().max_message_bytes(16 << 20).max_fragments(1 << 17));
    return options;
}

ferry::task<int> case_count(std::string url) {
    ferry::websocket_client suite = co_await ferry::connect_websocket(url + "/getCaseCount");
    std::optional<ferry::websocket_message> answer = co_await suite.receive();
    const int count = answer ? std::stoi(answer->data()) : 0;
    co_await suite.close();
    co_return count;
}

ferry::task<> echo(std::string url) {
    ferry::websocket_client suite = co_await ferry::connect_websocket(url, patient());
    try {
        while (std::optional<ferry::websocket_message> message = co_await suite.receive()) {
            if (message->is_text()) {
                co_await suite.send_text(message->take_data());
            } else {
                co_await suite.send_binary(message->take_data());
            }
        }
    } catch (const ferry::disconnected&) {  // the suite closes in the middle of an echo: that is a case, too
    }
    co_await suite.close();
}

ferry::task<> run_all(std::string url, std::string agent) {
    const int count = co_await case_count(url);
    std::printf("%d cases\n", count);
    for (int number = 1; number <= count; ++number) {
        const std::string one = url + "/runCase?case=" + std::to_string(number) + "&agent=" + agent;
        try {
            co_await echo(one);
        } catch (const std::exception& error) {
            std::printf("case %d: %s\n", number, error.what());
        }
    }
    co_await echo(url + "/updateReports?agent=" + agent);
    std::printf("done\n");
}

int main(int argc, char** argv) {
    std::string url = "ws://127.0.0.1:9001";
    std::string agent = "ferry";
    for (int at = 1; at < argc; at += 2) {
        const std::string_view option = argv[at];
        if (at + 1 == argc || (option != "--url" && option != "--agent")) {
            std::fprintf(stderr, "usage: %s [--url ws://HOST:PORT] [--agent NAME]\n", argv[0]);
            return 2;
        }
        (option == "--url" ? url : agent) = argv[at + 1];
    }
    try {
        ferry::run(run_all(url, agent));
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "ws_conformance_client: %s\n", error.what());
        return 1;
    }
}
