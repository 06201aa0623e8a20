// ferry/bridge/detail/thread_slots.hpp - what a thread keeps for others until it ends
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/this_thread.hpp>

#include <memory>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// One thing that one thread keeps, for an owner who is known by an address: the slot keeps the owner's state alive, so that
/// no other owner has that address meanwhile (L10).
class thread_slot {
public:
    explicit thread_slot(const void* of) noexcept : owner(of) {}
    thread_slot(const thread_slot&) = delete;
    thread_slot& operator=(const thread_slot&) = delete;
    virtual ~thread_slot() = default;
    /// Will nobody ask for it any more?
    [[nodiscard]] virtual bool is_done_with() const noexcept = 0;

    const void* const owner;

private:
    friend class thread_slots;
    std::unique_ptr<thread_slot> next_;
};

/// The slots of one thread. A pool's worker clears them when it leaves its pool, any other thread at its end.
class thread_slots {
public:
    /// Of the calling thread; null when it has none for that owner.
    [[nodiscard]] static thread_slot* find(const void* owner) noexcept {
        const thread_slots* const mine = this_thread().slots;
        thread_slot* each = mine == nullptr ? nullptr : mine->first_.get();
        while (each != nullptr && each->owner != owner) each = each->next_.get();
        return each;
    }
    static void add(std::unique_ptr<thread_slot> made) {
        thread_slots& mine = of_this_thread();
        for (std::unique_ptr<thread_slot>* at = &mine.first_; *at != nullptr;) {
            if ((*at)->is_done_with()) {
                *at = std::move((*at)->next_);
            } else {
                at = &(*at)->next_;
            }
        }
        made->next_ = std::move(mine.first_);
        mine.first_ = std::move(made);
    }
    /// The youngest first.
    static void clear() noexcept {
        thread_slots* const mine = this_thread().slots;
        if (mine == nullptr) return;
        while (mine->first_ != nullptr) {
            const std::unique_ptr<thread_slot> last = std::exchange(mine->first_, std::move(mine->first_->next_));
        }
    }

private:
    static thread_slots& of_this_thread() {
        thread_state& self = this_thread();
        if (self.slots == nullptr) {
            self.slots = new thread_slots;
            if (!self.ended) {
                self.slots->exit_hook_.run = []() noexcept {
                    clear();
                    delete std::exchange(this_thread().slots, nullptr);
                };
                at_thread_exit(self.slots->exit_hook_);
            }
        }
        return *self.slots;
    }

    std::unique_ptr<thread_slot> first_;
    thread_exit_hook exit_hook_;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
