// ferry/loop/default_poller.hpp - how a loop waits that was not told
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/loop/epoll_poller.hpp>
#include <ferry/loop/poller.hpp>

#include <atomic>
#include <memory>

namespace ferry::inline FERRY_ABI {
using poller_factory = std::unique_ptr<poller> (*)();

namespace detail {
inline std::atomic<poller_factory>& default_poller_factory() noexcept {
    static constinit std::atomic<poller_factory> factory{
        []() -> std::unique_ptr<poller> { return std::make_unique<epoll_poller>(); }};
    return factory;
}
inline std::unique_ptr<poller> make_default_poller() {
    return default_poller_factory().load(std::memory_order_acquire)();
}
}  // namespace detail

/// Sets what makes the poller of every later event_loop that is given none; epoll_poller until then. Returns the one
/// before. Any thread.
inline poller_factory set_default_poller(poller_factory make) noexcept {
    return detail::default_poller_factory().exchange(make, std::memory_order_acq_rel);
}
}  // namespace ferry::inline FERRY_ABI
