// tests/loop/post_memory_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/loop/detail/post_memory.hpp>

#include "support/catch.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <thread>
#include <utility>
#include <vector>

using ferry::detail::post_memory;

extern "C" [[gnu::weak]] int __asan_address_is_poisoned(const volatile void* address);

namespace {
class block {
public:
    explicit block(std::size_t size) : memory_(post_memory::allocate(size)), size_(size) {
        std::memset(memory_, mark(), size);
    }
    block(block&& other) noexcept : memory_(std::exchange(other.memory_, nullptr)), size_(other.size_) {}
    block& operator=(block&&) = delete;
    ~block() {
        if (memory_ != nullptr) post_memory::deallocate(memory_, size_);
    }
    [[nodiscard]] void* get() const noexcept { return memory_; }
    [[nodiscard]] bool intact() const noexcept {
        const unsigned char* const bytes = static_cast<const unsigned char*>(memory_);
        return bytes[0] == mark() && bytes[size_ - 1] == mark();
    }

private:
    [[nodiscard]] unsigned char mark() const noexcept { return static_cast<unsigned char>(size_ * 7 + 1); }
    void* memory_;
    std::size_t size_;
};

std::vector<block> some_blocks(int count, std::size_t size) {
    std::vector<block> blocks;
    for (int i = 0; i < count; ++i) blocks.emplace_back(size);
    return blocks;
}

/// Runs fn on a thread and waits for its end, after which that thread holds no chunk.
template <class Fn>
void on_a_thread(Fn fn) {
    std::thread(fn).join();
}

void empty_the_depot() {
    static std::vector<block> kept;  // each needs most of a chunk
    while (post_memory::spare_chunks() > 0) kept.emplace_back(512);
}
}  // namespace

TEST_CASE("post_memory gives memory of any size, aligned for any type", "[loop][post_memory]") {
    std::vector<block> blocks;
    std::set<void*> distinct;
    for (const std::size_t size : {1u, 15u, 16u, 17u, 40u, 511u, 512u, 513u, 5000u}) {
        for (int i = 0; i < 20; ++i) {
            blocks.emplace_back(size);
            distinct.insert(blocks.back().get());
            CHECK(reinterpret_cast<std::uintptr_t>(blocks.back().get()) % alignof(std::max_align_t) == 0);
        }
    }
    CHECK(distinct.size() == blocks.size());
    for (const block& one : blocks) CHECK(one.intact());
}

TEST_CASE("a chunk comes back when all of it was used up, on whichever threads", "[loop][post_memory]") {
    empty_the_depot();
    std::vector<block> first_half, second_half;
    on_a_thread([&] {
        first_half = some_blocks(20, 48);
        second_half = some_blocks(20, 48);
    });
    CHECK(post_memory::spare_chunks() == 0);  // its thread has ended, its blocks have not
    on_a_thread([&] { first_half.clear(); });
    CHECK(post_memory::spare_chunks() == 0);
    on_a_thread([&] { second_half.clear(); });
    CHECK(post_memory::spare_chunks() == 1);
}

TEST_CASE("what a thread used up of others' chunks is counted when it comes to the next one", "[loop][post_memory]") {
    empty_the_depot();
    std::vector<block> one, another;
    on_a_thread([&] { one = some_blocks(10, 48); });
    on_a_thread([&] { another = some_blocks(10, 48); });
    on_a_thread([&] {
        one.clear();
        CHECK(post_memory::spare_chunks() == 0);
        another.clear();
        CHECK(post_memory::spare_chunks() == 1);
    });
    CHECK(post_memory::spare_chunks() == 2);
}

TEST_CASE("post_memory keeps a bounded number of chunks", "[loop][post_memory]") {
    std::vector<block> many = some_blocks(20'000, 48);
    on_a_thread([&] { many.clear(); });
    CHECK(post_memory::spare_chunks() <= post_memory::most_spare_chunks);
    CHECK(post_memory::spare_chunks() > post_memory::most_spare_chunks / 2);
}

TEST_CASE("a block may be made and used up while its thread's thread-locals are destroyed", "[loop][post_memory]") {
    struct last_words {
        std::vector<block> kept;
        ~last_words() {
            kept.clear();
            some_blocks(3, 48);
        }
    };
    on_a_thread([] {
        static thread_local last_words words;  // older than the thread's exit hooks: destroyed after them
        words.kept = some_blocks(3, 48);
    });
}

TEST_CASE("what was used up is poisoned, what is in use is not", "[loop][post_memory]") {
    if (__asan_address_is_poisoned == nullptr) return;
    void* const memory = post_memory::allocate(48);
    CHECK(__asan_address_is_poisoned(memory) == 0);
    CHECK(__asan_address_is_poisoned(static_cast<char*>(memory) + 47) == 0);
    CHECK(__asan_address_is_poisoned(static_cast<char*>(memory) + 48) != 0);
    post_memory::deallocate(memory, 48);
    CHECK(__asan_address_is_poisoned(memory) != 0);
}

TEST_CASE("threads that use up each other's blocks find them intact", "[loop][post_memory][mt]") {
    constexpr int threads = 3, rounds = 300;
    std::atomic<std::vector<block>*> between[threads] = {};
    std::atomic<bool> well{true};
    std::vector<std::thread> all;
    for (int self = 0; self < threads; ++self) {
        all.emplace_back([&, self] {
            for (int round = 0; round < rounds; ++round) {
                auto* const fresh =
                    new std::vector<block>(some_blocks(1 + round % 90, static_cast<std::size_t>(40 + self * 70)));
                for (int slot = round % threads, tries = 0; tries < 2; ++tries, slot = (slot + 1) % threads) {
                    auto* const found = between[slot].exchange(tries == 0 ? fresh : nullptr, std::memory_order_acq_rel);
                    if (found == nullptr) continue;
                    for (const block& one : *found) {
                        if (!one.intact()) well = false;
                    }
                    delete found;
                }
            }
        });
    }
    for (std::thread& one : all) one.join();
    for (auto& left : between) delete left.exchange(nullptr);
    CHECK(well);
}
