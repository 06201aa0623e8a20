// ferry/core/context_local.hpp - variables that follow the call instead of the thread
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/context.hpp>
#include <ferry/core/logical_task.hpp>

#include <atomic>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// The number of the next variable.
inline std::uint64_t next_context_variable() noexcept {
    static constinit std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

template <class T>
class stored_context_value final : public context_value {
public:
    template <class U>
    explicit stored_context_value(std::uint64_t variable, U&& value)
        : context_value(variable), value_(std::forward<U>(value)) {}
    [[nodiscard]] const T& get() const noexcept { return value_; }

private:
    const T value_;
};

/// What context_local and thread_context_local have in common; Place says where the current context is.
template <class T, class Place>
class context_variable {
public:
    /// Has no value until it is set.
    context_variable() noexcept = default;
    /// Has this value where it is not set.
    explicit context_variable(T initial) : initial_(std::move(initial)) {}
    context_variable(const context_variable&) = delete;
    context_variable& operator=(const context_variable&) = delete;

    /// The value here, null without one. The pointer is valid until the variable is changed here, or the next co_await.
    [[nodiscard]] const T* find() const noexcept {
        if (const context* const here = Place::find()) {
            const context_value* const value = here->find(this);
            if (value != nullptr && value->variable() == number_.load(std::memory_order_relaxed)) {
                return &static_cast<const stored_context_value<T>*>(value)->get();
            }
        }
        return initial_ ? &*initial_ : nullptr;
    }
    /// A copy of the value here. Throws std::logic_error where there is none.
    [[nodiscard]] T get() const {
        const T* const value = find();
        if (value == nullptr) {
            throw std::logic_error(
                "ferry: a context variable is read where it has no value: set it first, give it an initial value, or "
                "ask find()");
        }
        return *value;
    }
    /// Changes the value here, and for what is called or started from here.
    void set(T value) {
        context_value_reference stored(*new stored_context_value<T>(number(), std::move(value)));
        Place::get().set(this, std::move(stored));
    }
    /// Back to the initial value, or to none.
    void reset() { Place::get().erase(this); }

private:
    /// Given by the first set(), so that a variable at namespace scope needs no code to be made.
    [[nodiscard]] std::uint64_t number() noexcept {
        std::uint64_t mine = number_.load(std::memory_order_relaxed);
        if (mine != 0) return mine;
        const std::uint64_t fresh = next_context_variable();
        return number_.compare_exchange_strong(mine, fresh, std::memory_order_relaxed) ? fresh : mine;
    }

    const std::optional<T> initial_;
    std::atomic<std::uint64_t> number_{0};
};

struct call_context {
    [[nodiscard]] static const context* find() noexcept {
        if (logical_task* const task = running_task()) return &task->context();
        const thread_contexts* const contexts = this_thread().contexts;
        return contexts == nullptr ? nullptr : &contexts->lent;
    }
    [[nodiscard]] static context& get() {
        logical_task* const task = running_task();
        return task != nullptr ? task->context() : thread_contexts::of_this_thread().lent;
    }
};
struct thread_context {
    [[nodiscard]] static const context* find() noexcept {
        if (logical_task* const task = running_task()) return &task->context();
        const thread_contexts* const contexts = this_thread().contexts;
        return contexts == nullptr ? nullptr : &contexts->own;
    }
    [[nodiscard]] static context& get() {
        logical_task* const task = running_task();
        return task != nullptr ? task->context() : thread_contexts::of_this_thread().own;
    }
};
}  // namespace detail

/// A variable that follows the call: through co_await, to_thread, block_on and run, there and back, also when the callee
/// throws. A child task (spawn, a group, when_all, when_any, shield) starts with what its maker sees, and what it
/// changes stays its own.
///
///     inline ferry::context_local<std::string> request_id;
///     request_id.set("42");
///     co_await ferry::to_thread(load);         // load() sees "42"; what it sets is seen here afterwards
///
/// Ownership      Usually at namespace scope, or static. It may go away before the tasks that carry a value of it; that
///                value goes with the last of them.
/// Thread-safety  Every member, on every thread, for the context of the calling code. Values are shared between threads
///                as const T.
/// Cost           set() makes two allocations; find() is linear in the number of variables that are set.
template <class T>
class context_local : public detail::context_variable<T, detail::call_context> {
public:
    using detail::context_variable<T, detail::call_context>::context_variable;
};

/// The same for what must not leave its thread, such as a handle of a thread-bound library: plain code sees the value of
/// its own thread, whoever called it (L06, L07); a task has a value of its own (L09).
template <class T>
class thread_context_local : public detail::context_variable<T, detail::thread_context> {
public:
    using detail::context_variable<T, detail::thread_context>::context_variable;
};
}  // namespace ferry::inline FERRY_ABI
