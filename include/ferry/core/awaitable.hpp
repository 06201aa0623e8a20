// ferry/core/awaitable.hpp - what ferry can co_await, and what comes out of it
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/logical_task.hpp>

#include <concepts>
#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// Something of ferry's that can be awaited in a ferry coroutine; such a type says so by a member type
/// `native_awaitable`.
template <class T>
concept awaitable = requires {
    typename std::remove_cvref_t<T>::native_awaitable;
};

/// Void in a place that needs an object, such as the tuple that when_all yields.
struct nothing {
    friend bool operator==(nothing, nothing) = default;
};

namespace detail {
template <class T>
decltype(auto) get_awaiter(T&& value) {
    if constexpr (requires { std::forward<T>(value).operator co_await(); }) {
        return std::forward<T>(value).operator co_await();
    } else {
        return std::forward<T>(value);
    }
}

/// What co_await of a T yields.
template <class T>
using await_result = decltype(get_awaiter(std::declval<T>()).await_resume());

/// A result that is valid only until the next co_await, such as net::borrowed_bytes.
template <class T>
inline constexpr bool is_borrowed = requires {
    typename T::borrowed_until_next_await;
};
template <class T>
inline constexpr bool is_borrowed<std::optional<T>> = is_borrowed<T>;
template <class T>
concept borrowed_result = is_borrowed<std::remove_cvref_t<T>>;

/// A handle that is valid only while the call that was given it runs, on its loop, such as app::send: a child of a group
/// may keep it, but nothing that can outlive the call. A pointer or std::ref to one is none the better.
template <class T>
inline constexpr bool lives_as_long_as_a_call = requires {
    typename T::lives_as_long_as_its_call;
};
template <class T>
inline constexpr bool lives_as_long_as_a_call<T*> = lives_as_long_as_a_call<std::remove_cv_t<T>>;
template <class T>
requires requires(const T& reference) {
    typename T::type;
    { reference.get() } -> std::same_as<typename T::type&>;
}
inline constexpr bool lives_as_long_as_a_call<T> = lives_as_long_as_a_call<std::remove_cv_t<typename T::type>>;
template <class T>
concept handle_of_a_call = lives_as_long_as_a_call<std::decay_t<T>>;

/// An awaiter that refers to what may have been made for the one expression in which it is awaited: send(message).
template <class T>
concept borrowing_awaitable = requires {
    typename std::remove_cvref_t<T>::borrows_its_argument;
};

template <class T>
using object_or_nothing = std::conditional_t<std::is_void_v<T>, nothing, T>;

/// The promise of a ferry coroutine knows its logical task.
template <class Promise>
concept ferry_promise = requires(Promise& promise) {
    { promise.task() } -> std::same_as<logical_task&>;
};

/// `co_await current_task()` yields the logical task that awaits it, at once.
class current_task {
public:
    using native_awaitable = void;
    current_task() noexcept {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <ferry_promise Promise>
    bool await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        task_ = &frame.promise().task();
        return false;
    }
    [[nodiscard]] logical_task& await_resume() const noexcept { return *task_; }

private:
    logical_task* task_ = nullptr;
};

/// Base of ferry's leaf awaiters: checkpoint, fairness, and the one place where a task begins to wait.
///
/// Derived offers
///     bool try_complete() noexcept     take the result now; true when there is one (it stays in the awaiter)
///     void link() noexcept             join the list of waiters; from then on the wait may be ended
///     static void withdraw(waiter&) noexcept           see waiter
///     static constexpr const char* what                the primitive's name in reports
///     T finish()                       hand out the result or throw; not called when a cancellation ended the wait
///     static constexpr bool may_close_a_circle         optional: link() may call task().needs(), so the graph is asked
///
/// A wait ends in one of two ways: the waker has stored the result and calls task().wake(), or the waker only knows
/// that another try may succeed and calls retry(): then try_complete() runs right before the task would resume.
template <class Derived>
class leaf_awaiter : public waiter {
public:
    using native_awaitable = void;

    leaf_awaiter() noexcept : waiter(&Derived::withdraw) {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        static_assert(ferry_promise<Promise>, "ferry's primitives can be awaited only in a ferry coroutine (task<T>)");
        logical_task& owner = frame.promise().task();
        owner.suspend_at(frame);
        bind(owner);
        return begin();
    }

    decltype(auto) await_resume() {
        if (task().take_interrupted()) [[unlikely]]
            throw_interruption();
        return static_cast<Derived&>(*this).finish();
    }

    /// Ends the wait by trying again on the task's next turn. The waiter must be unlinked already.
    void retry() noexcept { task().schedule_retry(&try_again); }

private:
    [[noreturn, gnu::noinline]] void throw_interruption() {
        if (const std::exception_ptr refusal = task().take_refusal()) std::rethrow_exception(refusal);
        throw cancelled();
    }
    /// The checkpoint, then one try. True when the task has to wait.
    bool begin() noexcept {
        Derived& self = static_cast<Derived&>(*this);
        if (task().scope().cancelled()) {
            task().interrupt();
            return false;
        }
        if (!task().owner().may_complete_inline()) {
            task().wait_in(*this, Derived::what);
            retry();
            return true;
        }
        if (self.try_complete()) {
            task().owner().count_inline_completion();
            return false;
        }
        task().wait_in(*this, Derived::what);
        self.link();
        if constexpr (requires { Derived::may_close_a_circle; }) {
            // Whoever ends the wait only pushes the task's node, and this is the thread that takes it.
            const wait_node& record = task().record();
            if (record.needs() != nullptr) task().owner().inspect(record, &task());
        }
        return true;
    }

    static void try_again(ready_node& node) noexcept {
        logical_task& owner = static_cast<logical_task&>(node);
        leaf_awaiter& self = static_cast<Derived&>(owner.end_retry());
        if (!self.begin()) logical_task::resume(owner);
    }
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
