// ferry/loop/bounded_queue.hpp - first in, first out, between the tasks of one loop
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/temporaries.hpp>
#include <ferry/loop/detail/one_loop.hpp>
#include <ferry/loop/event_loop.hpp>

#include <cstddef>
#include <deque>
#include <optional>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// A queue of at most `capacity` items. push() waits while it is full, pop() while it is empty; both in order.
///
/// An item goes straight to the task that has waited longest. It is that task's from then on: a cancellation that comes
/// before the task resumes does not lose it, pop() returns it and the next checkpoint throws.
///
/// Ownership      Owns its items; waiters live in their frames.
/// Thread-safety  None. Call every member on the loop's own thread.
/// Errors         push() throws closed_error after close(); pop() yields what is left, then closed_error; both throw
///                cancelled. Destroying it while a task waits is a bug (asserted).
/// Cost           O(1). An awaited push keeps its item in its own frame while it waits.
template <class T>
class bounded_queue {
    static_assert(std::is_nothrow_move_constructible_v<T>, "an item must move without throwing, so that none is lost");

public:
    class push_awaiter;
    class pop_awaiter;

    bounded_queue(event_loop& loop, std::size_t capacity) : loop_(loop), capacity_(capacity) {
        FERRY_ASSERT(capacity > 0, "a bounded_queue needs room for one item");
    }
    ~bounded_queue() {
        FERRY_ASSERT(pushers_.empty() && poppers_.empty(), "bounded_queue destroyed while a task waits for it");
    }
    bounded_queue(const bounded_queue&) = delete;
    bounded_queue& operator=(const bounded_queue&) = delete;

    [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] bool empty() const noexcept { return items_.empty(); }
    [[nodiscard]] bool closed() const noexcept { return closed_; }

    /// Waits for room, then appends. A checkpoint; an item whose push is cancelled was not appended.
    /// GCC 11 and 12 refuse a temporary aggregate here: name it, and pass it or moved(it).
    template <class U = T>
    requires std::is_convertible_v<U&&, T>
    [[nodiscard]] push_awaiter push(U&& item) {
        detail::refuse_unsafe_temporaries<U&&>();
        return push_awaiter(*this, T(std::forward<U>(item)));
    }
    /// Appends if there is room; the item stays the caller's when there is none, or the queue is closed.
    [[nodiscard]] bool try_push(T&& item);
    /// Waits for the oldest item. A checkpoint.
    [[nodiscard]] pop_awaiter pop() noexcept { return pop_awaiter(*this); }
    [[nodiscard]] std::optional<T> try_pop();

    /// Refuses new items and wakes every task that waits. What is queued can still be popped.
    void close() noexcept;

private:
    void refill() noexcept;

    detail::one_loop loop_;
    std::size_t capacity_;
    std::deque<T> items_;
    detail::intrusive_list<detail::waiter> pushers_;  // waiting only while the queue is full
    detail::intrusive_list<detail::waiter> poppers_;  // waiting only while it is empty
    bool closed_ = false;
};

// ---- implementation ----------------------------------------------------------------------------------------------
template <class T>
class [[nodiscard]] bounded_queue<T>::push_awaiter : public detail::leaf_awaiter<push_awaiter> {
public:
    static constexpr const char* what = "bounded_queue::push";
    push_awaiter(bounded_queue& owner, T&& item) : owner_(owner), item_(std::move(item)) {}
    bool try_complete() noexcept {
        accepted_ = owner_.try_push(std::move(item_));
        return accepted_ || owner_.closed_;
    }
    void link() noexcept {
        owner_.loop_.check(this->task());
        owner_.pushers_.push_back(*this);
    }
    static void withdraw(detail::waiter& self) noexcept {
        static_cast<push_awaiter&>(self).owner_.pushers_.erase(self);
        self.task().wake_interrupted();
    }
    void finish() const {
        if (!accepted_) throw closed_error("bounded_queue::push: the queue is closed");
    }

private:
    friend class bounded_queue;
    bounded_queue& owner_;
    T item_;
    bool accepted_ = false;
};

template <class T>
class [[nodiscard]] bounded_queue<T>::pop_awaiter : public detail::leaf_awaiter<pop_awaiter> {
public:
    static constexpr const char* what = "bounded_queue::pop";
    explicit pop_awaiter(bounded_queue& owner) noexcept : owner_(owner) {}
    bool try_complete() noexcept {
        if (std::optional<T> item = owner_.try_pop()) item_.emplace(std::move(*item));
        return item_.has_value() || owner_.closed_;
    }
    void link() noexcept {
        owner_.loop_.check(this->task());
        owner_.poppers_.push_back(*this);
    }
    static void withdraw(detail::waiter& self) noexcept {
        static_cast<pop_awaiter&>(self).owner_.poppers_.erase(self);
        self.task().wake_interrupted();
    }
    T finish() {
        if (!item_) throw closed_error("bounded_queue::pop: the queue is closed and empty");
        return std::move(*item_);
    }

private:
    friend class bounded_queue;
    bounded_queue& owner_;
    std::optional<T> item_;
};

template <class T>
bool bounded_queue<T>::try_push(T&& item) {
    if (closed_) return false;
    if (detail::waiter* waiting = poppers_.pop_front()) {
        static_cast<pop_awaiter*>(waiting)->item_.emplace(std::move(item));
        waiting->task().wake();
        return true;
    }
    if (items_.size() >= capacity_) return false;
    items_.push_back(std::move(item));
    return true;
}

template <class T>
std::optional<T> bounded_queue<T>::try_pop() {
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    refill();
    return item;
}

/// Room for one more: the task that has waited longest to push goes on.
template <class T>
void bounded_queue<T>::refill() noexcept {
    detail::waiter* const waiting = pushers_.pop_front();
    if (waiting == nullptr) return;
    push_awaiter& pusher = *static_cast<push_awaiter*>(waiting);
    items_.push_back(std::move(pusher.item_));
    pusher.accepted_ = true;
    pusher.task().wake();
}

template <class T>
void bounded_queue<T>::close() noexcept {
    closed_ = true;
    while (detail::waiter* waiting = pushers_.pop_front()) waiting->task().wake();
    while (detail::waiter* waiting = poppers_.pop_front()) waiting->task().wake();
}
}  // namespace ferry::inline FERRY_ABI
