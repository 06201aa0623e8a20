// ferry/loop/task_group.hpp - child tasks that end before their parent goes on
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/exception_handlers.hpp>
#include <ferry/core/invoke.hpp>
#include <ferry/core/rooted_task.hpp>
#include <ferry/core/temporaries.hpp>
#include <ferry/loop/spawn.hpp>

#include <cstddef>
#include <exception>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// Starts children inside with_task_group, which does not return before all of them have ended.
///
/// Ownership      Owns its children. It lives in the frame of with_task_group; children may keep a reference to it and
///                start siblings.
/// Thread-safety  None: its loop's thread.
/// Errors         The first child that throws cancels the body and the other children; with_task_group throws what it
///                threw. Failures after that go to the suppressed-exception handler. Where a cancellation from outside
///                cut a child short, with_task_group throws `cancelled`.
class task_group {
public:
    explicit task_group(detail::logical_task& parent)
        : join_(parent),
          scope_(parent),
          parent_(parent),
          record_(detail::wait_node::acquire(detail::wait_node::kind::family)) {
        record_.wait_for(detail::node_reference(&parent.record()));
        record_.set_scope(parent.record().scope());
        parent.record().set_scope(&record_);
    }
    ~task_group() {
        parent_.record().set_scope(record_.scope());
        record_.release();
    }
    task_group(const task_group&) = delete;
    task_group& operator=(const task_group&) = delete;

    /// Schedules a child: it starts on a later turn, never inside this call. Its value is dropped.
    template <awaitable Awaitable>
    void start(Awaitable child);
    /// The same for a function and its arguments, which are kept until the child has ended.
    template <class Fn, class... Args>
    requires(!awaitable<Fn>) void start(Fn&& fn, Args&&... args);

    /// Cancels the body and all children. If nothing else goes wrong, with_task_group then returns normally where its
    /// body returns void, and throws `cancelled` where it owes a value.
    void cancel() noexcept {
        if (!scope_.cancelled()) cancelled_itself_ = true;
        cancel_all();
    }

    /// Children that have not ended.
    [[nodiscard]] std::size_t size() const noexcept { return running_; }

private:
    template <class T>
    class child;
    template <class Fn, class... Args>
    friend auto with_task_group(Fn&& fn, Args&&... args);
    template <class T, class Fn, class... Args>
    friend task<T> run_task_group(Fn fn, Args... args);

    /// The parent's wait for the children. It is no checkpoint, and a cancellation does not end it: the children are
    /// below scope_, so the cancellation has reached them.
    class join_wait : public detail::waiter {
    public:
        explicit join_wait(detail::logical_task& parent) noexcept : waiter([](waiter&) noexcept {}) { bind(parent); }
    };
    class join_awaiter {
    public:
        using native_awaitable = void;
        explicit join_awaiter(task_group& group) noexcept : group_(group) {}
        [[nodiscard]] bool await_ready() const noexcept { return group_.running_ == 0; }
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> frame) const noexcept {
            group_.parent_.suspend_at(frame);
            group_.begin_join();
        }
        void await_resume() const noexcept {}

    private:
        task_group& group_;
    };

    join_awaiter join() noexcept { return join_awaiter(*this); }
    void begin_join() noexcept {
        parent_.wait_in(join_, "with_task_group");
        parent_.needs(detail::node_reference(&record_), detail::wait_node::joins);
        if (record_.has_waiting_member()) parent_.owner().inspect(parent_.record(), nullptr);
    }
    void cancel_all() noexcept {
        record_.set_flags(
            detail::wait_node::open);  // a cancellation that is still on its way to another loop will arrive
        scope_.cancel();
    }
    void child_ended() noexcept;
    void fail(const std::exception_ptr& error, const char* name) noexcept;
    void rethrow_failure() const {
        if (failure_ != nullptr) std::rethrow_exception(failure_);
        if (cut_short_) throw cancelled();
    }

    join_wait join_;
    detail::entered_scope scope_;
    detail::logical_task& parent_;
    detail::wait_node& record_;
    std::size_t running_ = 0;
    std::exception_ptr failure_;
    bool cancelled_itself_ = false;  // by cancel(), before any cancellation from outside
    bool cut_short_ = false;         // a child did not do its work, and neither an error nor cancel() is the reason
};

/// Calls fn(group, args...), a coroutine, and awaits it and every child it started in the group.
///
///     co_await ferry::with_task_group([&](ferry::task_group& group) -> ferry::task<> {
///         for (auto& peer : peers) group.start(poll(peer));
///         co_await until_enough();
///         group.cancel();
///     });
///
/// fn and args are kept for the whole time, so a lambda that captures is safe here.
template <class Fn, class... Args>
auto with_task_group(Fn&& fn, Args&&... args);

