// ferry/core/wait_node.hpp - the slab record of whoever can wait: who it is and what it waits in
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/home.hpp>
#include <ferry/core/process.hpp>
#include <ferry/core/this_thread.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// What other threads may read of a logical task: its name, and where it waits. Kept outside the coroutine frames, in
/// slabs that are never unmapped: a reader may hold a pointer to a node that has ended meanwhile; the generation tells.
///
/// Ownership      One owner (a logical task) from acquire() to release(); the memory belongs to the process.
/// Thread-safety  The owner's thread writes; every thread may read. All fields are relaxed atomics: each is true by
///                itself, and a reader that needs several compares the generation before and after.
/// Cost           acquire() and release() are pointer swaps in steady state.
class wait_node {
public:
    [[nodiscard]] static wait_node& acquire();
    void release() noexcept;

    /// Odd while in use; changes with every acquire() and release().
    [[nodiscard]] std::uint32_t generation() const noexcept { return generation_.load(std::memory_order_acquire); }
    [[nodiscard]] const char* name() const noexcept { return name_.load(std::memory_order_relaxed); }
    /// The primitive it waits in ("sleep_for"), null while it can run.
    [[nodiscard]] const char* waits_in() const noexcept { return waits_in_.load(std::memory_order_relaxed); }

    void set_name(const char* name) noexcept {
        if constexpr (records_for_reports) name_.store(name, std::memory_order_relaxed);
    }
    void set_waits_in(const char* what) noexcept {
        if constexpr (records_for_reports) waits_in_.store(what, std::memory_order_relaxed);
    }

    /// Where the owner's thread-sensitive calls run; the owner's thread alone may look.
    home_reference home;

private:
    struct slab;
    static constexpr std::uint32_t cached_nodes = 256;

    struct shared_list {
        std::mutex mutex;  // guards head
        wait_node* head = nullptr;
    };
    static shared_list& shared() { return process_wide<shared_list>::get(); }
    static wait_node* refill();
    static void release_cache() noexcept;
    void advance_generation() noexcept {  // the owner is the only writer
        generation_.store(generation_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }

    std::atomic<std::uint32_t> generation_{0};
    std::atomic<const char*> name_{nullptr};
    std::atomic<const char*> waits_in_{nullptr};
    wait_node* next_ = nullptr;  // in a free list
};

// ---- implementation ----------------------------------------------------------------------------------------------
struct wait_node::slab {
    static constexpr std::size_t size = 64;
    wait_node nodes[size];
};

inline wait_node& wait_node::acquire() {
    thread_state& self = this_thread();
    wait_node* node = self.wait_nodes;
    if (node == nullptr) {
        node = refill();
    } else {
        self.wait_nodes = node->next_;
        --self.wait_node_count;
    }
    node->next_ = nullptr;
    node->advance_generation();
    return *node;
}

inline void wait_node::release() noexcept {
    home = home_reference();
    name_.store(nullptr, std::memory_order_relaxed);
    waits_in_.store(nullptr, std::memory_order_relaxed);
    advance_generation();
    thread_state& self = this_thread();
    if (self.ended || self.wait_node_count >= cached_nodes) {
        const std::lock_guard lock(shared().mutex);
        next_ = shared().head;
        shared().head = this;
        return;
    }
    if (self.wait_nodes_hook.run == nullptr) {
        self.wait_nodes_hook.run = &release_cache;
        at_thread_exit(self.wait_nodes_hook);
    }
    next_ = self.wait_nodes;
    self.wait_nodes = this;
    ++self.wait_node_count;
}

inline wait_node* wait_node::refill() {
    const std::lock_guard lock(shared().mutex);
    if (shared().head == nullptr) {
        slab* fresh = new slab;  // never deleted: see the class
        for (wait_node& node : fresh->nodes) {
            node.next_ = shared().head;
            shared().head = &node;
        }
    }
    wait_node* node = shared().head;
    shared().head = node->next_;
    return node;
}

inline void wait_node::release_cache() noexcept {
    thread_state& self = this_thread();
    self.wait_nodes_hook.run = nullptr;  // a hook that runs later may release nodes, and registers this one again
    const std::lock_guard lock(shared().mutex);
    while (wait_node* node = self.wait_nodes) {
        self.wait_nodes = node->next_;
        node->next_ = shared().head;
        shared().head = node;
    }
    self.wait_node_count = 0;
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
