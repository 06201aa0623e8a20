// tests/checks/two_files/first.cpp - one program from two files that both include everything: it links, and they agree
// SPDX-License-Identifier: BSL-1.0
#include <ferry/ferry.hpp>

#include <cstdio>

ferry::task<int> from_second_file(ferry::event_loop*& seen);

namespace {
ferry::task<bool> same_loop() {
    ferry::event_loop* seen = nullptr;
    const int value = co_await from_second_file(seen);
    co_return value == 7 && seen == ferry::event_loop::current();
}
}  // namespace

int main() {
    const bool agree = ferry::run(same_loop());
    std::puts(agree ? "both files see one loop" : "the files disagree about the running loop");
    return agree ? 0 : 1;
}