// ---- implementation ----------------------------------------------------------------------------------------------
template <class T>
class task_group::child final : public detail::rooted_task<T> {
public:
    child(task_group& group, task<T> body)
        : detail::rooted_task<T>(group.parent_.owner(), &group.scope_, &finished, std::move(body)), group_(group) {}
    static void* operator new(std::size_t size) { return detail::frame_allocator::allocate(size); }
    static void operator delete(void* block, std::size_t size) noexcept {
        detail::frame_allocator::deallocate(block, size);
    }

private:
    static void finished(detail::logical_task& base) noexcept {
        child& self = static_cast<child&>(base);
        task_group& group = self.group_;
        const std::exception_ptr error = self.outcome().has_exception() ? self.outcome().exception() : nullptr;
        if (error != nullptr) group.fail(error, self.name());
        group.record_.remove_member(self.record());  // only now: others may count on what it has just cancelled
        delete &self;
        group.child_ended();
    }
    task_group& group_;
};

template <awaitable Awaitable>
void task_group::start(Awaitable what) {
    static_assert(!detail::borrowing_awaitable<Awaitable>,
                  "this awaiter refers to its message, which may be gone when the child starts: send.owned(message)");
    using T = detail::await_result<Awaitable>;
    auto* const made = new child<T>(*this, detail::to_task(std::move(what)));
    ++running_;
    made->record().set_scope(&record_);
    record_.add_member(made->record());
    parent_.owner().schedule(*made);
}

template <class Fn, class... Args>
requires(!awaitable<Fn>) void task_group::start(Fn&& fn, Args&&... args) {
    detail::refuse_unsafe_temporaries<Fn&&, Args&&...>();
    detail::refuse_plain_functions<detail::stored_type<Fn>&, detail::stored_type<Args>&...>();
    start(detail::call_stored<detail::stored_type<Fn>, detail::stored_type<Args>...>(std::forward<Fn>(fn),
                                                                                     std::forward<Args>(args)...));
}

inline void task_group::child_ended() noexcept {
    if (--running_ == 0 && parent_.wait() == &join_) {
        parent_.end_wait();
        parent_.owner().run_next(parent_);
    } else if (record_.is_relied_upon()) {
        // Its error would have ended the waits of the others, and that of the body.
        parent_.owner().inspect(running_ != 0 ? record_ : parent_.record(), nullptr);
    }
}

inline void task_group::fail(const std::exception_ptr& error, const char* name) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (const cancelled&) {
        if (scope_.cancelled()) {  // what it was told to end in
            if (!cancelled_itself_) cut_short_ = true;
            return;
        }
        if (failure_ == nullptr) failure_ = error;
    } catch (...) {
        if (failure_ == nullptr) {
            failure_ = error;
        } else {
            detail::report_beside(failure_, error, name);
        }
    }
    cancel_all();
}

template <class T, class Fn, class... Args>
task<T> run_task_group(Fn fn, Args... args) {
    static_assert(!detail::borrowed_result<T>,
                  "borrowed bytes live until the next co_await, and the group awaits its children: use "
                  "receive(own_buffer) here");
    detail::logical_task& self = co_await detail::current_task();
    task_group group(self);
    detail::result<T> body;
    try {
        if constexpr (std::is_void_v<T>) {
            co_await detail::invoke(fn, group, args...);
            body.set_value();
        } else {
            body.set_value(co_await detail::invoke(fn, group, args...));
        }
    } catch (...) {
        body.set_exception(std::current_exception());
        group.fail(body.exception(), self.name());
    }
    co_await group.join();
    group.rethrow_failure();
    if constexpr (std::is_void_v<T>) {
        if (body.has_exception() && group.scope_.cancelled_here()) co_return;
    }
    co_return body.take();
}

template <class Fn, class... Args>
auto with_task_group(Fn&& fn, Args&&... args) {
    detail::refuse_unsafe_temporaries<Fn&&, Args&&...>();
    detail::refuse_plain_functions<detail::stored_type<Fn>&, task_group&, detail::stored_type<Args>&...>();
    using body = std::invoke_result_t<detail::stored_type<Fn>&, task_group&, detail::stored_type<Args>&...>;
    return run_task_group<detail::await_result<body>, detail::stored_type<Fn>, detail::stored_type<Args>...>(
        std::forward<Fn>(fn), std::forward<Args>(args)...);
}
}  // namespace ferry::inline FERRY_ABI
