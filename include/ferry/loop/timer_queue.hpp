// ferry/loop/timer_queue.hpp - deadlines in order: an intrusive 4-ary heap
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// In nanoseconds, rounded up. What 64 bits cannot hold, some 292 years, becomes the most that they can.
template <class Rep, class Period>
[[nodiscard]] constexpr std::chrono::nanoseconds to_nanoseconds(std::chrono::duration<Rep, Period> duration) noexcept {
    using std::chrono::nanoseconds;
    constexpr std::chrono::duration<double> limit = std::chrono::hours(2'500'000);
    if (duration > limit) return nanoseconds::max();
    if (duration < -limit) return nanoseconds::min();
    return std::chrono::ceil<nanoseconds>(duration);
}
/// start + duration, or time_point::max(), "never", where that lies beyond the clock.
[[nodiscard]] inline std::chrono::steady_clock::time_point deadline_after(std::chrono::steady_clock::time_point start,
                                                                          std::chrono::nanoseconds duration) noexcept {
    constexpr auto never = std::chrono::steady_clock::time_point::max();
    return duration < never - start ? start + duration : never;
}

/// One deadline. It lives where its owner lives (an awaiter's frame, a connection) and must be disarmed before that
/// ends.
class timer_node {
public:
    using fire_function = void (*)(timer_node& self) noexcept;
    explicit timer_node(fire_function fire) noexcept : fire_(fire) {}
    [[nodiscard]] bool armed() const noexcept { return index_ != unarmed; }

private:
    friend class timer_queue;
    static constexpr std::uint32_t unarmed = static_cast<std::uint32_t>(-1);
    fire_function fire_;
    std::uint32_t order_ = 0;  // among timers of the same deadline; it wraps, see entry::before()
    std::uint32_t index_ = unarmed;
};

/// Fires nodes in the order of their deadlines, equal ones in the order they were armed.
///
/// Thread-safety  None.
/// Cost           arm and disarm O(log4 n) moves of 16 bytes; no allocation once the array has grown; no syscall.
class timer_queue {
public:
    using time_point = std::chrono::steady_clock::time_point;

    void arm(timer_node& node, time_point at) {
        if (node.armed()) [[unlikely]]
            disarm(node);
        node.order_ = next_order_++;
        if (size_ == capacity_) [[unlikely]]
            grow();
        rise(size_++, entry{at, &node});
    }
    void disarm(timer_node& node) noexcept {
        if (!node.armed()) return;
        const std::size_t hole = node.index_;
        node.index_ = timer_node::unarmed;
        const entry last = heap_[--size_];
        if (hole == size_) return;
        if (hole > 0 && last.before(heap_[parent_of(hole)])) {
            rise(hole, last);
        } else {
            sink(hole, last);
        }
    }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    /// time_point::max() when nothing is armed.
    [[nodiscard]] time_point next() const noexcept { return empty() ? time_point::max() : heap_[0].at; }

    /// Fires what is due at `now`, at most `limit` of it; a fired node is not armed any more.
    std::size_t fire_due(time_point now, std::size_t limit) noexcept {
        std::size_t count = 0;
        for (; count < limit && !empty() && heap_[0].at <= now; ++count) {
            timer_node& due = *heap_[0].node;
            disarm(due);
            due.fire_(due);
        }
        return count;
    }

private:
    struct entry {
        time_point at;
        timer_node* node;
        [[nodiscard]] bool before(const entry& other) const noexcept {
            // Of two that are armed for the same nanosecond, the older was armed less than 2^31 timers ago.
            if (at == other.at) [[unlikely]]
                return static_cast<std::int32_t>(node->order_ - other.node->order_) < 0;
            return at < other.at;
        }
    };

    static constexpr std::size_t parent_of(std::size_t index) noexcept { return (index - 1) / 4; }
    void place(std::size_t index, const entry& value) noexcept {
        heap_[index] = value;
        value.node->index_ = static_cast<std::uint32_t>(index);
    }
    // Both move a hole, and then put `moving` there.
    void rise(std::size_t hole, entry moving) noexcept {
        while (hole > 0 && moving.before(heap_[parent_of(hole)])) {
            place(hole, heap_[parent_of(hole)]);
            hole = parent_of(hole);
        }
        place(hole, moving);
    }
    void sink(std::size_t hole, entry moving) noexcept {
        for (std::size_t first = 4 * hole + 1; first < size_; first = 4 * hole + 1) {
            const std::size_t end = std::min(first + 4, size_);
            std::size_t least = first;
            for (std::size_t child = first + 1; child < end; ++child) {
                if (heap_[child].before(heap_[least])) least = child;
            }
            if (!heap_[least].before(moving)) break;
            place(hole, heap_[least]);
            hole = least;
        }
        place(hole, moving);
    }

    /// Not inlined, so that arm() saves no registers for it: hence an array of our own instead of a vector.
    [[gnu::noinline]] void grow() {
        const std::size_t more = capacity_ == 0 ? 64 : 2 * capacity_;
        std::unique_ptr<entry[]> larger(new entry[more]);
        std::copy_n(heap_.get(), size_, larger.get());
        heap_ = std::move(larger);
        capacity_ = more;
    }

    std::unique_ptr<entry[]> heap_;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
    std::uint32_t next_order_ = 0;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
