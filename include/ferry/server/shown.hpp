// ferry/server/shown.hpp - what runs at the moment, for who looks in from outside
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Lets `where` point to `what` for as long as it lives.
template <class T>
class shown {
public:
    shown(T*& where, T& what) noexcept : where_(where) { where_ = &what; }
    ~shown() { where_ = nullptr; }
    shown(const shown&) = delete;
    shown& operator=(const shown&) = delete;

private:
    T*& where_;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
