// ferry/loop/timeout.hpp - a limit on how long an awaitable may take
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/cancellation.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/outcome.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/timer_queue.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// A cancel scope with a deadline, inside a logical task.
class deadline_scope : public entered_scope, private timer_node {
public:
    deadline_scope(logical_task& task, std::chrono::nanoseconds limit)
        : entered_scope(task),
          timer_node(&fire),
          task_(task),
          loop_(event_loop::of(task)),
          record_(wait_node::acquire(wait_node::kind::deadline)) {
        loop_.timers().arm(*this, deadline_after(loop_.now(), limit));
        record_.set_within(&loop_.record());
        record_.set_scope(task.record().scope());
        task.record().set_scope(&record_);
    }
    ~deadline_scope() {
        task_.record().set_scope(record_.scope());
        record_.release();
        loop_.timers().disarm(*this);
    }

private:
    static void fire(timer_node& node) noexcept {
        deadline_scope& self = static_cast<deadline_scope&>(node);
        self.record_.set_flags(wait_node::open);  // a cancellation that is still on its way to another loop will arrive
        self.cancel();
    }
    logical_task& task_;
    event_loop& loop_;
    wait_node& record_;
};

template <class T>
using value_in_time = std::conditional_t<
    std::is_void_v<T>, bool,
    std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, std::optional<object_or_nothing<T>>>>;
}  // namespace detail

/// Awaits `what` inside a cancel scope that is cancelled after `limit`.
///
/// If it yields a value, even late, the value is delivered. If it ends in `cancelled` and the deadline was the reason,
/// timeout_error is thrown; if the task around it was cancelled too, `cancelled` goes on.
/// The awaitable stays in the same logical task: context and borrowed results pass through.
template <class Rep, class Period, awaitable Awaitable>
task<detail::await_result<Awaitable>> timeout(std::chrono::duration<Rep, Period> limit, Awaitable what) {
    detail::logical_task& self = co_await detail::current_task();
    detail::deadline_scope scope(self, detail::to_nanoseconds(limit));
    try {
        co_return co_await std::move(what);
    } catch (const cancelled&) {
        if (!scope.cancelled_here()) throw;
    }
    const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(detail::to_nanoseconds(limit)).count();
    throw timeout_error("timeout: task " + detail::short_name(self.name()) + " did not get its result within " +
                        std::to_string(milliseconds) + " ms");
}

/// The same without an exception for the time-out: yields the value in an optional that is empty when time ran out; bool
/// for void, a pointer for a reference. Where a primitive, and not a task, is awaited, nothing is unwound either.
///
///     while (auto bytes = co_await ferry::try_timeout(30s, peer.receive())) use(*bytes);
template <class Rep, class Period, awaitable Awaitable>
task<detail::value_in_time<detail::await_result<Awaitable>>> try_timeout(std::chrono::duration<Rep, Period> limit,
                                                                         Awaitable what) {
    using T = detail::await_result<Awaitable>;
    detail::logical_task& self = co_await detail::current_task();
    detail::deadline_scope scope(self, detail::to_nanoseconds(limit));
    outcome<T> ended = co_await as_result(std::move(what));
    if (!ended.has_value() && scope.cancelled_here() && ended.is_cancelled()) {
        co_return detail::value_in_time<T>();
    }
    if constexpr (std::is_void_v<T>) {
        ended.value();
        co_return true;
    } else if constexpr (std::is_reference_v<T>) {
        co_return std::addressof(ended.value());
    } else {
        co_return std::move(ended).value();
    }
}
}  // namespace ferry::inline FERRY_ABI
