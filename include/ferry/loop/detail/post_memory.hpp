// ferry/loop/detail/post_memory.hpp - where posted callables lie on their way
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/core/this_thread.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <new>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Memory for what one thread makes and another one uses up, in about the same order: blocks cut from a chunk, one behind
/// the other, that come back by being counted. So a producer that runs ahead neither reads an address that the other core
/// has written nor asks operator new for each block, and whoever walks the blocks finds them side by side.
///
/// Ownership      A block belongs to whoever allocated it until it is given back, on any thread.
/// Thread-safety  Every function may be called on every thread. A thread counts what comes back of one chunk for itself,
///                then subtracts it (release); who subtracts the last bytes (acquire) owns the chunk, since everybody
///                is done with it. A chunk that a thread still counts for cannot be whole, so its address says enough.
/// Errors         allocate() throws std::bad_alloc.
/// Cost           An addition; 0 calls of operator new in steady state. A thread holds at most two chunks (4 KiB each), the
///                depot 64 for all threads. A block that is not used up keeps its chunk from being used again.
class post_memory {
public:
    [[nodiscard]] static void* allocate(std::size_t size) {
        return size <= largest ? cut(rounded(size)) : frame_allocator::allocate(size);
    }
    static void deallocate(void* block, std::size_t size) noexcept {
        size <= largest ? take_back(block, rounded(size)) : frame_allocator::deallocate(block, size);
    }
    /// Whole chunks that wait in the depot for the next thread that runs out.
    [[nodiscard]] static std::size_t spare_chunks() noexcept;

    static constexpr std::size_t chunk_size = 4096;
    static constexpr std::size_t most_spare_chunks = 64;

private:
    struct chunk {
        explicit chunk(std::uint32_t bytes) noexcept : missing(bytes) {}
        std::atomic<std::uint32_t> missing;  // bytes that are in use, to be cut, or not counted yet
    };
    static constexpr std::size_t granule = alignof(std::max_align_t);
    static constexpr std::size_t head_size = 64;  // a cache line: the count is written by those who use blocks up
    static constexpr std::uint32_t capacity = chunk_size - head_size;
    static constexpr std::size_t largest = 512;

