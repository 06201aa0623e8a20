// ferry/deadlock/allowance.hpp - where a thread may block: scopes that allow or forbid it, and the question
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/executor.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/deadlock/report.hpp>

#include <source_location>
#include <string>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// The innermost scope decides, whatever is around it.
class blocking_scope {
public:
    blocking_scope(const blocking_scope&) = delete;
    blocking_scope& operator=(const blocking_scope&) = delete;

    [[nodiscard]] const char* reason() const noexcept { return reason_; }
    [[nodiscard]] bool allows() const noexcept { return allows_; }

protected:
    blocking_scope(bool allows, const char* reason) noexcept
        : allows_(allows), reason_(reason), outer_(this_thread().allowance) {
        this_thread().allowance = this;
    }
    ~blocking_scope() { this_thread().allowance = outer_; }

private:
    const bool allows_;
    const char* reason_;
    const blocking_scope* outer_;
};
}  // namespace detail

/// While it lives, blocking ferry calls on this thread are let through even inside a turn of a loop, unless they wait
/// for that very loop: such a wait can never end, and throws deadlock_error all the same.
///
///     ferry::allow_blocking ok("the cache is warmed once, before the first connection");
///
/// Ownership      A local variable; scopes nest. It must not live across a co_await.
/// Thread-safety  Concerns the calling thread only.
class [[nodiscard]] allow_blocking : public detail::blocking_scope {
public:
    /// The reason is a literal: it is what a reader of the code, and of a report, sees.
    explicit allow_blocking(const char* reason) noexcept : blocking_scope(true, reason) {}
};

/// While it lives, blocking ferry calls on this thread throw blocking_error, as inside a loop's turn: for threads of your
/// own that must not block, such as one that paints or plays sound.
///
/// Ownership      A local variable; scopes nest, and the innermost decides.
/// Thread-safety  Concerns the calling thread only.
class [[nodiscard]] forbid_blocking : public detail::blocking_scope {
public:
    /// What this thread does that nothing may hold up; a literal.
    explicit forbid_blocking(const char* tag) noexcept : blocking_scope(false, tag) {}
};

/// For authors of blocking functions: says at the top of one that it blocks. Throws blocking_error inside a loop's turn, or
/// in a forbid_blocking scope, unless an allow_blocking scope is open.
///
///     row find_user(int id) {
///         ferry::check_blocking("find_user");
///         return database.query(...);
///     }
inline void check_blocking(const char* what, std::source_location where = std::source_location::current());

// ---- implementation ----------------------------------------------------------------------------------------------
namespace detail {
[[nodiscard]] inline bool may_block_here() noexcept {
    const thread_state& self = this_thread();
    return self.allowance != nullptr ? self.allowance->allows() : self.turn == nullptr;
}
/// "task load_user", "a callback", or the thread that forbids it.
[[nodiscard]] inline std::string who_runs_here() {
    const thread_state& self = this_thread();
    if (self.turn == nullptr)
        return self.thread_name == nullptr ? "this thread" : "thread " + std::string(self.thread_name);
    const logical_task* const running = self.turn->current();
    return running == nullptr ? "a callback" : "task " + short_name(running->name());
}
[[noreturn]] inline void throw_blocking_error(const std::string& call) {
    const thread_state& self = this_thread();
    if (self.turn == nullptr) {
        throw blocking_error(
            "blocking: " + call + " would block a thread that must not\n  " + who_runs_here() +
            " is in forbid_blocking(\"" + self.allowance->reason() +
            "\")\n  call it on another thread, with to_thread, or open allow_blocking(\"reason\") if it "
            "has to be");
    }
    throw blocking_error(
        "blocking: " + call + " would block a loop\n  " + who_runs_here() +
        " runs in a turn of a loop, which serves nobody while it is blocked\n  co_await it, move the call "
        "to to_thread, or open allow_blocking(\"reason\") if it has to be");
}
}  // namespace detail

inline void check_blocking(const char* what, std::source_location where) {
    if (detail::may_block_here()) return;
    detail::throw_blocking_error(std::string(what) + " (" + where.file_name() + ":" + std::to_string(where.line()) +
                                 ")");
}
}  // namespace ferry::inline FERRY_ABI
