// ferry/core/outcome.hpp - what an awaitable ended in, as a value
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>

#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// A value, an exception, or "cancelled": what as_result yields.
///
///     ferry::outcome<int> rows = co_await ferry::as_result(count_rows());
///     if (rows.has_value()) use(rows.value());
template <class T>
class [[nodiscard]] outcome {
    static_assert(
        std::is_void_v<T> || std::is_reference_v<T> || std::is_move_constructible_v<T>,
        "a guard or permit cannot be moved into an outcome or an optional: await its primitive directly, with "
        "try_lock_for(d) or try_acquire_for(d) where time is limited");

    using stored =
        std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, detail::object_or_nothing<T>>;

public:
    /// `cancelled`.
    outcome() noexcept = default;
    explicit outcome(std::exception_ptr error) noexcept : error_(std::move(error)) {}
    template <class... Args>
    explicit outcome(std::in_place_t, Args&&... args) : value_(std::in_place, std::forward<Args>(args)...) {}

    [[nodiscard]] bool has_value() const noexcept { return value_.has_value(); }
    [[nodiscard]] explicit operator bool() const noexcept { return has_value(); }
    /// Did it end in `cancelled`?
    [[nodiscard]] bool is_cancelled() const noexcept;
    /// Null when there is a value.
    [[nodiscard]] std::exception_ptr error() const noexcept {
        return has_value() || error_ != nullptr ? error_ : std::make_exception_ptr(cancelled());
    }

    /// The value, or throws what the awaitable threw.
    decltype(auto) value() & {
        rethrow();
        if constexpr (std::is_reference_v<T>) {
            return static_cast<T>(**value_);
        } else if constexpr (!std::is_void_v<T>) {
            return static_cast<T&>(*value_);
        }
    }
    T value() && {
        rethrow();
        if constexpr (std::is_reference_v<T>) {
            return static_cast<T>(**value_);
        } else if constexpr (!std::is_void_v<T>) {
            return std::move(*value_);
        }
    }

private:
    void rethrow() const {
        if (has_value()) return;
        if (error_ == nullptr) throw cancelled();
        std::rethrow_exception(error_);
    }

    std::optional<stored> value_;
    std::exception_ptr error_;
};

namespace detail {
template <class Awaiter>
concept leaf = std::derived_from<Awaiter, leaf_awaiter<Awaiter>>;

template <class T, class Fn>
outcome<T> outcome_of(Fn&& get) {
    if constexpr (std::is_void_v<T>) {
        std::forward<Fn>(get)();
        return outcome<T>(std::in_place);
    } else if constexpr (std::is_reference_v<T>) {
        return outcome<T>(std::in_place, std::addressof(std::forward<Fn>(get)()));
    } else {
        return outcome<T>(std::in_place, std::forward<Fn>(get)());
    }
}

template <class T>
inline constexpr bool is_borrowed<outcome<T>> = is_borrowed<std::remove_cvref_t<T>>;

/// An awaiter that throws nothing. A cancelled leaf and a failed task are asked for their end instead of being told to
/// throw it, so that nothing is unwound here.
template <class Awaiter, class T>
class quiet_awaiter : public Awaiter {
public:
    explicit quiet_awaiter(Awaiter&& from) : Awaiter(std::move(from)) {}
    outcome<T> await_resume() {
        if constexpr (leaf<Awaiter>) {
            if (this->task().take_interrupted()) {
                const std::exception_ptr refusal = this->task().take_refusal();
                return refusal == nullptr ? outcome<T>() : outcome_error(refusal);
            }
        } else if constexpr (requires { this->outcome(); }) {
            if (this->outcome().has_exception()) return outcome_error(this->outcome().exception());
        }
        try {
            return outcome_of<T>([this]() -> T {
                if constexpr (leaf<Awaiter>) {
                    return this->finish();
                } else {
                    return Awaiter::await_resume();
                }
            });
        } catch (...) {
            return outcome_error(std::current_exception());
        }
    }

private:
    static ferry::outcome<T> outcome_error(std::exception_ptr error) noexcept {
        return ferry::outcome<T>(std::move(error));
    }
};

template <class Awaitable>
class [[nodiscard]] quiet_awaitable {
public:
    using native_awaitable = void;
    explicit quiet_awaitable(Awaitable&& what) : what_(std::move(what)) {}
    auto operator co_await() && {
        using awaiter = std::remove_cvref_t<decltype(get_awaiter(std::move(what_)))>;
        return quiet_awaiter<awaiter, await_result<Awaitable>>(get_awaiter(std::move(what_)));
    }

private:
    Awaitable what_;
};
}  // namespace detail

/// Awaits `what` and yields an outcome instead of throwing, `cancelled` included; where the awaiting task itself is
/// cancelled, the next checkpoint throws all the same. A cancelled primitive is not unwound at all.
template <awaitable Awaitable>
[[nodiscard]] detail::quiet_awaitable<Awaitable> as_result(Awaitable what) {
    return detail::quiet_awaitable<Awaitable>(std::move(what));
}

// ---- implementation ----------------------------------------------------------------------------------------------
template <class T>
bool outcome<T>::is_cancelled() const noexcept {
    if (has_value()) return false;
    if (error_ == nullptr) return true;
    try {
        std::rethrow_exception(error_);
    } catch (const cancelled&) {
        return true;
    } catch (...) {
        return false;
    }
}
}  // namespace ferry::inline FERRY_ABI
