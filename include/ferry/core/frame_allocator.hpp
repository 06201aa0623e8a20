// ferry/core/frame_allocator.hpp - recycles coroutine frames, per thread
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/this_thread.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <new>
#include <utility>

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

/// Memory for coroutine frames: a free list for each 64 bytes up to 2 KiB, kept by the thread that frees. Where one
/// thread allocates what another one frees (posts, tasks that others spawn), blocks come back in batches.
///
/// Ownership      A block belongs to whoever allocated it until it is given back, on any thread.
/// Thread-safety  Every function may be called on every thread; each works on the calling thread's lists.
/// Errors         allocate() throws std::bad_alloc.
/// Cost           A pointer or two while there are free blocks; 0 calls of operator new in steady state. Of each size a
///                thread keeps 128 KiB (128 blocks, if that is more) and gives all of it back when it ends; the depot
///                keeps another 256 KiB for all threads (two batches, if that is more).
class frame_allocator {
public:
    [[nodiscard]] static void* allocate(std::size_t size);
    static void deallocate(void* block, std::size_t size) noexcept;

    /// Blocks in use now. Blocks that other threads hold in their lists count as in use, so the figure is exact in a
    /// program (or test) whose frames are freed by the calling thread or by threads that have ended.
    [[nodiscard]] static std::int64_t live() noexcept;

    /// How many free blocks of one size a thread keeps; `index` 0 is that of up to 64 bytes.
    [[nodiscard]] static constexpr std::uint32_t thread_limit(std::size_t index) noexcept {
        return static_cast<std::uint32_t>(std::max(2 * batch_size(index), 128 * 1024 / block_size(index)));
    }
    /// How many it keeps now.
    [[nodiscard]] static std::size_t kept_by_this_thread(std::size_t index) noexcept;
    /// How many of them move at once between a thread and the depot.
    [[nodiscard]] static constexpr std::size_t batch_size(std::size_t index) noexcept {
        return std::min<std::size_t>(block_size(index) / sizeof(void*), 64);
    }

private:
    class depot;
    static constexpr std::size_t granule = 64;
    static constexpr std::size_t block_size(std::size_t index) noexcept { return (index + 1) * granule; }

    static std::atomic<std::int64_t>& obtained() noexcept {  // from operator new and not given back to it
        static constinit std::atomic<std::int64_t> count{0};
        return count;
    }
    static frame_cache& cache_of(thread_state& thread, std::size_t index) noexcept;
    static void* obtain(std::size_t size);
    static void give_back(void* block) noexcept;
    static void* pop(std::size_t index);
    static void push(void* block, std::size_t index) noexcept;
    static void* pop_rarely(std::size_t index);
    static void push_rarely(void* block, std::size_t index) noexcept;
    static void* unlink(frame_cache& cache, std::size_t index) noexcept;
    static void link(frame_cache& cache, void* block, std::size_t index) noexcept;
    static bool refill(frame_cache& cache, std::size_t index) noexcept;
    static bool make_room(frame_cache& cache, std::size_t index) noexcept;
    static bool prepare(frame_cache& cache, std::size_t index) noexcept;
    static void release_caches() noexcept;
};

// ---- implementation ----------------------------------------------------------------------------------------------
/// Batches of free blocks of one size, on their way from threads that free to threads that allocate. The first block of a
/// batch holds the addresses of all: who takes it links them without waiting, for each, until the one before has come
/// from the other core.
///
/// Thread-safety  Any thread. A batch belongs to whoever has exchanged its place for null. Put is a release and take an
///                acquire, so what was done in the blocks has happened before. Nobody waits for anybody, and a fork in
///                the middle leaves nothing half done.
class frame_allocator::depot {
public:
    [[nodiscard]] static depot& of(std::size_t index) noexcept {
        static constinit depot depots[thread_state::frame_classes];
        return depots[index];
    }

    /// False, and the blocks stay the caller's, when there is no place left.
    [[nodiscard]] bool put(void** batch, std::size_t index) noexcept {
        for (std::size_t i = 0; i < places(index); ++i) {
            void** none = nullptr;
            if (places_[i].load(std::memory_order_relaxed) == nullptr &&
                places_[i].compare_exchange_strong(none, batch, std::memory_order_release, std::memory_order_relaxed)) {
                return true;
            }
        }
        return false;
    }
    /// Null when there is none.
    [[nodiscard]] void** take() noexcept {
        for (std::atomic<void**>& place : places_) {
            if (place.load(std::memory_order_relaxed) == nullptr) continue;
            if (void** const batch = place.exchange(nullptr, std::memory_order_acquire)) return batch;
        }
        return nullptr;
    }
    [[nodiscard]] std::int64_t batches() const noexcept {
        return std::count_if(std::begin(places_), std::end(places_), [](const std::atomic<void**>& place) {
            return place.load(std::memory_order_relaxed) != nullptr;
        });
    }

private:
    static constexpr std::size_t most_places = 64;
    static constexpr std::size_t places(std::size_t index) noexcept {
        return std::clamp<std::size_t>(256 * 1024 / (batch_size(index) * block_size(index)), 2, most_places);
    }
    std::atomic<void**> places_[most_places] = {};
};

inline void* frame_allocator::allocate(std::size_t size) {
    const std::size_t index = (size - 1) / granule;
    return index < thread_state::frame_classes ? pop(index) : obtain(size);
}

