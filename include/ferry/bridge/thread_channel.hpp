// ferry/bridge/thread_channel.hpp - first in, first out, between blocking threads and loops
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/temporaries.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/deadlock/wait_options.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/loop_control.hpp>
#include <ferry/loop/timer_queue.hpp>

#include <chrono>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// A queue of at most `capacity` items that threads and tasks of any loops push to and pop from. A push waits while it is
/// full, a pop while it is empty, in the order they came.
///
///     ferry::thread_channel<job> jobs(100);
///     jobs.push(std::move(next));                    // a thread: blocks while it is full
///     job mine = co_await jobs.async_pop();          // a task: waits without blocking its loop
///
/// An item goes straight to whoever has waited longest, and is that one's from then on: a cancellation or a time limit
/// that comes later does not lose it.
///
/// Ownership      Owns its items. It outlives everyone who waits for it (asserted), and may be destroyed as soon as they
///                have returned: whoever woke them, also by close(), does not touch it any more.
/// Thread-safety  Every member, on any thread, at any time until its destruction.
/// Errors         After close(): push throws closed_error, pop yields what is left, then throws closed_error. The
///                blocking members throw blocking_error inside a loop's turn; the async ones throw cancelled.
/// Cost           One mutex, held for a few instructions; a wake-up only of those who wait.
template <class T>
class thread_channel {
    static_assert(std::is_nothrow_move_constructible_v<T>, "an item must move without throwing, so that none is lost");

public:
    class push_awaiter;
    class pop_awaiter;

    explicit thread_channel(std::size_t capacity) : capacity_(capacity) {
        FERRY_ASSERT(capacity > 0, "a thread_channel needs room for one item");
    }
    ~thread_channel() {
        FERRY_ASSERT(pushers_.empty() && poppers_.empty(), "thread_channel destroyed while somebody waits for it");
    }
    thread_channel(const thread_channel&) = delete;
    thread_channel& operator=(const thread_channel&) = delete;

    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
    /// How many are queued at this moment.
    [[nodiscard]] std::size_t size() const {
        const std::lock_guard lock(mutex_);
        return items_.size();
    }
    [[nodiscard]] bool closed() const {
        const std::lock_guard lock(mutex_);
        return closed_;
    }

    // For threads.
    /// Blocks while there is no room.
    void push(T item, wait_options how = std::source_location::current());
    /// False, and the item stays the caller's, when there was no room in time.
    template <class Rep, class Period>
    [[nodiscard]] bool push_for(std::chrono::duration<Rep, Period> limit, T&& item,
                                wait_options how = std::source_location::current());
    /// Blocks until there is an item.
    [[nodiscard]] T pop(wait_options how = std::source_location::current());
    /// Empty when there was none in time.
    template <class Rep, class Period>
    [[nodiscard]] std::optional<T> pop_for(std::chrono::duration<Rep, Period> limit,
                                           wait_options how = std::source_location::current());

    // For both: they never wait.
    /// False, and the item stays the caller's, when there is no room or the channel is closed.
    [[nodiscard]] bool try_push(T&& item);
    [[nodiscard]] std::optional<T> try_pop();

    // For tasks.
    /// Waits for room, then appends. A checkpoint; an item whose push is cancelled was not appended.
    template <class U = T>
    requires std::is_convertible_v<U&&, T>
    [[nodiscard]] push_awaiter async_push(U&& item) {
        detail::refuse_unsafe_temporaries<U&&>();
        return push_awaiter(*this, T(std::forward<U>(item)));
    }
    /// Waits for the oldest item. A checkpoint.
    [[nodiscard]] pop_awaiter async_pop() noexcept { return pop_awaiter(*this); }

    /// Refuses new items and wakes everyone who waits. What is queued can still be popped.
    void close();

private:
    using time_point = std::chrono::steady_clock::time_point;
    class party;
    class wake_up;

    bool push_before(time_point deadline, T& item, const char* operation, const wait_options& how);
    /// Blocks until the party is settled or the channel closed. False when the deadline passed first.
    bool wait_for_end_of(const party& self, time_point deadline, const char* operation, const wait_options& how) const {
        detail::thread_wait here(operation, "a thread_channel", detail::node_reference(), how.patient());
        const auto ended = [&] {
            const std::lock_guard lock(mutex_);
            return closed_ || self.settled;
        };
        return detail::wait_until(here, ended, deadline);
    }
    std::optional<T> pop_before(time_point deadline, const char* operation, const wait_options& how);
    // With the mutex held; wake_up says whom to wake once it is released.
    bool offer(T& item, wake_up& whom) noexcept;
    bool take(std::optional<T>& item, wake_up& whom) noexcept;

