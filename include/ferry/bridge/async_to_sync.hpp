// ferry/bridge/async_to_sync.hpp - awaitables for blocking code
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/invoke.hpp>
#include <ferry/core/process.hpp>
#include <ferry/core/result.hpp>
#include <ferry/core/rooted_task.hpp>
#include <ferry/core/temporaries.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/loop_control.hpp>
#include <ferry/loop/spawn.hpp>

#include <atomic>
#include <concepts>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Which loop block_on uses on a thread that came from none: set by loop_thread.
class default_loop {
public:
    static void install(loop_reference loop) {
        default_loop& self = process_wide<default_loop>::get();
        const std::lock_guard lock(self.mutex_);
        self.loop_ = std::move(loop);
    }
    /// Takes the loop out again, if it is still the one that is installed.
    static void remove(const loop_control& loop) {
        default_loop& self = process_wide<default_loop>::get();
        const std::lock_guard lock(self.mutex_);
        if (self.loop_.get() == &loop) self.loop_ = loop_reference();
    }
    [[nodiscard]] static loop_reference get() {
        default_loop& self = process_wide<default_loop>::get();
        const std::lock_guard lock(self.mutex_);
        return self.loop_;
    }

private:
    std::mutex mutex_;  // guards loop_
    loop_reference loop_;
};

/// A task that a blocked thread sends to another thread's loop. It lives on the blocked thread's stack.
///
/// The node is published by push_new(); from then on only the loop's thread touches this object, until it stores done_
/// (release), which is its last touch: the parker it then wakes was read before and is never freed. The blocked thread
/// sees done_ (acquire), and with it the outcome; the frame has been destroyed on the loop's thread by then.
template <class T>
class sent_task final : public ready_node, public owned_task {
public:
    explicit sent_task(task<T> body) : body_(std::move(body)), name_(body_->name()) { run = &begin; }

    [[nodiscard]] const char* name() const noexcept { return name_; }
    /// Blocks until the task has ended on that loop. False if the loop is closed; then nothing has happened.
    [[nodiscard]] bool run_on(loop_control& loop) {
        const loop_reference inbox(loop);  // the task may end, and the loop with it, before push_new() returns
        control_ = &loop;
        parker_ = &thread_parker::of_this_thread();
        context_ = exchange_current_context({});
        const bool taken = loop.push_new(*this);
        if (!taken) refusal_ = loop.refusal();
        while (taken && !done_.load(std::memory_order_acquire)) parker_->park();
        exchange_current_context(std::move(context_));
        return taken;
    }
    T take() { return outcome_.take(); }
    // When run_on() returned false: the awaitable, or the error.
    [[nodiscard]] task<T> take_body() noexcept { return std::move(*body_); }
    [[noreturn]] void throw_closed() const { throw closed_error("block_on(" + short_name(name_) + "): " + refusal_); }

private:
    class root final : public rooted_task<T> {
    public:
        root(event_loop& loop, task<T> body, sent_task& owner)
            : rooted_task<T>(loop, nullptr, &ended, std::move(body)), owner_(owner) {}

    private:
        static void ended(logical_task& self) noexcept { static_cast<root&>(self).owner_.finish(); }
        sent_task& owner_;
    };

    static void begin(ready_node& node) noexcept {
        sent_task& self = static_cast<sent_task&>(node);
        event_loop& loop = self.control_->loop();
        if (!loop.adopt(self)) return self.refuse();
        self.loop_ = &loop;
        self.root_.emplace(loop, std::move(*self.body_), self);
        self.body_.reset();
        self.root_->context() = std::move(self.context_);
        logical_task::resume(*self.root_);
    }
    void finish() noexcept {
        loop_->disown(*this);
        if (root_->outcome().has_exception()) {
            const std::exception_ptr& error = root_->outcome().exception();
            outcome_.set_exception(loop_->closing() ? closed_if_cancelled(error, name_) : error);
        } else {
            outcome_.set_from([this]() -> T { return root_->outcome().take(); });
        }
        context_ = std::move(root_->context());
        root_.reset();
        signal();
    }
    void cancel() noexcept override { root_->root_scope().cancel(); }
    [[nodiscard]] const logical_task& root_task() const noexcept override { return *root_; }
    void refuse() noexcept override {
        body_.reset();
        outcome_.set_exception(std::make_exception_ptr(
            closed_error("block_on(" + short_name(name_) + "): the loop was closed before it could start")));
        signal();
    }
    void signal() noexcept {
        thread_parker* const sleeper = parker_;
        done_.store(true, std::memory_order_release);
        sleeper->unpark();
    }