    [[nodiscard]] static constexpr std::uint32_t rounded(std::size_t size) noexcept {
        return static_cast<std::uint32_t>((size + granule - 1) / granule * granule);
    }
    /// The chunk around a block: chunks lie at multiples of their size.
    [[nodiscard]] static chunk* chunk_of(char* inside) noexcept {
        return reinterpret_cast<chunk*>(inside - reinterpret_cast<std::uintptr_t>(inside) % chunk_size);
    }
    [[nodiscard]] static std::atomic<chunk*> (&depot() noexcept)[most_spare_chunks] {
        static constinit std::atomic<chunk*> places[most_spare_chunks] = {};
        return places;
    }
    static void* cut(std::uint32_t size);
    static void* cut_rarely(std::uint32_t size);
    static void take_back(void* block, std::uint32_t size) noexcept;
    static void take_back_rarely(void* block, std::uint32_t size) noexcept;
    static chunk* open_chunk(std::uint32_t bytes);
    static void subtract(chunk& from, std::uint32_t bytes) noexcept;
    static bool may_hold_chunks(thread_state& self) noexcept;
    static void release_chunks() noexcept;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline std::size_t post_memory::spare_chunks() noexcept {
    std::size_t count = 0;
    for (const std::atomic<chunk*>& place : depot()) count += place.load(std::memory_order_relaxed) != nullptr;
    return count;
}

// Not inlined, nor are the rare cases in here, as in the frame allocator.
[[gnu::noinline]] inline void* post_memory::cut(std::uint32_t size) {
    post_cache& cache = this_thread_inlined().posts;
    if (cache.room < size) [[unlikely]]
        return cut_rarely(size);
    if (__asan_unpoison_memory_region != nullptr) [[unlikely]]
        return cut_rarely(size);
    char* const block = cache.next;
    cache.next = block + size;
    cache.room -= size;
    return block;
}

[[gnu::noinline]] inline void post_memory::take_back(void* block, std::uint32_t size) noexcept {
    post_cache& cache = this_thread_inlined().posts;
    if (cache.returning != chunk_of(static_cast<char*>(block))) [[unlikely]]
        return take_back_rarely(block, size);
    if (__asan_poison_memory_region != nullptr) [[unlikely]]
        return take_back_rarely(block, size);
    cache.returned += size;
}

[[gnu::noinline]] inline void* post_memory::cut_rarely(std::uint32_t size) {
    thread_state& self = this_thread();
    post_cache& cache = self.posts;
    char* block = nullptr;
    if (!may_hold_chunks(self)) {
        block = reinterpret_cast<char*>(open_chunk(size)) + head_size;  // a chunk of its own
    } else {
        if (cache.room < size) {
            chunk* const fresh = open_chunk(capacity);
            if (cache.room > 0) subtract(*chunk_of(cache.next), cache.room);
            cache.next = reinterpret_cast<char*>(fresh) + head_size;
            cache.room = capacity;
        }
        block = cache.next;
        cache.next = block + size;
        cache.room -= size;
    }
    if (__asan_unpoison_memory_region != nullptr) __asan_unpoison_memory_region(block, size);
    return block;
}

[[gnu::noinline]] inline void post_memory::take_back_rarely(void* block, std::uint32_t size) noexcept {
    thread_state& self = this_thread();
    post_cache& cache = self.posts;
    chunk* const from = chunk_of(static_cast<char*>(block));
    if (__asan_poison_memory_region != nullptr) __asan_poison_memory_region(block, size);
    if (!may_hold_chunks(self)) return subtract(*from, size);
    if (cache.returning != from) {
        if (cache.returning != nullptr) subtract(*static_cast<chunk*>(cache.returning), cache.returned);
        cache.returning = from;
        cache.returned = 0;
    }
    cache.returned += size;
}

/// One of the depot, or a new one; `bytes` of it are going to come back.
inline post_memory::chunk* post_memory::open_chunk(std::uint32_t bytes) {
    void* memory = nullptr;
    for (std::atomic<chunk*>& place : depot()) {
        if (place.load(std::memory_order_relaxed) == nullptr) continue;
        memory = place.exchange(nullptr, std::memory_order_acquire);
        if (memory != nullptr) break;
    }
    if (memory == nullptr) memory = ::operator new(chunk_size, std::align_val_t(chunk_size));
    chunk* const fresh = ::new (memory) chunk(bytes);
    if (__asan_poison_memory_region != nullptr) __asan_poison_memory_region(fresh + 1, chunk_size - sizeof(chunk));
    return fresh;
}

inline void post_memory::subtract(chunk& from, std::uint32_t bytes) noexcept {
    if (from.missing.fetch_sub(bytes, std::memory_order_acq_rel) != bytes) return;
    for (std::atomic<chunk*>& place : depot()) {
        chunk* none = nullptr;
        if (place.load(std::memory_order_relaxed) == nullptr &&
            place.compare_exchange_strong(none, &from, std::memory_order_release, std::memory_order_relaxed)) {
            return;
        }
    }
    if (__asan_unpoison_memory_region != nullptr) __asan_unpoison_memory_region(&from, chunk_size);
    ::operator delete(static_cast<void*>(&from), std::align_val_t(chunk_size));
}

/// False once the thread's exit hooks have run.
inline bool post_memory::may_hold_chunks(thread_state& self) noexcept {
    if (self.posts_hook.run != nullptr) return true;
    if (self.ended) return false;
    self.posts_hook.run = &release_chunks;
    at_thread_exit(self.posts_hook);
    return true;
}

inline void post_memory::release_chunks() noexcept {
    thread_state& self = this_thread();
    self.posts_hook.run = nullptr;  // a hook that runs later may post, and registers this one again
    const post_cache cache = self.posts;
    self.posts = {};
    if (cache.room > 0) subtract(*chunk_of(cache.next), cache.room);
    if (cache.returned > 0) subtract(*static_cast<chunk*>(cache.returning), cache.returned);
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
