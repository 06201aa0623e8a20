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
/// Is a call that may take as long as it likes the reason why it takes so long? With the graph's lock held. `all_end`: all members
/// of `from` are waited for, not any.
[[nodiscard]] bool is_kept_by_patient_call(const wait_node& from, bool all_end);

// ---- implementation ----------------------------------------------------------------------------------------------
[[nodiscard]] inline bool has_members(const wait_node& node) noexcept {
    using kind = wait_node::kind;
    return node.what() == kind::family || node.what() == kind::pool || node.what() == kind::lock;
}

/// Whom the wait comes to next: of several children, threads or holders the first.
[[nodiscard]] inline const wait_node* next_in_chain(const wait_node& node) {
    if (has_members(node)) return node.first_member();
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

/// Follows all the ways, each up to where it has been already.
class patience {
public:
    /// Of all who have to end one is enough. Where any will do, they all have to be such.
    [[nodiscard]] bool keeps(const wait_node& node, bool all_end) {
        if (node.what() == wait_node::kind::call && node.has(wait_node::patient)) return true;
        if (steps_++ == most || std::find(way_.begin(), way_.end(), &node) != way_.end()) return false;
        way_.push_back(&node);
        const bool answer = has_members(node) ? members_keep(node, all_end) : next_keeps(node);
        way_.pop_back();
        return answer;
    }

private:
    static constexpr std::size_t most = 1000;

    bool next_keeps(const wait_node& node) {
        const wait_node* const next = next_in_chain(node);
        return next != nullptr && keeps(*next, node.has(wait_node::joins));
    }
    bool members_keep(const wait_node& node, bool all_end) {
        const wait_node* member = node.first_member();
        bool answer = !all_end && member != nullptr;
        for (; member != nullptr && answer != all_end; member = member->next_member()) answer = keeps(*member, false);
        return answer;
    }

    std::vector<const wait_node*> way_;
    std::size_t steps_ = 0;
};

inline bool is_kept_by_patient_call(const wait_node& from, bool all_end) { return patience().keeps(from, all_end); }
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
