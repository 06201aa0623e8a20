// ferry/bridge/async_to_sync.hpp - awaitables for blocking code
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/bridge/detail/default_loop.hpp>
#include <ferry/bridge/detail/home_thread.hpp>
#include <ferry/bridge/detail/sent_task.hpp>
#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/context.hpp>
#include <ferry/core/invoke.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/rooted_task.hpp>
#include <ferry/core/temporaries.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/deadlock/wait_options.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/loop_control.hpp>

#include <concepts>
#include <source_location>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// Runs an awaitable to its end from blocking code, and returns its result or throws its exception.
///
/// Where it runs: inside a call of to_thread, on the loop that made the call; else on the default loop, if a
/// loop_thread was installed; else on a loop of this thread's own, which this call drives. No thread is started.
///
/// While it waits, the thread is not idle: thread-sensitive calls that the awaitable makes, at any depth, run here, one
/// after another. A stop that is requested of the call of to_thread around it cancels the awaitable. When it takes longer
/// than hang_after(), that is reported, unless the wait is patient (wait_options).
///
/// Errors  Inside a loop's turn it throws before anything starts: blocking_error where the default loop would run it, else
///         deadlock_error; co_await it there. closed_error if the loop that made the call is closed, or if the loop that
///         runs the awaitable closes first.
template <awaitable Awaitable>
detail::await_result<Awaitable> block_on(Awaitable what, wait_options how = std::source_location::current());

/// The same on a given loop, which another thread runs.
///
/// Errors  closed_error if that loop is closed; as above inside a turn.
template <awaitable Awaitable>
detail::await_result<Awaitable> block_on(event_loop& loop, Awaitable what,
                                         wait_options how = std::source_location::current());

/// block_on(on_private_loop, awaitable): on a loop of this thread's own, whatever loop made the call around it (N15).
class on_private_loop_t {
public:
    constexpr explicit on_private_loop_t(int) noexcept {}
};
inline constexpr on_private_loop_t on_private_loop{0};
template <awaitable Awaitable>
detail::await_result<Awaitable> block_on(on_private_loop_t, Awaitable what,
                                         wait_options how = std::source_location::current());

/// An asynchronous function as a blocking one: what async_to_sync returns. Options are chained and make a copy.
///
/// Ownership      Owns the function. A context given with in() outlives the calls.
/// Thread-safety  Calls at the same time on several threads, if the function stands that; each of them with a context of
///                its own.
template <class Fn>
class sync_function {
public:
    template <class F>
    explicit sync_function(F&& fn, wait_options how) : fn_(std::forward<F>(fn)), how_(how) {}

    /// Runs its calls on that loop, which another thread runs.
    sync_function on(event_loop& loop) && {
        loop_ = &loop;
        return std::move(*this);
    }
    /// Runs its calls on a loop of the calling thread's own, whatever loop made the call around it (N15).
    sync_function on_private_loop() && {
        private_loop_ = true;
        return std::move(*this);
    }
    /// The name that its calls have in reports; a literal.
    sync_function named(const char* name) && {
        name_ = name;
        return std::move(*this);
    }
    /// Its calls may take as long as they like: they get no hang report.
    sync_function patient() && {
        how_ = how_.patient();
        return std::move(*this);
    }
    /// Its calls see and change these variables instead of the caller's (X06, X07).
    sync_function in(context& variables) && {
        context_ = &variables;
        return std::move(*this);
    }

    /// As block_on(fn(args...)). Reference parameters are safe: the caller is blocked until the call is over.
    template <class... Args>
    requires std::invocable<Fn&, Args...>
    decltype(auto) operator()(Args&&... args) {
        using made = std::invoke_result_t<Fn&, Args...>;
        static_assert(awaitable<made>, "this function is not asynchronous: call it, it needs no loop");
        auto body = detail::to_task(detail::invoke(fn_, std::forward<Args>(args)...));
        if (name_ != nullptr) body = std::move(body).named(name_);
        if (context_ == nullptr) return run(std::move(body));
        const detail::lent_context instead(*context_);
        return run(std::move(body));
    }

private:
    template <class T>
    T run(task<T> body) {
        if (private_loop_) return block_on(ferry::on_private_loop, std::move(body), how_);
        if (loop_ != nullptr) return block_on(*loop_, std::move(body), how_);
        return block_on(std::move(body), how_);
    }

