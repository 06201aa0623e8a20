// ferry/core/frame_allocator.hpp - recycles coroutine frames, per thread
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/this_thread.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

// The sanitizer's entry points, null in a program without it: one code for every build.
extern "C" {
[[gnu::weak]] void __asan_poison_memory_region(const volatile void* address, std::size_t size);
[[gnu::weak]] void __asan_unpoison_memory_region(const volatile void* address, std::size_t size);
}

namespace ferry::inline FERRY_ABI {
namespace detail {
struct free_block {
    free_block* next;
};

/// Memory for coroutine frames: a free list for each 64 bytes up to 2 KiB, kept by the thread that frees.
///
/// Ownership      A block belongs to whoever allocated it until it is given back, on any thread.
/// Thread-safety  Every function may be called on every thread; each works on the calling thread's lists.
/// Errors         allocate() throws std::bad_alloc.
/// Cost           A pointer swap while the list has blocks; 0 calls of operator new in steady state. A thread keeps
///                at most 256 KiB for each size and gives all of it back when it ends.
class frame_allocator {
public:
    [[nodiscard]] static void* allocate(std::size_t size);
    static void deallocate(void* block, std::size_t size) noexcept;

    /// Blocks in use now. Blocks that other threads hold in their lists count as in use, so the figure is exact in a
    /// program (or test) whose frames are freed by the calling thread or by threads that have ended.
    [[nodiscard]] static std::int64_t live() noexcept;

private:
    static constexpr std::size_t granule = 64;
    static constexpr std::size_t cached_bytes = 256 * 1024;

    static std::atomic<std::int64_t>& obtained() noexcept {  // from operator new and not given back to it
        static constinit std::atomic<std::int64_t> count{0};
        return count;
    }
    static void* obtain(std::size_t size);
    static void give_back(void* block) noexcept;
    static bool may_keep(thread_state& self, std::size_t index) noexcept;
    static void release_lists() noexcept;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline void* frame_allocator::allocate(std::size_t size) {
    const std::size_t index = (size - 1) / granule;
    if (index >= thread_state::frame_classes) return obtain(size);
    thread_state& self = this_thread();
    free_block* block = self.frames[index];
    if (block == nullptr) return obtain((index + 1) * granule);
    if (__asan_unpoison_memory_region != nullptr) __asan_unpoison_memory_region(block, (index + 1) * granule);
    self.frames[index] = block->next;
    --self.frame_counts[index];
    return block;
}

inline void frame_allocator::deallocate(void* block, std::size_t size) noexcept {
    const std::size_t index = (size - 1) / granule;
    if (index >= thread_state::frame_classes) return give_back(block);
    thread_state& self = this_thread();
    if (!may_keep(self, index)) return give_back(block);
    self.frames[index] = ::new (block) free_block{self.frames[index]};
    ++self.frame_counts[index];
    if (__asan_poison_memory_region != nullptr) __asan_poison_memory_region(block, (index + 1) * granule);
}

inline std::int64_t frame_allocator::live() noexcept {
    std::int64_t count = obtained().load(std::memory_order_relaxed);
    for (std::uint16_t cached : this_thread().frame_counts) count -= cached;
    return count;
}

inline void* frame_allocator::obtain(std::size_t size) {
    void* block = ::operator new(size);
    obtained().fetch_add(1, std::memory_order_relaxed);
    return block;
}

inline void frame_allocator::give_back(void* block) noexcept {
    obtained().fetch_sub(1, std::memory_order_relaxed);
    ::operator delete(block);
}

inline bool frame_allocator::may_keep(thread_state& self, std::size_t index) noexcept {
    if (self.ended || self.frame_counts[index] >= cached_bytes / ((index + 1) * granule)) return false;
    if (self.frames_hook.run == nullptr) {
        self.frames_hook.run = &release_lists;
        at_thread_exit(self.frames_hook);
    }
    return true;
}

inline void frame_allocator::release_lists() noexcept {
    thread_state& self = this_thread();
    self.frames_hook.run = nullptr;  // a hook that runs later may free frames, and registers this one again
    for (std::size_t index = 0; index < thread_state::frame_classes; ++index) {
        while (free_block* block = self.frames[index]) {
            if (__asan_unpoison_memory_region != nullptr) {
                __asan_unpoison_memory_region(block, (index + 1) * granule);
            }
            self.frames[index] = block->next;
            give_back(block);
        }
        self.frame_counts[index] = 0;
    }
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