    const std::size_t capacity_;
    mutable std::mutex mutex_;  // guards what follows, and every party in the lists
    std::deque<T> items_;
    detail::intrusive_list<party> pushers_;  // waiting only while it is full
    detail::intrusive_list<party> poppers_;  // waiting only while it is empty
    bool closed_ = false;
};

// ---- implementation ----------------------------------------------------------------------------------------------
/// Somebody who waits, with the item that it brings or gets. In a list until somebody else has settled it, or it has
/// taken itself out, both under the mutex; the one who settles it copies what it needs for the wake-up before it releases
/// the mutex, and then touches neither the party nor the channel any more. close() wakes its parties under the mutex, since
/// there are many; so those that it refused go by the mutex once more before they leave (threads do so anyway), and the
/// channel may end after the last of them.
template <class T>
class thread_channel<T>::party : public detail::list_hook<party> {
public:
    T* brings = nullptr;    // a pusher's, where that one keeps it
    std::optional<T> gets;  // a popper's
    bool settled = false;   // it has its item, the channel has taken the item, or the channel is closed
    bool refused = false;   // closed

    /// Before a task that was refused leaves.
    void let_close_go(std::mutex& of_channel) const {
        if (refused && settled) const std::lock_guard until_it_has_let_go(of_channel);
    }

    detail::thread_parker* parker = nullptr;  // a thread
    detail::loop_reference home;              // a task
    detail::ready_node* node = nullptr;
};

template <class T>
class thread_channel<T>::wake_up {
public:
    wake_up() noexcept = default;
    explicit wake_up(party& settled) noexcept { of(settled); }
    void of(party& settled) noexcept {
        settled.settled = true;
        parker_ = settled.parker;
        home_ = settled.home;
        node_ = settled.node;
    }
    /// Without the mutex.
    void send() noexcept {
        if (parker_ != nullptr) parker_->unpark();
        if (node_ == nullptr) return;
        [[maybe_unused]] const bool taken = home_->push(*node_);  // a loop is not sealed before its tasks have ended
    }

private:
    detail::thread_parker* parker_ = nullptr;
    detail::loop_reference home_;
    detail::ready_node* node_ = nullptr;
};

template <class T>
bool thread_channel<T>::offer(T& item, wake_up& whom) noexcept {
    if (closed_) return false;
    if (party* const waiting = poppers_.pop_front()) {
        waiting->gets.emplace(std::move(item));
        whom.of(*waiting);
        return true;
    }
    if (items_.size() >= capacity_) return false;
    items_.push_back(std::move(item));
    return true;
}

template <class T>
bool thread_channel<T>::take(std::optional<T>& item, wake_up& whom) noexcept {
    if (items_.empty()) return false;
    item.emplace(std::move(items_.front()));
    items_.pop_front();
    if (party* const waiting = pushers_.pop_front()) {
        items_.push_back(std::move(*waiting->brings));
        whom.of(*waiting);
    }
    return true;
}

template <class T>
bool thread_channel<T>::try_push(T&& item) {
    wake_up whom;
    std::unique_lock lock(mutex_);
    const bool taken = offer(item, whom);
    lock.unlock();
    whom.send();
    return taken;
}

template <class T>
std::optional<T> thread_channel<T>::try_pop() {
    wake_up whom;
    std::optional<T> item;
    std::unique_lock lock(mutex_);
    take(item, whom);
    lock.unlock();
    whom.send();
    return item;
}

template <class T>
bool thread_channel<T>::push_before(time_point deadline, T& item, const char* operation, const wait_options& how) {
    detail::check_own_wait(operation, "a thread_channel with room", nullptr);
    wake_up whom;
    std::unique_lock lock(mutex_);
    if (offer(item, whom)) {
        lock.unlock();
        whom.send();
        return true;
    }
    party self;
    self.parker = &detail::thread_parker::of_this_thread();
    self.brings = &item;
    if (!closed_) pushers_.push_back(self);
    lock.unlock();
    const bool in_time = wait_for_end_of(self, deadline, operation, how);
    lock.lock();
    if (!in_time && !self.settled && !closed_) {
        pushers_.erase(self);
        return false;
    }
    if (self.settled && !self.refused) return true;
    throw closed_error(std::string(operation) + ": the channel is closed");
}

template <class T>
std::optional<T> thread_channel<T>::pop_before(time_point deadline, const char* operation, const wait_options& how) {
    detail::check_own_wait(operation, "a thread_channel with an item", nullptr);
    wake_up whom;
    std::optional<T> item;
    std::unique_lock lock(mutex_);
    if (take(item, whom)) {
        lock.unlock();
        whom.send();
        return item;
    }
    party self;
    self.parker = &detail::thread_parker::of_this_thread();
    if (!closed_) poppers_.push_back(self);
    lock.unlock();
    const bool in_time = wait_for_end_of(self, deadline, operation, how);
    lock.lock();
    if (!in_time && !self.settled && !closed_) {
        poppers_.erase(self);
        return std::nullopt;
    }
    if (self.gets) return std::move(self.gets);
    throw closed_error(std::string(operation) + ": the channel is closed and empty");
}

