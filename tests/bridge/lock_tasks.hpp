// tests/bridge/lock_tasks.hpp - tasks that take a mutex, for scenarios
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "bridge/scenario.hpp"

#include <ferry/core/task.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/async_mutex.hpp>
#include <ferry/loop/event.hpp>

#include <exception>
#include <utility>

namespace ferry_test {
/// Awaits it; a deadlock_error is kept, and the task goes on.
inline ferry::task<> judged(verdicts& refused, ferry::task<> what) {
    try {
        co_await std::move(what);
    } catch (const ferry::deadlock_error&) {
        refused.keep(std::current_exception());
    }
}
inline ferry::task<> lock_and_go(ferry::async_mutex& mutex) {
    const ferry::async_mutex::guard held = co_await mutex.lock();
}
inline ferry::task<> hold_until(ferry::async_mutex& mutex, ferry::event& end) {
    const ferry::async_mutex::guard held = co_await mutex.lock();
    co_await end.wait();
}
inline ferry::task<bool> works(ferry::async_mutex& mutex) {
    const ferry::async_mutex::guard held = co_await mutex.lock();
    co_return true;
}
}  // namespace ferry_test
