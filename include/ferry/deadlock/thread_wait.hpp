// ferry/deadlock/thread_wait.hpp - a thread's wait in the wait graph and in the reports
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/core/wait_node.hpp>
#include <ferry/deadlock/chain.hpp>
#include <ferry/deadlock/circle.hpp>
#include <ferry/deadlock/hang.hpp>
#include <ferry/deadlock/judge.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/deadlock/thread_parker.hpp>
#include <ferry/deadlock/wait_graph.hpp>
#include <ferry/deadlock/wait_options.hpp>

#include <algorithm>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// What only those who wait can say of whom they wait for.
class wait_words {
public:
    [[nodiscard]] virtual std::string who() const = 0;

protected:
    ~wait_words() = default;
};

/// One wait of this thread for somebody known: in which call, on what, for whom. It is in the graph from the thread's first
/// sleep to its end; where the thread serves calls or drives a loop meanwhile, only while it sleeps: in between a call's own
/// wait may be there. When it takes longer than hang_after(), the thread itself reports it.
class thread_wait {
public:
    using clock = thread_parker::clock;

    /// Both names are literals, or outlive the wait. A reference to nobody: no one knows who will end it.
    thread_wait(const char* operation, const char* subject, const node_reference& whom,
                const wait_options& how) noexcept
        : operation_(operation), subject_(subject), whom_(whom), how_(how) {}
    ~thread_wait() {
        leave();
        if (watch_) watch_->ended(clock::now());
    }
    thread_wait(const thread_wait&) = delete;
    thread_wait& operator=(const thread_wait&) = delete;

    /// It waits for a task that may have started on that loop: a refusal cancels it there first.
    thread_wait& for_task_on(const wait_node& loop) noexcept {
        loop_ = &loop;
        return *this;
    }
    /// A refusal cancels everything in that scope.
    thread_wait& cancels(const wait_node& scope) noexcept {
        cancels_ = &scope;
        return *this;
    }
    /// No error may end it: where it closes a circle, somebody else of the circle gets it.
    thread_wait& not_refusable() noexcept {
        refusable_ = false;
        return *this;
    }
    /// It ends what others may still use: where no memory is left to look for a circle, it goes on.
    thread_wait& in_destructor() noexcept {
        in_destructor_ = true;
        return *this;
    }
    /// Whom it waits for is known to its reports alone, and no circle goes through it: its end is under way, by a cancellation
    /// that the graph knows nothing of.
    thread_wait& for_report_only() noexcept {
        in_circles_ = false;
        return *this;
    }
    /// It waits until all the threads of a pool have left it.
    thread_wait& for_all_members() noexcept {
        joins_ = true;
        return *this;
    }
    /// What its reports say besides: lines of text, each with its end.
    thread_wait& tells(const wait_words& more) noexcept {
        more_ = &more;
        return *this;
    }
    /// A stop request may end it, too: where it closes a circle, that is reported, and nobody gets an error.
    thread_wait& stoppable() noexcept {
        stoppable_ = true;
        return *this;
    }

    class asleep;
    /// Before anything has begun: the wait can still be refused, even if the loop that it needs is turned by nobody. Throws
    /// deadlock_error.
    ///
    /// Where the thread does nothing but wait, the wait is in the graph from here on, so that of two threads that are about to
    /// send each other a task, and could not take it back, one finds the other. One that serves is not: where it closes a
    /// circle later, it or somebody else can be told.
    void refuse_if_hopeless(bool serves, const wait_node* driven);
    /// Between two sleeps. Throws what another thread's wait has made of this one.
    void look();
    /// The thread is about to serve.
    void leave() noexcept {
        if (in_graph_) leave_graph();
    }

private:
    void enter_graph(const wait_node* driven, bool timed);
    void leave_graph() noexcept;
    void report_hang(clock::time_point now);

    const char* operation_;
    const char* subject_;
    node_reference whom_;
    wait_options how_;
    const wait_node* loop_ = nullptr;
    const wait_node* cancels_ = nullptr;
    const wait_words* more_ = nullptr;
    bool refusable_ = true;
    bool in_circles_ = true;
    bool in_destructor_ = false;
    bool joins_ = false;
    bool stoppable_ = false;
    bool warned_ = false;
    bool in_graph_ = false;
    std::optional<hang_watch> watch_;
};

/// The thread is about to sleep. Throws deadlock_error when it would never wake.
class thread_wait::asleep {
public:
    /// `what` may be null: a wait of which nobody need know.
    asleep(thread_wait* what, const wait_node* driven, clock::time_point deadline) : until_(deadline) {
        if (what == nullptr) return;
        if (!what->in_graph_) what->enter_graph(driven, deadline != clock::time_point::max());
        if (what->watch_) until_ = std::min(until_, what->watch_->next_report());
    }
    asleep(const asleep&) = delete;
    asleep& operator=(const asleep&) = delete;

