// ferry/core/combine.hpp - when_all and when_any: several awaitables, one wait
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/exception_handlers.hpp>
#include <ferry/core/rooted_task.hpp>

#include <cstddef>
#include <exception>
#include <optional>
#include <tuple>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// What when_any yields: which awaitable ended first, and the values of all that ended with one.
template <class... T>
class any_result {
public:
    any_result(std::size_t index, std::optional<T>... values) : index_(index), values_(std::move(values)...) {}

    /// The position of the first that ended.
    [[nodiscard]] std::size_t index() const noexcept { return index_; }
    /// The value of the I-th; empty if it was cancelled before it had one.
    template <std::size_t I>
    [[nodiscard]] auto& get() noexcept {
        return std::get<I>(values_);
    }
    template <std::size_t I>
    [[nodiscard]] const auto& get() const noexcept {
        return std::get<I>(values_);
    }

private:
    std::size_t index_;
    std::tuple<std::optional<T>...> values_;
};

namespace detail {
/// The children of one when_all or when_any: started in place, cancelled together, awaited together.
class family : public waiter {
public:
    enum class ends_with : bool { first_failure, first_end };

    class member_base;

    family(logical_task& parent, ends_with rule, const char* what) noexcept
        : waiter(&go_on_waiting), rule_(rule), what_(what) {
        bind(parent);
    }

    /// Awaits the members: starts each in place, then waits until all have ended.
    class join_awaiter;
    template <class... Member>
    join_awaiter join(Member&... members) noexcept;

    [[nodiscard]] std::size_t first() const noexcept { return first_; }
    /// Throws what the members' outcome demands; the failures beside it go to the suppressed-exception handler.
    void rethrow();

private:
    friend class member_base;
    // The members are below the parent's scope, so a cancellation has reached them already.
    static void go_on_waiting(waiter&) noexcept {}
    bool start() noexcept;
    void ended(member_base& member) noexcept;

    ends_with rule_;
    bool decided_ = false;  // the rule is met: no member starts any more, those that run are cancelled
    const char* what_;
    std::size_t first_ = 0;
    std::size_t running_ = 0;
    member_base* members_ = nullptr;
    member_base* failed_ = nullptr;  // the first that failed
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
        const bool waits = owner_.start();
        if (waits) owner_.task().suspend_at(frame);
        return waits;
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
          rooted_task<T>(from.owner_.task().owner(), &from.owner_.task().scope(), &finished, std::move(from.body_)) {}

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
    std::optional<object_or_nothing<T>> take_if_any() {
        if (!this->outcome().has_value()) return std::nullopt;
        return std::optional<object_or_nothing<T>>(take());
    }

private:
    static void finished(logical_task& self) noexcept { static_cast<family_member&>(self).on_ended(); }
};
}  // namespace detail

/// Awaits all: yields a tuple of their values (`detail::nothing` for void) in the order of the arguments.
///
/// They start in place, one after another, each as a logical task of its own. When one throws, the others are cancelled
/// and awaited, and that exception is thrown; later failures go to the suppressed-exception handler.
template <awaitable... Awaitable>
task<std::tuple<detail::object_or_nothing<detail::await_result<Awaitable>>...>> when_all(Awaitable... awaitables);

/// Awaits until the first has ended, by value or exception; the others are cancelled and awaited before it returns.
///
/// Yields an any_result: the index of the first, and every value there is. Throws if the first one threw.
template <awaitable... Awaitable>
task<any_result<detail::object_or_nothing<detail::await_result<Awaitable>>...>> when_any(Awaitable... awaitables);

// ---- implementation ----------------------------------------------------------------------------------------------
namespace detail {
template <class... Member>
family::join_awaiter family::join(Member&... members) noexcept {
    [[maybe_unused]] member_base** link = &members_;  // of nobody, in when_all()
    ((*link = &members, link = &static_cast<member_base&>(members).next_), ...);
    return join_awaiter(*this);
}

/// True when there is something to wait for.
inline bool family::start() noexcept {
    ++running_;  // the parent's own share, so that members that end at once do not wake it
    for (member_base* member = members_; member != nullptr && !decided_; member = member->next_) {
        ++running_;
        member->running_ = true;
        executor& owner = task().owner();
        if (owner.too_deep()) {
            owner.run_next(member->task_);
        } else {
            logical_task::resume(member->task_);
        }
    }
    if (--running_ == 0) return false;
    task().wait_in(*this, what_);
    return true;
}

inline void family::ended(member_base& member) noexcept {
    member.running_ = false;
    const bool failed = member.error() != nullptr;
    if (failed && failed_ == nullptr) failed_ = &member;
    if (!decided_ && (failed || rule_ == ends_with::first_end)) {
        decided_ = true;
        first_ = member.index_;
        for (member_base* other = members_; other != nullptr; other = other->next_) {
            if (other->running_) other->task_.root_scope().cancel();
        }
    }
    if (--running_ != 0) return;
    task().end_wait();
    task().owner().run_next(task());
}

inline void family::rethrow() {
    const member_base* const thrown =
        rule_ == ends_with::first_failure || failed_ == nullptr || failed_->index_ == first_ ? failed_ : nullptr;
    for (member_base* member = members_; member != nullptr; member = member->next_) {
        if (member == thrown) continue;
        const std::exception_ptr error = member->error();
        if (error == nullptr) continue;
        try {
            std::rethrow_exception(error);
        } catch (const cancelled&) {  // what it was told to end in
        } catch (...) {
            report_suppressed(error, member->task_.name());
        }
    }
    if (thrown != nullptr) std::rethrow_exception(failed_->error());
}

template <std::size_t... I, class... Awaitable>
task<std::tuple<object_or_nothing<await_result<Awaitable>>...>> all_of(std::index_sequence<I...>,
                                                                       Awaitable... awaitables) {
    family children(co_await current_task(), family::ends_with::first_failure, "when_all");
    [[maybe_unused]] std::tuple<family_member<await_result<Awaitable>>...> members(
        typename family_member<await_result<Awaitable>>::init(children, I, to_task(std::move(awaitables)))...);
    co_await children.join(std::get<I>(members)...);
    children.rethrow();
    co_return std::tuple<object_or_nothing<await_result<Awaitable>>...>(std::get<I>(members).take()...);
}

template <std::size_t... I, class... Awaitable>
task<any_result<object_or_nothing<await_result<Awaitable>>...>> any_of(std::index_sequence<I...>,
                                                                       Awaitable... awaitables) {
    family children(co_await current_task(), family::ends_with::first_end, "when_any");
    std::tuple<family_member<await_result<Awaitable>>...> members(
        typename family_member<await_result<Awaitable>>::init(children, I, to_task(std::move(awaitables)))...);
    co_await children.join(std::get<I>(members)...);
    children.rethrow();
    co_return any_result<object_or_nothing<await_result<Awaitable>>...>(children.first(),
                                                                        std::get<I>(members).take_if_any()...);
}
}  // namespace detail

template <awaitable... Awaitable>
task<std::tuple<detail::object_or_nothing<detail::await_result<Awaitable>>...>> when_all(Awaitable... awaitables) {
    return detail::all_of(std::index_sequence_for<Awaitable...>(), std::move(awaitables)...);
}

template <awaitable... Awaitable>
task<any_result<detail::object_or_nothing<detail::await_result<Awaitable>>...>> when_any(Awaitable... awaitables) {
    static_assert(sizeof...(Awaitable) > 0, "when_any of nothing would wait for ever");
    return detail::any_of(std::index_sequence_for<Awaitable...>(), std::move(awaitables)...);
}
}  // namespace ferry::inline FERRY_ABI