    std::optional<task<T>> body_;
    const char* name_;
    loop_control* control_ = nullptr;
    event_loop* loop_ = nullptr;
    ferry::context context_;  // the caller's, on its way there and back
    std::optional<root> root_;
    result<T> outcome_;
    thread_parker* parker_ = nullptr;
    const char* refusal_ = nullptr;
    std::atomic<bool> done_{false};
};

/// The loop that block_on drives on this thread when there is no other; kept until the thread ends.
inline event_loop& private_loop() {
    thread_state& self = this_thread();
    if (self.private_loop == nullptr) {
        self.private_loop = new event_loop;
        if (self.private_loop_hook.run == nullptr) {  // else a forked child has left its first one behind
            self.private_loop_hook.run = []() noexcept {
                this_thread().private_loop_hook.run = nullptr;  // a hook that runs later may make another
                delete std::exchange(this_thread().private_loop, nullptr);
            };
            at_thread_exit(self.private_loop_hook);
        }
    }
    return *self.private_loop;
}

/// Drives the private loop from this frame; what the awaitable left behind on it is cancelled and awaited (K11).
template <class T>
T run_on_private_loop(task<T> body) {
    class leftovers {
    public:
        explicit leftovers(event_loop& loop) noexcept : loop_(loop) {}
        ~leftovers() { loop_.cancel_tasks(); }
        leftovers(const leftovers&) = delete;
        leftovers& operator=(const leftovers&) = delete;

    private:
        event_loop& loop_;
    };
    event_loop& loop = private_loop();
    const leftovers end(loop);
    return loop.run(std::move(body));
}
}  // namespace detail

/// Runs an awaitable to its end from blocking code, and returns its result or throws its exception.
///
/// Where it runs: inside a call of to_thread, on the loop that made the call; else on the default loop, if a
/// loop_thread was installed; else on a loop of this thread's own, which this call drives. No thread is started.
///
/// Errors  Inside a loop's turn it throws before anything starts: blocking_error where the default loop would run it, else
///         deadlock_error; co_await it there. closed_error if the loop that made the call is closed, or if the loop that
///         runs the awaitable closes first.
template <awaitable Awaitable>
detail::await_result<Awaitable> block_on(Awaitable what) {
    using T = detail::await_result<Awaitable>;
    task<T> body = detail::to_task(std::move(what));
    detail::thread_state& self = detail::this_thread();
    const bool came_from_loop = self.home != nullptr;
    const detail::loop_reference target =
        came_from_loop ? detail::loop_reference(*self.home) : detail::default_loop::get();
    // Inside a turn, the loop of this thread is the one that would have to run it, unless another one is the default.
    const event_loop* const turning = event_loop::current();
    const bool is_elsewhere = target && turning != nullptr && target.get() != &turning->control();
    detail::check_own_wait("block_on", body.name(), is_elsewhere ? nullptr : self.turn);
    if (target) {
        detail::sent_task<T> sent(std::move(body));
        if (sent.run_on(*target.get())) return sent.take();
        if (came_from_loop) sent.throw_closed();  // what lives on that loop must not be used on another
        body = sent.take_body();
    }
    return detail::run_on_private_loop(std::move(body));
}

/// The same on a given loop, which another thread runs.
///
/// Errors  closed_error if that loop is closed; as above inside a turn.
template <awaitable Awaitable>
detail::await_result<Awaitable> block_on(event_loop& loop, Awaitable what) {
    using T = detail::await_result<Awaitable>;
    detail::sent_task<T> sent(detail::to_task(std::move(what)));
    detail::check_wait_for_task("block_on", sent.name(), &loop);
    if (!sent.run_on(loop.control())) sent.throw_closed();
    return sent.take();
}

/// An asynchronous function as a blocking one: what async_to_sync returns.
template <class Fn>
class sync_function {
public:
    template <class F>
    explicit sync_function(F&& fn) : fn_(std::forward<F>(fn)) {}

    /// As block_on(fn(args...)). Reference parameters are safe: the caller is blocked until the call is over.
    template <class... Args>
    requires std::invocable<Fn&, Args...>
    decltype(auto) operator()(Args&&... args) {
        static_assert(awaitable<std::invoke_result_t<Fn&, Args...>>,
                      "this function is not asynchronous: call it, it needs no loop");
        return block_on(detail::invoke(fn_, std::forward<Args>(args)...));
    }

private:
    Fn fn_;
};

/// Makes a reusable blocking function of an asynchronous one: a coroutine function or member pointer, or any callable
/// that returns an awaitable.
///
///     auto fetch = ferry::async_to_sync(&client::fetch);
///     std::string page = fetch(my_client, "/index.html");
template <class Fn>
sync_function<detail::stored_type<Fn>> async_to_sync(Fn&& fn) {
    return sync_function<detail::stored_type<Fn>>(std::forward<Fn>(fn));
}
}  // namespace ferry::inline FERRY_ABI
