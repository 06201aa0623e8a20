// ferry/bridge/detail/call_queue.hpp - the calls that wait for a thread of a pool, and whether a thread will look at them
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// First in, first out. Calls are pushed to an inbox without a lock; a thread of the pool receives them, under the pool's mutex,
/// into the list from which they are taken.
///
/// Why no call is forgotten: the pool says here how many of its threads look for calls, and whether it could have one more
/// do so. When less is done than before (fewer look, one more could) it says so, and receives behind a fence; whoever pushes asks
/// after the push, both sequentially consistent: either the push is received then, or whoever pushed learns that nobody may come
/// to look. Each call that is taken makes the pool receive once more, and so the taker leaves none behind unseen.
///
/// Thread-safety  push() and has_any(): any thread. The rest: with the pool's mutex held.
/// Cost           A push changes one cache line of those that the threads look at; the count of pushes is on another one.
class call_queue {
public:
    enum class answer : unsigned char { attended, unattended, crowded, closed };

    /// Queues the call. `unattended`: but the pool must see to it that a thread looks. `crowded`: not, so many are queued already,
    /// among them those that a thread is about to take.
    answer push(call& made, std::size_t most) noexcept;
    /// For a thread that looks.
    [[nodiscard]] bool has_any() const noexcept {
        return is_call(inbox_.load(std::memory_order_relaxed)) || received_.load(std::memory_order_relaxed) != 0;
    }

    // With the pool's mutex held.
    /// So many threads look for calls, and one more could, or not. To be said before receive() when that has changed.
    void set_lookers(std::size_t looking, bool one_more_could) noexcept {
        const bool less_is_done = looking < looking_.load(std::memory_order_relaxed) ||
                                  (one_more_could && !one_more_could_.load(std::memory_order_relaxed));
        looking_.store(looking, std::memory_order_relaxed);
        one_more_could_.store(one_more_could, std::memory_order_relaxed);
        if (less_is_done) std::atomic_thread_fence(std::memory_order_seq_cst);  // before the next look into the inbox
    }
    /// Takes in what was pushed so far.
    void receive() noexcept {
        if (is_call(inbox_.load(std::memory_order_relaxed)))
            append(inbox_.exchange(nullptr, std::memory_order_acquire));
    }
    /// Receives for the last time: what is pushed from now on is refused.
    void close() noexcept {
        call* const newest = inbox_.exchange(closed_mark(), std::memory_order_acquire);
        if (is_call(newest)) append(newest);
    }
    /// Receives, and takes out the oldest; null if there is none.
    [[nodiscard]] call* pop() noexcept;
    [[nodiscard]] std::size_t received() const noexcept { return received_.load(std::memory_order_relaxed); }
    /// One of those received leaves the queue.
    void take_out(call& one) noexcept {
        list_.erase(one);
        one.queued = false;
        add(received_, std::size_t{0} - 1);
        add(taken_, 1);
    }
    /// All that were pushed and not taken out. At any time, by any thread.
    [[nodiscard]] std::size_t length() const noexcept {
        const std::size_t taken = taken_.load(std::memory_order_acquire);
        return pushed_.load(std::memory_order_relaxed) - taken;
    }

private:
    static call* closed_mark() noexcept { return reinterpret_cast<call*>(std::uintptr_t{1}); }
    static bool is_call(const call* head) noexcept { return head != nullptr && head != closed_mark(); }
    /// One thread at a time writes, so load and store will do.
    static void add(std::atomic<std::size_t>& to, std::size_t more) noexcept {
        to.store(to.load(std::memory_order_relaxed) + more, std::memory_order_release);
    }
    void append(call* newest) noexcept;

    // Whoever pushes counts here.
    alignas(64) std::atomic<std::size_t> pushed_{0};
    std::atomic<std::size_t> taken_before_{0};  // of taken_, found by one of them: so many at least
    // What changes sides.
    alignas(64) std::atomic<call*> inbox_{nullptr};  // newest first, or the mark
    std::atomic<std::size_t> looking_{0};
    std::atomic<bool> one_more_could_{true};
    std::atomic<std::size_t> received_{0};
    std::atomic<std::size_t> taken_{0};
    // The threads'.
    alignas(64) intrusive_list<call> list_;  // oldest first
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline call_queue::answer call_queue::push(call& made, std::size_t most) noexcept {
    const std::size_t before = pushed_.fetch_add(1, std::memory_order_relaxed);
    const auto is_crowded = [&](std::size_t taken) {
        const auto waiting = static_cast<std::ptrdiff_t>(before - taken);  // below 0 if others were faster
        return waiting >= 0 && static_cast<std::size_t>(waiting) >= most;
    };
    if (is_crowded(taken_before_.load(std::memory_order_relaxed)) &&
        is_crowded(taken_.load(std::memory_order_relaxed))) {
        pushed_.fetch_sub(1, std::memory_order_relaxed);
        return answer::crowded;
    }
    call* head = inbox_.load(std::memory_order_relaxed);
    do {
        if (head == closed_mark()) {
            pushed_.fetch_sub(1, std::memory_order_relaxed);
            return answer::closed;
        }
        made.pushed_before = head;
    } while (!inbox_.compare_exchange_weak(head, &made, std::memory_order_seq_cst, std::memory_order_relaxed));
    const std::size_t looking = looking_.load(std::memory_order_seq_cst);
    const bool one_more_could = one_more_could_.load(std::memory_order_seq_cst);
    const std::size_t taken = taken_.load(std::memory_order_relaxed);
    taken_before_.store(taken, std::memory_order_relaxed);
    const bool all_are_looked_at = static_cast<std::ptrdiff_t>(before - taken) < static_cast<std::ptrdiff_t>(looking);
    return all_are_looked_at || !one_more_could ? answer::attended : answer::unattended;
}

inline call* call_queue::pop() noexcept {
    if (list_.empty()) {
        if (!is_call(inbox_.load(std::memory_order_relaxed))) return nullptr;
        call* const newest = inbox_.exchange(nullptr, std::memory_order_acquire);
        if (newest->pushed_before == nullptr) {  // the only one: whoever pushed it keeps its cache line
            add(taken_, 1);
            return newest;
        }
        append(newest);
    }
    call* const oldest = list_.front();
    take_out(*oldest);
    return oldest;
}

inline void call_queue::append(call* newest) noexcept {
    call* oldest = nullptr;
    for (call* each = newest; each != nullptr;) {
        call* const before = each->pushed_before;
        each->pushed_before = oldest;
        oldest = each;
        each = before;
    }
    std::size_t count = 0;
    for (call* each = oldest; each != nullptr; each = each->pushed_before, ++count) {
        each->queued = true;
        list_.push_back(*each);
    }
    add(received_, count);
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
