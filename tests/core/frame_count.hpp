// tests/core/frame_count.hpp - a test's promise that it leaves no coroutine frame behind
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/frame_allocator.hpp>

#include "support/catch.hpp"

#include <cstdint>

namespace ferry_test {
/// Checks at its end that as many frames are in use as at its beginning. Threads that free frames must have ended.
class frame_count {
public:
    frame_count() noexcept : before_(ferry::detail::frame_allocator::live()) {}
    ~frame_count() { CHECK(ferry::detail::frame_allocator::live() == before_); }
    frame_count(const frame_count&) = delete;
    frame_count& operator=(const frame_count&) = delete;

private:
    std::int64_t before_;
};
}  // namespace ferry_test
