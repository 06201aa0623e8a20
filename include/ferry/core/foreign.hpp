// ferry/core/foreign.hpp - awaitables that know nothing of ferry
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/executor.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/core/logical_task.hpp>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
template <class T>
concept has_member_co_await = requires(T&& value) {
    std::forward<T>(value).operator co_await();
};
template <class T>
concept has_free_co_await = requires(T&& value) {
    operator co_await(std::forward<T>(value));
};
template <class T>
concept plain_awaiter = requires(std::remove_reference_t<T>& value) {
    { value.await_ready() } -> std::convertible_to<bool>;
    value.await_resume();
};

/// Something that is not ferry's and can be co_awaited by the rules of the language.
template <class T>
concept foreign_awaitable = !awaitable<T> && (has_member_co_await<T> || has_free_co_await<T> || plain_awaiter<T>);

template <class T>
decltype(auto) get_foreign_awaiter(T&& value) {
    if constexpr (has_member_co_await<T>) {
        return std::forward<T>(value).operator co_await();
    } else if constexpr (has_free_co_await<T>) {
        return operator co_await(std::forward<T>(value));
    } else {
        return std::forward<T>(value);
    }
}

/// The coroutine that a foreign awaitable gets to resume in the task's place. When it is resumed, on whatever thread, or
/// destroyed instead, it hands the task's node to the task's loop.
class trampoline {
public:
    class promise_type {
    public:
        static void* operator new(std::size_t size) { return frame_allocator::allocate(size); }
        static void operator delete(void* frame, std::size_t size) noexcept {
            frame_allocator::deallocate(frame, size);
        }
        trampoline get_return_object() noexcept {
            return trampoline(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
        [[nodiscard]] std::suspend_never final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
        void unhandled_exception() const noexcept { std::terminate(); }
    };

    explicit trampoline(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
    [[nodiscard]] std::coroutine_handle<promise_type> frame() const noexcept { return frame_; }

private:
    std::coroutine_handle<promise_type> frame_;
};

/// The way home of one foreign await: a counted reference to the inbox, and the node to put there.
///
/// The node is pushed once: by the resumption, or by this object's end. Everything the foreign side wrote before it
/// resumed the trampoline is seen by the task (the push releases, the loop's take acquires). The push may come before the
/// foreign await_suspend has returned: the loop's thread, which is still inside it, takes the node later. `fate` is in
/// the task's frame, which stays suspended until the push; after it only the trampoline's own frame is touched.
class way_home {
public:
    enum class fate : unsigned char { resumed, destroyed, not_needed };

    way_home(remote_inbox& inbox, ready_node& node, fate& how) noexcept : inbox_(&inbox), node_(&node), fate_(&how) {
        inbox_->retain();
    }
    way_home(way_home&& other) noexcept
        : inbox_(std::exchange(other.inbox_, nullptr)), node_(other.node_), fate_(other.fate_) {}
    ~way_home() {
        if (inbox_ == nullptr) return;
        if (*fate_ == fate::not_needed) {
            inbox_->release();
        } else {
            *fate_ = fate::destroyed;
            go();
        }
    }
    /// Nothing of the task may be touched after it.
    void go() noexcept {
        remote_inbox* const inbox = std::exchange(inbox_, nullptr);
        [[maybe_unused]] const bool taken = inbox->push(*node_);  // a loop is not sealed before its tasks have ended
        inbox->release();
    }

private:
    remote_inbox* inbox_;
    ready_node* node_;
    fate* fate_;
};

inline trampoline go_home(way_home way) {
    way.go();
    co_return;
}

/// Awaits a foreign awaitable inside a ferry coroutine: whatever thread it resumes on, the task goes on on its own loop.
/// A cancellation stops here as at a shield.
template <class Awaiter>
class [[nodiscard]] foreign_awaiter : public waiter {
public:
    template <class Awaitable>
    explicit foreign_awaiter(Awaitable&& value)
        : waiter([](waiter&) noexcept {}), inner_(get_foreign_awaiter(std::forward<Awaitable>(value))) {}

    [[nodiscard]] bool await_ready() { return static_cast<bool>(inner_.await_ready()); }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> frame) {
        logical_task& owner = frame.promise().task();
        owner.suspend_at(frame);
        bind(owner);
        const std::coroutine_handle<trampoline::promise_type> ours =
            go_home(way_home(owner.owner().remote(), owner, fate_)).frame();
        // From here on another thread may push the node; the loop's thread, which is this one, takes it later.
        owner.wait_in(*this, "a foreign awaitable");
        try {
            if (suspend_inner(ours)) return true;
        } catch (...) {
            take_back(owner, ours);
            throw;
        }
        take_back(owner, ours);
        return false;
    }

    decltype(auto) await_resume() {
        if (fate_ == way_home::fate::destroyed) {
            throw broken_promise("a foreign awaitable destroyed the coroutine that it should have resumed");
        }
        return inner_.await_resume();
    }

private:
    bool suspend_inner(std::coroutine_handle<trampoline::promise_type> ours) {
        using answer = decltype(inner_.await_suspend(ours));
        if constexpr (std::is_void_v<answer>) {
            inner_.await_suspend(ours);
            return true;
        } else if constexpr (std::is_same_v<answer, bool>) {
            return inner_.await_suspend(ours);
        } else {
            const std::coroutine_handle<> next = inner_.await_suspend(ours);
            next.resume();
            return true;
        }
    }
    /// It did not suspend: the trampoline was not used.
    void take_back(logical_task& owner, std::coroutine_handle<trampoline::promise_type> ours) noexcept {
        owner.end_wait();
        fate_ = way_home::fate::not_needed;
        ours.destroy();
    }

    Awaiter inner_;
    way_home::fate fate_ = way_home::fate::resumed;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
