// ferry/loop/on.hpp - awaits work on another loop
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/context.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/core/result.hpp>
#include <ferry/core/rooted_task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/loop_control.hpp>
#include <ferry/loop/spawn.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// A task on its way through another loop.
///
/// Three may hold it: the awaiter at home, the task over there, and a cancellation under way; the last one deletes it.
/// Who touches what: before send() everything is the home thread's; from then on, all but `references_`, `cancel_` and the
/// loop references is the other loop's thread's, until that thread pushes the home task's node (release) to its loop,
/// which takes it from there (acquire) and reads the outcome. The cancellation is a node of its own, which the home
/// thread pushes at most once (a wait is withdrawn once), so that it may arrive before the start, or after the end. The
/// home task waits meanwhile and keeps its loop from being sealed, so its node is always taken.
template <class T>
class travelling_task final : public owned_task {
public:
    travelling_task(event_loop& there, task<T> body)
        : there_(there.control()), body_(std::move(body)), record_(&wait_node::acquire(wait_node::kind::task)) {
        record_->set_name(name_);
        record_->set_within(&there.record());
    }
    ~travelling_task() {
        if (record_ != nullptr) record_->release();
        trip_.release();
    }
    static void* operator new(std::size_t size) { return frame_allocator::allocate(size); }
    static void operator delete(void* block, std::size_t size) noexcept { frame_allocator::deallocate(block, size); }

    void release() noexcept {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }
    [[nodiscard]] const char* name() const noexcept { return name_; }
    [[nodiscard]] const char* refusal() const noexcept { return there_->refusal(); }

    // At home.
    /// False when the other loop is closed.
    [[nodiscard]] bool send(logical_task& from, loop_reference home) noexcept {
        home_ = std::move(home);
        home_node_ = &from;
        context_ = from.context();
        place_ = from.home();
        const loop_reference there = there_;
        retain();
        if (there->push_new(start_)) return true;
        release();
        return false;
    }
    void send_cancellation() noexcept {
        trip_.set_flags(wait_node::open);
        const loop_reference there = there_;
        retain();
        if (!there->push(cancel_)) release();  // it has ended over there, and its outcome is on the way
    }
    T take() { return outcome_.take(); }
    /// In the wait graph; before send().
    void is_needed_by(logical_task& waiting) noexcept {
        trip_.set_scope(waiting.record().scope());  // a cancellation of the one reaches the other
        record_->set_scope(&trip_);
        waiting.needs(node_reference(record_), 0);
    }

private:
    class root final : public rooted_task<T> {
    public:
        root(event_loop& loop, task<T> body, travelling_task& owner)
            : rooted_task<T>(loop, nullptr, &ended, std::move(body), std::exchange(owner.record_, nullptr)),
              owner_(owner) {}

    private:
        static void ended(logical_task& self) noexcept { static_cast<root&>(self).owner_.finish(); }
        travelling_task& owner_;
    };
    class node : public ready_node {
    public:
        node(travelling_task& of, void (*function)(ready_node&) noexcept) noexcept : owner(of) { run = function; }
        travelling_task& owner;
    };

