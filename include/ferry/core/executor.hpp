// ferry/core/executor.hpp - where logical tasks resume: a ready queue and the run-next list
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/process.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/core/wait_node.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
class logical_task;

/// One entry of a ready queue, a run-next list or a loop's inbox: it is linked in one of them at most.
struct ready_node {
    ready_node* next = nullptr;
    void (*run)(ready_node& self) noexcept = nullptr;
};

/// A callback that was posted. Those of one thread run in the order in which it posted them, on shuffled loops, too.
class posted_callback : public ready_node {
public:
    [[nodiscard]] static bool is(const ready_node& node) noexcept { return node.run == &run_posted; }

protected:
    explicit posted_callback(void (*call)(posted_callback& self) noexcept) noexcept : call_(call) { run = &run_posted; }
    ~posted_callback() = default;

private:
    static void run_posted(ready_node& node) noexcept {
        posted_callback& self = static_cast<posted_callback&>(node);
        self.call_(self);
    }
    void (*call_)(posted_callback& self) noexcept;
};

/// Some of them, in order; first is null when there is none.
struct ready_list {
    ready_node* first = nullptr;
    ready_node* last = nullptr;
};

/// Where other threads hand nodes to an executor. Reference-counted: it outlives the executor.
///
/// Thread-safety  All members, on every thread that holds a reference.
class remote_inbox {
public:
    virtual void retain() noexcept = 0;
    virtual void release() noexcept = 0;
    /// Hands a node over; false, and the node stays the caller's, once every task of the executor has ended.
    [[nodiscard]] virtual bool push(ready_node& node) noexcept = 0;

protected:
    ~remote_inbox() = default;
};

/// Whether, and with which seed, new executors shuffle: set for a whole process by its test runner.
class shuffle_setting {
public:
    void start(std::uint64_t seed) noexcept { next_.store(seed * 2 + 1, std::memory_order_relaxed); }
    /// Odd, another one each time; 0 when nobody asked for a shuffle.
    [[nodiscard]] std::uint64_t next() noexcept {
        if (next_.load(std::memory_order_relaxed) == 0) return 0;
        return next_.fetch_add(2, std::memory_order_relaxed) * 0x9e3779b97f4a7c15u | 1;
    }

private:
    std::atomic<std::uint64_t> next_{0};
};
inline shuffle_setting& shuffle_of_new_loops() noexcept {
    static constinit shuffle_setting setting;
    return setting;
}

/// The part of a loop that coroutines see: what is ready runs in order, what must go on at once goes on first.
///
/// run_next() takes what belongs to the step that is running: the continuation of a coroutine that has just ended, a
/// child too deep for the native stack. That list is emptied (last in, first out) before any other node runs, so
/// nobody can observe the state between a coroutine's end and its awaiter's resumption.
///
/// Thread-safety  None: every member is called on the thread that runs the turn.
class executor {
public:
    executor(const executor&) = delete;
    executor& operator=(const executor&) = delete;

    /// Runs after everything that is ready already. The node is not touched again before it runs.
    void schedule(ready_node& node) noexcept {
        node.next = nullptr;
        (last_ == nullptr ? first_ : last_->next) = &node;
        last_ = &node;
    }
    /// The same for several, in order.
    void schedule_all(ready_list nodes) noexcept {
        if (nodes.first == nullptr) return;
        nodes.last->next = nullptr;
        (last_ == nullptr ? first_ : last_->next) = nodes.first;
        last_ = nodes.last;
    }
    /// Runs before everything that is ready.
    void run_next(ready_node& node) noexcept { node.next = std::exchange(run_next_, &node); }

