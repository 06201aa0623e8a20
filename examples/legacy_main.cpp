// A blocking program that uses asynchronous code: main() and its functions stay as they are.
//   ./examples/run legacy_main         prints the prices of three shops, asked all at once, and what it took
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

using namespace std::chrono_literals;

// The new, asynchronous part: a client that waits without a thread.
class price_client {
public:
    ferry::task<int> price(std::string shop, std::string article) {
        co_await ferry::sleep_for(100ms);  // stands for a request over the network
        co_return static_cast<int>(10 * shop.size() + article.size());
    }
    ferry::task<int> best_price(std::string article) {
        auto [north, south, west] =
            co_await ferry::when_all(price("north", article), price("southern", article), price("west", article));
        std::printf("north %d, south %d, west %d\n", north, south, west);
        co_return std::min({north, south, west});
    }
};

// The old part: plain functions that block. One of them calls new code as if it were old.
int order(price_client& client, const std::string& article) {
    auto best_price = ferry::async_to_sync(&price_client::best_price);
    return best_price(client, article);
}

int main() {
    ferry::loop_thread background;  // where connections would live between the calls
    background.make_default();
    price_client client;

    const auto begin = std::chrono::steady_clock::now();
    const int best = order(client, "lamp");
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    std::printf("best price %d, after %.0f ms and not 300\n", best, took.count());
}
