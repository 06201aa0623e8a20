// ferry/bridge/detail/thread_call.hpp - a blocking call that a task awaits
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/bridge/detail/destination.hpp>
#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/context.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/result.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/loop_control.hpp>

#include <exception>
#include <tuple>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
class call_options {
public:
    explicit call_options(destination place) noexcept : where(place) {}
    destination where;
    const char* name = nullptr;
    ferry::context* variables = nullptr;  // instead of the caller's
    wait_node::flags how = 0;
};

/// Who owns what: the call is in the awaiting frame, which cannot go away before the task resumes. submit() publishes it;
/// the loop's thread does not touch it afterwards, but to withdraw it under the lock of the place where it waits, and to
/// request its stop. The thread that runs it stores the outcome, then pushes the task's node to the loop's inbox
/// (release); the loop takes it from there (acquire) and only then resumes the task. Until the push the task is not over, so
/// its loop and the inbox are there; that thread touches nothing afterwards.
template <class Fn, class... Args>
class [[nodiscard]] thread_call : public leaf_awaiter<thread_call<Fn, Args...>>, private call {
public:
    using result_type = std::remove_cv_t<std::invoke_result_t<Fn, Args...>>;
    static_assert(!awaitable<result_type>, "this function is a coroutine: co_await it, it needs no thread");
    static_assert(!(handle_of_a_call<Fn> || ... || handle_of_a_call<Args>),
                  "app::send and app::receive belong to their loop's thread: return from this call what is to be sent");
    static constexpr const char* what = "to_thread";

    template <class F, class... A>
    explicit thread_call(const call_options& options, F&& fn, A&&... args)
        : call(options.how),
          name_(options.name),
          explicit_context_(options.variables),
          where_(options.where),
          fn_(std::forward<F>(fn)),
          args_(std::forward<A>(args)...) {}
    // Awaitables are moved into when_all, timeout and spawn before they begin.
    thread_call(thread_call&& other)
        : leaf_awaiter<thread_call>(other),
          call(other.how()),
          name_(other.name_),
          explicit_context_(other.explicit_context_),
          where_(other.where_),
          fn_(std::forward<Fn>(other.fn_)),
          args_(std::move(other.args_)) {}

    static constexpr bool may_close_a_circle = true;
    bool try_complete() noexcept { return false; }
    void link() noexcept {
        call::name = name_ != nullptr ? name_ : this->task().name();
        this->is_awaited_by(this->task());
        event_loop& loop = event_loop::of(this->task());
        home_loop_ = &loop.control();
        made_at_ = this->task().home().get();
        node_ = &this->task();
        loop.begin_outside_work();
        std::swap(context_, context_of_caller());
        if (name_ != nullptr) this->task().wait_in(*this, name_);
        if (const std::exception_ptr refused = where_.submit(*this)) {
            outcome_.set_exception(refused);
            this->task().wake();
        }
    }
    static void withdraw(waiter& self) noexcept {
        thread_call& made = static_cast<thread_call&>(self);
        if (!made.where_.withdraw(made)) return made.stop_.request();  // it runs: its value is waited for and delivered
        made.settle();
        made.task().wake_interrupted();
    }
    result_type finish() {
        settle();
        return outcome_.take();
    }

private:
    ferry::context& context_of_caller() noexcept {
        return explicit_context_ != nullptr ? *explicit_context_ : this->task().context();
    }
    void settle() noexcept {
        event_loop::of(this->task()).end_outside_work();
        std::swap(context_, context_of_caller());
    }
    void run() noexcept override {
        outcome_.set_from([this]() -> result_type {
            const lent_context from_task(context_);
            return std::apply(std::forward<Fn>(fn_), std::move(args_));
        });
    }
    void fail(std::exception_ptr error) noexcept override { outcome_.set_exception(std::move(error)); }
    void deliver() noexcept override {
        this->is_over();
        where_.has_ended();
        // A loop is not sealed before its tasks have ended, so it takes the node.
        [[maybe_unused]] const bool taken = home_loop_->push(*node_);
    }
    [[nodiscard]] loop_reference loop() const noexcept override { return loop_reference(*home_loop_); }
    [[nodiscard]] home* made_at() const noexcept override { return made_at_; }
    [[nodiscard]] call_stop& stop() noexcept override { return stop_; }

    const char* name_;
    ferry::context* explicit_context_;
    call_stop stop_;
    // Side by side what the thread that runs the call touches.
    destination where_;
    Fn fn_;
    std::tuple<Args...> args_;
    loop_control* home_loop_ = nullptr;
    home* made_at_ = nullptr;
    ready_node* node_ = nullptr;
    ferry::context context_;  // the caller's, while the call has it
    result<result_type> outcome_;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
