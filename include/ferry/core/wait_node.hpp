// ferry/core/wait_node.hpp - the slab record of whoever can wait: who it is, what it waits in, and for whom
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/home.hpp>
#include <ferry/core/process.hpp>
#include <ferry/core/this_thread.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <new>
#include <utility>

#include <unistd.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
class logical_task;
class remote_inbox;
class thread_parker;
class wait_node;

/// A node, and the use of it that is meant: a node that has been released since then is another one's.
class node_reference {
public:
    node_reference() noexcept = default;
    explicit node_reference(const wait_node* node) noexcept;
    [[nodiscard]] const wait_node* node() const noexcept { return node_; }
    [[nodiscard]] std::uint32_t generation() const noexcept { return generation_; }

private:
    const wait_node* node_ = nullptr;
    std::uint32_t generation_ = 0;
};

/// What other threads may read of a task, a thread, a loop... : its name, and where and for whom it waits. Kept outside
/// the coroutine frames, in slabs that are never unmapped: a reader may hold a pointer to a node that has ended
/// meanwhile; the generation tells.
///
/// The links say, by kind:
///
///     kind      needs                             within          scope                     members
///     task      for whom it waits                 its loop        its innermost scope; of
///                                                                 block_on's the last is
///                                                                 its own node
///     thread    for whom it waits                 the loop that     the loop without which
///                                                 its waits drive   it cannot be refused
///     loop      the thread that turns it
///     call      the pool or thread that has it                    that of the awaiting task
///     promise   who will keep it
///     deadline                                  its loop, or none the next one out
///                                                 for a request
///     family    whose children they are                           the next one out          the children
///     lock      who is first in its queue                                                   the holdings
///     holding   the holder
///     pool                                                                                  its threads
///     limit                                                                                 the calls let in
///
/// A task or thread that needs nobody, or nobody known, can go on: the links of a wait are there only while somebody known
/// must act before it ends.
///
/// Ownership      One owner from acquire() to release(); the memory belongs to the process.
/// Thread-safety  One thread at a time writes, as the owner says; every thread may read. All fields are relaxed atomics,
///                each true by itself; version() changes before a link does, so that who finds version and links
///                unchanged has read what was true at one time (deadlock/wait_graph.hpp).
/// Cost           acquire() and release() are pointer swaps in steady state.
class wait_node {
public:
    enum class kind : std::uint8_t { task, thread, loop, call, promise, deadline, family, lock, holding, pool, limit };
    using flags = std::uint16_t;
    static constexpr flags cancellable = 1;  // task: a cancellation ends this wait; call: though it has begun
    static constexpr flags joins = 2;        // task, thread: it waits for all members of the family, or pool
    static constexpr flags begun = 4;        // call: a thread runs it
    static constexpr flags in_turn = 8;      // thread: while it waits it serves no calls and drives no loop
    static constexpr flags timed = 16;       // task, thread: the wait has a limit of its own
    static constexpr flags refusable = 32;   // thread: its wait can be ended by an error
    static constexpr flags refused = 64;     // thread: it has been, by another thread, and was woken
    /// lock: an unknown may release it; pool: a thread may join it; limit: there is room; scope: it is cancelled.
    static constexpr flags open = 128;
    static constexpr flags bound = 256;    // loop: nobody turns it, and only that thread may
    static constexpr flags patient = 512;  // call: it may take as long as it likes

    [[nodiscard]] static wait_node& acquire(kind what);
    void release() noexcept;

    /// How many there are between acquire() and release(), of that kind or of all. Reads every slab: for tests and dumps.
    [[nodiscard]] static std::size_t in_use(kind what) { return count_in_use(&what); }
    [[nodiscard]] static std::size_t in_use() { return count_in_use(nullptr); }