template <class T>
void thread_channel<T>::push(T item, wait_options how) {
    push_before(time_point::max(), item, "thread_channel::push", how);
}
template <class T>
template <class Rep, class Period>
bool thread_channel<T>::push_for(std::chrono::duration<Rep, Period> limit, T&& item, wait_options how) {
    return push_before(detail::deadline_after(std::chrono::steady_clock::now(), detail::to_nanoseconds(limit)), item,
                       "thread_channel::push_for", how);
}
template <class T>
T thread_channel<T>::pop(wait_options how) {
    return std::move(*pop_before(time_point::max(), "thread_channel::pop", how));
}
template <class T>
template <class Rep, class Period>
std::optional<T> thread_channel<T>::pop_for(std::chrono::duration<Rep, Period> limit, wait_options how) {
    return pop_before(detail::deadline_after(std::chrono::steady_clock::now(), detail::to_nanoseconds(limit)),
                      "thread_channel::pop_for", how);
}

template <class T>
void thread_channel<T>::close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    for (detail::intrusive_list<party>* waiting : {&pushers_, &poppers_}) {
        while (party* const one = waiting->pop_front()) {
            one->refused = true;
            wake_up(*one).send();
        }
    }
}

template <class T>
class [[nodiscard]] thread_channel<T>::push_awaiter : public detail::leaf_awaiter<push_awaiter>, private party {
public:
    static constexpr const char* what = "thread_channel::push";
    push_awaiter(thread_channel& owner, T&& item) : owner_(owner), item_(std::move(item)) {}

    bool try_complete() noexcept {
        wake_up whom;
        std::unique_lock lock(owner_.mutex_);
        this->refused = owner_.closed_;
        const bool done = this->refused || owner_.offer(item_, whom);
        lock.unlock();
        whom.send();
        return done;
    }
    /// It asks once more under the mutex: another thread may have made room since try_complete().
    void link() noexcept {
        this->home = detail::loop_reference(event_loop::of(this->task()).control());
        this->node = &this->task();
        wake_up whom;
        std::unique_lock lock(owner_.mutex_);
        this->refused = owner_.closed_;
        const bool done = this->refused || owner_.offer(item_, whom);
        this->brings = &item_;
        if (!done) owner_.pushers_.push_back(*this);
        lock.unlock();
        whom.send();
        if (done) this->task().wake();
    }
    static void withdraw(detail::waiter& self) noexcept {
        push_awaiter& waiting = static_cast<push_awaiter&>(self);
        {
            const std::lock_guard lock(waiting.owner_.mutex_);
            if (waiting.settled) return;  // its end is on the way
            waiting.owner_.pushers_.erase(waiting);
        }
        waiting.task().wake_interrupted();
    }
    void finish() const {
        this->let_close_go(owner_.mutex_);
        if (this->refused) throw closed_error("thread_channel::push: the channel is closed");
    }

private:
    thread_channel& owner_;
    T item_;
};

template <class T>
class [[nodiscard]] thread_channel<T>::pop_awaiter : public detail::leaf_awaiter<pop_awaiter>, private party {
public:
    static constexpr const char* what = "thread_channel::pop";
    explicit pop_awaiter(thread_channel& owner) noexcept : owner_(owner) {}

    bool try_complete() noexcept {
        wake_up whom;
        std::unique_lock lock(owner_.mutex_);
        const bool done = owner_.take(this->gets, whom) || owner_.closed_;
        lock.unlock();
        whom.send();
        return done;
    }
    void link() noexcept {
        this->home = detail::loop_reference(event_loop::of(this->task()).control());
        this->node = &this->task();
        wake_up whom;
        std::unique_lock lock(owner_.mutex_);
        const bool done = owner_.take(this->gets, whom) || owner_.closed_;
        if (!done) owner_.poppers_.push_back(*this);
        lock.unlock();
        whom.send();
        if (done) this->task().wake();
    }
    static void withdraw(detail::waiter& self) noexcept {
        pop_awaiter& waiting = static_cast<pop_awaiter&>(self);
        {
            const std::lock_guard lock(waiting.owner_.mutex_);
            if (waiting.settled) return;  // its item is on the way
            waiting.owner_.poppers_.erase(waiting);
        }
        waiting.task().wake_interrupted();
    }
    T finish() {
        this->let_close_go(owner_.mutex_);
        if (!this->gets) throw closed_error("thread_channel::pop: the channel is closed and empty");
        return std::move(*this->gets);
    }

private:
    thread_channel& owner_;
};
}  // namespace ferry::inline FERRY_ABI
