// ferry/core/family.hpp - logical tasks that are started together and awaited together
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/cancellation.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/exception_handlers.hpp>
#include <ferry/core/rooted_task.hpp>

#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// A result as an element of an optional or a vector: void as nothing, references as pointers.
template <class T>
using element = std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, object_or_nothing<T>>;

/// The children of one when_all or when_any: started in place, cancelled together, awaited together.
class family : public waiter, private ready_node {
public:
    enum class ends_with : bool { first_failure, first_end };

    class member_base;

    /// The members hear of a cancellation of `around`, which is shielded.
    family(logical_task& parent, cancel_scope& around, ends_with rule, const char* what)
        : family(parent, around, rule, what, nullptr) {}
    family(logical_task& parent, ends_with rule, const char* what)
        : family(parent, parent.scope(), rule, what, parent.record().scope()) {}
    ~family() { record_.release(); }

    /// Whose cancellation reaches the members.
    [[nodiscard]] cancel_scope& around() const noexcept { return around_; }

    /// Awaits the members: starts each in place, then waits until all have ended.
    class join_awaiter;
    template <class... Member>
    join_awaiter join(Member&... members) noexcept;
    /// The same for a range of them.
    template <class Members>
    join_awaiter join_all(Members& members) noexcept;

    [[nodiscard]] std::size_t first() const noexcept { return first_; }
    /// Throws what the members' outcome demands; the failures beside it go to the suppressed-exception handler.
    void rethrow();

private:
    friend class member_base;
    family(logical_task& parent, cancel_scope& around, ends_with rule, const char* what, const wait_node* outer)
        : waiter(&go_on_waiting),
          around_(around),
          rule_(rule),
          what_(what),
          record_(wait_node::acquire(wait_node::kind::family)) {
        bind(parent);
        run = &start_apart;
        record_.wait_for(node_reference(&parent.record()));
        record_.set_scope(outer);
    }
    // The members are below the parent's scope, so a cancellation has reached them already.
    static void go_on_waiting(waiter&) noexcept {}
    bool start(unsigned nesting) noexcept;
    static void start_apart(ready_node& self) noexcept;
    void start_members(unsigned nesting) noexcept;
    void need_members() noexcept;
    void one_less() noexcept;
    void ended(member_base& member) noexcept;
    bool decides(const std::exception_ptr& error) const noexcept;

    cancel_scope& around_;
    ends_with rule_;
    bool decided_ = false;  // the rule is met: no member starts any more, those that run are cancelled
    const char* what_;
    wait_node& record_;
    std::size_t first_ = 0;
    std::size_t running_ = 0;
    member_base* members_ = nullptr;
    member_base* failed_ = nullptr;  // whose error is thrown
};

class family::member_base {
public:
    member_base(family& owner, std::size_t index, logical_task& task) noexcept
        : owner_(owner), task_(task), index_(index) {}
    virtual std::exception_ptr error() noexcept = 0;

protected:
    ~member_base() = default;
    void on_ended() noexcept { owner_.ended(*this); }

private:
    friend class family;
    family& owner_;
    logical_task& task_;
    member_base* next_ = nullptr;
    std::size_t index_;
    bool running_ = false;
};

class family::join_awaiter {
public:
    using native_awaitable = void;
    explicit join_awaiter(family& owner) noexcept : owner_(owner) {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <ferry_promise Promise>
    bool await_suspend(std::coroutine_handle<Promise> frame) const noexcept {
        owner_.task().suspend_at(frame);  // before it waits: a report says where
        return owner_.start(frame.promise().nesting());
    }
    void await_resume() const noexcept {}

private:
    family& owner_;
};

template <class T>
class family_member final : public family::member_base, public rooted_task<T> {
public:
    class init {
    public:
        init(family& owner, std::size_t index, task<T> body) noexcept
            : owner_(owner), index_(index), body_(std::move(body)) {}

    private:
        friend class family_member;
        family& owner_;
        std::size_t index_;
        task<T> body_;
    };

    // From one argument, so that a tuple can construct it in place.
    explicit family_member(init&& from)
        : member_base(from.owner_, from.index_, static_cast<logical_task&>(*this)),
          rooted_task<T>(from.owner_.task().owner(), &from.owner_.around(), &finished, std::move(from.body_)) {}

