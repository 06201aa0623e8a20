// ferry/loop/spawn.hpp - starts a task that its loop owns
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/invoke.hpp>
#include <ferry/core/rooted_task.hpp>
#include <ferry/core/temporaries.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>

#include <exception>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// What an observer outside of the loop gets for a task that was cancelled because its loop closed.
inline std::exception_ptr closed_if_cancelled(const std::exception_ptr& error, const char* name) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (const cancelled&) {
        return std::make_exception_ptr(
            closed_error("task " + short_name(name) + " was cancelled: its loop was closed"));
    } catch (...) {
        return error;
    }
}

/// A spawned task: owned by its loop from the moment it is scheduled, it destroys itself when it has ended.
template <class T>
class spawned final : public rooted_task<T>, public owned_task {
public:
    spawned(event_loop& loop, task<T> body)
        : rooted_task<T>(loop, nullptr, &finished, std::move(body)), promise_(loop, this->record()), loop_(loop) {
        this->run = &begin;
    }
    static void* operator new(std::size_t size) { return frame_allocator::allocate(size); }
    static void operator delete(void* block, std::size_t size) noexcept { frame_allocator::deallocate(block, size); }

    [[nodiscard]] future<T> get_future() { return promise_.get_future(); }

private:
    /// The node's first run, on the loop's thread.
    static void begin(ready_node& node) noexcept {
        spawned& self = static_cast<spawned&>(static_cast<logical_task&>(node));
        self.run = &logical_task::resume;
        if (self.loop_.adopt(self)) return logical_task::resume(self);
        self.refuse();
        delete &self;
    }
    static void finished(logical_task& base) noexcept {
        spawned& self = static_cast<spawned&>(base);
        self.loop_.disown(self);
        self.deliver();
        delete &self;
    }
    void cancel() noexcept override { this->root_scope().cancel(); }
    [[nodiscard]] const logical_task& root_task() const noexcept override { return *this; }
    void refuse() noexcept override {
        promise_.refuse(std::make_exception_ptr(
            closed_error("task " + short_name(this->name()) + " did not start: its loop is closed")));
    }
    void deliver() noexcept {
        result<T>& outcome = this->outcome();
        if (outcome.has_exception()) {
            const std::exception_ptr& error = outcome.exception();
            const std::exception_ptr answer = loop_.closing() ? closed_if_cancelled(error, this->name()) : error;
            if (answer == error) {
                promise_.set_exception(answer);
            } else {
                promise_.refuse(answer);
            }
        } else if constexpr (std::is_void_v<T>) {
            promise_.set_value();
        } else {
            try {
                promise_.set_value(outcome.take());
            } catch (...) {
                promise_.set_exception(std::current_exception());
            }
        }
    }

    promise<T> promise_;
    event_loop& loop_;
};

template <class Fn, class... Args>
constexpr void refuse_plain_functions() noexcept {
    static_assert(awaitable<std::invoke_result_t<Fn, Args...>>,
                  "this function is not asynchronous: a coroutine that returns a task is needed here");
}

/// Keeps fn and its arguments in a frame for as long as the coroutine that fn makes runs.
template <class Fn, class... Args>
task<await_result<std::invoke_result_t<Fn&, Args&...>>> call_stored(Fn fn, Args... args) {
    auto body = to_task(detail::invoke(fn, args...));
    logical_task& self = co_await current_task();
    self.rename(body.name());
    co_return co_await std::move(body);
}
}  // namespace detail

/// Schedules the task on the loop, which owns it from then on: it ends by itself, or when the loop closes.
///
/// The future only observes: dropping it stops nothing. An exception that nobody receives through it goes to the
/// unhandled-exception handler.
///
/// Thread-safety  Any thread, while the loop lives. Errors: closed_error once it is closed.
template <awaitable Awaitable>
future<detail::await_result<Awaitable>> spawn(event_loop& loop, Awaitable what) {
    static_assert(!detail::handle_of_a_call<Awaitable>,
                  "app::send and app::receive live as long as their application's call, which a spawned task may "
                  "outlive: group.start(...) in with_task_group starts a child that ends before");
    using T = detail::await_result<Awaitable>;
    auto* const made = new detail::spawned<T>(loop, detail::to_task(std::move(what)));
    future<T> result = made->get_future();
    if (event_loop::current() == &loop && !loop.closing()) {
        loop.schedule(*made);
        return result;
    }
    const detail::loop_reference keep(loop.control());  // once it has the task, the loop may run it, end and go away
    if (!keep->push_new(*made)) {
        const std::string name = detail::short_name(made->name());
        delete made;
        throw closed_error("spawn(" + name + "): " + keep->refusal());
    }
    return result;
}

/// The same for a function and its arguments, which are kept until the coroutine has ended: a lambda that captures is
/// safe here. A handle of an application's call is refused; one that a lambda captures, or that a task was given before,
/// cannot be seen: the call must not end before what uses it, so use a task group's child there.
template <class Fn, class... Args>
requires(!awaitable<Fn>) auto spawn(event_loop& loop, Fn&& fn, Args&&... args) {
    detail::refuse_unsafe_temporaries<Fn&&, Args&&...>();
    detail::refuse_plain_functions<detail::stored_type<Fn>&, detail::stored_type<Args>&...>();
    static_assert(!(detail::handle_of_a_call<detail::stored_type<Args>> || ...),
                  "app::send and app::receive live as long as their application's call, which a spawned task may "
                  "outlive: group.start(...) in with_task_group starts a child that ends before");
    return spawn(loop, detail::call_stored<detail::stored_type<Fn>, detail::stored_type<Args>...>(
                           std::forward<Fn>(fn), std::forward<Args>(args)...));
}

/// On the loop whose turn this is.
template <class First, class... Rest>
requires(!std::is_base_of_v<event_loop, std::remove_cvref_t<First>>) auto spawn(First&& first, Rest&&... rest) {
    FERRY_ASSERT(event_loop::current() != nullptr, "spawn outside of a loop's turn: name the loop, spawn(loop, ...)");
    return spawn(*event_loop::current(), std::forward<First>(first), std::forward<Rest>(rest)...);
}

template <class... What>
auto event_loop::spawn(What&&... what) {
    return ferry::spawn(*this, std::forward<What>(what)...);
}
}  // namespace ferry::inline FERRY_ABI