    Fn fn_;
    wait_options how_;
    event_loop* loop_ = nullptr;
    const char* name_ = nullptr;
    context* context_ = nullptr;
    bool private_loop_ = false;
};

/// Makes a reusable blocking function of an asynchronous one: a coroutine function or member pointer, or any callable
/// that returns an awaitable. In reports, its calls wait where this was written.
///
///     auto fetch = ferry::async_to_sync(&client::fetch);
///     std::string page = fetch(my_client, "/index.html");
template <class Fn>
sync_function<detail::stored_type<Fn>> async_to_sync(Fn&& fn, wait_options how = std::source_location::current()) {
    return sync_function<detail::stored_type<Fn>>(std::forward<Fn>(fn), how);
}

// ---- implementation ----------------------------------------------------------------------------------------------
namespace detail {
/// The loop, if frames of this thread drive it and it takes new work: it is driven from here, or nobody would turn it.
inline event_loop* driven_here(const loop_control& target) noexcept {
    const wait_service* const service = service_of_this_wait();
    if (service == nullptr || service->find_driven(target.record()) == nullptr) return nullptr;
    return target.loop().closing() ? nullptr : &target.loop();
}

template <class T>
T block_on_private_loop(task<T> body, const wait_options& how) {
    home_frame frame;
    return run_on_private_loop(frame, std::move(body), how);
}

/// `otherwise_private`: a loop that is closed is no error then, but replaced by a private one.
template <class T>
T block_on_loop(loop_control& target, task<T> body, const wait_options& how, bool otherwise_private = false) {
    if (event_loop::current() != nullptr) {  // allow_blocking: this thread serves nobody meanwhile
        sent_task<T> sent(target, std::move(body));
        if (!sent.block(current_home(), how)) sent.throw_closed();
        return sent.take();
    }
    home_frame frame;
    if (event_loop* const own = driven_here(target)) return run_on_own_loop(*own, frame, std::move(body), how);
    sent_task<T> sent(target, std::move(body));
    if (sent.block(&frame.place(), how)) return sent.take();
    if (!otherwise_private) sent.throw_closed();
    return run_on_private_loop(frame, sent.take_body(), how);
}
}  // namespace detail

template <awaitable Awaitable>
detail::await_result<Awaitable> block_on(Awaitable what, wait_options how) {
    using T = detail::await_result<Awaitable>;
    task<T> body = detail::to_task(std::move(what));
    const detail::thread_state& self = detail::this_thread();
    detail::loop_reference target;
    if (self.running_call != nullptr) target = self.running_call->loop();
    const bool from_call = static_cast<bool>(target);
    if (!from_call) target = detail::default_loop::get();
    // Inside a turn, the loop of this thread is the one that would have to run it, unless another one is the default.
    const event_loop* const turning = event_loop::current();
    const bool is_elsewhere = target && turning != nullptr && target.get() != &turning->control();
    detail::check_own_wait("block_on", body.name(), is_elsewhere ? nullptr : self.turn);
    if (!target) return detail::block_on_private_loop(std::move(body), how);
    // What lives on the loop that made the call must not be used on another.
    return detail::block_on_loop(*target.get(), std::move(body), how, !from_call);
}

template <awaitable Awaitable>
detail::await_result<Awaitable> block_on(event_loop& loop, Awaitable what, wait_options how) {
    auto body = detail::to_task(std::move(what));
    detail::check_wait_for_task("block_on", body.name(), &loop);
    return detail::block_on_loop(loop.control(), std::move(body), how);
}

template <awaitable Awaitable>
detail::await_result<Awaitable> block_on(on_private_loop_t, Awaitable what, wait_options how) {
    auto body = detail::to_task(std::move(what));
    detail::check_own_wait("block_on", body.name(), detail::this_thread().turn);
    return detail::block_on_private_loop(std::move(body), how);
}
}  // namespace ferry::inline FERRY_ABI
