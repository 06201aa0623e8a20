// ferry/bridge/sync_to_async.hpp - blocking functions as awaitables
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/abandonable_call.hpp>
#include <ferry/bridge/detail/call_limit.hpp>
#include <ferry/bridge/detail/destination.hpp>
#include <ferry/bridge/detail/thread_call.hpp>
#include <ferry/bridge/limiter.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/context.hpp>
#include <ferry/core/invoke.hpp>
#include <ferry/core/temporaries.hpp>

#include <concepts>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// to_thread(thread_sensitive, fn, args...): on *the* thread of this logical call stack.
class thread_sensitive_t {
public:
    constexpr explicit thread_sensitive_t(int) noexcept {}
};
inline constexpr thread_sensitive_t thread_sensitive{0};

/// to_thread(abandonable, fn, args...): may be left behind when the awaiting task is cancelled.
class abandonable_t {
public:
    constexpr explicit abandonable_t(int) noexcept {}
};
inline constexpr abandonable_t abandonable{0};

namespace detail {
template <class T>
concept call_option =
    std::is_same_v<std::remove_cvref_t<T>, thread_pool> || std::is_same_v<std::remove_cvref_t<T>, limiter> ||
    std::is_same_v<std::remove_cvref_t<T>, thread_sensitive_t> || std::is_same_v<std::remove_cvref_t<T>, abandonable_t>;

template <class Fn, class... Args>
auto call_on(destination where, Fn&& fn, Args&&... args) {
    refuse_unsafe_temporaries<Fn&&, Args&&...>();
    return thread_call<stored_type<Fn>, stored_type<Args>...>(call_options(where), std::forward<Fn>(fn),
                                                              std::forward<Args>(args)...);
}
template <class Fn, class... Args>
auto abandonable_call_on(destination where, Fn&& fn, Args&&... args) {
    refuse_unsafe_temporaries<Fn&&, Args&&...>();
    return abandonable_call<stored_type<Fn>, stored_type<Args>...>(where, std::forward<Fn>(fn),
                                                                   std::forward<Args>(args)...);
}

/// Copies of it are as good as one that is shared.
template <class Fn>
inline constexpr bool needs_no_sharing = std::is_pointer_v<Fn> || std::is_member_pointer_v<Fn> ||
                                         (std::is_empty_v<Fn> && std::is_trivially_copyable_v<Fn>);

/// A function that an adaptor and its calls share. It has a cache line of its own: threads read it while loops count who
/// shares it.
template <class Fn>
class shared_function {
public:
    template <class F>
    explicit shared_function(std::in_place_t, F&& fn) : line_(std::make_shared<line>(std::forward<F>(fn))) {}

    template <class... Args>
    decltype(auto) operator()(Args&&... args) const {
        return detail::invoke(line_->fn, std::forward<Args>(args)...);
    }

private:
    class alignas(64) line {
    public:
        template <class F>
        explicit line(F&& made_of) : fn(std::forward<F>(made_of)) {}
        Fn fn;
    };
    std::shared_ptr<line> line_;
};
template <class Fn>
requires needs_no_sharing<Fn>
class shared_function<Fn> {
public:
    explicit shared_function(std::in_place_t, Fn fn) noexcept : fn_(fn) {}

    template <class... Args>
    decltype(auto) operator()(Args&&... args) {
        return detail::invoke(fn_, std::forward<Args>(args)...);
    }

private:
    Fn fn_;
};
}  // namespace detail

