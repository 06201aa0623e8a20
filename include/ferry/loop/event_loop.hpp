// ferry/loop/event_loop.hpp - one thread's turn after turn: tasks, timers, descriptors, posts
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/exception_handlers.hpp>
#include <ferry/core/rooted_task.hpp>
#include <ferry/deadlock/judge.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/loop/default_poller.hpp>
#include <ferry/loop/detail/loop_end.hpp>
#include <ferry/loop/detail/loop_wait.hpp>
#include <ferry/loop/detail/owned_task.hpp>
#include <ferry/loop/detail/posted.hpp>
#include <ferry/loop/detail/turn_end_node.hpp>
#include <ferry/loop/detail/wake_watch.hpp>
#include <ferry/loop/loop_control.hpp>
#include <ferry/loop/main_task.hpp>
#include <ferry/loop/poller.hpp>
#include <ferry/loop/timer_queue.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// Runs tasks on one thread. A task that starts on a loop resumes on that loop, always.
///
///     ferry::event_loop loop;
///     int n = loop.run(count_rows());
///
/// A turn takes what other threads posted, fires due timers, runs a bounded batch of what is ready, flushes, and polls
/// descriptors; it sleeps only when nothing is ready. No turn runs inside another.
///
/// Ownership      Owns the tasks spawned on it. Destroying it closes it.
/// Thread-safety  post, spawn and stop: any thread, while the loop lives. Everything else: the thread that runs it.
/// Errors         post and spawn throw closed_error once it is closed. Running it inside a loop's turn throws
///                deadlock_error (its own) or blocking_error. In a forked child, what would run it or hand it work throws
///                closed_error, and its destructor ends no task: the tasks are the parent's.
/// Cost           An idle loop makes no syscall but the one it sleeps in; a loop that never waits makes none.
class event_loop : public detail::executor, private detail::drivable {
public:
    using clock = std::chrono::steady_clock;
    using time_point = clock::time_point;

    event_loop() : event_loop(nullptr) {}
    /// With another clock or another way to wait (virtual_clock). The poller outlives the loop.
    explicit event_loop(poller& how_to_wait) : event_loop(&how_to_wait) {}
    virtual ~event_loop();

    /// The loop whose turn runs on this thread; null outside of one.
    [[nodiscard]] static event_loop* current() noexcept { return static_cast<event_loop*>(detail::this_thread().turn); }
    /// The loop that a logical task runs on.
    [[nodiscard]] static event_loop& of(const detail::logical_task& task) noexcept {
        return static_cast<event_loop&>(task.owner());
    }

    /// Turns until the awaitable has ended, and returns its result or throws its exception.
    template <awaitable Awaitable>
    detail::await_result<Awaitable> run(Awaitable what, wait_options how = std::source_location::current());
    /// Turns until stop().
    void run(wait_options how = std::source_location::current());
    /// Waits at most `max_wait` for something to do, then does one turn of it. To embed the loop, poll native_handle()
    /// until next_deadline(), then call this.
    void run_once(std::chrono::nanoseconds max_wait = std::chrono::nanoseconds(0));
    /// Turns until nothing is ready and no thread works for this loop. Does not wait for timers or descriptors.
    void run_until_idle(wait_options how = std::source_location::current());
    /// Makes run() return after the current turn. Tasks stay where they are.
    void stop() noexcept;
    /// Cancels every task that the loop owns, and turns until all have ended; those that take longer than hang_after() are
    /// reported. New ones may be started afterwards.
    void cancel_tasks(wait_options how = std::source_location::current());
    /// The same, and refuses new work: what had not started does not start, and its waiters get closed_error.
    void close(wait_options how = std::source_location::current());

    /// Runs fn on the loop's thread, in a turn; what it throws goes to the unhandled-exception handler.
    template <class Fn>
    void post(Fn fn);

    /// As spawn(loop, ...), in loop/spawn.hpp, which defines it.
    template <class... What>
    auto spawn(What&&... what);

    [[nodiscard]] time_point now() const noexcept { return poller_->now(); }
    /// When it has something to do: now while anything is ready, time_point::max() where only others can bring it on.
    [[nodiscard]] time_point next_deadline() const noexcept { return anything_ready() ? now() : timers_.next(); }
    /// For embedding: promises that only this thread runs the loop. A blocking call here that waits for one of its tasks
    /// then throws deadlock_error, since nobody would turn the loop meanwhile.
    void bind_to_this_thread() noexcept { executor::bind_to_this_thread(); }
    /// Readable when the loop has something to do, from now on also by a post between two turns.
    [[nodiscard]] int native_handle() {
        prepare_wake_descriptor();
        if (!std::exchange(embedded_, true) && current() != this) control_->leave_asleep();
        return poller_->native_handle();
    }