    void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }

    // Over there.
    static void begin(ready_node& start) noexcept {
        travelling_task& self = static_cast<node&>(start).owner;
        self.loop_ = &self.there_->loop();
        if (!self.loop_->adopt(self)) return self.refuse();
        if (self.cancel_requested_) {
            self.loop_->disown(self);
            return self.go_home(std::make_exception_ptr(cancelled()));
        }
        self.root_.emplace(*self.loop_, std::move(*self.body_), self);
        self.root_->context() = std::move(self.context_);
        self.root_->home() = std::move(self.place_);
        logical_task::resume(*self.root_);
    }
    static void on_cancellation(ready_node& arrived) noexcept {
        travelling_task& self = static_cast<node&>(arrived).owner;
        self.cancel_requested_ = true;
        if (self.root_) self.root_->root_scope().cancel();
        self.release();
    }
    void finish() noexcept {
        loop_->disown(*this);
        std::exception_ptr error;
        if (root_->outcome().has_exception()) {
            error = root_->outcome().exception();
            if (loop_->closing() && !cancel_requested_) error = closed_if_cancelled(error, name_);
        } else {
            outcome_.set_from([this]() -> T { return root_->outcome().take(); });
        }
        root_.reset();
        go_home(error);
    }
    void cancel() noexcept override { root_->root_scope().cancel(); }
    [[nodiscard]] const logical_task& root_task() const noexcept override { return *root_; }
    void refuse() noexcept override {
        go_home(std::make_exception_ptr(
            closed_error("on(loop, " + short_name(name_) + "): the loop was closed before it could start")));
    }
    void go_home(const std::exception_ptr& error) noexcept {
        body_.reset();
        if (error != nullptr) outcome_.set_exception(error);
        const loop_reference home = home_;
        [[maybe_unused]] const bool taken = home->push(*home_node_);  // it is not sealed before its tasks have ended
        release();
    }

    std::atomic<std::uint32_t> references_{1};
    loop_reference home_;
    loop_reference there_;
    ready_node* home_node_ = nullptr;
    node start_{*this, &begin};
    node cancel_{*this, &on_cancellation};
    std::optional<task<T>> body_;
    const char* name_ = body_->name();
    wait_node* record_;  // of the task over there, until that has begun
    // The scope of that task. The home thread's; it interrupts from when a cancellation is on its way, whatever becomes of
    // the scope around it.
    wait_node& trip_ = wait_node::acquire(wait_node::kind::deadline);
    ferry::context context_;
    home_reference place_;  // where the thread-sensitive calls of the awaiting task run, and those over there
    event_loop* loop_ = nullptr;
    std::optional<root> root_;
    result<T> outcome_;
    bool cancel_requested_ = false;
};

template <class T>
class [[nodiscard]] travel_awaiter : public leaf_awaiter<travel_awaiter<T>> {
public:
    static constexpr const char* what = "on";
    travel_awaiter(event_loop& there, task<T> body) : travelling_(new travelling_task<T>(there, std::move(body))) {}
    travel_awaiter(travel_awaiter&& other) noexcept
        : leaf_awaiter<travel_awaiter>(other), travelling_(std::exchange(other.travelling_, nullptr)) {}
    ~travel_awaiter() {
        if (travelling_ != nullptr) travelling_->release();
    }

    static constexpr bool may_close_a_circle = true;
    bool try_complete() noexcept { return false; }
    void link() noexcept {
        travelling_->is_needed_by(this->task());
        if (travelling_->send(this->task(), loop_reference(event_loop::of(this->task()).control()))) return;
        refused_ = true;
        this->task().wake();
    }
    static void withdraw(waiter& self) noexcept {
        travel_awaiter& away = static_cast<travel_awaiter&>(self);
        away.travelling_->send_cancellation();
    }
    T finish() {
        if (refused_)
            throw closed_error("on(loop, " + short_name(travelling_->name()) + "): " + travelling_->refusal());
        return travelling_->take();
    }

private:
    travelling_task<T>* travelling_;
    bool refused_ = false;
};
}  // namespace detail

/// Runs `what` on another loop, which any thread may run; the awaiting task goes on, on its own loop, with the result.
///
/// A cancellation here is sent over; the wait ends when the work over there has ended. On the task's own loop it is a
/// plain co_await; elsewhere the work starts with this task's context and does not write back.
///
/// Errors  What `what` throws; closed_error when that loop is closed, or closes first. A checkpoint.
template <awaitable Awaitable>
task<detail::await_result<Awaitable>> on(event_loop& loop, Awaitable what) {
    static_assert(!detail::handle_of_a_call<Awaitable>,
                  "app::send and app::receive belong to their own loop: send here what the work over there returns");
    detail::logical_task& self = co_await detail::current_task();
    if (&event_loop::of(self) == &loop) co_return co_await std::move(what);
    co_return co_await detail::travel_awaiter<detail::await_result<Awaitable>>(loop, detail::to_task(std::move(what)));
}
}  // namespace ferry::inline FERRY_ABI
