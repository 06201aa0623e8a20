// ferry/core/invoke.hpp - std::invoke without <functional>, which costs every user half a second of compile time
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// The object that a member pointer is applied to: itself, what a reference_wrapper refers to, or what a pointer points to.
template <class Class, class Object>
constexpr decltype(auto) invocation_target(Object&& object) noexcept {
    if constexpr (std::is_base_of_v<Class, std::remove_cvref_t<Object>>) {
        return std::forward<Object>(object);
    } else if constexpr (requires { static_cast<const Class&>(object.get()); }) {
        return object.get();
    } else {
        return *std::forward<Object>(object);
    }
}

template <class Fn>
struct member_class;
template <class Member, class Class>
struct member_class<Member Class::*> {
    using type = Class;
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Warray-bounds"  // GCC 12 thinks that a member function it sees might be a virtual one
template <class Fn, class... Args>
constexpr std::invoke_result_t<Fn, Args...> invoke(Fn&& fn, Args&&... args) {
    using callable = std::remove_cvref_t<Fn>;
    if constexpr (std::is_member_pointer_v<callable>) {
        return [&]<class Object, class... Rest>(Object&& object, Rest&&... rest) -> std::invoke_result_t<Fn, Args...> {
            auto&& target = invocation_target<typename member_class<callable>::type>(std::forward<Object>(object));
            if constexpr (std::is_member_function_pointer_v<callable>) {
                return (static_cast<decltype(target)>(target).*fn)(std::forward<Rest>(rest)...);
            } else {
                return static_cast<decltype(target)>(target).*fn;
            }
        }(std::forward<Args>(args)...);
    } else {
        return std::forward<Fn>(fn)(std::forward<Args>(args)...);
    }
}
#pragma GCC diagnostic pop
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