    [[nodiscard]] clock::time_point wakes_at() const noexcept { return until_; }

private:
    clock::time_point until_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline void thread_wait::enter_graph(const wait_node* driven, bool timed) {
    if (!watch_ && !how_.is_patient()) watch_.emplace(operation_, clock::now());
    const thread_state& thread = this_thread();
    wait_node& self = record_of_this_thread();
    unsigned how = refusable_ ? wait_node::refusable : 0;
    if (thread.turn != nullptr) how |= wait_node::in_turn;
    if (timed || stoppable_) how |= wait_node::timed;
    if (joins_) how |= wait_node::joins;
    std::exception_ptr refusal;
    std::string warning;
    bool walked = true;
    {
        const std::lock_guard lock(wait_graph::mutex());
        self.parker = &thread_parker::of_this_thread();
        self.cancels = cancels_;
        self.refusal = nullptr;
        self.set_name(thread.thread_name);
        self.set_waits_in(operation_);
        self.set_line(how_.where().file_name(), how_.where().line());
        self.set_within(driven);
        self.set_scope(loop_);
        const node_reference needed = in_circles_ ? whom_ : node_reference();
        self.wait_for(needed, static_cast<wait_node::flags>(how));
        in_graph_ = true;
        if (needed.node() == nullptr) return;
        blocked_threads().fetch_add(1, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_seq_cst);  // inspect_waits()' other half
        const bool ends_otherwise = timed || stoppable_;
        wait_graph& graph = wait_graph::instance();
        try {
            static_cast<void>(refusal_without_words());
            if (ends_otherwise) {
                if (!warned_ && graph.is_hopeless_without_limit(self)) {
                    warning = timed ? "ferry: this wait will end only by its time limit\n  "
                                    : "ferry: deadlock suspected: this wait will end only by a stop request\n  ";
                    warning += circle(graph).error(self).what();
                }
            } else if (graph.is_hopeless(self)) {
                if (can_be_refused(graph, self)) {
                    refusal = refusal_of(graph, self);
                } else {
                    refuse_somebody(graph);
                }
            }
        } catch (const std::bad_alloc&) {  // for the walk: the wait ends, or nobody knows whether it ever would
            warning.clear();
            walked = false;
            if (refusable_ && !ends_otherwise && !in_destructor_) refusal = std::current_exception();
        }
        if (refusal != nullptr) {
            if (cancels_ != nullptr) cancels_->will_be_cancelled();
            leave_graph();  // under the lock: or else whoever asks next would find the same circle, and be refused, too
        }
    }
    if (!warning.empty()) {
        warned_ = true;
        report(warning);
    }
    if (!walked && refusal == nullptr) report(no_memory_for_walk);
    if (refusal != nullptr) std::rethrow_exception(refusal);
}

inline void thread_wait::refuse_if_hopeless(bool serves, const wait_node* driven) {
    if (serves && blocked_threads().load(std::memory_order_relaxed) == 0) return;
    enter_graph(driven, false);
    if (serves) leave_graph();
}

inline void thread_wait::leave_graph() noexcept {
    in_graph_ = false;
    wait_node& self = record_of_this_thread();
    if (in_circles_ && whom_.node() != nullptr) blocked_threads().fetch_sub(1, std::memory_order_relaxed);
    self.wait_is_over();
    self.set_waits_in(nullptr);
}

inline void thread_wait::look() {
    wait_node& self = record_of_this_thread();
    if (self.has(wait_node::refused)) {
        std::exception_ptr refusal;
        {
            const std::lock_guard lock(wait_graph::mutex());
            self.set_flags(0);
            refusal = std::exchange(self.refusal, nullptr);
            if (refusal != nullptr) leave();
        }
        if (refusal != nullptr) std::rethrow_exception(refusal);
    }
    const clock::time_point now = clock::now();
    if (!watch_ || !watch_->is_due(now)) return;
    try {
        report_hang(now);
    } catch (const std::bad_alloc&) {  // for the words: the next report may have more luck
        watch_->put_off(now);
    }
}

inline void thread_wait::report_hang(clock::time_point now) {
    const wait_node& self = record_of_this_thread();
    const std::string where = place_in_source(how_.where().file_name(), how_.where().line());
    std::string who = "  " + name_of(self) + " waits in " + operation_ + (where.empty() ? "" : " (" + where + ")") +
                      " for " + short_name(subject_);
    if (more_ != nullptr) who.append("\n").append(more_->who());
    {
        const std::lock_guard lock(wait_graph::mutex());
        if (whom_.node() != nullptr && whom_.node()->generation() == whom_.generation()) {
            if (is_kept_by_patient_call(*whom_.node(), joins_)) return watch_->put_off(now);
            if (who.back() != '\n') who += '\n';
            who += chain_of_waits(*whom_.node());
        }
    }
    watch_->report(now, who);
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