    std::exception_ptr error() noexcept override {
        return this->outcome().has_exception() ? this->outcome().exception() : nullptr;
    }
    object_or_nothing<T> take() {
        if constexpr (std::is_void_v<T>) {
            this->outcome().take();
            return nothing();
        } else {
            return this->outcome().take();
        }
    }
    element<T> take_element() {
        if constexpr (std::is_reference_v<T>) {
            return std::addressof(this->outcome().take());
        } else {
            return take();
        }
    }
    std::optional<element<T>> take_if_any() {
        if (!this->outcome().has_value()) return std::nullopt;
        return std::optional<element<T>>(take_element());
    }

private:
    static void finished(logical_task& self) noexcept { static_cast<family_member&>(self).on_ended(); }
};

// ---- implementation ----------------------------------------------------------------------------------------------
template <class... Member>
family::join_awaiter family::join(Member&... members) noexcept {
    [[maybe_unused]] member_base** link = &members_;  // of nobody, in when_all()
    ((*link = &members, link = &static_cast<member_base&>(members).next_), ...);
    return join_awaiter(*this);
}

template <class Members>
family::join_awaiter family::join_all(Members& members) noexcept {
    member_base** link = &members_;
    for (member_base& member : members) {
        *link = &member;
        link = &member.next_;
    }
    return join_awaiter(*this);
}

/// True when there is something to wait for. Where the native stack is too deep, all of it happens from the run-next list:
/// the members start in the same order, and those that must not start do not, at any depth.
inline bool family::start(unsigned nesting) noexcept {
    running_ = 1;  // the parent's own share, so that members that end at once do not wake it
    if (nesting >= executor::max_depth - 1) {
        task().owner().run_next(*this);
        task().wait_in(*this, what_);
        return true;
    }
    start_members(nesting);
    if (--running_ == 0) return false;
    task().wait_in(*this, what_);
    need_members();
    return true;
}

inline void family::start_apart(ready_node& self) noexcept {
    family& apart = static_cast<family&>(self);
    apart.start_members(0);
    if (apart.running_ > 1) apart.need_members();
    apart.one_less();
}

inline void family::start_members(unsigned nesting) noexcept {
    for (member_base* member = members_; member != nullptr && !decided_; member = member->next_) {
        ++running_;
        member->running_ = true;
        member->task_.record().set_scope(&record_);
        record_.add_member(member->task_.record());
        member->task_.start_inside(nesting + 1);
    }
}

/// A circle through this wait could not be seen while the members began theirs.
inline void family::need_members() noexcept {
    task().needs(node_reference(&record_), wait_node::joins);
    if (record_.has_waiting_member()) task().owner().inspect(task().record(), nullptr);
}

inline void family::one_less() noexcept {
    if (--running_ != 0) {
        if (record_.is_relied_upon()) task().owner().inspect(record_, nullptr);
        return;
    }
    task().end_wait();
    task().owner().run_next(task());
}

/// A member that ends in `cancelled` because who awaits the family is cancelled is not the first to end: another may
/// still deliver what it has completed, and that must not be lost.
inline bool family::decides(const std::exception_ptr& error) const noexcept {
    if (rule_ == ends_with::first_failure) return error != nullptr;
    if (error == nullptr || !around_.cancelled()) return true;
    try {
        std::rethrow_exception(error);
    } catch (const cancelled&) {
        return false;
    } catch (...) {
        return true;
    }
}

inline void family::ended(member_base& member) noexcept {
    member.running_ = false;
    const std::exception_ptr error = member.error();
    if (!decided_) {
        decided_ = decides(error);
        if (decided_ || failed_ == nullptr) failed_ = error != nullptr ? &member : nullptr;
        if (decided_) {
            first_ = member.index_;
            record_.set_flags(wait_node::open);  // a cancellation that is still on its way to another loop will arrive
            for (member_base* other = members_; other != nullptr; other = other->next_) {
                if (other->running_) other->task_.root_scope().cancel();
            }
        }
    }
    record_.remove_member(member.task_.record());  // only now: others may count on what it has just cancelled
    one_less();
}

inline void family::rethrow() {
    for (member_base* member = members_; member != nullptr; member = member->next_) {
        if (member == failed_) continue;
        const std::exception_ptr error = member->error();
        if (error == nullptr) continue;
        try {
            std::rethrow_exception(error);
        } catch (const cancelled&) {  // what it was told to end in
        } catch (...) {
            report_beside(failed_ != nullptr ? failed_->error() : nullptr, error, member->task_.name());
        }
    }
    if (failed_ != nullptr) std::rethrow_exception(failed_->error());
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
