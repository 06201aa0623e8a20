// ferry/bridge/detail/default_loop.hpp - the loops that block_on finds by itself: the default one and this thread's own
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/process.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/loop_control.hpp>

#include <atomic>
#include <mutex>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Which loop block_on uses on a thread that came from none: set by loop_thread.
class default_loop {
public:
    static void install(loop_reference loop) {
        default_loop& self = process_wide<default_loop>::get();
        const std::lock_guard lock(self.mutex_);
        self.loop_ = std::move(loop);
        self.installed_.store(true, std::memory_order_release);
    }
    /// Takes the loop out again, if it is still the one that is installed.
    static void remove(const loop_control& loop) {
        default_loop& self = process_wide<default_loop>::get();
        const std::lock_guard lock(self.mutex_);
        if (self.loop_.get() != &loop) return;
        self.loop_ = loop_reference();
        self.installed_.store(false, std::memory_order_release);
    }
    [[nodiscard]] static loop_reference get() {
        default_loop& self = process_wide<default_loop>::get();
        if (!self.installed_.load(std::memory_order_acquire)) return {};
        const std::lock_guard lock(self.mutex_);
        return self.loop_;
    }

private:
    std::atomic<bool> installed_{false};  // is there one? Most programs have none, and need no lock to know
    std::mutex mutex_;                    // guards loop_, and changes of installed_
    loop_reference loop_;
};

/// The loop that block_on drives on this thread when there is no other; kept until the thread ends.
inline event_loop& private_loop() {
    thread_state& self = this_thread();
    if (self.private_loop == nullptr) {
        self.private_loop = new event_loop;
        if (self.private_loop_hook.run == nullptr) {  // else a forked child has left its first one behind
            self.private_loop_hook.run = []() noexcept {
                this_thread().private_loop_hook.run = nullptr;  // a hook that runs later may make another
                delete std::exchange(this_thread().private_loop, nullptr);
            };
            at_thread_exit(self.private_loop_hook);
        }
    }
    return *self.private_loop;
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