    // For primitives of ferry.
    [[nodiscard]] detail::timer_queue& timers() noexcept { return timers_; }
    /// Reports on the descriptor from now on. Throws std::system_error when the kernel refuses it.
    void watch(io_watch& descriptor) {
        check_process("watch");
        prepare_wake_descriptor();
        poller_->add(descriptor);
        ++watched_;
    }
    /// Does nothing in a forked child, which would take it out of the parent's poller.
    void unwatch(io_watch& descriptor) noexcept {
        if (control_->left_behind()) return;
        poller_->remove(descriptor);
        --watched_;
    }
    [[nodiscard]] detail::loop_control& control() const noexcept { return *control_.get(); }
    /// The one buffer that every socket of this loop receives into. What is in it is valid until the next task runs.
    [[nodiscard]] char* read_buffer() {
        if (read_buffer_ == nullptr) read_buffer_ = std::make_unique<char[]>(read_buffer_size);
        return read_buffer_.get();
    }
    static constexpr std::size_t read_buffer_size = 64 * 1024;
    /// A thread works for a task of this loop (begin) until its result has arrived (end): virtual time waits for it.
    void begin_outside_work() noexcept { ++outside_work_; }
    void end_outside_work() noexcept { --outside_work_; }
    /// Runs the node once, at the end of the turn; linking it again before that does nothing.
    void at_turn_end(detail::turn_end_node& node) noexcept { turn_end_.add(node); }
    void forget_turn_end(detail::turn_end_node& node) noexcept { turn_end_.remove(node); }
    /// A spawned task begins, on this thread. False when the loop is closing and it must not.
    [[nodiscard]] bool adopt(detail::owned_task& task) noexcept {
        if (closing_) return false;
        owned_.push_back(task);
        return true;
    }
    void disown(detail::owned_task& task) noexcept { owned_.erase(task); }
    [[nodiscard]] bool closing() const noexcept { return closing_; }
    /// For waits that drive it from a frame of their own, instead of run().
    [[nodiscard]] detail::drivable& as_drivable() noexcept { return *this; }
    /// Throws closed_error in a forked child.
    void check_process(const char* operation) const {
        if (control_->left_behind()) throw closed_error(std::string(operation) + ": " + control_->refusal());
    }

private:
    static constexpr std::size_t batch = 256;  // ready nodes between two polls, at most
    static constexpr std::size_t slice = 16;   // ready nodes between two looks at the clock

    class turn_guard;
    friend class detail::loop_end<event_loop>;

    explicit event_loop(poller* given);
    // A turn is work(), then rest(), which lets a home thread serve its thread-sensitive calls, or polls. Whoever turns until
    // something has happened asks in between, so that the loop never sleeps on what its work has just finished.
    bool work() noexcept;
    void poll(time_point until, bool heeds_stop = false, const detail::thread_parker* sleeper = nullptr) noexcept;
    bool work_in_turn() noexcept;
    bool turn() noexcept override;
    bool spin(const detail::thread_parker& parker) noexcept override { return spin_for_answer(&parker); }
    bool spin_for_answer(const detail::thread_parker* parker) noexcept;
    bool sleep_until(detail::thread_parker& parker, time_point deadline) noexcept override;
    [[nodiscard]] const detail::wait_node& loop_record() const noexcept override { return record(); }
    void rest(time_point until, const detail::loop_wait& here, bool heeds_stop = false) noexcept;
    [[nodiscard]] bool anything_ready() const noexcept { return has_ready() || control_->has_mail(); }
    [[nodiscard]] bool has_work() const noexcept { return anything_ready() || !owned_.empty() || !turn_end_.empty(); }
    void end_tasks(const char* operation, const wait_options& how) noexcept;
    void prepare_wake_descriptor();

    std::unique_ptr<poller> own_poller_;
    poller* poller_;
    detail::loop_reference control_;
    detail::timer_queue timers_;
    detail::intrusive_list<detail::owned_task> owned_;
    detail::turn_end_list turn_end_;
    std::optional<detail::wake_watch> wake_watch_;
    std::unique_ptr<char[]> read_buffer_;
    std::size_t outside_work_ = 0;
    std::size_t watched_ = 0;  // descriptors, beside the one that wakes it
    bool closing_ = false;
    bool worked_ = false;  // turn() has found something to do, and has not polled since
    detail::spinner spinner_;
    bool embedded_ = false;  // between two turns a push signals the descriptor
    std::atomic<bool> stop_requested_{false};
};

