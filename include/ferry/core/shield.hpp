// ferry/core/shield.hpp - work that a cancellation does not reach
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/cancellation.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/exception_handlers.hpp>
#include <ferry/core/family.hpp>
#include <ferry/core/result.hpp>
#include <ferry/core/rooted_task.hpp>

#include <exception>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// Awaits `what` as a logical task of its own that does not hear of a cancellation around it: it starts even when the
/// awaiting task is cancelled already, the awaiting task waits for its end, and gets its result. A cancellation that
/// came meanwhile is thrown at the next checkpoint.
///
/// Keep it short, or put a timeout inside: nothing else ends it.
template <awaitable Awaitable>
task<detail::await_result<Awaitable>> shield(Awaitable what) {
    using T = detail::await_result<Awaitable>;
    detail::logical_task& self = co_await detail::current_task();
    detail::cancel_scope shielded(self, &self.scope(), true);
    detail::family alone(self, shielded, detail::family::ends_with::first_failure, "shield");
    detail::family_member<T> child(typename detail::family_member<T>::init(alone, 0, detail::to_task(std::move(what))));
    co_await alone.join(child);
    co_return child.outcome().take();
}

/// Awaits `body`, then `cleanup`, shielded, whatever body ended in; yields what body yielded, or throws what it threw.
///
///     co_await ferry::with_cleanup(use(session), session.close());
///
/// An exception of the cleanup is thrown where the body had none, else it goes to the suppressed-exception handler.
template <awaitable Body, awaitable Cleanup>
task<detail::await_result<Body>> with_cleanup(Body body, Cleanup cleanup) {
    using T = detail::await_result<Body>;
    static_assert(!detail::borrowed_result<T>,
                  "borrowed bytes live until the next co_await, and the cleanup is one: use receive(own_buffer) here");
    detail::logical_task& self = co_await detail::current_task();
    detail::result<T> outcome;
    try {
        if constexpr (std::is_void_v<T>) {
            co_await std::move(body);
            outcome.set_value();
        } else {
            outcome.set_value(co_await std::move(body));
        }
    } catch (...) {
        outcome.set_exception(std::current_exception());
    }
    try {
        co_await shield(std::move(cleanup));
    } catch (...) {
        if (!outcome.has_exception()) throw;
        detail::report_suppressed(std::current_exception(), self.name());
    }
    co_return outcome.take();
}
}  // namespace ferry::inline FERRY_ABI