    [[nodiscard]] bool has_ready() const noexcept { return first_ != nullptr; }
    /// Whose turn this thread is in beneath this executor's own, where allow_blocking let one loop run another.
    [[nodiscard]] const executor* beneath() const noexcept { return beneath_; }
    /// Where other threads put nodes of this executor's tasks.
    [[nodiscard]] remote_inbox& remote() const noexcept { return *remote_; }
    /// Has this thread promised that no other one runs it?
    [[nodiscard]] static bool is_bound_to_this_thread(const executor* candidate) noexcept {
        const thread_state& self = this_thread();
        if (!self.binds_executors) return false;
        bound_list& all = process_wide<bound_list>::get();
        const std::lock_guard lock(all.mutex);
        const executor* bound = all.first;
        while (bound != nullptr && bound != candidate) bound = bound->next_bound_;
        if (bound == nullptr) return false;
        return bound->bound_to_.node() == self.record && bound->bound_to_.generation() == self.record->generation();
    }
    /// This executor in the wait graph.
    [[nodiscard]] const wait_node& record() const noexcept { return *record_; }
    /// A task waits for somebody known, or somebody whom a wait relied on has gone: ends a wait that never could.
    void inspect(const wait_node& changed, logical_task* waiting) noexcept { inspect_(changed, waiting); }
    /// The logical task that runs now, null inside a plain callback.
    [[nodiscard]] logical_task* current() const noexcept { return current_; }

    /// May one more primitive complete in place? 64 may in one step, whatever tasks of it they are in (when_any starts its
    /// children in place); then it is time to let others run (DESIGN: fairness).
    [[nodiscard]] bool may_complete_inline() const noexcept { return completed_inline_ < most_inline_completions; }
    void count_inline_completion() noexcept { ++completed_inline_; }

    /// How many resumptions may be stacked on the native stack, the outermost one included; more go to run_next().
    static constexpr unsigned max_depth = 64;

    /// Marks the resumption of another task inside the one that runs.
    class inner_resumption {
    public:
        inner_resumption(executor& owner, logical_task& task) noexcept
            : owner_(owner), outer_(std::exchange(owner.current_, &task)) {}
        ~inner_resumption() { owner_.current_ = outer_; }
        inner_resumption(const inner_resumption&) = delete;
        inner_resumption& operator=(const inner_resumption&) = delete;

    private:
        executor& owner_;
        logical_task* outer_;
    };
    /// Marks the resumption of a task by the executor, beneath which nothing of it is on the stack.
    class outermost_resumption {
    public:
        outermost_resumption(executor& owner, logical_task& task) noexcept : owner_(owner) { owner_.current_ = &task; }
        ~outermost_resumption() { owner_.current_ = nullptr; }
        outermost_resumption(const outermost_resumption&) = delete;
        outermost_resumption& operator=(const outermost_resumption&) = delete;

    private:
        executor& owner_;
    };

    /// While it lives, this thread turns the executor, or drives it from a frame.
    class turned_here {
    public:
        explicit turned_here(executor& owner) noexcept : record_(*owner.record_), outer_(record_.needs()) {
            const wait_node& self = record_of_this_thread();
            if (outer_ == &self && !record_.has(wait_node::bound)) return;
            was_bound_ = record_.has(wait_node::bound);
            changed_ = true;
            record_.wait_for(node_reference(&self));
        }
        ~turned_here() {
            if (changed_) record_.wait_for(node_reference(outer_), was_bound_ ? wait_node::bound : wait_node::flags{0});
        }
        turned_here(const turned_here&) = delete;
        turned_here& operator=(const turned_here&) = delete;

    private:
        wait_node& record_;
        const wait_node* outer_;
        bool changed_ = false;
        bool was_bound_ = false;
    };

protected:
    /// While it lives, this thread is inside a turn of the executor.
    class inside_turn {
    public:
        explicit inside_turn(executor& owner) noexcept
            : owner_(owner), turned_(owner), outer_(std::exchange(this_thread().turn, &owner)) {
            owner_.beneath_ = outer_;
        }
        ~inside_turn() {
            owner_.beneath_ = nullptr;
            this_thread().turn = outer_;
        }
        inside_turn(const inside_turn&) = delete;
        inside_turn& operator=(const inside_turn&) = delete;

    private:
        executor& owner_;
        const turned_here turned_;
        executor* outer_;
    };

    /// Asks the wait graph, which lies in a layer below; see inspect().
    using inspect_function = void (*)(const wait_node& changed, logical_task* waiting) noexcept;

