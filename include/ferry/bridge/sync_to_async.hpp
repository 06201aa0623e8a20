// ferry/bridge/sync_to_async.hpp - blocking functions as awaitables
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/thread_pool.hpp>
#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/invoke.hpp>
#include <ferry/core/result.hpp>
#include <ferry/core/temporaries.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/loop_control.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// A call on a pool thread, awaited by a task.
///
/// Who owns what: the job is in the awaiting frame, which cannot go away before the task resumes. submit() publishes
/// it; the loop's thread does not touch it afterwards, but to withdraw it under the pool's lock. The worker stores the
/// outcome, then pushes the task's node to the loop's inbox (release); the loop takes it from there (acquire) and only
/// then resumes the task. The worker keeps the inbox alive by a reference of its own and touches nothing after the
/// push.
template <class Fn, class... Args>
class [[nodiscard]] thread_call : public leaf_awaiter<thread_call<Fn, Args...>>, private pool_job {
public:
    using result_type = std::remove_cv_t<std::invoke_result_t<Fn, Args...>>;
    static_assert(!awaitable<result_type>, "this function is a coroutine: co_await it, it needs no thread");
    static constexpr const char* what = "to_thread";

    template <class F, class... A>
    explicit thread_call(thread_pool& pool, F&& fn, A&&... args)
        : pool_(pool), fn_(std::forward<F>(fn)), args_(std::forward<A>(args)...) {}
    // Awaitables are moved into when_all, timeout and spawn before they begin.
    thread_call(thread_call&& other)
        : leaf_awaiter<thread_call>(other),
          pool_job(),
          pool_(other.pool_),
          fn_(std::forward<Fn>(other.fn_)),
          args_(std::move(other.args_)) {}

    bool try_complete() noexcept { return false; }
    void link() noexcept {
        event_loop& loop = event_loop::of(this->task());
        home_ = loop_reference(loop.control());
        node_ = &this->task();
        loop.begin_outside_work();
        std::swap(context_, this->task().context());
        const thread_pool::submission answer = ticket_.submit(pool_, *this);
        if (answer == thread_pool::submission::accepted) return;
        outcome_.set_exception(refusal(answer));
        this->task().wake();
    }
    static void withdraw(waiter& self) noexcept {
        thread_call& call = static_cast<thread_call&>(self);
        if (!call.ticket_.withdraw(call)) return;  // it runs: its value is waited for and delivered
        call.settle();
        call.task().wake_interrupted();
    }
    result_type finish() {
        settle();
        return outcome_.take();
    }

private:
    void settle() noexcept {
        event_loop::of(this->task()).end_outside_work();
        std::swap(context_, this->task().context());
    }
    void run() noexcept override {
        outcome_.set_from([this]() -> result_type {
            const lent_context from_task(context_);
            return std::apply(std::forward<Fn>(fn_), std::move(args_));
        });
        wake();
    }
    void refuse() noexcept override {
        outcome_.set_exception(refusal(thread_pool::submission::closed));
        wake();
    }
    [[nodiscard]] loop_reference home() const noexcept override { return home_; }

    void wake() noexcept {
        const loop_reference home = std::move(home_);
        // A loop is not sealed before its tasks have ended, so it takes the node.
        [[maybe_unused]] const bool taken = home->push(*node_);
    }
    std::exception_ptr refusal(thread_pool::submission answer) const noexcept {
        const std::string pool = std::string("pool \"") + pool_.name() + "\"";
        if (answer == thread_pool::submission::closed) {
            return std::make_exception_ptr(closed_error("to_thread: " + pool + " is closed"));
        }
        if (answer == thread_pool::submission::left_behind) {
            return std::make_exception_ptr(closed_error("to_thread: " + pool +
                                                        " belongs to the process that forked this one; make another "
                                                        "one here"));
        }
        return std::make_exception_ptr(
            queue_full("to_thread: " + pool +
                       " has no room for another call: give it more threads or a longer queue, or "
                       "make fewer calls at a time"));
    }