// ---- implementation ----------------------------------------------------------------------------------------------
class event_loop::turn_guard : private inside_turn {
public:
    explicit turn_guard(event_loop& loop) noexcept : inside_turn(loop), loop_(loop) {}
    ~turn_guard() {
        if (loop_.embedded_) loop_.control_->leave_asleep();
    }

private:
    event_loop& loop_;
};

inline event_loop::event_loop(poller* given)
    : executor(&detail::inspect_waits),
      own_poller_(given == nullptr ? detail::make_default_poller() : nullptr),
      poller_(given == nullptr ? own_poller_.get() : given),
      control_(detail::loop_reference::of_new_block(*this, record())) {
    set_remote(*control_.get());
}

inline event_loop::~event_loop() {
    unbind();
    if (control_->left_behind()) return;
    if (detail::this_thread().turn == nullptr || !has_work()) {
        close(std::source_location());
    } else {
        detail::report(
            "ferry: an event_loop with tasks is destroyed inside a turn of a loop, which stands still "
            "meanwhile; close it on its own thread, or with to_thread");
        const allow_blocking destructor("a destructor cannot refuse");
        close(std::source_location());
    }
    if (wake_watch_) poller_->remove(*wake_watch_);
}

template <awaitable Awaitable>
detail::await_result<Awaitable> event_loop::run(Awaitable what, wait_options how) {
    using T = detail::await_result<Awaitable>;
    const typename detail::main_task<T>::pointer main(
        new detail::main_task<T>(*this, *control_.get(), detail::to_task(std::move(what))));
    if (closing_ || control_->left_behind()) {
        throw closed_error("run(" + detail::short_name(main->name()) + "): " + control_->refusal());
    }
    detail::check_own_wait("event_loop::run", main->name(), this);
    control_->receive();
    schedule_all(control_->take_received(static_cast<std::size_t>(-1)));  // what was posted before goes first
    schedule(*main);
    detail::loop_wait here("event_loop::run", main->name(), how);
    for (work_in_turn(); !main->ended(); work_in_turn()) {
        check_process("event_loop::run");  // a task may fork, and go on in the child
        rest(time_point::max(), here.rests_for(&main->record()));
    }
    detail::exchange_current_context(std::move(main->context()));
    return main->outcome().take();
}

inline void event_loop::run(wait_options how) {
    detail::check_own_wait("event_loop::run", "loop", this);
    detail::loop_wait here("event_loop::run", "stop()", how);
    while (!stop_requested_.exchange(false, std::memory_order_acquire)) {
        check_process("event_loop::run");
        work_in_turn();
        rest(time_point::max(), here.rests_for(nullptr), true);
    }
}

inline void event_loop::run_once(std::chrono::nanoseconds max_wait) {
    detail::check_own_wait("event_loop::run_once", "loop", this);
    check_process("event_loop::run_once");
    const turn_guard inside(*this);
    prepare_wake_descriptor();
    poll(max_wait.count() <= 0 ? time_point::min() : detail::deadline_after(now(), max_wait));
    work();
    embedded_ = true;
}

inline void event_loop::run_until_idle(wait_options how) {
    detail::check_own_wait("event_loop::run_until_idle", "loop", this);
    detail::loop_wait here("event_loop::run_until_idle", "calls", how);
    here.rests_for(nullptr);
    const turn_guard inside(*this);
    do {
        check_process("event_loop::run_until_idle");
        work();
        const bool sleeps = outside_work_ > 0 && !anything_ready();
        here.rests_for(sleeps && here.is_in_graph() ? detail::who_waits_for_a_call(owned_) : nullptr);
        const detail::loop_wait::asleep in_graph(sleeps ? &here : nullptr, record());
        poll(outside_work_ > 0 ? time_point::max() : time_point::min());
    } while (anything_ready() || outside_work_ > 0 || timers_.next() <= now());
}

inline void event_loop::stop() noexcept {
    const detail::loop_reference keep = control_;  // once it is told, the loop may go away
    stop_requested_.store(true, std::memory_order_release);
    keep->wake();
}

inline void event_loop::cancel_tasks(wait_options how) {
    detail::check_own_wait("event_loop::cancel_tasks", "loop", this);
    check_process("event_loop::cancel_tasks");
    end_tasks("event_loop::cancel_tasks", how);
}

inline void event_loop::end_tasks(const char* operation, const wait_options& how) noexcept {
    if (has_work()) detail::loop_end<event_loop>(*this, operation, how).end_tasks();
}

