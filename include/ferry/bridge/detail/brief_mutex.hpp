// ferry/bridge/detail/brief_mutex.hpp - a mutex for what takes nanoseconds
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/deadlock/spin.hpp>

#include <mutex>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Whoever finds it taken looks again for about a microsecond before it sleeps: two threads that hand each other work meet
/// at it all the time, and to sleep there costs each of them two syscalls for nothing.
class brief_mutex {
public:
    void lock() noexcept {
        for (int looks = 0; looks < 50; ++looks) {
            if (mutex_.try_lock()) return;
            pause_cpu();
        }
        mutex_.lock();
    }
    void unlock() noexcept { mutex_.unlock(); }

private:
    std::mutex mutex_;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