    thread_pool& pool_;
    thread_pool::ticket ticket_;
    Fn fn_;
    std::tuple<Args...> args_;
    loop_reference home_;
    ready_node* node_ = nullptr;
    ferry::context context_;  // the task's, while the call has it
    result<result_type> outcome_;
};
}  // namespace detail

/// Runs fn(args...) on a thread of the pool; the task goes on, on its own loop, with the result or the exception.
///
///     int rows = co_await ferry::to_thread(count_rows, table);
///
/// fn and the arguments are copied (or moved in); pass std::ref for a reference: the call is over before the co_await
/// returns, even when the task is cancelled. Cancelling removes a call that is still queued and waits for one that
/// runs; its value is then delivered, and the next checkpoint throws. Inside fn, block_on comes back to this loop.
///
/// Errors  What fn throws; queue_full or closed_error from the pool; cancelled. A checkpoint.
/// Cost    No allocation; two hand-overs between threads.
template <class Fn, class... Args>
requires(!std::is_same_v<std::remove_cvref_t<Fn>, thread_pool>) auto to_thread(Fn&& fn, Args&&... args) {
    detail::refuse_unsafe_temporaries<Fn&&, Args&&...>();
    return detail::thread_call<detail::stored_type<Fn>, detail::stored_type<Args>...>(
        thread_pool::default_pool(), std::forward<Fn>(fn), std::forward<Args>(args)...);
}
/// The same on a pool of your own.
template <class Fn, class... Args>
auto to_thread(thread_pool& pool, Fn&& fn, Args&&... args) {
    detail::refuse_unsafe_temporaries<Fn&&, Args&&...>();
    return detail::thread_call<detail::stored_type<Fn>, detail::stored_type<Args>...>(pool, std::forward<Fn>(fn),
                                                                                      std::forward<Args>(args)...);
}

/// A blocking function as an asynchronous one: what sync_to_async returns.
///
/// Ownership      Shares the function with its copies and with every call that is under way, so it may go away first.
/// Thread-safety  Calls run at the same time on several threads: the function must stand that.
template <class Fn>
class async_function {
public:
    template <class F>
    explicit async_function(F&& fn) : fn_(std::make_shared<Fn>(std::forward<F>(fn))) {}

    /// Runs its calls on that pool, which outlives them.
    async_function on(thread_pool& pool) const {
        async_function copy = *this;
        copy.pool_ = &pool;
        return copy;
    }

    /// As to_thread(fn, args...).
    template <class... Args>
    requires std::invocable<Fn&, detail::stored_type<Args>...>
    auto operator()(Args&&... args) const {
        detail::refuse_unsafe_temporaries<Args&&...>();
        return detail::thread_call<shared_call, detail::stored_type<Args>...>(
            pool_ == nullptr ? thread_pool::default_pool() : *pool_, shared_call(fn_), std::forward<Args>(args)...);
    }

private:
    class shared_call {
    public:
        explicit shared_call(std::shared_ptr<Fn> fn) noexcept : fn_(std::move(fn)) {}
        template <class... Args>
        decltype(auto) operator()(Args&&... args) const {
            return detail::invoke(*fn_, std::forward<Args>(args)...);
        }

    private:
        std::shared_ptr<Fn> fn_;
    };

    std::shared_ptr<Fn> fn_;
    thread_pool* pool_ = nullptr;
};

/// Makes a reusable asynchronous function of a blocking one: of a function or member pointer, a lambda, any callable,
/// also a move-only one.
///
///     auto load_user = ferry::sync_to_async(&database::load_user).on(pool);
///     user u = co_await load_user(db, 42);
template <class Fn>
async_function<detail::stored_type<Fn>> sync_to_async(Fn&& fn) {
    detail::refuse_unsafe_temporaries<Fn&&>();
    return async_function<detail::stored_type<Fn>>(std::forward<Fn>(fn));
}
}  // namespace ferry::inline FERRY_ABI
