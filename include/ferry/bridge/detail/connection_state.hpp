// ferry/bridge/detail/connection_state.hpp - the handles of one connection_per_worker, and the calls that use them
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/bridge/detail/thread_slots.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/exception_handlers.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/this_thread.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
class always_good {
public:
    template <class T>
    bool operator()(T&) const noexcept {
        return true;
    }
};

/// Each thread that has used it has a slot, with a handle or without one. A slot that is in use is its thread's alone; one
/// that is not may be emptied by close(), under the mutex. Nothing of the user's runs under it.
template <class Open, class IsGood>
class connection_state : public std::enable_shared_from_this<connection_state<Open, IsGood>> {
public:
    using connection = std::remove_cvref_t<std::invoke_result_t<Open&>>;
    class use;

    explicit connection_state(Open&& open, IsGood&& is_good) : open_(std::move(open)), is_good_(std::move(is_good)) {}

    /// Closes what is not in use; the rest closes after its calls.
    void close() noexcept {
        std::unique_ptr<handle> unused;
        {
            const std::lock_guard lock(mutex_);
            closed_ = true;
            for (slot* each = slots_.front(); each != nullptr; each = intrusive_list<slot>::next(*each)) {
                if (each->uses != 0 || each->kept == nullptr) continue;
                each->kept->next = std::move(unused);
                unused = std::move(each->kept);
            }
        }
        while (unused != nullptr) unused = std::move(unused->next);  // one by one, however many there are
    }
    [[nodiscard]] std::size_t open_handles() const noexcept {
        const std::lock_guard lock(mutex_);
        std::size_t count = 0;
        for (const slot* each = slots_.front(); each != nullptr; each = intrusive_list<slot>::next(*each)) {
            count += each->is_open;
        }
        return count;
    }

private:
    /// In a block of its own: a connection need not be movable.
    class handle {
    public:
        explicit handle(Open& open) : value(open()) {}
        connection value;
        std::unique_ptr<handle> next;
    };
    class slot final : public thread_slot, public list_hook<slot> {
    public:
        explicit slot(std::shared_ptr<connection_state> of) : thread_slot(of.get()), owner_state(std::move(of)) {
            const std::lock_guard lock(owner_state->mutex_);
            owner_state->slots_.push_back(*this);
        }
        ~slot() override {
            const std::lock_guard lock(owner_state->mutex_);
            owner_state->slots_.erase(*this);
            gone = std::move(kept);
        }
        [[nodiscard]] bool is_done_with() const noexcept override {
            const std::lock_guard lock(owner_state->mutex_);
            return owner_state->closed_ && uses == 0;
        }

        const std::shared_ptr<connection_state> owner_state;
        std::unique_ptr<handle>
            gone;  // closed when the mutex has been released: members go after the destructor's body
        // Guarded by the mutex, but while it is in use by its thread.
        std::unique_ptr<handle> kept;
        std::size_t uses = 0;  // calls, one in the middle of the other
        bool is_open = false;  // guarded by the mutex
    };

    [[nodiscard]] slot& of_this_thread() {
        if (thread_slot* const known = thread_slots::find(this)) return static_cast<slot&>(*known);
        std::unique_ptr<slot> made(new slot(this->shared_from_this()));
        slot& result = *made;
        thread_slots::add(std::move(made));
        return result;
    }

    Open open_;
    IsGood is_good_;
    mutable std::mutex mutex_;  // guards what follows
    intrusive_list<slot> slots_;
    bool closed_ = false;
};

/// One call's use of the thread's handle.
template <class Open, class IsGood>
class connection_state<Open, IsGood>::use {
public:
    explicit use(const std::shared_ptr<connection_state>& of) : state_(*of), slot_(state_.of_this_thread()) {
        enter();
        try {
            if (is_outermost_ && slot_.kept != nullptr && !state_.is_good_(slot_.kept->value)) close();
            if (slot_.kept == nullptr) open();
        } catch (...) {
            if (is_outermost_) close();
            leave();
            throw;
        }
    }
    ~use() {
        if (is_outermost_) {
            try {
                if (!state_.is_good_(slot_.kept->value)) close();
            } catch (...) {
                report_suppressed(std::current_exception(), name_of_call());
                close();
            }
        }
        leave();
    }
    use(const use&) = delete;
    use& operator=(const use&) = delete;

    [[nodiscard]] connection& handle() const noexcept { return slot_.kept->value; }

private:
    void enter() noexcept {
        const std::lock_guard lock(state_.mutex_);
        is_outermost_ = slot_.uses++ == 0;
    }
    void leave() noexcept {
        std::unique_ptr<typename connection_state::handle> unused;
        const std::lock_guard lock(state_.mutex_);
        if (--slot_.uses == 0 && state_.closed_) unused = std::move(slot_.kept);
        slot_.is_open = slot_.kept != nullptr;
    }
    void open() {
        slot_.kept.reset(new typename connection_state::handle(state_.open_));
        note(true);
    }
    void close() noexcept {
        slot_.kept.reset();
        note(false);
    }
    void note(bool is_open) noexcept {
        const std::lock_guard lock(state_.mutex_);
        slot_.is_open = is_open;
    }
    [[nodiscard]] static const char* name_of_call() noexcept {
        const call* const around = this_thread().running_call;
        return around == nullptr ? nullptr : around->name;
    }

    connection_state& state_;
    slot& slot_;
    bool is_outermost_ = false;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