inline void frame_allocator::deallocate(void* block, std::size_t size) noexcept {
    const std::size_t index = (size - 1) / granule;
    index < thread_state::frame_classes ? push(block, index) : give_back(block);
}

/// Under AddressSanitizer the caches that pop() and push() look at are never in use: so these leave every block to the rare
/// cases, which poison it, and ask nothing themselves.
inline frame_cache& frame_allocator::cache_of(thread_state& thread, std::size_t index) noexcept {
    return thread.frames[__asan_poison_memory_region == nullptr ? index : index + thread_state::frame_classes];
}

// Not inlined, nor are the rare cases in here: so they may look for the thread's state themselves, and save no register.
[[gnu::noinline]] inline void* frame_allocator::pop(std::size_t index) {
    frame_cache& cache = this_thread_inlined().frames[index];
    if (cache.latest != nullptr) return std::exchange(cache.latest, nullptr);
    free_block* const block = cache.first;
    if (block == nullptr) [[unlikely]]
        return pop_rarely(index);
    cache.first = block->next;
    ++cache.room;
    return block;
}

[[gnu::noinline]] inline void frame_allocator::push(void* block, std::size_t index) noexcept {
    frame_cache& cache = this_thread_inlined().frames[index];
    if (cache.room == 0) [[unlikely]]
        return push_rarely(block, index);
    if (cache.latest == nullptr) {
        cache.latest = block;
        return;
    }
    cache.first = ::new (block) free_block{cache.first};
    --cache.room;
}

inline std::size_t frame_allocator::kept_by_this_thread(std::size_t index) noexcept {
    const frame_cache& cache = cache_of(this_thread(), index);
    return cache.in_use ? thread_limit(index) - cache.room + (cache.latest != nullptr) : 0;
}

inline std::int64_t frame_allocator::live() noexcept {
    std::int64_t count = obtained().load(std::memory_order_relaxed);
    for (std::size_t index = 0; index < thread_state::frame_classes; ++index) {
        count -= static_cast<std::int64_t>(kept_by_this_thread(index));
        count -= depot::of(index).batches() * static_cast<std::int64_t>(batch_size(index));
    }
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

[[gnu::noinline]] inline void* frame_allocator::pop_rarely(std::size_t index) {
    frame_cache& cache = cache_of(this_thread(), index);
    if (cache.first == nullptr && !refill(cache, index)) return obtain(block_size(index));
    return unlink(cache, index);
}

[[gnu::noinline]] inline void frame_allocator::push_rarely(void* block, std::size_t index) noexcept {
    frame_cache& cache = cache_of(this_thread(), index);
    if (cache.room == 0 && !make_room(cache, index)) return give_back(block);
    link(cache, block, index);
}

inline void* frame_allocator::unlink(frame_cache& cache, std::size_t index) noexcept {
    free_block* const block = cache.first;
    if (__asan_unpoison_memory_region != nullptr) __asan_unpoison_memory_region(block, block_size(index));
    cache.first = block->next;
    ++cache.room;
    return block;
}

inline void frame_allocator::link(frame_cache& cache, void* block, std::size_t index) noexcept {
    cache.first = ::new (block) free_block{cache.first};
    --cache.room;
    // All but the link, which the leak checker must be able to follow.
    if (__asan_poison_memory_region != nullptr) {
        __asan_poison_memory_region(cache.first + 1, block_size(index) - sizeof(free_block));
    }
}

/// A batch from the depot, if there is one.
inline bool frame_allocator::refill(frame_cache& cache, std::size_t index) noexcept {
    void** const batch = prepare(cache, index) ? depot::of(index).take() : nullptr;
    if (batch == nullptr) return false;
    for (std::size_t i = batch_size(index); i > 0; --i) link(cache, batch[i - 1], index);  // the first, itself, is last
    return true;
}

/// Room for one more; where the list is full, for a batch, which goes to the depot, else back to operator new's heap.
inline bool frame_allocator::make_room(frame_cache& cache, std::size_t index) noexcept {
    if (!prepare(cache, index)) return false;
    if (cache.room > 0) return true;
    void** const batch = static_cast<void**>(unlink(cache, index));
    batch[0] = batch;
    for (std::size_t i = 1; i < batch_size(index); ++i) batch[i] = unlink(cache, index);
    if (depot::of(index).put(batch, index)) return true;
    for (std::size_t i = batch_size(index); i > 0; --i) give_back(batch[i - 1]);
    return true;
}

/// True when the thread may keep blocks of this size.
inline bool frame_allocator::prepare(frame_cache& cache, std::size_t index) noexcept {
    thread_state& self = this_thread();
    if (cache.in_use) return true;
    if (self.ended) return false;
    cache.in_use = true;
    cache.room = thread_limit(index);
    if (self.frames_hook.run == nullptr) {
        self.frames_hook.run = &release_caches;
        at_thread_exit(self.frames_hook);
    }
    return true;
}

inline void frame_allocator::release_caches() noexcept {
    thread_state& self = this_thread();
    self.frames_hook.run = nullptr;  // a hook that runs later may free frames, and registers this one again
    for (std::size_t index = 0; index < thread_state::frame_classes; ++index) {
        frame_cache& cache = cache_of(self, index);
        if (cache.latest != nullptr) give_back(cache.latest);
        while (cache.first != nullptr) give_back(unlink(cache, index));
        cache = {};
    }
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
