// ferry/loop/detail/lock_record.hpp - a mutex or semaphore in the wait graph: who holds it, and who is next
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/task.hpp>
#include <ferry/core/wait_node.hpp>

#include <cstddef>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// What one task holds of a lock: given to it with the grant, before it resumes, and kept by its guard.
class holding {
public:
    holding() noexcept = default;
    holding(holding&& other) noexcept
        : lock_(std::exchange(other.lock_, nullptr)), record_(std::exchange(other.record_, nullptr)) {}
    holding& operator=(holding&& other) noexcept {
        std::swap(lock_, other.lock_);
        std::swap(record_, other.record_);
        return *this;
    }
    ~holding() { end(); }
    /// Where the task that holds it has got it.
    void note_place(const logical_task& task) noexcept {
        if (record_ != nullptr) task.note_place(*record_);
    }
    void end() noexcept {
        if (lock_ == nullptr) return;
        lock_->set_amount(lock_->amount() + record_->amount());
        std::exchange(lock_, nullptr)->remove_member(*record_);
        record_->release();
    }

private:
    friend class lock_record;
    wait_node* lock_ = nullptr;
    wait_node* record_ = nullptr;
};

/// Thread-safety  The loop's thread changes it.
class lock_record {
public:
    explicit lock_record(const char* what) : record_(wait_node::acquire(wait_node::kind::lock)) {
        record_.set_name(what);
    }
    ~lock_record() { record_.release(); }
    lock_record(const lock_record&) = delete;
    lock_record& operator=(const lock_record&) = delete;

    [[nodiscard]] node_reference reference() const noexcept { return node_reference(&record_); }
    /// Null for a callback, of which nobody knows whether it releases it.
    [[nodiscard]] holding held_by(logical_task* task, std::size_t amount) {
        holding made;
        made.lock_ = &record_;
        made.record_ = &wait_node::acquire(wait_node::kind::holding);
        made.record_->set_amount(amount);
        if (task != nullptr) made.record_->wait_for(node_reference(&task->record()));
        record_.add_member(*made.record_);
        return made;
    }
    /// A guard was detached: anybody may release it. Until that has happened, or for good.
    void add_unknown_holder() noexcept { set_unknown(unknown_ + 1); }
    void remove_unknown_holder() noexcept {
        if (unknown_ > 0) set_unknown(unknown_ - 1);
    }
    /// The queue or what is free has changed: the first in the queue, null if it is empty, and what is free.
    void set_first(const waiter* first, std::size_t free) noexcept {
        record_.set_amount(free);
        const wait_node* const task = first == nullptr ? nullptr : &first->task().record();
        record_.wait_for(node_reference(task), flags());
    }

private:
    [[nodiscard]] wait_node::flags flags() const noexcept {
        return unknown_ > 0 ? wait_node::open : wait_node::flags{0};
    }
    void set_unknown(std::size_t holders) noexcept {
        unknown_ = holders;
        record_.set_flags(flags());
    }
    wait_node& record_;
    std::size_t unknown_ = 0;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
