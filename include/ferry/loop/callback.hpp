// ferry/loop/callback.hpp - an interface that calls back, as something to await
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/invoke.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/task.hpp>
#include <ferry/core/temporaries.hpp>
#include <ferry/loop/future.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// What a callback calls when it is done, on any thread. Copies are one: the first call counts, later ones do nothing.
///
/// Ownership      Shared by its copies. When all of them are gone uncalled, the awaiting task gets broken_promise.
/// Thread-safety  Every member, on any thread.
template <class T = void>
class completion {
public:
    explicit completion(promise<T> result) : state_(std::make_shared<state>(std::move(result))) {}

    /// The task goes on with this value. False when it had its result already.
    template <class... Args>
    bool operator()(Args&&... args) const {
        if (state_->called.exchange(true, std::memory_order_acq_rel)) return false;
        state_->result.set_value(std::forward<Args>(args)...);
        return true;
    }
    /// The task goes on with this exception. False when it had its result already.
    bool fail(std::exception_ptr error) const noexcept {
        if (state_->called.exchange(true, std::memory_order_acq_rel)) return false;
        state_->result.refuse(std::move(error));  // if nobody waits any more, it is dropped as a value is
        return true;
    }

private:
    struct state {
        explicit state(promise<T> of) noexcept : result(std::move(of)) {}
        promise<T> result;
        std::atomic<bool> called{false};
    };
    std::shared_ptr<state> state_;
};

namespace detail {
template <class T, class Fn>
task<T> await_callback(Fn start) {
    const logical_task& self = co_await current_task();
    if (self.scope().cancelled()) throw cancelled();
    promise<T> result;
    future<T> done = result.get_future();
    detail::invoke(start, completion<T>(std::move(result)));
    co_return co_await std::move(done);
}
}  // namespace detail

/// Calls start(done), which begins something and arranges that `done` is called at its end; yields what done was given.
///
///     auto begin = [&](ferry::completion<int> done) {
///         legacy_query(db, [done](int rows) { done(rows); });
///     };
///     int rows = co_await ferry::callback_to_awaitable<int>(begin);
///
/// start runs here, on the loop, when the task is awaited; where that is cancelled already it does not run (a checkpoint).
/// `done` may be called on any thread, also before start returns. Cancelling the wait does not stop what was begun: its
/// value or its failure is then dropped, and nothing that it writes to may live in this frame. What start throws is thrown
/// here.
template <class T = void, class Fn>
task<T> callback_to_awaitable(Fn&& start) {
    detail::refuse_unsafe_temporaries<Fn&&>();
    return detail::await_callback<T, detail::stored_type<Fn>>(std::forward<Fn>(start));
}
}  // namespace ferry::inline FERRY_ABI
