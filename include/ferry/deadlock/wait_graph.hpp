// ferry/deadlock/wait_graph.hpp - can this wait end? The verdict over all who wait for one another
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/process.hpp>
#include <ferry/core/wait_node.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Does a cancellation, or an error in its place, end a task's wait for `whom`? Not where a thread runs its call already,
/// unless that may be left behind.
[[nodiscard]] inline bool cancel_ends_wait(const wait_node& task, const wait_node& whom) noexcept {
    if (!task.has(wait_node::cancellable)) return false;
    const bool runs = whom.what() == wait_node::kind::call && whom.has(wait_node::begun);
    return !runs || whom.has(wait_node::cancellable);
}

/// Who waits for whom, as a circuit of gates. A gate opens when enough of its inputs are open; what is not known to wait for
/// somebody known is open from the start. What stays closed can never go on.
///
/// A walk collects the gates that the question leads to, then opens gates until no more open. It reads nodes that other
/// threads change meanwhile, so it looks at every closed gate a second time: who has changed since the first look has moved,
/// and is open. What is closed after that was closed at every time between the two looks, all of it at once; and since nobody
/// in it can be moved from outside, it is closed for ever. So no wait is refused that could have ended.
///
/// None is missed: who begins a wait that may close a circle first writes its links, then takes the lock and walks. Of two
/// who do so at a time the second finds the links of the first. Who changes something that a walk has counted on (the end
/// of a sibling, a deadline that fires) finds its node marked and walks again.
///
/// Thread-safety  Every member, with mutex() held. Cost: the length of the walk; the vectors are kept.
class wait_graph {
public:
    /// What is asked of a node.
    enum class role : std::uint8_t {
        goes_on,     // can it take another step?
        wait_ends,   // task: can its own wait end?
        serves,      // thread: does it come to the calls of its queue?
        interrupts,  // scope: can something end the waits inside?
        is_granted,  // task: does it get what it wants of the lock? A question to the lock
        all_end,     // family, pool: can all of the children, or threads, end?
    };
    class gate {
    public:
        const wait_node* node;   // whose links were read
        const wait_node* needs;  // as found
        std::uint32_t version;   // as found
        role asked;
        bool open;
        std::uint32_t first;     // of its inputs
        std::uint32_t count;     // of them
        std::size_t threshold;   // how much of them has to be open
        const wait_node* asker;  // is_granted: the task
    };

    wait_graph() = default;
    ~wait_graph() { coming_home_.release(); }
    wait_graph(const wait_graph&) = delete;
    wait_graph& operator=(const wait_graph&) = delete;

    static wait_graph& instance() { return process_wide<wait_graph>::get(); }
    [[nodiscard]] static std::mutex& mutex() { return instance().mutex_; }
    std::atomic<std::size_t> blocked_threads{0};  // whose links are here

    /// Can this never go on? Then gates() and closed_input() say why, until the next question. Throws std::bad_alloc where
    /// there is no memory to find out.
    [[nodiscard]] bool is_hopeless(const wait_node& start, role asked = role::goes_on) {
        if (asked == role::goes_on && without_limit_ == nullptr && ends_well(start)) return false;
        return walk(start, asked, false) && walk(start, asked, true);
    }
    /// The same, as if the time limit of its wait did not exist.
    [[nodiscard]] bool is_hopeless_without_limit(const wait_node& start) {
        class left_out {
        public:
            left_out(const wait_node*& place, const wait_node& start) noexcept : place_(place) { place_ = &start; }
            ~left_out() { place_ = nullptr; }
            left_out(const left_out&) = delete;
            left_out& operator=(const left_out&) = delete;

        private:
            const wait_node*& place_;
        };
        const left_out limit(without_limit_, start);
        return is_hopeless(start);
    }

    /// A thread-sensitive call of that loop (within()) waits elsewhere at first. The thread that it comes to later may have
    /// frames that drive the loop, and turns it in the call's waits, although another loop lies above.
    static void will_come_home(wait_node& call) {
        const std::lock_guard lock(mutex());
        instance().coming_home_.add_member(call);
    }
    static void comes_home(wait_node& call) {
        const std::lock_guard lock(mutex());
        instance().coming_home_.remove_member(call);
    }

