// ferry/bridge/detail/sent_task.hpp - tasks that a blocked thread waits for: on another thread's loop, or on its own
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/bridge/detail/default_loop.hpp>
#include <ferry/bridge/detail/home_thread.hpp>
#include <ferry/bridge/detail/sensitive_threads.hpp>
#include <ferry/core/cancellation.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/context.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/core/result.hpp>
#include <ferry/core/rooted_task.hpp>
#include <ferry/core/stop_token.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/deadlock/wait_options.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/loop_control.hpp>
#include <ferry/loop/main_task.hpp>
#include <ferry/loop/spawn.hpp>

#include <atomic>
#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <source_location>
#include <string>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Passes a stop request for the running call on to the task that the call blocks on (K03): cancels it, on its loop.
///
/// The request comes at most once, on any thread, and travels as a node of its own, which may overtake the task's start or
/// come after its end. So the node is counted: this object, a request under way, and nobody else. What it aims at is
/// known to the task's loop alone, which forgets it there when the task ends.
///
/// For the wait graph the task is in a scope of its own, between it and the call: from the moment of the request on, that
/// scope interrupts, whatever has become of the one whose end was the reason. Otherwise a wait would count as hopeless
/// while its cancellation is on its way. Only the thread that makes the request writes to that record, once, after this
/// object has made it.
class cancellation_link {
public:
    /// What a request arrives at, on the loop's thread.
    class target {
    public:
        virtual void cancel_from_call() noexcept = 0;

    protected:
        ~target() = default;
    };

    cancellation_link() noexcept = default;
    ~cancellation_link() {
        stop_listening();
        if (node_ == nullptr) return;
        node_->release();
        scope_->release();
    }
    cancellation_link(const cancellation_link&) = delete;
    cancellation_link& operator=(const cancellation_link&) = delete;

    /// Before the task is published: what may throw. Without a call around there is nothing to pass on, here and below.
    void aim(loop_control& loop, target& at) {
        call* const around = this_thread().running_call;
        if (around == nullptr) return;
        stop_token token = around->stop().token();
        node_ = new node(loop, at);
        scope_ = &wait_node::acquire(wait_node::kind::deadline);
        scope_->set_scope(around->record());
        callback_.emplace(std::move(token), request(*this));
    }
    /// In the wait graph, the outermost scope of the task, from aim() on: without a call around its own node.
    [[nodiscard]] const wait_node& scope_of(const wait_node& task) const noexcept {
        return scope_ == nullptr ? task : *scope_;
    }
    /// After that. A request that was made already is sent at once.
    void listen() noexcept {
        if (node_ != nullptr) happens(published);
    }
    /// No request is sent from now on.
    void stop_listening() noexcept { callback_.reset(); }
    /// On the loop's thread: the task has ended.
    void forget() noexcept {
        if (node_ != nullptr) node_->at = nullptr;
    }

private:
    class node : public ready_node {
    public:
        node(loop_control& of_task, target& to) noexcept : loop(of_task), at(&to) { run = &arrive; }
        static void* operator new(std::size_t size) { return frame_allocator::allocate(size); }
        static void operator delete(void* block, std::size_t size) noexcept {
            frame_allocator::deallocate(block, size);
        }
        void send() noexcept {
            references.fetch_add(1, std::memory_order_relaxed);
            if (!loop->push(*this)) release();  // it has ended its tasks
        }
        void release() noexcept {
            if (references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
        }

        const loop_reference loop;
        target* at;  // the loop's, once the task is published
        std::atomic<int> references{1};

    private:
        static void arrive(ready_node& arrived) noexcept {
            node& self = static_cast<node&>(arrived);
            if (self.at != nullptr) self.at->cancel_from_call();
            self.release();
        }
    };
    class request {
    public:
        explicit request(cancellation_link& link) noexcept : link_(&link) {}
        void operator()() const noexcept {
            link_->scope_->set_flags(wait_node::open);
            link_->happens(requested);
        }

    private:
        cancellation_link* link_;
    };
    static constexpr unsigned published = 1;
    static constexpr unsigned requested = 2;
    /// Whoever comes second sends.
    void happens(unsigned what) noexcept {
        if ((what_happened_.fetch_or(what, std::memory_order_acq_rel) | what) == (published | requested)) node_->send();
    }

