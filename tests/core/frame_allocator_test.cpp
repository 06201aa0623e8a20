// tests/core/frame_allocator_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/frame_allocator.hpp>

#include "core/frame_count.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

using ferry::detail::frame_allocator;

namespace {
class block {
public:
    explicit block(std::size_t size) : memory_(frame_allocator::allocate(size)), size_(size) {
        std::memset(memory_, 0x5A, size);
    }
    block(block&& other) noexcept : memory_(std::exchange(other.memory_, nullptr)), size_(other.size_) {}
    block& operator=(block&&) = delete;
    ~block() {
        if (memory_ != nullptr) frame_allocator::deallocate(memory_, size_);
    }
    [[nodiscard]] void* get() const noexcept { return memory_; }

private:
    void* memory_;
    std::size_t size_;
};
}  // namespace

TEST_CASE("frame_allocator gives memory of any size, aligned for any type", "[core][frame_allocator]") {
    const ferry_test::frame_count frames;
    std::vector<block> blocks;
    std::set<void*> distinct;
    for (const std::size_t size : {1u, 63u, 64u, 65u, 128u, 2047u, 2048u, 2049u, 4096u, 100'000u}) {
        for (int i = 0; i < 10; ++i) {
            blocks.emplace_back(size);
            distinct.insert(blocks.back().get());
            CHECK(reinterpret_cast<std::uintptr_t>(blocks.back().get()) % alignof(std::max_align_t) == 0);
        }
    }
    CHECK(distinct.size() == blocks.size());
}

TEST_CASE("frame_allocator gives the block freed last to the next frame of about that size",
          "[core][frame_allocator]") {
    const void* first = nullptr;
    {
        const block one(100);
        first = one.get();
    }
    const block other_size(200);
    const block same_size(128);
    CHECK(other_size.get() != first);
    CHECK(same_size.get() == first);
}

TEST_CASE("frame_allocator counts the blocks in use", "[core][frame_allocator]") {
    const std::int64_t before = frame_allocator::live();
    {
        std::vector<block> blocks;
        for (std::size_t i = 1; i <= 100; ++i) blocks.emplace_back(50 * i);
        CHECK(frame_allocator::live() == before + 100);
    }
    CHECK(frame_allocator::live() == before);
}

TEST_CASE("frame_allocator keeps a bounded number of free blocks", "[core][frame_allocator]") {
    const ferry_test::frame_count frames;
    const auto hold = [](std::size_t count, std::size_t size) {
        std::vector<block> blocks;
        for (std::size_t i = 0; i < count; ++i) blocks.emplace_back(size);
    };
    hold(100'000, 64);
    hold(1'000, 2048);
    CHECK(frame_allocator::kept_by_this_thread(0) <= frame_allocator::thread_limit(0) + 1);
    CHECK(frame_allocator::kept_by_this_thread(0) > frame_allocator::thread_limit(0) - frame_allocator::batch_size(0));
    CHECK(frame_allocator::thread_limit(0) == 128 * 1024 / 64);
    CHECK(frame_allocator::kept_by_this_thread(31) <= frame_allocator::thread_limit(31) + 1);
    CHECK(frame_allocator::kept_by_this_thread(31) >
          frame_allocator::thread_limit(31) - frame_allocator::batch_size(31));
    CHECK(frame_allocator::thread_limit(31) == 2 * frame_allocator::batch_size(31));
}

TEST_CASE("blocks that one thread allocates and another one frees come back", "[core][frame_allocator][mt]") {
    const ferry_test::frame_count frames;
    constexpr std::size_t size = 320;
    const std::size_t count = frame_allocator::thread_limit(4) + 2;  // one more than the thread that frees can keep
    std::vector<block> blocks;
    std::set<const void*> freed;
    for (std::size_t i = 0; i < count; ++i) freed.insert(blocks.emplace_back(size).get());
    std::thread([&] { blocks.clear(); }).join();
    std::size_t again = 0;
    for (std::size_t i = 0; i < frame_allocator::batch_size(4); ++i) {
        again += freed.count(blocks.emplace_back(size).get());
    }
    CHECK(again == frame_allocator::batch_size(4));
}

TEST_CASE("a frame may be freed by another thread than the one that made it", "[core][frame_allocator]") {
    const ferry_test::frame_count frames;
    auto made_here = std::make_unique<block>(300u);
    std::unique_ptr<block> made_there;
    std::thread([&] {
        made_here.reset();
        made_there = std::make_unique<block>(300u);
    }).join();
    made_there.reset();
}

TEST_CASE("a frame may be freed while its thread's thread-locals are destroyed", "[core][frame_allocator]") {
    const ferry_test::frame_count frames;
    std::thread([] {
        static thread_local std::unique_ptr<block> last;  // made before the allocator's exit hook, destroyed after it
        last = nullptr;
        const block uses_the_hook(64u);
        last = std::make_unique<block>(64u);
    }).join();
}

TEST_CASE("threads that hand frames to each other lose none", "[core][frame_allocator][mt]") {
    const ferry_test::frame_count frames;
    constexpr int count = 20'000;
    std::atomic<void*> slots[256] =
        {};  // so many that threads which take turns on one CPU do not take one for each frame
    std::thread consumer([&slots] {
        for (int received = 0; received < count;) {
            void* const memory = slots[received % 256].exchange(nullptr, std::memory_order_acquire);
            if (memory == nullptr) {
                std::this_thread::yield();
                continue;
            }
            frame_allocator::deallocate(memory, 256);
            ++received;
        }
    });
    for (int sent = 0; sent < count; ++sent) {
        void* const memory = frame_allocator::allocate(256);
        std::memset(memory, sent & 0xFF, 256);
        std::atomic<void*>& slot = slots[sent % 256];
        while (slot.load(std::memory_order_relaxed) != nullptr) std::this_thread::yield();
        slot.store(memory, std::memory_order_release);
    }
    consumer.join();
}
