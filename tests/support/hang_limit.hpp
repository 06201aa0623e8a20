// tests/support/hang_limit.hpp - hang reports after another time than the default
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/deadlock/hang.hpp>

#include <chrono>

namespace ferry_test {
/// Sets hang_after while it lives.
class hang_limit {
public:
    explicit hang_limit(std::chrono::nanoseconds limit) : before_(ferry::set_hang_after(limit)) {}
    ~hang_limit() { ferry::set_hang_after(before_); }
    hang_limit(const hang_limit&) = delete;
    hang_limit& operator=(const hang_limit&) = delete;

private:
    std::chrono::nanoseconds before_;
};
}  // namespace ferry_test