    node* node_ = nullptr;
    wait_node* scope_ = nullptr;
    std::atomic<unsigned> what_happened_{0};
    std::optional<stop_callback<request>> callback_;
};

/// What a refused wait throws whose task was cancelled and has ended: the refusal, unless the task had another error.
[[nodiscard]] inline std::exception_ptr refusal_if_cancelled(const std::exception_ptr& outcome,
                                                             const std::exception_ptr& refusal) noexcept {
    try {
        std::rethrow_exception(outcome);
    } catch (const cancelled&) {
        return refusal;
    } catch (...) {
        return outcome;
    }
}

/// A task that a blocked thread sends to another thread's loop. It lives on the blocked thread's stack.
///
/// The node is published by push_new(); from then on only the loop's thread touches this object, until it stores done_
/// (release), which is its last touch: the parker it then wakes was read before and is never freed. The blocked thread
/// sees done_ (acquire), and with it the outcome; the frame has been destroyed on the loop's thread by then. In a forked
/// child, where that thread is not, the wait ends in closed_error, and the frame stays as it is.
template <class T>
class sent_task final : public ready_node, public owned_task, private cancellation_link::target {
public:
    sent_task(loop_control& loop, task<T> body) : control_(loop), body_(std::move(body)), name_(body_->name()) {
        run = &begin;
    }
    ~sent_task() {  // root_ is empty, or a forked child's, which must not touch it
        if (record_ != nullptr) record_->release();
    }

    /// Blocks until the task has ended on that loop. False if the loop is closed; then nothing has happened. `place` is the
    /// innermost home of the task.
    [[nodiscard]] bool block(home* place, const wait_options& how) {
        const loop_reference inbox(control_);  // the task may end, and the loop with it, before push_new() returns
        place_ = place;
        parker_ = &thread_parker::of_this_thread();
        link_.aim(control_, *this);
        record_ = &wait_node::acquire(wait_node::kind::task);
        record_->set_name(name_);
        record_->set_within(control_.record().node());
        const wait_node& whole = link_.scope_of(*record_);
        record_->set_scope(&whole);
        const node_reference record(record_);
        thread_wait here("block_on", name_, record, how);
        here.cancels(whole);
        const wait_service* const service = service_of_this_wait();
        here.refuse_if_hopeless(service != nullptr, service == nullptr ? nullptr : service->driven_record());
        const context_away lent(context_);
        if (!control_.push_new(*this)) return false;
        link_.listen();
        try {
            wait_until(here.for_task_on(*control_.record().node()), [this] { return is_done(); });
        } catch (const deadlock_error&) {
            end_refused(std::current_exception(), record, how);
        } catch (const std::bad_alloc&) {
            end_refused(std::current_exception(), record, how);
        }
        link_.stop_listening();
        return true;
    }
    T take() { return outcome_.take(); }
    // When block() returned false: the awaitable, or the error.
    [[nodiscard]] task<T> take_body() noexcept { return std::move(*body_); }
    [[noreturn]] void throw_closed() const {
        throw closed_error("block_on(" + short_name(name_) + "): " + control_.refusal());
    }

private:
    /// The caller's context is the task's meanwhile.
    class context_away {
    public:
        explicit context_away(ferry::context& place) : place_(place) { place_ = exchange_current_context({}); }
        ~context_away() { exchange_current_context(std::move(place_)); }
        context_away(const context_away&) = delete;
        context_away& operator=(const context_away&) = delete;

    private:
        ferry::context& place_;
    };
    class root final : public rooted_task<T> {
    public:
        root(event_loop& loop, task<T> body, sent_task& owner)
            : rooted_task<T>(loop, nullptr, &ended, std::move(body), std::exchange(owner.record_, nullptr)),
              owner_(owner) {}

    private:
        static void ended(logical_task& self) noexcept { static_cast<root&>(self).owner_.finish(); }
        sent_task& owner_;
    };

    /// The wait was refused when the task had been sent: it is cancelled over there, and awaited.
    class cancellation final : public ready_node {
    public:
        explicit cancellation(sent_task& owner) noexcept : owner_(owner) {
            run = [](ready_node& arrived) noexcept {
                sent_task& task = static_cast<cancellation&>(arrived).owner_;
                task.cancel_from_call();
                thread_parker* const sleeper = task.parker_;
                static_cast<cancellation&>(arrived).arrived_.store(true, std::memory_order_release);
                sleeper->unpark();
            };
        }
        [[nodiscard]] bool has_arrived() const noexcept { return arrived_.load(std::memory_order_acquire); }

    private:
        sent_task& owner_;
        std::atomic<bool> arrived_{false};
    };
    void end_refused(const std::exception_ptr& refusal, const node_reference& record, const wait_options& how) {
        cancellation request(*this);
        const bool sent = control_.push(request);
        thread_wait here("block_on", name_, record, how);
        wait_until(here.for_report_only(), [&] { return is_done() && (!sent || request.has_arrived()); });
        if (outcome_.has_exception()) std::rethrow_exception(refusal_if_cancelled(outcome_.exception(), refusal));
    }
    [[nodiscard]] bool is_done() const {
        const bool done = done_.load(std::memory_order_acquire);
        if (!done && control_.left_behind()) throw_closed();  // a call that came home has forked
        return done;
    }

