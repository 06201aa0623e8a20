// ferry/core/rooted_task.hpp - a task<T> as the root of a logical task of its own
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/task.hpp>

#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Ownership      Owns the coroutine; immovable, since frames and queues point to it. It is scheduled, or resumed in
///                place, by its maker, and destroyed by its maker: before it started, or once it has finished.
template <class T>
class rooted_task : public logical_task {
    static_assert(!borrowed_result<T>,
                  "borrowed bytes live until the next co_await and cannot leave their logical task: use readable() or "
                  "receive(own_buffer) here");

public:
    rooted_task(executor& owner, cancel_scope* parent, finished_function finished, task<T> body,
                wait_node* record = nullptr)
        : logical_task(owner, parent, finished, record), body_(std::move(body)) {
        FERRY_ASSERT(body_.valid() && !body_.frame_.promise().has_ended(),
                     "a task was to start that was moved from, or awaited before");
        body_.frame_.promise().begin_chain(*this, body_.frame_);
    }

    [[nodiscard]] detail::result<T>& outcome() noexcept { return body_.frame_.promise().outcome(); }

private:
    task<T> body_;
};

template <class Awaitable>
task<await_result<Awaitable>> await_in_task(Awaitable value) {
    co_return co_await std::move(value);
}

/// Any awaitable as a task; a task as itself.
template <class T>
task<T> to_task(task<T> value) {
    return value;
}
template <awaitable Awaitable>
auto to_task(Awaitable value) {
    auto body = await_in_task<Awaitable>(std::move(value));
    if constexpr (requires { Awaitable::what; }) {
        return std::move(body).named(Awaitable::what);
    } else {
        return body;
    }
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
