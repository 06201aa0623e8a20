// ferry/core/process.hpp - what a process has once, and what becomes of it in a forked child
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/this_thread.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

namespace ferry::inline FERRY_ABI {
/// How many copies of ferry have made a loop or a pool in this process; 0 before the first.
///
/// An executable and the shared objects it is linked with share one copy; so do objects loaded later if the executable
/// exports its symbols (-rdynamic). Otherwise the executable has a copy of its own, and each loaded object one, or all of
/// them together one (g++, default visibility). Copies work side by side and know nothing of each other: what waits in
/// one for a loop of another is not recognised as a deadlock.
///
/// Thread-safety  Any thread. Cost: reads /proc/self/maps; where there is no such file it tells of its own copy only.
[[nodiscard]] inline int ferry_copies() noexcept;

namespace detail {
/// Runs in a forked child, before fork() returns there. An object with static storage.
struct fork_hook {
    void (*run)() noexcept = nullptr;
    fork_hook* next = nullptr;
};

/// The process as ferry's loops and pools see it.
///
/// A child of fork() has one thread, the one that called fork(): whatever other threads held or ran is gone for good, and
/// nobody will ever unlock, wake or join. So the child gets another generation: what was made before the fork refuses to
/// work there, and what is process-wide is made anew.
///
/// Thread-safety  Every member, on every thread.
class process {
public:
    /// Changes in every forked child.
    [[nodiscard]] static std::uint32_t generation() noexcept { return counter().load(std::memory_order_relaxed); }
    /// Called by whatever must know of a fork; the first call also lets ferry_copies() see this copy.
    static void begin() noexcept {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        ::pthread_once(&once, [] {
            ::pthread_atfork(nullptr, nullptr, [] { in_child(); });
            announce_copy();
        });
    }
    static void at_fork_in_child(fork_hook& hook) noexcept {
        begin();
        hook.next = hooks().load(std::memory_order_relaxed);
        while (!hooks().compare_exchange_weak(hook.next, &hook, std::memory_order_release, std::memory_order_relaxed)) {
        }
    }

private:
    friend int ferry::ferry_copies() noexcept;
    static constexpr const char* copy_name = "ferry-copy";

    static std::atomic<std::uint32_t>& counter() noexcept {
        static constinit std::atomic<std::uint32_t> generation{0};
        return generation;
    }
    static std::atomic<fork_hook*>& hooks() noexcept {
        static constinit std::atomic<fork_hook*> first{nullptr};
        return first;
    }
    static void in_child() noexcept {
        counter().fetch_add(1, std::memory_order_relaxed);
        for (fork_hook* hook = hooks().load(std::memory_order_acquire); hook != nullptr; hook = hook->next) hook->run();
        thread_state& self = this_thread();
        self.turn = nullptr;
        self.binds_executors = false;
        self.running_call = nullptr;
        self.home = nullptr;
        self.home_thread = nullptr;
        self.service = nullptr;
        self.private_loop = nullptr;  // left behind: destroying it would end the parent's tasks here
    }
    /// Copies share no symbol by which they could find each other; a mapping that bears a name is seen by all.
    static void announce_copy() noexcept {
        const int file = ::memfd_create(copy_name, MFD_CLOEXEC);
        if (file < 0) return;
        ::mmap(nullptr, 1, PROT_NONE, MAP_PRIVATE, file, 0);
        ::close(file);
    }
};

/// A T that the process has once: made on first use, never destroyed, since threads may outlive the statics. A forked child
/// leaves it behind, it may be locked or half changed for ever, and makes its own; T::left_behind(), if there is one, is
/// called there first. Threads that need it first at the same time make one each, and all but one are deleted: what others
/// are to know of it belongs into T::has_been_chosen().
template <class T>
class process_wide {
public:
    [[nodiscard]] static T& get() {
        T* const made = slot().load(std::memory_order_acquire);
        return made != nullptr ? *made : make();
    }

private:
    [[gnu::noinline]] static T& make() {
        static constinit fork_hook hook{&leave_behind};
        static constinit std::atomic<bool> hooked{false};
        if (!hooked.exchange(true, std::memory_order_relaxed)) process::at_fork_in_child(hook);
        T* const fresh = new T;
        T* first = nullptr;
        if (slot().compare_exchange_strong(first, fresh, std::memory_order_acq_rel)) {
            if constexpr (requires { fresh->has_been_chosen(); }) fresh->has_been_chosen();
            return *fresh;
        }
        delete fresh;
        return *first;
    }
    static void leave_behind() noexcept {
        T* const old = slot().exchange(nullptr, std::memory_order_acq_rel);
        if constexpr (requires { old->left_behind(); }) {
            if (old != nullptr) old->left_behind();
        }
    }
    static std::atomic<T*>& slot() noexcept {
        static constinit std::atomic<T*> pointer{nullptr};
        return pointer;
    }
};
}  // namespace detail

// ---- implementation ----------------------------------------------------------------------------------------------
inline int ferry_copies() noexcept {
    std::FILE* const maps = std::fopen("/proc/self/maps", "re");
    if (maps == nullptr) return 1;
    int copies = 0;
    char line[512];
    char wanted[64];
    std::snprintf(wanted, sizeof wanted, "/memfd:%s ", detail::process::copy_name);
    while (std::fgets(line, sizeof line, maps) != nullptr) {
        if (std::strstr(line, wanted) != nullptr) ++copies;
    }
    std::fclose(maps);
    return copies;
}
}  // namespace ferry::inline FERRY_ABI
