// ferry/core/combine.hpp - when_all and when_any: several awaitables, one wait
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/family.hpp>
#include <ferry/core/rooted_task.hpp>

#include <concepts>
#include <cstddef>
#include <list>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

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

/// What when_any of a range yields.
template <class T>
class any_range_result {
public:
    any_range_result(std::size_t index, std::vector<std::optional<T>> values)
        : index_(index), values_(std::move(values)) {}

    /// The position of the first that ended.
    [[nodiscard]] std::size_t index() const noexcept { return index_; }
    /// One for each awaitable; empty if it was cancelled before it had a value.
    [[nodiscard]] std::vector<std::optional<T>>& values() noexcept { return values_; }
    [[nodiscard]] const std::vector<std::optional<T>>& values() const noexcept { return values_; }

private:
    std::size_t index_;
    std::vector<std::optional<T>> values_;
};

/// A container of awaitables of one type, such as std::vector<task<int>>.
template <class T>
concept awaitable_range = !awaitable<T> && requires(T & range) {
    { *range.begin() } -> std::same_as<typename T::value_type&>;
    range.end();
    range.size();
}
&&awaitable<typename T::value_type>;

namespace detail {
template <class Range>
using range_result = await_result<typename Range::value_type>;
template <class T>
using all_values = std::conditional_t<std::is_void_v<T>, void, std::vector<element<T>>>;
}  // namespace detail

/// Awaits all: yields a tuple of their values (`nothing` for void) in the order of the arguments.
///
/// They start in place, one after another, each as a logical task of its own. When one throws, the others are cancelled
/// and awaited, and that exception is thrown; later failures go to the suppressed-exception handler. The same goes for a
/// cancellation, and the values of those that had ended by then are gone: what must not be lost, such as an item taken
/// from a queue, a child keeps where it outlives the when_all.
template <awaitable... Awaitable>
task<std::tuple<detail::object_or_nothing<detail::await_result<Awaitable>>...>> when_all(Awaitable... awaitables);

/// Awaits until the first has ended, by value or exception; the others are cancelled and awaited before it returns.
///
/// Yields an any_result: the index of the first, and every value there is (a reference as a pointer). Throws if the
/// first one threw.
template <awaitable... Awaitable>
task<any_result<detail::element<detail::await_result<Awaitable>>...>> when_any(Awaitable... awaitables);

/// The same for a range of equal awaitables, which are moved out of it: yields a vector of their values in its order, or
/// nothing where they yield nothing.
template <awaitable_range Range>
task<detail::all_values<detail::range_result<Range>>> when_all(Range awaitables);

/// The same for a range. Throws std::invalid_argument for an empty one, which would wait for ever.
template <awaitable_range Range>
task<any_range_result<detail::element<detail::range_result<Range>>>> when_any(Range awaitables);

// ---- implementation ----------------------------------------------------------------------------------------------
namespace detail {
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
task<any_result<element<await_result<Awaitable>>...>> any_of(std::index_sequence<I...>, Awaitable... awaitables) {
    family children(co_await current_task(), family::ends_with::first_end, "when_any");
    std::tuple<family_member<await_result<Awaitable>>...> members(
        typename family_member<await_result<Awaitable>>::init(children, I, to_task(std::move(awaitables)))...);
    co_await children.join(std::get<I>(members)...);
    children.rethrow();
    co_return any_result<element<await_result<Awaitable>>...>(children.first(), std::get<I>(members).take_if_any()...);
}

/// The members of a family of unknown size: immovable, so a list that never moves them.
template <class Range>
std::list<family_member<range_result<Range>>> members_of(family& children, Range& awaitables) {
    using member = family_member<range_result<Range>>;
    std::list<member> members;
    std::size_t index = 0;
    for (auto& each : awaitables) {
        members.emplace_back(typename member::init(children, index++, to_task(std::move(each))));
    }
    return members;
}

template <class Range>
task<all_values<range_result<Range>>> all_of_range(Range awaitables) {
    family children(co_await current_task(), family::ends_with::first_failure, "when_all");
    auto members = members_of(children, awaitables);
    co_await children.join_all(members);
    children.rethrow();
    if constexpr (!std::is_void_v<range_result<Range>>) {
        all_values<range_result<Range>> values;
        values.reserve(members.size());
        for (auto& member : members) values.push_back(member.take_element());
        co_return values;
    }
}

template <class Range>
task<any_range_result<element<range_result<Range>>>> any_of_range(Range awaitables) {
    if (awaitables.size() == 0) {
        throw std::invalid_argument("ferry: when_any of an empty range would wait for ever");
    }
    family children(co_await current_task(), family::ends_with::first_end, "when_any");
    auto members = members_of(children, awaitables);
    co_await children.join_all(members);
    children.rethrow();
    std::vector<std::optional<element<range_result<Range>>>> values;
    values.reserve(members.size());
    for (auto& member : members) values.push_back(member.take_if_any());
    co_return any_range_result<element<range_result<Range>>>(children.first(), std::move(values));
}
}  // namespace detail

template <awaitable_range Range>
task<detail::all_values<detail::range_result<Range>>> when_all(Range awaitables) {
    return detail::all_of_range(std::move(awaitables));
}

template <awaitable_range Range>
task<any_range_result<detail::element<detail::range_result<Range>>>> when_any(Range awaitables) {
    return detail::any_of_range(std::move(awaitables));
}

template <awaitable... Awaitable>
task<std::tuple<detail::object_or_nothing<detail::await_result<Awaitable>>...>> when_all(Awaitable... awaitables) {
    return detail::all_of(std::index_sequence_for<Awaitable...>(), std::move(awaitables)...);
}

template <awaitable... Awaitable>
task<any_result<detail::element<detail::await_result<Awaitable>>...>> when_any(Awaitable... awaitables) {
    static_assert(sizeof...(Awaitable) > 0, "when_any of nothing would wait for ever");
    return detail::any_of(std::index_sequence_for<Awaitable...>(), std::move(awaitables)...);
}
}  // namespace ferry::inline FERRY_ABI