    explicit executor(inspect_function ask) : record_(&wait_node::acquire(wait_node::kind::loop)), inspect_(ask) {}
    ~executor() { record_->release(); }
    void set_remote(remote_inbox& inbox) noexcept {
        remote_ = &inbox;
        record_->inbox = &inbox;
    }
    /// From now on what is ready runs in an order drawn from the seed.
    void shuffle(std::uint64_t seed) noexcept { random_ = seed * 2 + 1; }
    void bind_to_this_thread() noexcept {
        if (is_bound_to_this_thread(this)) return;
        unbind();
        bound_to_ = node_reference(&record_of_this_thread());
        this_thread().binds_executors = true;
        record_->wait_for(bound_to_, wait_node::bound);
        bound_list& all = process_wide<bound_list>::get();
        const std::lock_guard lock(all.mutex);
        next_bound_ = std::exchange(all.first, this);
    }
    /// On any thread: an executor may end on another one than it was bound to.
    void unbind() noexcept {
        if (bound_to_.node() == nullptr) return;
        bound_list& all = process_wide<bound_list>::get();
        const std::lock_guard lock(all.mutex);
        executor** link = &all.first;
        while (*link != nullptr && *link != this) link = &(*link)->next_bound_;
        if (*link == this) *link = next_bound_;
    }

    /// Runs at most `limit` ready nodes, each with all that it puts on the run-next list. Returns how many it ran.
    std::size_t run_ready(std::size_t limit) noexcept {
        if (random_ != 0) return run_in_any_order(limit);
        std::size_t count = 0;
        for (ready_node* node = first_; count < limit && node != nullptr; ++count) {
            // Nobody else takes from the queue, so who is next now is next afterwards, unless there was nobody.
            ready_node* const next = first_ = node->next;
            if (next == nullptr) last_ = nullptr;
            run_with_what_follows(*node);
            node = next != nullptr ? next : first_;
        }
        return count;
    }

private:
    static constexpr unsigned most_inline_completions = 64;
    struct bound_list {
        std::mutex mutex;  // guards first, and next_bound_ of each
        executor* first = nullptr;
    };

    /// One step.
    void run_with_what_follows(ready_node& node) noexcept {
        completed_inline_ = 0;
        node.run(node);
        while (ready_node* const next = run_next_) {
            run_next_ = next->next;
            next->run(*next);
        }
    }
    [[gnu::noinline]] std::size_t run_in_any_order(std::size_t limit) noexcept {
        std::size_t count = 0;
        for (; count < limit && first_ != nullptr; ++count) run_with_what_follows(take_any());
        return count;
    }
    ready_node& take_first() noexcept {
        ready_node& node = *first_;
        first_ = node.next;
        if (first_ == nullptr) last_ = nullptr;
        return node;
    }
    /// One of the first 16, each as likely as the others; in place of a posted callback the oldest of them.
    ready_node& take_any() noexcept {
        std::size_t count = 1;
        for (const ready_node* node = first_->next; node != nullptr && count < 16; node = node->next) ++count;
        random_ = random_ * 6364136223846793005u + 1442695040888963407u;  // Knuth's generator; its high bits are good
        ready_node* before = nullptr;
        ready_node* drawn = first_;
        ready_node* before_callback = nullptr;
        ready_node* callback = posted_callback::is(*drawn) ? drawn : nullptr;  // the oldest, up to the one drawn
        for (std::size_t skip = (random_ >> 33) % count; skip > 0; --skip) {
            before = std::exchange(drawn, drawn->next);
            if (callback != nullptr || !posted_callback::is(*drawn)) continue;
            callback = drawn;
            before_callback = before;
        }
        if (posted_callback::is(*drawn)) {
            drawn = callback;
            before = before_callback;
        }
        if (before == nullptr) return take_first();
        before->next = drawn->next;
        if (last_ == drawn) last_ = before;
        return *drawn;
    }

    ready_node* first_ = nullptr;
    ready_node* last_ = nullptr;
    ready_node* run_next_ = nullptr;
    logical_task* current_ = nullptr;
    unsigned completed_inline_ = 0;  // primitives, in the step that runs
    const executor* beneath_ = nullptr;
    remote_inbox* remote_ = nullptr;
    wait_node* const record_;
    const inspect_function inspect_;
    node_reference bound_to_;                               // the only thread that runs it, if it was said
    executor* next_bound_ = nullptr;                        // guarded by the list's mutex
    std::uint64_t random_ = shuffle_of_new_loops().next();  // the generator's state; 0: first in, first out
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