    [[nodiscard]] const std::vector<gate>& gates() const noexcept { return gates_; }
    /// Was that asked in the last walk, and answered with no?
    [[nodiscard]] bool is_closed(const wait_node& node, role asked) const noexcept {
        const std::uint32_t place = node.walk_ == walks_ ? node.place_[static_cast<std::size_t>(asked)] : 0;
        return place != 0 && !gates_[place - 1].open;
    }
    /// Of a closed gate: an input because of which it is closed.
    [[nodiscard]] std::size_t closed_input(std::size_t index) const noexcept;
    template <class Fn>
    void for_each_input(std::size_t index, Fn fn) const {
        const gate& of = gates_[index];
        for (std::uint32_t i = of.first; i < of.first + of.count; ++i) fn(inputs_[i].gate);
    }

private:
    class input {
    public:
        std::uint32_t gate;
        std::size_t weight;
    };
    static constexpr std::size_t most_gates = 100'000;  // beyond that the answer is unknown, and so it can go on

    [[nodiscard]] static bool ends_well(const wait_node& start) noexcept;
    bool walk(const wait_node& start, role asked, bool with_cancellation);
    void collect(const wait_node& start, role asked);
    std::uint32_t place_of(const wait_node& node, role asked);
    void add(const wait_node* node, role asked, std::size_t weight = 1);
    void expand(std::size_t index);
    void expand_task(const wait_node& task, gate& to);
    void expand_wait(const wait_node& task, gate& to);
    void expand_interruption(const wait_node& scope, gate& to);
    void expand_grant(const wait_node& lock, gate& to);
    void add_members(const wait_node& of);
    void add_calls_to_come(const wait_node& loop);
    [[nodiscard]] static bool is_there(const wait_node* whom, std::uint32_t generation) noexcept {
        return whom != nullptr && whom->generation() == generation;
    }
    void settle() noexcept;
    bool open_what_has_moved() noexcept;
    bool mark_what_is_relied_upon() noexcept;

    std::mutex mutex_;  // guards everything below
    std::vector<gate> gates_;
    std::vector<input> inputs_;
    wait_node& coming_home_ = wait_node::acquire(wait_node::kind::limit);
    bool with_cancellation_ = false;
    const wait_node* without_limit_ = nullptr;
    static inline std::uint32_t walks_ = 0;  // goes on in a forked child: nodes bear its numbers
};

// ---- implementation ----------------------------------------------------------------------------------------------
/// Most waits lead, from one to the next, to somebody who goes on: that is seen without gates. False where the way forks, or
/// is long.
inline bool wait_graph::ends_well(const wait_node& start) noexcept {
    constexpr int most_steps = 4096;
    using kind = wait_node::kind;
    const auto goes_on_at_once = [](const wait_node& node) { return !is_there(node.needs(), node.needs_generation()); };
    const wait_node* node = &start;
    for (int steps = 0; steps < most_steps; ++steps) {
        const kind what = node->what();
        if (what == kind::pool) {
            bool any = node->has(wait_node::open);
            const wait_node* member = node->first_member();
            for (; !any && member != nullptr && steps < most_steps; ++steps, member = member->next_member()) {
                any = goes_on_at_once(*member);
            }
            return any;
        }
        if (what == kind::lock || what == kind::limit || what == kind::family || what == kind::deadline) return false;
        if (what == kind::thread && node->has(wait_node::joins)) return false;
        if (what == kind::task) {
            const wait_node* const loop = node->within();
            const wait_node* const thread = loop == nullptr || goes_on_at_once(*loop) ? nullptr : loop->needs();
            if (thread != nullptr && !goes_on_at_once(*thread)) return false;
        }
        const wait_node* const next = node->needs();
        if (!is_there(next, node->needs_generation())) return true;
        if ((what == kind::task || what == kind::thread) && node->has(wait_node::timed)) return true;
        node = next;
    }
    return false;
}

/// Cancellation is left out at first: who can go on without it relies on nothing that may go away unnoticed.
inline bool wait_graph::walk(const wait_node& start, role asked, bool with_cancellation) {
    with_cancellation_ = with_cancellation;
    do {
        collect(start, asked);
        settle();
        if (!gates_[0].open && open_what_has_moved()) settle();
    } while (with_cancellation && gates_[0].open && mark_what_is_relied_upon());
    return !gates_[0].open;
}

