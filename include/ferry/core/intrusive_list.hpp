// ferry/core/intrusive_list.hpp - a doubly linked list through its elements
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

namespace ferry::inline FERRY_ABI {
namespace detail {
template <class T>
class intrusive_list;

/// Base of an element: T derives from list_hook<T>. Copying an element does not copy its membership.
template <class T>
class list_hook {
public:
    list_hook() = default;
    list_hook(const list_hook&) noexcept {}
    list_hook& operator=(const list_hook&) noexcept { return *this; }

private:
    friend class intrusive_list<T>;
    T* previous_ = nullptr;
    T* next_ = nullptr;
};

/// Owns nothing and allocates nothing. An element is in one list at most; every operation is O(1).
template <class T>
class intrusive_list {
public:
    intrusive_list() = default;
    intrusive_list(const intrusive_list&) = delete;
    intrusive_list& operator=(const intrusive_list&) = delete;

    [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
    [[nodiscard]] T* front() const noexcept { return first_; }
    [[nodiscard]] static T* next(const T& element) noexcept { return hook(element).next_; }

    void push_back(T& element) noexcept {
        hook(element).previous_ = last_;
        hook(element).next_ = nullptr;
        (last_ == nullptr ? first_ : hook(*last_).next_) = &element;
        last_ = &element;
    }

    /// The element must be in this list.
    void erase(T& element) noexcept {
        T* const before = hook(element).previous_;
        T* const after = hook(element).next_;
        (before == nullptr ? first_ : hook(*before).next_) = after;
        (after == nullptr ? last_ : hook(*after).previous_) = before;
        hook(element).previous_ = hook(element).next_ = nullptr;
    }

    /// The oldest element, no longer linked; null when the list is empty.
    T* pop_front() noexcept {
        T* const element = first_;
        if (element != nullptr) erase(*element);
        return element;
    }

private:
    static list_hook<T>& hook(T& element) noexcept { return element; }
    static const list_hook<T>& hook(const T& element) noexcept { return element; }

    T* first_ = nullptr;
    T* last_ = nullptr;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
