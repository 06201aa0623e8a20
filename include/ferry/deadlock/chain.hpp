// ferry/deadlock/chain.hpp - for whom somebody waits, and that one in turn: for reports of waits that take long
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/wait_node.hpp>
#include <ferry/deadlock/circle.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Lines that say for whom it waits, and that one in turn. With the graph's lock held; true at one time each.
[[nodiscard]] std::string chain_of_waits(const wait_node& from);
/// Does that chain come to a call that may take as long as it likes?
[[nodiscard]] bool leads_to_patient_call(const wait_node& from);

// ---- implementation ----------------------------------------------------------------------------------------------
/// Whom the wait comes to next: of several children, threads or holders the first.
[[nodiscard]] inline const wait_node* next_in_chain(const wait_node& node) {
    using kind = wait_node::kind;
    const bool has_members = node.what() == kind::family || node.what() == kind::pool || node.what() == kind::lock;
    if (has_members) return node.first_member();
    const wait_node* const whom = node.needs();
    return whom != nullptr && whom->generation() == node.needs_generation() ? whom : nullptr;
}

/// Those in the chain, until somebody comes again, or for long enough.
template <class Fn>
void for_each_in_chain(const wait_node& from, Fn fn) {
    constexpr std::size_t longest = 32;
    std::vector<const wait_node*> seen;
    const auto is_new = [&seen](const wait_node* node) {
        return node != nullptr && std::find(seen.begin(), seen.end(), node) == seen.end();
    };
    for (const wait_node* node = &from; is_new(node) && seen.size() < longest; node = next_in_chain(*node)) {
        seen.push_back(node);
        fn(*node);
    }
}

inline std::string chain_of_waits(const wait_node& from) {
    std::string text;
    const auto add = [&text](const wait_node& node) {
        if (node.what() != wait_node::kind::task && node.what() != wait_node::kind::thread) return;
        text.append(text.empty() ? "  " : "\n  ").append(circle::line_of(node));
    };
    if (from.what() != wait_node::kind::pool) {
        for_each_in_chain(from, add);
        return text;
    }
    for (const wait_node* each = from.first_member(); each != nullptr; each = each->next_member()) {
        if (each->waits_in() != nullptr) for_each_in_chain(*each, add);
    }
    return text;
}

inline bool leads_to_patient_call(const wait_node& from) {
    bool found = false;
    for_each_in_chain(from, [&found](const wait_node& node) {
        found = found || (node.what() == wait_node::kind::call && node.has(wait_node::patient));
    });
    return found;
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
