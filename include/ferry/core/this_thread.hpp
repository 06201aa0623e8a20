// ferry/core/this_thread.hpp - everything ferry keeps per thread, behind one accessor
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <cstddef>
#include <cstdint>

namespace ferry::inline FERRY_ABI {
class event_loop;

namespace detail {
class blocking_scope;
class blocking_observer;
class call;
class executor;
class home;
class home_thread;
class thread_contexts;
class thread_parker;
class thread_slots;
class wait_node;
class wait_service;
struct free_block;

/// Runs when the thread that registered it ends; the youngest registration runs first.
struct thread_exit_hook {
    void (*run)() noexcept = nullptr;
    thread_exit_hook* next = nullptr;
};

/// A thread's recycled coroutine frames of one size; the frame allocator's. Aligned, so that one of many is found by a shift.
struct alignas(4 * sizeof(void*)) frame_cache {
    void* latest = nullptr;       // the block freed last, until it is taken; those who are called in turn need no other
    free_block* first = nullptr;  // the rest
    std::uint32_t room = 0;       // for so many more of them; none before the first use, and after the thread's end
    bool in_use = false;
};

/// Where a thread cuts the memory of what it posts, and what it has used up of such memory; post_memory's.
struct post_cache {
    char* next = nullptr;        // the rest of its chunk
    void* returning = nullptr;   // the chunk that `returned` belongs to
    std::uint32_t room = 0;      // bytes from next to the chunk's end
    std::uint32_t returned = 0;  // bytes that came back on this thread, and are not subtracted yet
};

/// One thread's share of ferry. Trivially destructible on purpose: frames are still freed while, and after, the
/// thread's other thread-locals are destroyed.
struct thread_state {
    static constexpr std::size_t frame_classes = 32;

    executor* turn = nullptr;      // whose turn runs on this thread, if any
    bool binds_executors = false;  // there have been some that no other thread runs
    // One for each 64 bytes. The second half is used in its place under AddressSanitizer; see frame_allocator::cache_of().
    frame_cache frames[2 * frame_classes];
    thread_exit_hook frames_hook;
    post_cache posts;
    thread_exit_hook posts_hook;
    wait_node* wait_nodes = nullptr;  // recycled slab nodes
    std::uint32_t wait_node_count = 0;
    thread_exit_hook wait_nodes_hook;
    wait_node* record = nullptr;  // this thread's own node, made on first use
    thread_exit_hook record_hook;
    std::uint32_t promised = 0;                  // promises that it has said it will keep, and has not
    bool ended = false;                          // the exit hooks have run: cache nothing any more
    thread_parker* parker = nullptr;             // where this thread sleeps, made on first use
    const blocking_scope* allowance = nullptr;   // the innermost allow_blocking or forbid_blocking
    call* running_call = nullptr;                // the call of to_thread that this thread is in
    detail::home* home = nullptr;                // code outside of tasks: where its thread-sensitive calls run
    detail::home_thread* home_thread = nullptr;  // this thread's queue of such calls, made on first use
    wait_service* service = nullptr;             // what this thread does while it waits outside of a turn
    blocking_observer* blocking = nullptr;       // a pool's worker, and nobody else: told when it blocks
    event_loop* private_loop = nullptr;          // what block_on drives here when there is no other loop
    thread_exit_hook private_loop_hook;
    thread_slots* slots = nullptr;        // what it keeps for others until it ends, made on first use
    thread_contexts* contexts = nullptr;  // the context variables of code outside of tasks, made on first use
    const char* thread_name = nullptr;    // "pool/3", "loop_thread"; null for a thread not ours
    thread_exit_hook* exit_hooks = nullptr;
};

/// Runs the exit hooks of one thread.
struct thread_end {
    thread_state* state = nullptr;
    ~thread_end() {
        if (state == nullptr) return;
        while (thread_exit_hook* hook = state->exit_hooks) {
            state->exit_hooks = hook->next;
            hook->run();
        }
        state->ended = true;
    }
};

/// The calling thread's state, for functions that are noinline themselves, change something and are no coroutines: so
/// nobody merges two of their calls; see this_thread().
[[nodiscard, gnu::always_inline]] inline thread_state& this_thread_inlined() noexcept {
    static constinit thread_local thread_state state;
    return state;
}

/// The calling thread's state. Compilers may treat the address of a thread-local as a constant of a coroutine and keep
/// it across a suspension; hence never inlined, and the pointer is opaque so that two calls are never merged.
[[gnu::noinline]] inline thread_state& this_thread() noexcept {
    thread_state* opaque = &this_thread_inlined();
    __asm__ volatile("" : "+r"(opaque));
    return *opaque;
}

/// Registers a hook, an object with static storage per thread or one that outlives the thread.
[[gnu::noinline]] inline void at_thread_exit(thread_exit_hook& hook) noexcept {
    static thread_local thread_end end;
    thread_state& self = this_thread();
    end.state = &self;
    hook.next = self.exit_hooks;
    self.exit_hooks = &hook;
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