inline void event_loop::close(wait_options how) {
    if (closing_) return;
    check_process("event_loop::close");
    if (has_work() || current() == this) detail::check_own_wait("event_loop::close", "loop", this);
    closing_ = true;
    control_->refuse_new_work();
    end_tasks("event_loop::close", how);
    control_->seal();
    end_tasks("event_loop::close", how);  // what was on its way when new work was refused
}

template <class Fn>
void event_loop::post(Fn fn) {
    auto* const node = new detail::posted<Fn>(std::move(fn));
    detail::loop_control& inbox = *control_.get();
    if (inbox.push_new(*node)) return;  // it has the node: from here on the loop may run it, end and go away
    delete node;
    throw closed_error(std::string("post: ") + inbox.refusal());
}

/// True when there was something to do.
inline bool event_loop::work() noexcept {
    control_->receive();
    bool any = !timers_.empty() && timers_.fire_due(now(), batch) > 0;
    for (std::size_t count = 0; count < batch; count += slice) {
        // What others push gets half of the turn while there is other work, so a flood of it delays no task for long.
        schedule_all(control_->take_received(has_ready() ? slice / 2 : slice));
        if (run_ready(slice) == 0) break;
        any = true;
        if (!timers_.empty() && timers_.next() <= now()) break;  // long steps must not add up to a late timer
    }
    turn_end_.run_all();
    return any;
}

inline bool event_loop::work_in_turn() noexcept {
    const turn_guard inside(*this);
    return work();
}

inline void event_loop::rest(time_point until, const detail::loop_wait& here, bool heeds_stop) noexcept {
    detail::wait_service* const service = detail::service_of_this_wait();
    if (service != nullptr) {
        const turned_here buried_by_a_call(*this);
        const detail::wait_service::driving what_a_call_blocks_on(*service, *this);
        if (service->serve_call()) return;
    }
    detail::thread_parker* const parker = service == nullptr ? nullptr : &detail::thread_parker::of_this_thread();
    if (parker != nullptr && !parker->begin_sleep_in(*control_.get())) return;
    {
        const detail::loop_wait::asleep in_graph(anything_ready() ? nullptr : &here, record());
        const turn_guard inside(*this);
        poll(until, heeds_stop, parker);
    }
    if (parker != nullptr) parker->end_sleep_in();
}

inline bool event_loop::turn() noexcept {
    const turn_guard inside(*this);
    if (worked_) poll(time_point::min());  // descriptors have their share of a loop that is never idle
    worked_ = work();
    return worked_;
}

inline bool event_loop::spin_for_answer(const detail::thread_parker* parker) noexcept {
    if (outside_work_ == 0) return false;  // no thread is about to answer
    return spinner_.spin([&] { return control_->has_mail() || (parker != nullptr && parker->has_token()); });
}

inline bool event_loop::sleep_until(detail::thread_parker& parker, time_point deadline) noexcept {
    if (!parker.begin_sleep_in(*control_.get())) return true;
    {
        const turn_guard inside(*this);
        worked_ = false;
        poll(poller_->is_virtual() ? time_point::max() : deadline, false,
             &parker);  // which is a time of the real clock
    }
    parker.end_sleep_in();
    return deadline == time_point::max() || now() < deadline || anything_ready();
}

/// May sleep until `until` when nothing is ready. A kernel that refuses even an epoll or event descriptor leaves no way
/// to wait for the tasks that are under way, nor to unwind them: the program ends with that error's text.
inline void event_loop::poll(time_point until, bool heeds_stop, const detail::thread_parker* sleeper) noexcept {
    until = anything_ready() ? time_point::min() : std::min(until, timers_.next());
    if (until != time_point::min() && sleeper == nullptr && spin_for_answer(nullptr)) until = time_point::min();
    // The descriptor that wakes it has nothing to tell to a loop that is awake; who embeds it watches that one, too.
    if (until == time_point::min() && watched_ == 0 && !embedded_) return;
    prepare_wake_descriptor();
    // Asked after prepare_sleep(): a stop(), or a token, that comes later finds the loop asleep and wakes it.
    if (until != time_point::min() &&
        (!control_->prepare_sleep() || (heeds_stop && stop_requested_.load(std::memory_order_acquire)) ||
         (sleeper != nullptr && sleeper->has_token()))) {
        until = time_point::min();
    }
    poller_->wait(until, outside_work_ > 0);
    control_->end_sleep();
}

inline void event_loop::prepare_wake_descriptor() {
    if (wake_watch_) return;
    wake_watch_.emplace(*control_.get(), *poller_);
    poller_->add(*wake_watch_);
}
}  // namespace ferry::inline FERRY_ABI
