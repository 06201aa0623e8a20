// tests/checks/two_files/second.cpp - the other half of first.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/ferry.hpp>

#include <chrono>

ferry::task<int> from_second_file(ferry::event_loop*& seen) {
    co_await ferry::sleep_for(std::chrono::milliseconds(0));
    seen = ferry::event_loop::current();
    co_return 7;
}