inline void wait_graph::collect(const wait_node& start, role asked) {
    gates_.clear();
    inputs_.clear();
    if (++walks_ == 0) ++walks_;
    place_of(start, asked);
    for (std::size_t index = 0; index < gates_.size(); ++index) {
        if (gates_.size() > most_gates) {
            gates_[0].open = true;
            return;
        }
        expand(index);
    }
}

inline std::uint32_t wait_graph::place_of(const wait_node& node, role asked) {
    if (node.walk_ != walks_) {
        node.walk_ = walks_;
        for (std::uint32_t& place : node.place_) place = 0;
    }
    std::uint32_t& place = node.place_[static_cast<std::size_t>(asked)];
    if (place == 0) {
        gates_.push_back(gate{&node, nullptr, 0, asked, false, 0, 0, 1, nullptr});
        place = static_cast<std::uint32_t>(gates_.size());
    }
    return place - 1;
}

inline void wait_graph::add(const wait_node* node, role asked, std::size_t weight) {
    if (node == nullptr) return;
    inputs_.push_back(input{place_of(*node, asked), weight});
}

inline void wait_graph::expand(std::size_t index) {
    gate self = gates_[index];  // a copy: the vector grows
    const wait_node& node = *self.node;
    self.version = node.version();
    self.needs = node.needs();
    self.first = static_cast<std::uint32_t>(inputs_.size());
    const bool needs_somebody = is_there(self.needs, node.needs_generation());  // else that one has ended
    using kind = wait_node::kind;
    if (self.asked == role::wait_ends) {
        expand_wait(node, self);
    } else if (self.asked == role::is_granted) {
        expand_grant(node, self);
    } else if (self.asked == role::interrupts) {
        expand_interruption(node, self);
    } else if (self.asked == role::all_end) {
        add_members(node);
        self.threshold = inputs_.size() - self.first;
    } else if (node.what() == kind::task) {
        expand_task(node, self);
    } else if (node.what() == kind::pool || node.what() == kind::limit) {
        self.open = node.has(wait_node::open);
        add_members(node);
    } else if (!needs_somebody || (node.has(wait_node::timed) && without_limit_ != &node) || node.is_being_refused()) {
        self.open = true;
    } else if (self.asked == role::serves) {
        self.open = !node.has(wait_node::in_turn);
        add(&node, role::goes_on);
    } else if (node.what() == kind::loop && !node.has(wait_node::bound)) {
        const wait_node& thread = *self.needs;
        // Its thread waits: it turns the loop meanwhile, or comes back to it later, or never.
        self.open = thread.needs() == nullptr || thread.within() == &node;
        add(&thread, role::goes_on);
        if (!thread.has(wait_node::in_turn)) add_calls_to_come(node);
    } else if (node.what() == kind::call && !node.has(wait_node::begun) && self.needs->what() == kind::thread) {
        add(self.needs, role::serves);
    } else if (node.what() == kind::promise && self.needs->within() != nullptr) {
        self.open =
            true;  // that thread, if it sleeps, turns a loop meanwhile, any task or callback of which may keep it
    } else {
        add(self.needs, node.has(wait_node::joins) ? role::all_end : role::goes_on);
    }
    self.count = static_cast<std::uint32_t>(inputs_.size()) - self.first;
    if (self.threshold == 0) self.open = true;
    gates_[index] = self;
}

/// A task goes on when its wait ends, and its loop comes to it.
inline void wait_graph::expand_task(const wait_node& task, gate& to) {
    add(task.within(), role::goes_on);
    if (to.needs != nullptr) add(&task, role::wait_ends);
    to.threshold = inputs_.size() - to.first;
}

inline void wait_graph::expand_wait(const wait_node& task, gate& to) {
    if (!is_there(to.needs, task.needs_generation()) || (task.has(wait_node::timed) && without_limit_ != &task) ||
        task.is_being_refused()) {
        to.open = true;
        return;
    }
    if (to.needs->what() == wait_node::kind::lock) {
        const std::uint32_t place = place_of(task, role::is_granted);
        gates_[place].node = to.needs;
        gates_[place].threshold = task.amount();
        gates_[place].asker = &task;
        inputs_.push_back(input{place, 1});
    } else {
        add(to.needs, task.has(wait_node::joins) ? role::all_end : role::goes_on);
    }
    if (with_cancellation_ && cancel_ends_wait(task, *to.needs)) add(task.scope(), role::interrupts);
}

