// ferry/bridge/os_thread.hpp - starting and joining threads, without <thread>
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/deadlock/report.hpp>

#include <atomic>
#include <string>
#include <system_error>

#include <pthread.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Starts body(argument) on a new thread that bears the name (15 letters of it in `ps -L`). Throws std::system_error.
inline pthread_t start_thread(void (*body)(void*) noexcept, void* argument, const std::string& name) {
    class start_block {
    public:
        start_block(void (*what)(void*) noexcept, void* with) noexcept : what_(what), with_(with) {}
        static void* run(void* self) {
            const start_block call = *static_cast<start_block*>(self);
            delete static_cast<start_block*>(self);
            call.what_(call.with_);
            return nullptr;
        }

    private:
        void (*what_)(void*) noexcept;
        void* with_;
    };
    start_block* const block = new start_block(body, argument);
    pthread_t thread{};
    if (const int error = ::pthread_create(&thread, nullptr, &start_block::run, block); error != 0) {
        delete block;
        throw std::system_error(error, std::system_category(), "ferry: cannot start thread " + name);
    }
    ::pthread_setname_np(thread, name.substr(0, 15).c_str());
    return thread;
}

/// A call of the parent's has forked, and the child has come back from it to the loop of a thread of ferry's, the only thread
/// that it has: there is nobody here to work for. That thread ends, and with it the child.
inline void report_child_of_a_call() {
    report(
        "ferry: a call has forked, and the child has returned from it; its only thread ends now, and so does the "
        "child. End it in the call, with exec or _exit()");
}

inline void report_destruction_in_turn(const char* what) {
    std::string text = "ferry: a ";  // in steps: GCC 12 takes one expression for an overflow
    text.append(what).append(" is destroyed inside a turn of a loop; its threads end in the background. Destroy it ");
    text.append("outside of the loop, or with to_thread, to know when they have ended");
    report(text);
}

/// True where this thread must not wait for that one, being that one, or inside a loop's turn, which a join would stop: then that
/// one ends by itself, and a report says so, once for each kind of object. The thread must have been told to end.
[[nodiscard]] inline bool handed_over(pthread_t thread, std::atomic<bool>& reported, const char* what) {
    const bool is_own = ::pthread_equal(thread, ::pthread_self()) != 0;
    if (!is_own && may_block_here()) return false;
    ::pthread_detach(thread);
    if (!is_own && !reported.exchange(true, std::memory_order_relaxed)) report_destruction_in_turn(what);
    return true;
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