    static void begin(ready_node& node) noexcept {
        sent_task& self = static_cast<sent_task&>(node);
        event_loop& loop = self.control_.loop();
        if (!loop.adopt(self)) return self.refuse();
        self.loop_ = &loop;
        self.root_.emplace(loop, std::move(*self.body_), self);
        self.body_.reset();
        self.root_->context() = std::move(self.context_);
        self.root_->home() = home_reference(self.place_);
        if (self.cancelled_early_) self.root_->root_scope().cancel();
        logical_task::resume(*self.root_);
    }
    void finish() noexcept {
        loop_->disown(*this);
        if (root_->outcome().has_exception()) {
            const std::exception_ptr& error = root_->outcome().exception();
            outcome_.set_exception(loop_->closing() ? closed_if_cancelled(error, name_) : error);
        } else {
            outcome_.set_from([this]() -> T { return root_->outcome().take(); });
        }
        context_ = std::move(root_->context());
        root_.reset();
        signal();
    }
    void cancel() noexcept override { root_->root_scope().cancel(); }
    void cancel_from_call() noexcept override {
        cancelled_early_ = true;
        if (root_) root_->root_scope().cancel();
    }
    [[nodiscard]] const logical_task& root_task() const noexcept override { return *root_; }
    void refuse() noexcept override {
        body_.reset();
        outcome_.set_exception(std::make_exception_ptr(
            closed_error("block_on(" + short_name(name_) + "): the loop was closed before it could start")));
        signal();
    }
    void signal() noexcept {
        link_.forget();
        thread_parker* const sleeper = parker_;
        done_.store(true, std::memory_order_release);
        sleeper->unpark();
    }

    loop_control& control_;
    cancellation_link link_;
    std::optional<task<T>> body_;
    const char* name_;
    wait_node* record_ = nullptr;  // of the task, until that has begun
    event_loop* loop_ = nullptr;
    home* place_ = nullptr;
    ferry::context context_;  // the caller's, on its way there and back
    union {
        std::optional<root> root_{};
    };
    result<T> outcome_;
    thread_parker* parker_ = nullptr;
    bool cancelled_early_ = false;  // the request has overtaken the start
    std::atomic<bool> done_{false};
};

/// Drives a loop of this thread from the frame, the innermost home here, until the task on it has ended.
template <class T>
T run_on_own_loop(event_loop& loop, home_frame& frame, task<T> body, const wait_options& how) {
    class cancellable final : public cancellation_link::target {
    public:
        explicit cancellable(logical_task& task) noexcept : task_(task) {}
        void cancel_from_call() noexcept override { task_.root_scope().cancel(); }

    private:
        logical_task& task_;
    };
    const executor::turned_here here_from_now_on(loop);
    const wait_service::driving inside(frame.thread(), loop.as_drivable());
    const typename main_task<T>::pointer main(new main_task<T>(loop, loop.control(), std::move(body)));
    cancellable whole(*main);
    cancellation_link link;
    link.aim(loop.control(), whole);
    link.listen();
    const wait_node& outermost = link.scope_of(main->record());
    main->record().set_scope(&outermost);
    loop.schedule(*main);
    const auto has_ended = [&] {
        loop.check_process("block_on");  // a task may fork, and go on in the child
        return main->ended();
    };
    std::exception_ptr refusal;
    if (service_of_this_wait() != nullptr) loop.as_drivable().turn();  // what does not suspend has ended then
    if (!has_ended()) {
        const node_reference record(&main->record());
        thread_wait here("block_on", main->name(), record, how);
        try {
            wait_until(here.cancels(outermost), has_ended);
        } catch (const deadlock_error&) {
            refusal = std::current_exception();
        } catch (const std::bad_alloc&) {
            refusal = std::current_exception();
        }
        if (refusal != nullptr) {
            main->root_scope().cancel();
            thread_wait end("block_on", main->name(), record, how);
            wait_until(end.for_report_only(), has_ended);
        }
    }
    link.stop_listening();
    link.forget();
    exchange_current_context(std::move(main->context()));
    result<T>& outcome = main->outcome();
    if (refusal != nullptr && outcome.has_exception()) {
        std::rethrow_exception(refusal_if_cancelled(outcome.exception(), refusal));
    }
    return outcome.take();
}

/// The same on the private loop. What the outermost frame finds left behind there is cancelled and awaited (K11); an inner
/// one leaves it to that (K12).
template <class T>
T run_on_private_loop(home_frame& frame, task<T> body, const wait_options& how) {
    class leftovers {
    public:
        leftovers(const home_thread& thread, event_loop& loop)
            : loop_(loop), is_outermost_(thread.find_driven(loop.control().record()) == nullptr) {}
        ~leftovers() {
            if (is_outermost_ && !loop_.control().left_behind()) loop_.cancel_tasks(std::source_location());
        }
        leftovers(const leftovers&) = delete;
        leftovers& operator=(const leftovers&) = delete;

    private:
        event_loop& loop_;
        const bool is_outermost_;
    };
    event_loop& loop = private_loop();
    const leftovers end(frame.thread(), loop);
    return run_on_own_loop(loop, frame, std::move(body), how);
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
