// ferry/core/task.hpp - the lazy coroutine that everything else is made of
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/foreign.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/result.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <source_location>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
template <class T = void>
class task;

namespace detail {
template <class T>
class rooted_task;

/// What every ferry frame carries: its logical task, whom it continues, its name and the line of its current co_await.
class promise_base {
public:
    explicit promise_base(const std::source_location& where) noexcept : name_(where.function_name()) {}
    promise_base(const promise_base&) = delete;
    promise_base& operator=(const promise_base&) = delete;

    static void* operator new(std::size_t size) { return frame_allocator::allocate(size); }
    static void operator delete(void* frame, std::size_t size) noexcept { frame_allocator::deallocate(frame, size); }

    /// A child that ends while its parent is still inside await_suspend only says so: the parent goes on without having
    /// been suspended. Otherwise the parent goes to the run-next list, so the native stack never grows with the chain.
    class final_awaiter {
    public:
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> frame) const noexcept {
            static_cast<promise_base&>(frame.promise()).end();
        }
        void await_resume() const noexcept {}
    };

    [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
    [[nodiscard]] final_awaiter final_suspend() const noexcept { return {}; }

    template <class Awaitable>
    [[nodiscard]] decltype(auto) await_transform(Awaitable&& value,
                                                 std::source_location where = std::source_location::current()) {
        static_assert(awaitable<Awaitable> || foreign_awaitable<Awaitable>, "this cannot be awaited");
        awaiting_ = where;
        if constexpr (awaitable<Awaitable>) {
            return std::forward<Awaitable>(value);
        } else {
            using awaiter = decltype(get_foreign_awaiter(std::forward<Awaitable>(value)));
            return foreign_awaiter<awaiter>(std::forward<Awaitable>(value));
        }
    }

    [[nodiscard]] logical_task& task() const noexcept { return *task_; }
    [[nodiscard]] const char* name() const noexcept { return name_; }
    /// Where it awaits, or last awaited.
    [[nodiscard]] const std::source_location& awaiting() const noexcept { return awaiting_; }
    [[nodiscard]] const promise_base* parent() const noexcept { return parent_; }
    void set_name(const char* name) noexcept { name_ = name; }

    /// Makes this frame the first of a logical task.
    void begin_chain(logical_task& owner, std::coroutine_handle<> self) noexcept {
        task_ = &owner;
        owner.begin_at(self, name_);
    }

    /// Runs this frame as the next of the parent's chain. True when the parent has to wait for it.
    bool continue_chain(promise_base& parent, std::coroutine_handle<> parent_frame,
                        std::coroutine_handle<> self) noexcept {
        logical_task& owner = *parent.task_;
        task_ = &owner;
        parent_ = &parent;
        parent_frame_ = parent_frame;
        if (owner.owner().too_deep()) {
            owner.suspend_at(self);
            owner.owner().run_next(owner);
            return true;
        }
        parent_is_on_stack_ = true;
        {
            const executor::resumption on_stack(owner.owner(), owner);
            self.resume();
        }
        parent_is_on_stack_ = false;
        return !ended_;
    }

protected:
    /// A generator's frame is continued once for each value: this is not the end.
    void begin_anew() noexcept { ended_ = false; }
    /// This frame has no more to do for now: its parent goes on.
    void end() noexcept {
        ended_ = true;
        if (parent_is_on_stack_) return;
        if (parent_ == nullptr) return task_->mark_finished();
        task_->suspend_at(parent_frame_);
        task_->owner().run_next(*task_);
    }

private:
    logical_task* task_ = nullptr;
    std::coroutine_handle<> parent_frame_;
    promise_base* parent_ = nullptr;
    const char* name_;
    std::source_location awaiting_;
    bool parent_is_on_stack_ = false;
    bool ended_ = false;
};

template <class T>
class task_promise : public promise_base {
public:
    using promise_base::promise_base;
    template <class U = T>
    requires std::is_constructible_v<T, U&&>
    void return_value(U&& value) { result_.set_value(std::forward<U>(value)); }
    void unhandled_exception() noexcept { result_.set_exception(std::current_exception()); }
    [[nodiscard]] result<T>& outcome() noexcept { return result_; }

private:
    result<T> result_;
};

template <>
class task_promise<void> : public promise_base {
public:
    using promise_base::promise_base;
    void return_void() noexcept { result_.set_value(); }
    void unhandled_exception() noexcept { result_.set_exception(std::current_exception()); }
    [[nodiscard]] result<void>& outcome() noexcept { return result_; }

private:
    result<void> result_;
};
}  // namespace detail

/// A coroutine that starts when it is awaited and hands its result, or its exception, to whoever awaits it.
///
///     ferry::task<int> rows(std::string table);       // calling it runs nothing
///     int n = co_await rows("users");                 // runs it, here
///
/// co_await of a task stays inside the awaiting logical task: no scheduling, no checkpoint, and the native stack does
/// not grow with the depth of the chain or the number of awaits.
///
/// Ownership      Move-only. Dropping a task that never started destroys it; a started one is owned by the coroutine
///                that awaits it, and is never destroyed while it is suspended.
/// Thread-safety  None before it starts; then it runs on its loop's thread only.
/// Cost           One recycled frame; no operator new in steady state.
template <class T>
class [[nodiscard]] task {
    static_assert(std::is_void_v<T> || std::is_reference_v<T> || std::is_move_constructible_v<T>,
                  "a task returns its value by moving it: return guards and permits directly from their primitive");

public:
    using native_awaitable = void;
    using value_type = T;

    class promise_type final : public detail::task_promise<T> {
    public:
        // The default argument is evaluated inside the coroutine, whose name it therefore carries.
        promise_type(std::source_location where = std::source_location::current()) noexcept
            : detail::task_promise<T>(where) {}
        task get_return_object() noexcept { return task(std::coroutine_handle<promise_type>::from_promise(*this)); }
    };

    task(task&& other) noexcept : frame_(std::exchange(other.frame_, {})) {}
    task& operator=(task&& other) noexcept {
        if (this != &other) {
            destroy();
            frame_ = std::exchange(other.frame_, {});
        }
        return *this;
    }
    ~task() { destroy(); }

    /// The name it has in reports; a literal, or text that outlives the task. The default is its function's name.
    task&& named(const char* name) && noexcept {
        frame_.promise().set_name(name);
        return std::move(*this);
    }

    [[nodiscard]] const char* name() const noexcept { return frame_.promise().name(); }
    /// False after it was moved from.
    [[nodiscard]] bool valid() const noexcept { return static_cast<bool>(frame_); }

    class awaiter {
    public:
        explicit awaiter(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> parent) const noexcept {
            static_assert(detail::ferry_promise<Promise>, "a task can be awaited only in a ferry coroutine (task<T>)");
            return frame_.promise().continue_chain(parent.promise(), parent, frame_);
        }
        T await_resume() const { return frame_.promise().outcome().take(); }
        /// For ferry: how it ended, once it has.
        [[nodiscard]] detail::result<T>& outcome() const noexcept { return frame_.promise().outcome(); }

    private:
        std::coroutine_handle<promise_type> frame_;
    };

    awaiter operator co_await() && noexcept {
        FERRY_ASSERT(frame_, "co_await of a task that was moved from");
        return awaiter(frame_);
    }

private:
    friend class detail::rooted_task<T>;
    explicit task(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
    void destroy() noexcept {
        if (frame_) std::exchange(frame_, {}).destroy();
    }

    std::coroutine_handle<promise_type> frame_;
};
}  // namespace ferry::inline FERRY_ABI