/// Runs fn(args...) on a thread of the pool; the task goes on, on its own loop, with the result or the exception.
///
///     int rows = co_await ferry::to_thread(count_rows, table);
///
/// fn and the arguments are copied (or moved in); pass std::ref for a reference: the call is over before the co_await
/// returns, even when the task is cancelled. Cancelling requests a stop (this_call::stop_token()), removes a call that is
/// still queued and waits for one that runs; its value is then delivered, and the next checkpoint throws. Inside fn,
/// block_on comes back to this loop, and what it runs there is cancelled, too.
///
/// Errors  What fn throws; queue_full or closed_error from the pool; cancelled. A checkpoint.
/// Cost    No allocation; two hand-overs between threads.
template <class Fn, class... Args>
requires(!detail::call_option<Fn>) auto to_thread(Fn&& fn, Args&&... args) {
    return detail::call_on(detail::destination(thread_pool::default_pool()), std::forward<Fn>(fn),
                           std::forward<Args>(args)...);
}
/// The same on a pool of your own.
template <class Fn, class... Args>
requires(!detail::call_option<Fn>) auto to_thread(thread_pool& pool, Fn&& fn, Args&&... args) {
    return detail::call_on(detail::destination(pool), std::forward<Fn>(fn), std::forward<Args>(args)...);
}
/// The same as one of the calls that the limiter lets run at a time.
template <class Fn, class... Args>
requires(!detail::call_option<Fn>) auto to_thread(limiter& limit, Fn&& fn, Args&&... args) {
    return detail::call_on(detail::destination(thread_pool::default_pool()).limited(limit), std::forward<Fn>(fn),
                           std::forward<Args>(args)...);
}
template <class Fn, class... Args>
requires(!detail::call_option<Fn>) auto to_thread(thread_pool& pool, limiter& limit, Fn&& fn, Args&&... args) {
    return detail::call_on(detail::destination(pool).limited(limit), std::forward<Fn>(fn), std::forward<Args>(args)...);
}
/// The same where all thread-sensitive calls of this logical call stack run, one after another: on the thread that is
/// blocked in block_on, or that a thread_sensitive_scope has leased, whichever is the innermost; if there is none, or none
/// any more, on the one sensitive thread of the process.
template <class Fn, class... Args>
requires(!detail::call_option<Fn>) auto to_thread(thread_sensitive_t, Fn&& fn, Args&&... args) {
    return detail::call_on(detail::destination(), std::forward<Fn>(fn), std::forward<Args>(args)...);
}
/// The same, but cancelling does not wait for a call that runs: it is left behind, its result is dropped (K01), and so is
/// what it changes in its context. fn and the arguments are copies of their own; std::ref is a compile error.
///
/// Cost  One recycled block.
template <class Fn, class... Args>
requires(!detail::call_option<Fn>) auto to_thread(abandonable_t, Fn&& fn, Args&&... args) {
    return detail::abandonable_call_on(detail::destination(thread_pool::default_pool()), std::forward<Fn>(fn),
                                       std::forward<Args>(args)...);
}
template <class Fn, class... Args>
requires(!detail::call_option<Fn>) auto to_thread(abandonable_t, thread_pool& pool, Fn&& fn, Args&&... args) {
    return detail::abandonable_call_on(detail::destination(pool), std::forward<Fn>(fn), std::forward<Args>(args)...);
}
template <class Fn, class... Args>
requires(!detail::call_option<Fn>) auto to_thread(abandonable_t, thread_pool& pool, limiter& limit, Fn&& fn,
                                                  Args&&... args) {
    return detail::abandonable_call_on(detail::destination(pool).limited(limit), std::forward<Fn>(fn),
                                       std::forward<Args>(args)...);
}

/// A blocking function as an asynchronous one: what sync_to_async returns. Options are chained and make a copy. `Placed`:
/// on() or sensitive() has said where its calls run; the other one cannot be said then (B12).
///
/// Ownership      Shares the function with its copies and with every call that is under way, so it may go away first. A
///                pool, or a context given with in(), outlives the calls.
/// Thread-safety  Calls run at the same time on several threads: the function must stand that, unless they are sensitive().
template <class Fn, bool Placed = false>
class async_function {
public:
    template <class F>
    requires(!Placed) explicit async_function(F&& fn) : fn_(std::in_place, std::forward<F>(fn)) {}

    /// Runs its calls on that pool.
    auto on(thread_pool& pool) const requires(!Placed) { return placed(detail::destination(pool)); }
    /// Runs its calls where the thread-sensitive calls of the caller run.
    auto sensitive() const requires(!Placed) { return placed(detail::destination()); }
    /// The name that its calls have in reports; a literal.
    async_function named(const char* name) const {
        async_function copy = *this;
        copy.name_ = name;
        return copy;
    }
    /// Its calls are among those that the limiter lets run at a time.
    async_function limited(limiter& limit) const {
        async_function copy = *this;
        copy.limit_ = detail::call_limit_reference(limit.state());
        return copy;
    }
    /// Its calls may take as long as they like: a thread that waits for what awaits one gets no hang report.
    async_function patient() const {
        async_function copy = *this;
        copy.patient_ = true;
        return copy;
    }
    /// Its calls see and change these variables instead of the caller's (X06, X07), one call at a time.
    async_function in(context& variables) const {
        async_function copy = *this;
        copy.context_ = &variables;
        return copy;
    }

    /// As to_thread(fn, args...).
    template <class... Args>
    requires std::invocable<Fn&, detail::stored_type<Args>...>
    auto operator()(Args&&... args) const {
        detail::refuse_unsafe_temporaries<Args&&...>();
        detail::call_options options(where_ ? *where_ : detail::destination(thread_pool::default_pool()));
        if (limit_) options.where.limit_by(limit_);
        options.name = name_;
        options.variables = context_;
        if (patient_) options.how = detail::wait_node::patient;
        return detail::thread_call<detail::shared_function<Fn>, detail::stored_type<Args>...>(
            options, fn_, std::forward<Args>(args)...);
    }

private:
    template <class, bool>
    friend class async_function;

    /// With another function's options, and a place.
    explicit async_function(const async_function<Fn, false>& other, detail::destination where)
        : fn_(other.fn_),
          where_(where),
          name_(other.name_),
          context_(other.context_),
          limit_(other.limit_),
          patient_(other.patient_) {}
    [[nodiscard]] async_function<Fn, true> placed(detail::destination where) const {
        return async_function<Fn, true>(*this, where);
    }

    detail::shared_function<Fn> fn_;
    std::optional<detail::destination> where_;
    const char* name_ = nullptr;
    context* context_ = nullptr;
    detail::call_limit_reference limit_;
    bool patient_ = false;
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
