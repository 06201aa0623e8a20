// tests/support/delivered.hpp - waits for the kernel, which may take its time between two sockets of one machine
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cerrno>
#include <chrono>
#include <stdexcept>
#include <system_error>
#include <thread>

#include <sys/ioctl.h>

namespace ferry_test {
/// Waits until the other end's kernel has acknowledged what was sent: from then on a turn of its loop finds it. Throws after
/// 20 seconds.
inline void until_delivered(int descriptor) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (int under_way = 1; under_way != 0; std::this_thread::yield()) {
        if (::ioctl(descriptor, TIOCOUTQ, &under_way) != 0) {
            throw std::system_error(errno, std::system_category(), "until_delivered");
        }
        if (std::chrono::steady_clock::now() > give_up) throw std::runtime_error("it was not delivered");
    }
}
}  // namespace ferry_test
