// ferry/bridge/connection_per_worker.hpp - one handle of a resource for each thread, opened when needed, checked around calls
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/connection_state.hpp>
#include <ferry/bridge/limiter.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/invoke.hpp>
#include <ferry/core/temporaries.hpp>

#include <concepts>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// Gives blocking functions the handle of the thread they run on: a database connection, a file, a session of a vendor's
/// library. It is opened by the first call that needs one on that thread, kept from call to call, and closed with the thread,
/// also when that ends because it was idle.
///
///     ferry::connection_per_worker db(open_database, is_usable);      // database open_database(); bool is_usable(database&)
///     int id = co_await db.to_thread(pool, insert_user, "anna");      // int insert_user(database&, const char*)
///     auto insert = ferry::sync_to_async(db.with_connection(insert_user)).on(pool).named("insert_user");
///
/// What open() returns is the handle; its destructor closes it. is_good(handle), where there is one, is asked before and
/// after each call; a handle that is not good is closed, and the next call opens another one. A pool of n threads has at most
/// n handles, and some for its spare threads (thread_pool_options::max_spare).
///
/// Ownership      May go away before its calls and threads: its end closes, on the thread that ends it, the handles that are
///                not in use, and those in use close after their calls.
/// Thread-safety  Every member, on any thread. open and is_good are called on the threads, several at the same time. A call
///                that comes to a thread in the middle of another one, during a wait of ferry's there, uses the same handle.
/// Errors         What open() throws, or is_good() before the call, is thrown by the call, which does not run; the handle is
///                closed. What is_good() throws after the call goes to the suppressed-exception handler, and the handle is
///                closed.
/// Cost           A short list per thread, one lock before and one after a call.
template <class Open, class IsGood = detail::always_good>
class connection_per_worker {
    using state = detail::connection_state<Open, IsGood>;

public:
    using connection = typename state::connection;
    template <class Fn>
    class connected;

    explicit connection_per_worker(Open open, IsGood is_good = IsGood())
        : state_(std::make_shared<state>(std::move(open), std::move(is_good))) {}
    ~connection_per_worker() { state_->close(); }
    connection_per_worker(const connection_per_worker&) = delete;
    connection_per_worker& operator=(const connection_per_worker&) = delete;

    /// fn as a function of the remaining arguments, for sync_to_async.
    template <class Fn>
    [[nodiscard]] connected<detail::stored_type<Fn>> with_connection(Fn&& fn) const {
        detail::refuse_unsafe_temporaries<Fn&&>();
        return connected<detail::stored_type<Fn>>(state_, std::forward<Fn>(fn));
    }
    /// As ferry::to_thread, with the thread's handle before the arguments.
    template <class Fn, class... Args>
    requires(!detail::call_option<Fn>) [[nodiscard]] auto to_thread(Fn&& fn, Args&&... args) const {
        return ferry::to_thread(with_connection(std::forward<Fn>(fn)), std::forward<Args>(args)...);
    }
    template <class Fn, class... Args>
    requires(!detail::call_option<Fn>) [[nodiscard]] auto to_thread(thread_pool& pool, Fn&& fn, Args&&... args) const {
        return ferry::to_thread(pool, with_connection(std::forward<Fn>(fn)), std::forward<Args>(args)...);
    }
    template <class Fn, class... Args>
    requires(!detail::call_option<Fn>)
        [[nodiscard]] auto to_thread(thread_pool& pool, limiter& limit, Fn&& fn, Args&&... args) const {
        return ferry::to_thread(pool, limit, with_connection(std::forward<Fn>(fn)), std::forward<Args>(args)...);
    }

    /// Handles that are open at this moment.
    [[nodiscard]] std::size_t open_handles() const noexcept { return state_->open_handles(); }

private:
    std::shared_ptr<state> state_;
};

/// What with_connection() returns.
template <class Open, class IsGood>
template <class Fn>
class connection_per_worker<Open, IsGood>::connected {
public:
    template <class F>
    explicit connected(std::shared_ptr<state> of, F&& fn) : state_(std::move(of)), fn_(std::forward<F>(fn)) {}

    template <class... Args>
    requires std::invocable<Fn&, connection&, Args...>
    decltype(auto) operator()(Args&&... args) {
        typename state::use here(state_);
        return detail::invoke(fn_, here.handle(), std::forward<Args>(args)...);
    }

private:
    std::shared_ptr<state> state_;
    Fn fn_;
};
}  // namespace ferry::inline FERRY_ABI
