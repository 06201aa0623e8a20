// ferry/loop/detail/loop_wait.hpp - a thread that turns a loop itself, in the wait graph and for its pool
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/core/wait_node.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/deadlock/thread_wait.hpp>
#include <ferry/deadlock/wait_options.hpp>

#include <optional>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// One run() or close() of a loop, from its first rest to its end. A pool's worker counts as blocked for as long: what the loop's
/// tasks wait for may need another thread. Whenever the thread sleeps in the loop, it waits in the wait graph for the task that it
/// turns the loop for; it is not to be refused, and never reported: the loop's own tasks are.
///
/// Most threads that run a loop are waited for by nobody, and their sleep can close no circle: these stay out of the graph.
class loop_wait {
public:
    loop_wait(const char* operation, const char* subject, const wait_options& how) noexcept
        : operation_(operation), subject_(subject), how_(how) {}
    loop_wait(const loop_wait&) = delete;
    loop_wait& operator=(const loop_wait&) = delete;

    /// Before each rest, outside of the loop's turn. `whom`: the task that it waits for; null where nobody knows.
    loop_wait& rests_for(const wait_node* whom) noexcept {
        if (!rested_) begin();
        rested_ = true;
        whom_ = whom;
        return *this;
    }
    /// Somebody may wait for this thread though it does not look so.
    loop_wait& always_in_graph() noexcept {
        is_waited_for_ = true;
        return *this;
    }

    [[nodiscard]] bool is_in_graph() const noexcept { return is_waited_for_; }

    /// While it lives, the thread sleeps, or is about to. `what` may be null.
    class asleep;

private:
    void begin() noexcept {
        const thread_state& self = this_thread();
        if (self.running_call != nullptr || self.service != nullptr || self.turn != nullptr || self.home != nullptr ||
            self.promised != 0) {
            is_waited_for_ = true;
        }
        blocked_.begin();
    }

    const char* operation_;
    const char* subject_;
    wait_options how_;
    const wait_node* whom_ = nullptr;
    bool rested_ = false;
    bool is_waited_for_ = false;
    blocked_part blocked_;
};

class loop_wait::asleep {
public:
    asleep(const loop_wait* what, const wait_node& loop) noexcept {
        if (what != nullptr && what->is_waited_for_) enter_graph(*what, loop);
    }
    asleep(const asleep&) = delete;
    asleep& operator=(const asleep&) = delete;

private:
    /// Not inlined: GCC 12 takes what is not there yet for something that is not initialized.
    [[gnu::noinline]] void enter_graph(const loop_wait& what, const wait_node& loop) noexcept {
        wait_.emplace(what.operation_, what.subject_, node_reference(what.whom_), what.how_.patient());
        wait_->not_refusable();
        const thread_wait::asleep in_graph(&*wait_, &loop, thread_parker::clock::time_point::max());
    }

    std::optional<thread_wait> wait_;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