/// The holders, each as heavy as what it holds, have to leave enough; and the first in the queue has to go before.
inline void wait_graph::expand_grant(const wait_node& lock, gate& to) {
    const std::size_t free = lock.amount();
    to.open = lock.has(wait_node::open);
    to.threshold = to.threshold > free ? to.threshold - free : 0;
    if (to.needs != to.asker && is_there(to.needs, lock.needs_generation())) {
        constexpr std::size_t more_than_all_permits = std::size_t{1} << 62;
        to.threshold += more_than_all_permits;
        add(to.needs, role::goes_on, more_than_all_permits);
    }
    const wait_node* holding = lock.first_member();
    for (std::size_t count = 0; holding != nullptr && count < most_gates; ++count, holding = holding->next_member()) {
        const wait_node* const holder = holding->needs();
        if (!is_there(holder, holding->needs_generation())) {  // nobody knows who has it
            to.open = true;
            return;
        }
        add(holder, role::goes_on, holding->amount());
    }
}

/// Cancelled already, or will be: by whoever waits for the task and was refused; by a deadline, whose loop has to come to it; by
/// the error or end of a task beside those inside, or of the one around them.
inline void wait_graph::expand_interruption(const wait_node& scope, gate& to) {
    to.open = scope.has(wait_node::open) || scope.is_to_be_cancelled();
    if (scope.what() == wait_node::kind::task) return;  // its outermost scope: nothing is around it
    if (scope.what() == wait_node::kind::deadline) {
        add(scope.within(), role::goes_on);
    } else if (scope.what() == wait_node::kind::family) {
        add_members(scope);
        if (is_there(to.needs, scope.needs_generation())) add(to.needs, role::goes_on);
    }
    add(scope.scope(), role::interrupts);
}

inline void wait_graph::add_members(const wait_node& of) {
    const wait_node* member = of.first_member();
    for (std::size_t count = 0; member != nullptr && count < most_gates; ++count, member = member->next_member()) {
        add(member, role::goes_on);
    }
}

inline void wait_graph::add_calls_to_come(const wait_node& loop) {
    for (const wait_node* each = coming_home_.first_member(); each != nullptr; each = each->next_member()) {
        if (each->within() == &loop) add(each, role::goes_on);
    }
}

/// Inputs are found after the gates they lead to in most walks, so going backwards settles a chain at once.
inline void wait_graph::settle() noexcept {
    for (bool changed = true; changed;) {
        changed = false;
        for (std::size_t index = gates_.size(); index-- > 0;) {
            gate& self = gates_[index];
            if (self.open) continue;
            std::size_t weight = 0;
            for (std::uint32_t i = self.first; i < self.first + self.count; ++i) {
                if (gates_[inputs_[i].gate].open) weight += inputs_[i].weight;
            }
            self.open = weight >= self.threshold;
            changed = changed || self.open;
        }
    }
}

inline bool wait_graph::open_what_has_moved() noexcept {
    std::atomic_thread_fence(std::memory_order_acquire);
    bool any = false;
    for (gate& self : gates_) {
        if (self.open || (self.node->version() == self.version && self.node->needs() == self.needs)) continue;
        self.open = any = true;
    }
    return any;
}

/// True when one of them changed at the same time, so that its owner may not have seen the mark.
inline bool wait_graph::mark_what_is_relied_upon() noexcept {
    for (const gate& self : gates_) {
        if (self.asked == role::interrupts && self.open) self.node->rely_on(true);
    }
    std::atomic_thread_fence(std::memory_order_seq_cst);
    for (const gate& self : gates_) {
        if (self.asked == role::interrupts && self.open && self.node->version() != self.version) return true;
    }
    return false;
}

inline std::size_t wait_graph::closed_input(std::size_t index) const noexcept {
    const gate& self = gates_[index];
    for (std::uint32_t i = self.first; i < self.first + self.count; ++i) {
        if (!gates_[inputs_[i].gate].open) return inputs_[i].gate;
    }
    return index;
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
