// ferry/core/temporaries.hpp - refuses, at compile time, what GCC 11 and 12 destroy twice in a co_await expression
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <cstddef>
#include <string_view>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// A named value on its way into a stored copy: what moved() returns. It converts to the value, by moving it.
template <class T>
class moved_value {
public:
    explicit moved_value(T& value) noexcept : value_(value) {}
    operator T&&() const noexcept { return std::move(value_); }

private:
    T& value_;
};

template <class T>
struct unwrap_moved {
    using type = T;
};
template <class T>
struct unwrap_moved<moved_value<T>> {
    using type = T;
};
/// What is stored for an argument of type T: a decayed copy, or what moved() carries.
template <class T>
using stored_type = typename unwrap_moved<std::decay_t<T>>::type;

/// Is T the type of a lambda? GCC ends such a name in `<lambda(...)>` outside of other brackets; only GCC needs the
/// answer.
template <class T>
constexpr bool is_closure() noexcept {
    std::string_view name = __PRETTY_FUNCTION__;
    name = name.substr(name.find("T = ") + 4);
    name = name.substr(0, name.rfind(']'));
    int depth = 0;
    bool last_is_lambda = false;
    for (std::size_t at = 0; at < name.size(); ++at) {
        const char letter = name[at];
        if (letter == '<' || letter == '(' || letter == '[' || letter == '{') {
            if (depth == 0) last_is_lambda = name.substr(at).starts_with("<lambda(");
            ++depth;
        }
        if (letter == '>' || letter == ')' || letter == ']' || letter == '}') --depth;
    }
    return last_is_lambda && name.ends_with('>');
}

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
inline constexpr bool compiler_destroys_temporaries_twice = true;
#else
inline constexpr bool compiler_destroys_temporaries_twice = false;
#endif

template <class T>
inline constexpr bool unsafe_temporary =
    compiler_destroys_temporaries_twice&& std::is_rvalue_reference_v<T> &&
    !std::is_trivially_destructible_v<std::remove_reference_t<T>> &&
    (std::is_aggregate_v<std::remove_reference_t<T>> || is_closure<std::remove_cvref_t<T>>());

template <class... T>
constexpr void refuse_unsafe_temporaries() noexcept {
    static_assert(
        (!unsafe_temporary<T> && ...),
        "GCC 11 and 12 destroy a closure or aggregate temporary twice when it stands in a co_await expression. "
        "Name it first: `auto job = [copy] {...};` then pass `job` (copies it) or `ferry::moved(job)` (moves "
        "it); or pass a function and its arguments: to_thread(fn, args...)");
}
}  // namespace detail

/// `to_thread(ferry::moved(job))` moves a named callable or argument where `to_thread(job)` copies it. Written out,
/// since std::move(job) looks like a temporary to the check against GCC 11's and 12's double destruction.
template <class T>
[[nodiscard]] detail::moved_value<T> moved(T& value) noexcept {
    return detail::moved_value<T>(value);
}
}  // namespace ferry::inline FERRY_ABI
