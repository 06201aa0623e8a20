// ferry/loop/detail/turn_end_node.hpp - work that a loop does at the end of its turn
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/executor.hpp>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Done once, after the ready batch and before the loop polls or sleeps: flushing.
struct turn_end_node : ready_node {
    bool linked = false;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
