// ferry/loop/timer_queue.hpp - deadlines in order: an intrusive 4-ary heap
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

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
    static constexpr std::size_t unarmed = static_cast<std::size_t>(-1);
    fire_function fire_;
    std::size_t index_ = unarmed;
};

/// Fires nodes in the order of their deadlines, equal ones in the order they were armed.
///
/// Thread-safety  None.
/// Cost           arm and disarm O(log4 n) moves of 24 bytes; no allocation once the array has grown; no syscall.
class timer_queue {
public:
    using time_point = std::chrono::steady_clock::time_point;

    void arm(timer_node& node, time_point at) {
        if (node.armed()) disarm(node);
        heap_.push_back(entry{at, next_order_++, &node});
        sift_up(heap_.size() - 1);
    }
    void disarm(timer_node& node) noexcept {
        if (!node.armed()) return;
        const std::size_t hole = node.index_;
        node.index_ = timer_node::unarmed;
        const entry last = heap_.back();
        heap_.pop_back();
        if (hole == heap_.size()) return;
        place(hole, last);
        sift_up(hole);
        sift_down(last.node->index_);
    }
    [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
    /// time_point::max() when nothing is armed.
    [[nodiscard]] time_point next() const noexcept { return heap_.empty() ? time_point::max() : heap_.front().at; }

    /// Fires what is due at `now`, at most `limit` of it; a fired node is not armed any more.
    std::size_t fire_due(time_point now, std::size_t limit) noexcept {
        std::size_t count = 0;
        for (; count < limit && !heap_.empty() && heap_.front().at <= now; ++count) {
            timer_node& due = *heap_.front().node;
            disarm(due);
            due.fire_(due);
        }
        return count;
    }

private:
    struct entry {
        time_point at;
        std::uint64_t order;
        timer_node* node;
        [[nodiscard]] bool before(const entry& other) const noexcept {
            return at < other.at || (at == other.at && order < other.order);
        }
    };

    void place(std::size_t index, const entry& value) noexcept {
        heap_[index] = value;
        value.node->index_ = index;
    }
    void sift_up(std::size_t index) noexcept {
        const entry moving = heap_[index];
        while (index > 0) {
            const std::size_t parent = (index - 1) / 4;
            if (!moving.before(heap_[parent])) break;
            place(index, heap_[parent]);
            index = parent;
        }
        place(index, moving);
    }
    void sift_down(std::size_t index) noexcept {
        const entry moving = heap_[index];
        for (;;) {
            const std::size_t first = 4 * index + 1;
            if (first >= heap_.size()) break;
            const std::size_t end = std::min(first + 4, heap_.size());
            std::size_t least = first;
            for (std::size_t child = first + 1; child < end; ++child) {
                if (heap_[child].before(heap_[least])) least = child;
            }
            if (!heap_[least].before(moving)) break;
            place(index, heap_[least]);
            index = least;
        }
        place(index, moving);
    }

    std::vector<entry> heap_;
    std::uint64_t next_order_ = 0;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
