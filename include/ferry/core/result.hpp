// ferry/core/result.hpp - the value or the exception that a computation ended in
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <exception>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Empty, then one value or one exception. References are kept as pointers; void needs no storage.
///
/// Thread-safety  None; whoever hands it to another thread synchronises.
template <class T>
class result {
    using stored = std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*,
                                      std::conditional_t<std::is_void_v<T>, char, std::remove_const_t<T>>>;

public:
    result() noexcept {}
    ~result() { reset(); }
    result(const result&) = delete;
    result& operator=(const result&) = delete;

    template <class... Args>
    void set_value(Args&&... args) {
        if constexpr (std::is_reference_v<T>) {
            ::new (static_cast<void*>(&value_)) stored(std::addressof(args)...);
        } else if constexpr (std::is_void_v<T>) {
            static_assert(sizeof...(Args) == 0);
        } else {
            ::new (static_cast<void*>(&value_)) stored(std::forward<Args>(args)...);
        }
        state_ = state::value;
    }
    void set_exception(std::exception_ptr error) noexcept {
        ::new (static_cast<void*>(&error_)) std::exception_ptr(std::move(error));
        state_ = state::error;
    }
    /// Runs fn and keeps what comes out of it.
    template <class Fn>
    void set_from(Fn&& fn) noexcept {
        try {
            if constexpr (std::is_void_v<T>) {
                std::forward<Fn>(fn)();
                set_value();
            } else {
                set_value(std::forward<Fn>(fn)());
            }
        } catch (...) {
            set_exception(std::current_exception());
        }
    }

    [[nodiscard]] bool has_value() const noexcept { return state_ == state::value; }
    [[nodiscard]] bool has_exception() const noexcept { return state_ == state::error; }
    [[nodiscard]] bool empty() const noexcept { return state_ == state::none; }
    [[nodiscard]] const std::exception_ptr& exception() const noexcept { return error_; }

    /// The value where it is, or throws the exception.
    decltype(auto) view() const {
        if (state_ != state::value) [[unlikely]]
            throw_instead();
        if constexpr (std::is_reference_v<T>) {
            return static_cast<T>(*value_);
        } else if constexpr (!std::is_void_v<T>) {
            return static_cast<const stored&>(value_);
        }
    }
    /// Moves the value out, or throws the exception.
    T take() {
        if (state_ != state::value) [[unlikely]]
            throw_instead();
        if constexpr (std::is_reference_v<T>) {
            return static_cast<T>(*value_);
        } else if constexpr (!std::is_void_v<T>) {
            return std::move(value_);
        }
    }

private:
    enum class state : unsigned char { none, value, error };

    [[noreturn, gnu::noinline, gnu::cold]] void throw_instead() const {
        FERRY_ASSERT(state_ == state::error, "a result was read before there was one");
        std::rethrow_exception(error_);
    }
    void reset() noexcept {
        if (state_ == state::value) value_.~stored();
        if (state_ == state::error) [[unlikely]]
            destroy_exception();
        state_ = state::none;
    }

    // Out of line: GCC 12 would warn that it may be uninitialised, being blind to state_.
    [[gnu::noinline]] void destroy_exception() noexcept { error_.~exception_ptr(); }

    state state_ = state::none;
    union {
        stored value_;
        std::exception_ptr error_;
    };
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
