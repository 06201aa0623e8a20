// ferry/bridge/detail/call_limit.hpp - at most so many calls at a time, and those that wait for their turn
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/wait_node.hpp>
#include <ferry/deadlock/wait_graph.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// One call at a limit: it waits there, or has been let in and sent on, or has nothing to do with it any more.
class limited_call : public list_hook<limited_call> {
public:
    /// Sends the call where it shall run. Null when it is on its way, else why it is not.
    [[nodiscard]] virtual std::exception_ptr send(call& made) noexcept = 0;
    /// Will it be a thread-sensitive call?
    [[nodiscard]] virtual bool comes_home() const noexcept = 0;

protected:
    ~limited_call() = default;

private:
    friend class call_limit;
    call* made_ = nullptr;
    bool waiting_ = false;  // guarded by the limit's mutex
    bool let_in_ = false;
};

/// The calls that use one resource: those that are let in, at most so many, and those that wait, first in, first out.
///
/// Who is let in has a share of it until leave(), which passes the share on to the one that has waited longest. That one is
/// sent on with the mutex held, so that a call is here or there for whoever wants to withdraw it; pools and homes have
/// their mutexes inside of this one.
///
/// Ownership      Counted: the limiter, and each call that has to do with it.
/// Thread-safety  Every member, on any thread.
class call_limit {
public:
    explicit call_limit(std::size_t most) : most_(most), record_(wait_node::acquire(wait_node::kind::limit)) {
        update_record();
    }
    call_limit(const call_limit&) = delete;
    call_limit& operator=(const call_limit&) = delete;

    /// Sends the call on, or lets it wait. Null, or why it could not be sent.
    [[nodiscard]] std::exception_ptr enter(limited_call& place, call& made) noexcept {
        {
            const std::lock_guard lock(mutex_);
            place.made_ = &made;
            if (let_in_ == most_) {
                made.waits_for(&record_);
                place.waiting_ = true;
                waiting_.push_back(place);
                ++waiting_calls_;
                if (place.comes_home()) {
                    made.record()->set_within(made.loop()->record().node());
                    wait_graph::will_come_home(*made.record());
                }
                return nullptr;
            }
            ++let_in_;
            let_in(place);
        }
        std::exception_ptr refused = place.send(made);
        if (refused != nullptr) leave(place);
        return refused;
    }
    /// True when the call was waiting here: it is the caller's again.
    [[nodiscard]] bool withdraw(limited_call& place) noexcept {
        const std::lock_guard lock(mutex_);
        if (!std::exchange(place.waiting_, false)) return false;
        waiting_.erase(place);
        waits_no_longer(place);
        return true;
    }
    /// The call does not run, or has run: the next one's turn. Leaving again does nothing.
    void leave(limited_call& place) noexcept {
        if (!std::exchange(place.let_in_, false)) return;
        intrusive_list<limited_call> refused;
        {
            const std::lock_guard lock(mutex_);
            record_.remove_member(*place.made_->record());
            if (!let_in_next(refused)) --let_in_;
            update_record();
        }
        while (limited_call* const each = refused.pop_front()) each->made_->deliver();
    }

    [[nodiscard]] std::size_t most() const noexcept { return most_; }
    [[nodiscard]] std::size_t running() const noexcept {
        const std::lock_guard lock(mutex_);
        return let_in_;
    }
    [[nodiscard]] std::size_t waiting() const noexcept {
        const std::lock_guard lock(mutex_);
        return waiting_calls_;
    }

    void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }

private:
    ~call_limit() { record_.release(); }

    // With the mutex held.
    /// In the wait graph: who waits here goes on when one of those let in does.
    void update_record() noexcept { record_.set_flags(let_in_ < most_ ? wait_node::open : wait_node::flags{0}); }
    void waits_no_longer(limited_call& place) noexcept {
        --waiting_calls_;
        if (place.comes_home()) wait_graph::comes_home(*place.made_->record());
    }
    void let_in(limited_call& place) noexcept {
        place.let_in_ = true;
        record_.add_member(*place.made_->record());
        update_record();
    }
    /// Those that cannot be sent are failed, and left to the caller to deliver. False when nobody waits.
    bool let_in_next(intrusive_list<limited_call>& refused) noexcept {
        while (limited_call* const next = waiting_.pop_front()) {
            next->waiting_ = false;
            waits_no_longer(*next);
            let_in(*next);
            std::exception_ptr error = next->send(*next->made_);  // from here on it may be gone, unless refused
            if (error == nullptr) return true;
            next->let_in_ = false;
            record_.remove_member(*next->made_->record());
            next->made_->fail(std::move(error));
            refused.push_back(*next);
        }
        return false;
    }

    const std::size_t most_;
    wait_node& record_;
    std::atomic<std::uint32_t> references_{1};
    mutable std::mutex mutex_;  // guards what follows
    intrusive_list<limited_call> waiting_;
    std::size_t waiting_calls_ = 0;
    std::size_t let_in_ = 0;
};

/// A counted reference, or none.
class call_limit_reference {
public:
    call_limit_reference() noexcept = default;
    explicit call_limit_reference(call_limit& limit) noexcept : limit_(&limit) { limit_->retain(); }
    call_limit_reference(const call_limit_reference& other) noexcept : limit_(other.limit_) {
        if (limit_ != nullptr) limit_->retain();
    }
    call_limit_reference& operator=(call_limit_reference other) noexcept {
        std::swap(limit_, other.limit_);
        return *this;
    }
    ~call_limit_reference() {
        if (limit_ != nullptr) limit_->release();
    }
    [[nodiscard]] explicit operator bool() const noexcept { return limit_ != nullptr; }
    [[nodiscard]] call_limit* operator->() const noexcept { return limit_; }

private:
    call_limit* limit_ = nullptr;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