    /// Odd while in use; changes with every acquire() and release().
    [[nodiscard]] std::uint32_t generation() const noexcept { return generation_.load(std::memory_order_acquire); }
    [[nodiscard]] kind what() const noexcept { return kind_.load(std::memory_order_relaxed); }
    [[nodiscard]] const char* name() const noexcept { return name_.load(std::memory_order_relaxed); }
    /// The primitive it waits in ("sleep_for"), null while it can run.
    [[nodiscard]] const char* waits_in() const noexcept { return waits_in_.load(std::memory_order_relaxed); }
    /// Where in the source: the file and line of the co_await; null and 0 if unknown.
    [[nodiscard]] const char* file() const noexcept { return file_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint32_t line() const noexcept { return line_.load(std::memory_order_relaxed); }

    void set_name(const char* name) noexcept {
        if constexpr (records_for_reports) name_.store(name, std::memory_order_relaxed);
    }
    void set_waits_in(const char* what) noexcept {
        if constexpr (records_for_reports) waits_in_.store(what, std::memory_order_relaxed);
    }
    void set_line(const char* file, std::uint32_t line) noexcept {
        file_.store(file, std::memory_order_relaxed);
        line_.store(line, std::memory_order_relaxed);
    }

    // The links. Whoever changes one so that a wait may have become hopeless asks the graph afterwards.
    [[nodiscard]] const wait_node* needs() const noexcept { return needs_.load(std::memory_order_acquire); }
    [[nodiscard]] std::uint32_t needs_generation() const noexcept {
        return needs_generation_.load(std::memory_order_relaxed);
    }
    /// It waits from now on, and needs that node to go on.
    void wait_for(const node_reference& whom, flags how = 0) noexcept {
        change();
        flags_.store(how, std::memory_order_relaxed);
        needs_generation_.store(whom.generation(), std::memory_order_relaxed);
        needs_.store(whom.node(), std::memory_order_release);
    }
    void wait_is_over() noexcept { needs_.store(nullptr, std::memory_order_release); }
    [[nodiscard]] const wait_node* within() const noexcept { return within_.load(std::memory_order_relaxed); }
    void set_within(const wait_node* loop) noexcept { within_.store(loop, std::memory_order_relaxed); }
    [[nodiscard]] const wait_node* scope() const noexcept { return scope_.load(std::memory_order_relaxed); }
    void set_scope(const wait_node* scope) noexcept { scope_.store(scope, std::memory_order_relaxed); }
    [[nodiscard]] bool has(flags asked) const noexcept { return (flags_.load(std::memory_order_relaxed) & asked) != 0; }
    void set_flags(flags now) noexcept {
        change();
        flags_.store(now, std::memory_order_release);
    }
    /// lock: what is free; holding: what it holds; task: what it wants of a lock; thread: its id in the kernel. Of a lock
    /// never less than the truth, also between two changes.
    [[nodiscard]] std::size_t amount() const noexcept { return amount_.load(std::memory_order_relaxed); }
    void set_amount(std::size_t amount) noexcept {
        change();
        amount_.store(amount, std::memory_order_release);
    }
    [[nodiscard]] const wait_node* first_member() const noexcept {
        return first_member_.load(std::memory_order_acquire);
    }
    [[nodiscard]] const wait_node* next_member() const noexcept { return next_member_.load(std::memory_order_acquire); }
    void add_member(wait_node& member) noexcept;
    void remove_member(wait_node& member) noexcept;
    /// Does one of them wait for somebody known? For the thread that changes the members.
    [[nodiscard]] bool has_waiting_member() const noexcept {
        const wait_node* member = first_member();
        while (member != nullptr && member->needs() == nullptr) member = member->next_member();
        return member != nullptr;
    }
    /// A thread's wait ends with that error, under the graph's lock; whoever calls this wakes it.
    void refuse(std::exception_ptr error) noexcept {
        if (cancels != nullptr) cancels->will_be_cancelled();
        refusal = std::move(error);
        set_flags(static_cast<flags>(flags_.load(std::memory_order_relaxed) | refused));
        note_refusal();
    }
    /// The wait that it is in now is about to end in an error: nobody else is to be refused because of it. Under the graph's
    /// lock, whoever owns the node; any change of the node ends it.
    void note_refusal() const noexcept { refused_version_.store(version(), std::memory_order_relaxed); }
    void forget_refusal() const noexcept { refused_version_.store(~std::uint32_t{0}, std::memory_order_relaxed); }
    [[nodiscard]] bool is_being_refused() const noexcept {
        return refused_version_.load(std::memory_order_relaxed) == version();
    }
    /// A scope's, or that of a task whose outermost scope is its own node: from now on a cancellation is on its way to all waits
    /// inside. Under the graph's lock.
    void will_be_cancelled() const noexcept { cancellation_under_way_.store(true, std::memory_order_relaxed); }
    [[nodiscard]] bool is_to_be_cancelled() const noexcept {
        return cancellation_under_way_.load(std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint32_t version() const noexcept { return version_.load(std::memory_order_acquire); }

    /// Somebody's wait was let pass only since this deadline, or a member of this family, may still end it.
    [[nodiscard]] bool is_relied_upon() const noexcept { return relied_upon_.load(std::memory_order_relaxed); }
    void rely_on(bool now) const noexcept { relied_upon_.store(now, std::memory_order_relaxed); }

    /// Where the owner's thread-sensitive calls run; the owner's thread alone may look.
    home_reference home;
    /// Why the wait was ended, where it was not a cancellation. A task's: its loop's; a thread's: under the graph's lock.
    std::exception_ptr refusal;
    /// A task's own; its loop's thread alone may look.
    logical_task* task = nullptr;
    /// A loop's; as long as a task of it waits.
    remote_inbox* inbox = nullptr;
    /// A thread's: where it is woken, and the scope that it cancels when its wait is refused. Under the graph's lock.
    thread_parker* parker = nullptr;
    const wait_node* cancels = nullptr;

private:
    friend class wait_graph;
    struct slab;
    static constexpr std::uint32_t cached_nodes = 256;

    struct shared_list {
        std::mutex mutex;  // guards both
        wait_node* head = nullptr;
        slab* slabs = nullptr;  // all there are
    };
    static shared_list& shared() { return process_wide<shared_list>::get(); }
    static wait_node* refill();
    static std::size_t count_in_use(const kind* what);
    static void release_cache() noexcept;
    void advance_generation() noexcept {  // the owner is the only writer
        generation_.store(generation_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }
    void change() noexcept {
        version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_release);
    }

    std::atomic<std::uint32_t> generation_{0};
    std::atomic<std::uint32_t> version_{0};
    std::atomic<const char*> name_{nullptr};
    std::atomic<const char*> waits_in_{nullptr};
    std::atomic<const wait_node*> needs_{nullptr};
    std::atomic<const wait_node*> within_{nullptr};
    std::atomic<const wait_node*> scope_{nullptr};
    std::atomic<std::uint32_t> needs_generation_{0};
    std::atomic<kind> kind_{kind::task};
    std::atomic<flags> flags_{0};
    mutable std::atomic<bool> relied_upon_{false};
    mutable std::atomic<bool> cancellation_under_way_{false};
    mutable std::atomic<std::uint32_t> refused_version_{~std::uint32_t{0}};
    std::atomic<std::size_t> amount_{0};
    std::atomic<wait_node*> first_member_{nullptr};
    std::atomic<wait_node*> next_member_{nullptr};
    wait_node* previous_member_ = nullptr;
    std::atomic<const char*> file_{nullptr};
    std::atomic<std::uint32_t> line_{0};
    // The graph's, under its lock: where the node is in the walk that bears this number, in each role.
    mutable std::uint32_t walk_ = 0;
    mutable std::uint32_t place_[6] = {};
    wait_node* next_free_ = nullptr;
};

/// A scope that is cancelled, and has no other use.
[[nodiscard]] inline const wait_node& cancelled_scope() {
    static const wait_node& always = []() -> const wait_node& {
        wait_node& made = wait_node::acquire(wait_node::kind::deadline);
        made.set_flags(wait_node::open);
        return made;
    }();
    return always;
}

/// The node of the calling thread: made on first use, gone with the thread.
[[nodiscard]] wait_node& record_of_this_thread();

// ---- implementation ----------------------------------------------------------------------------------------------
inline node_reference::node_reference(const wait_node* node) noexcept
    : node_(node), generation_(node == nullptr ? 0 : node->generation()) {}

struct wait_node::slab {
    static constexpr std::size_t size = 64;
    wait_node nodes[size];
    slab* next = nullptr;
};

inline std::size_t wait_node::count_in_use(const kind* what) {
    std::size_t count = 0;
    const std::lock_guard lock(shared().mutex);
    for (const slab* each = shared().slabs; each != nullptr; each = each->next) {
        for (const wait_node& node : each->nodes) {
            if (node.generation() % 2 == 1 && (what == nullptr || node.what() == *what)) ++count;
        }
    }
    return count;
}

inline wait_node& wait_node::acquire(kind what) {
    thread_state& self = this_thread();
    wait_node* node = self.wait_nodes;
    if (node == nullptr) {
        node = refill();
    } else {
        self.wait_nodes = node->next_free_;
        --self.wait_node_count;
    }
    node->next_free_ = nullptr;
    node->kind_.store(what, std::memory_order_relaxed);
    node->advance_generation();
    return *node;
}

/// What a use of the node has set is reset here, so that acquire() need not.
inline void wait_node::release() noexcept {
    home = home_reference();
    name_.store(nullptr, std::memory_order_relaxed);
    waits_in_.store(nullptr, std::memory_order_relaxed);
    change();
    needs_.store(nullptr, std::memory_order_relaxed);
    within_.store(nullptr, std::memory_order_relaxed);
    scope_.store(nullptr, std::memory_order_relaxed);
    first_member_.store(nullptr, std::memory_order_relaxed);
    flags_.store(0, std::memory_order_relaxed);
    relied_upon_.store(false, std::memory_order_relaxed);
    cancellation_under_way_.store(false, std::memory_order_relaxed);
    line_.store(0, std::memory_order_relaxed);
    advance_generation();
    thread_state& self = this_thread();
    if (self.ended || self.wait_node_count >= cached_nodes) {
        const std::lock_guard lock(shared().mutex);
        next_free_ = shared().head;
        shared().head = this;
        return;
    }
    if (self.wait_nodes_hook.run == nullptr) {
        self.wait_nodes_hook.run = &release_cache;
        at_thread_exit(self.wait_nodes_hook);
    }
    next_free_ = self.wait_nodes;
    self.wait_nodes = this;
    ++self.wait_node_count;
}

inline void wait_node::add_member(wait_node& member) noexcept {
    change();
    wait_node* const next = first_member_.load(std::memory_order_relaxed);
    member.previous_member_ = nullptr;
    member.next_member_.store(next, std::memory_order_release);
    if (next != nullptr) next->previous_member_ = &member;
    first_member_.store(&member, std::memory_order_release);
}

inline void wait_node::remove_member(wait_node& member) noexcept {
    change();
    wait_node* const next = member.next_member_.load(std::memory_order_relaxed);
    wait_node* const previous = member.previous_member_;
    (previous == nullptr ? first_member_ : previous->next_member_).store(next, std::memory_order_release);
    if (next != nullptr) next->previous_member_ = previous;
}

inline wait_node* wait_node::refill() {
    const std::lock_guard lock(shared().mutex);
    if (shared().head == nullptr) {
        slab* fresh = new slab;  // never deleted: see the class
        fresh->next = std::exchange(shared().slabs, fresh);
        for (wait_node& node : fresh->nodes) {
            node.next_free_ = shared().head;
            shared().head = &node;
        }
    }
    wait_node* node = shared().head;
    shared().head = node->next_free_;
    return node;
}

inline wait_node& record_of_this_thread() {
    thread_state& self = this_thread();
    if (self.record == nullptr) {
        self.record = &wait_node::acquire(wait_node::kind::thread);
        self.record->set_amount(static_cast<std::size_t>(::gettid()));
        if (!self.ended) {
            self.record_hook.run = []() noexcept { std::exchange(this_thread().record, nullptr)->release(); };
            at_thread_exit(self.record_hook);
        }
    }
    return *self.record;
}

inline void wait_node::release_cache() noexcept {
    thread_state& self = this_thread();
    self.wait_nodes_hook.run = nullptr;  // a hook that runs later may release nodes, and registers this one again
    const std::lock_guard lock(shared().mutex);
    while (wait_node* node = self.wait_nodes) {
        self.wait_nodes = node->next_free_;
        node->next_free_ = shared().head;
        shared().head = node;
    }
    self.wait_node_count = 0;
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
