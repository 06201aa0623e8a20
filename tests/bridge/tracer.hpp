// tests/bridge/tracer.hpp - an object that knows all of its kind that live, and aborts when one is destroyed twice
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <unordered_set>
#include <utility>

namespace ferry_test {
/// A number in an object that is registered by its address from its construction to its destruction. So it also notices
/// what a counter alone would miss: an object that was copied bit by bit, as GCC 11 and 12 do with closures.
class tracer {
public:
    static constexpr int moved_from = -1;

    explicit tracer(int value) : value_(value) { enter(); }
    tracer(const tracer& other) : value_(other.value()) {
        copies_.fetch_add(1);
        enter();
    }
    tracer(tracer&& other) noexcept : value_(std::exchange(other.value_, moved_from)) { enter(); }
    tracer& operator=(tracer&& other) noexcept {
        value_ = std::exchange(other.value_, moved_from);
        return *this;
    }
    ~tracer() {
        if (!leave()) fail("destroyed twice, or never constructed");
    }

    [[nodiscard]] int value() const noexcept {
        if (value_ == moved_from) fail("read after it was moved from");
        return value_;
    }

    [[nodiscard]] static std::size_t live() {
        const std::lock_guard lock(mutex());
        return addresses().size();
    }
    [[nodiscard]] static int copies() noexcept { return copies_.load(); }

private:
    [[noreturn]] static void fail(const char* what) noexcept {
        std::fprintf(stderr, "tracer: %s\n", what);
        std::abort();
    }
    void enter() noexcept {
        const std::lock_guard lock(mutex());
        if (!addresses().insert(this).second) fail("constructed over one that lives");
    }
    [[nodiscard]] bool leave() noexcept {
        const std::lock_guard lock(mutex());
        return addresses().erase(this) == 1;
    }
    static std::mutex& mutex() {
        static std::mutex guards_addresses;
        return guards_addresses;
    }
    static std::unordered_set<const tracer*>& addresses() {
        static std::unordered_set<const tracer*> living;
        return living;
    }

    static inline std::atomic<int> copies_{0};
    int value_;
};
}  // namespace ferry_test
