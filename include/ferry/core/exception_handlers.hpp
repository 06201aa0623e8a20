// ferry/core/exception_handlers.hpp - where an exception goes that no caller can receive
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>

#include <atomic>
#include <cstdio>
#include <exception>

namespace ferry::inline FERRY_ABI {
/// Receives an exception and the name of the task it comes from ("?" when it has none). Called on any thread.
using exception_handler = void (*)(std::exception_ptr error, const char* task_name) noexcept;

namespace detail {
inline void print_exception(const char* what_happened, const std::exception_ptr& error,
                            const char* task_name) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& caught) {
        std::fprintf(stderr, "ferry: %s in task '%s': %s\n", what_happened, task_name, caught.what());
    } catch (const cancelled& caught) {
        std::fprintf(stderr, "ferry: %s in task '%s': %s\n", what_happened, task_name, caught.what());
    } catch (...) {
        std::fprintf(stderr, "ferry: %s in task '%s': an exception of unknown type\n", what_happened, task_name);
    }
}

inline void print_and_terminate(std::exception_ptr error, const char* task_name) noexcept {
    print_exception("unhandled exception", error, task_name);
    std::terminate();
}
inline void print_suppressed(std::exception_ptr error, const char* task_name) noexcept {
    print_exception("a second failure, beside the one that is thrown,", error, task_name);
}

inline std::atomic<exception_handler>& unhandled_handler() noexcept {
    static constinit std::atomic<exception_handler> handler{&print_and_terminate};
    return handler;
}
inline std::atomic<exception_handler>& suppressed_handler() noexcept {
    static constinit std::atomic<exception_handler> handler{&print_suppressed};
    return handler;
}

inline void report_unhandled(std::exception_ptr error, const char* task_name) noexcept {
    unhandled_handler().load(std::memory_order_acquire)(error, task_name == nullptr ? "?" : task_name);
}
inline void report_suppressed(std::exception_ptr error, const char* task_name) noexcept {
    suppressed_handler().load(std::memory_order_acquire)(error, task_name == nullptr ? "?" : task_name);
}

inline bool is_disconnected(const std::exception_ptr& error) noexcept {
    if (error == nullptr) return false;
    try {
        std::rethrow_exception(error);
    } catch (const disconnected&) {
        return true;
    } catch (...) {
        return false;
    }
}
/// A failure beside the one that is thrown, if any. A peer that goes away fails everyone who talks to it: that is one
/// event, and no second failure.
inline void report_beside(const std::exception_ptr& thrown, const std::exception_ptr& error,
                          const char* task_name) noexcept {
    if (is_disconnected(thrown) && is_disconnected(error)) return;
    report_suppressed(error, task_name);
}
}  // namespace detail

/// Sets who receives an exception that ends a task whose future is gone or was never asked. The default prints it and
/// calls std::terminate. Returns the handler before.
inline exception_handler set_unhandled_exception_handler(exception_handler handler) noexcept {
    return detail::unhandled_handler().exchange(handler, std::memory_order_acq_rel);
}

/// Sets who receives the second and later failures of tasks that were awaited together (when_all, when_any, a task
/// group throw the first). The default prints them. Returns the handler before. A `disconnected` beside a `disconnected`
/// that is thrown is the same event, and is not told.
inline exception_handler set_suppressed_exception_handler(exception_handler handler) noexcept {
    return detail::suppressed_handler().exchange(handler, std::memory_order_acq_rel);
}
}  // namespace ferry::inline FERRY_ABI
