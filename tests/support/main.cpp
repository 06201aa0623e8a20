// tests/support/main.cpp - the runner of every test executable
// SPDX-License-Identifier: BSL-1.0
#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include <ferry/bridge/thread_pool.hpp>
#include <ferry/loop/poll_poller.hpp>
#include <ferry/loop/shuffled_loop.hpp>

#include <chrono>
#include <cstdlib>
#include <string_view>

/// FERRY_SEED=N runs the tests on shuffled loops. Those tagged [order] are about the order that such loops do not keep.
/// FERRY_POLLER=poll runs them on poll() instead of epoll. Those tagged [epoll] need what only epoll has.
int main(int argc, char* argv[]) {
    if (const char* const seed = std::getenv("FERRY_SEED")) {
        ferry::shuffle_every_loop(std::strtoull(seed, nullptr, 10));
    }
    const char* const poller = std::getenv("FERRY_POLLER");
    if (poller != nullptr && std::string_view(poller) == "poll") ferry::use_poll_in_every_loop();
    // What a thread has freed is counted when it ends: no thread may end in the middle of a later test.
    ferry::thread_pool::configure_default(ferry::thread_pool_options().idle_end(std::chrono::milliseconds::max()));
    return Catch::Session().run(argc, argv);
}
