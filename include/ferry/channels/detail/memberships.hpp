// ferry/channels/detail/memberships.hpp - which channels are in which groups, and until when
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>

#include <chrono>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
struct member_group;

struct membership : list_hook<membership> {
    membership(std::string of, member_group& in) noexcept : channel(std::move(of)), home(in) {}

    const std::string channel;
    member_group& home;
    std::chrono::steady_clock::time_point expires{};
};

/// Erased with its last member.
struct member_group {
    using member_list = std::list<membership>;

    const std::string* name = nullptr;                                       // the key in the map
    member_list members;                                                     // in the order in which they expire
    std::unordered_map<std::string_view, member_list::iterator> by_channel;  // the keys are the members' own
};

/// The groups of an in-memory layer. They expire as messages do (see mailboxes): joining or renewing moves a membership
/// to the end of its group's list and of the one list through all groups.
///
/// Thread-safety  None: the layer's mutex is held for every call.
/// Cost           O(1) amortised, but for clear().
class memberships {
public:
    using time_point = std::chrono::steady_clock::time_point;

    memberships() = default;
    memberships(const memberships&) = delete;
    memberships& operator=(const memberships&) = delete;

    /// Joins or renews. Drops up to two of the oldest memberships of all groups if they have expired.
    void add(const std::string& group, const std::string& channel, time_point now, time_point expires);
    void discard(const std::string& group, std::string_view channel) noexcept;
    /// Valid until the next call.
    [[nodiscard]] const member_group::member_list& members(const std::string& group, time_point now) noexcept;
    void clear() noexcept;

private:
    void drop(membership& member) noexcept;
    void erase_if_empty(const member_group& group) noexcept {
        if (group.members.empty()) groups_.erase(groups_.find(*group.name));
    }

    std::unordered_map<std::string, member_group> groups_;  // its elements do not move
    intrusive_list<membership> by_age_;                     // of all groups, oldest first
    const member_group::member_list nobody_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline void memberships::add(const std::string& group, const std::string& channel, time_point now, time_point expires) {
    for (int budget = 2; budget > 0; --budget) {
        membership* const oldest = by_age_.front();
        if (oldest == nullptr || oldest->expires > now) break;
        member_group& home = oldest->home;
        drop(*oldest);
        erase_if_empty(home);
    }
    const auto place = groups_.try_emplace(group).first;
    member_group& into = place->second;
    into.name = &place->first;
    const auto known = into.by_channel.find(channel);
    member_group::member_list moving;
    if (known != into.by_channel.end()) {
        moving.splice(moving.end(), into.members, known->second);
        by_age_.erase(moving.front());
    } else {
        moving.emplace_back(channel, into);
        into.by_channel.emplace(moving.front().channel, moving.begin());
    }
    moving.front().expires = expires;
    by_age_.push_back(moving.front());
    into.members.splice(into.members.end(), moving);
}

inline void memberships::discard(const std::string& group, std::string_view channel) noexcept {
    const auto place = groups_.find(group);
    if (place == groups_.end()) return;
    const auto known = place->second.by_channel.find(channel);
    if (known == place->second.by_channel.end()) return;
    drop(*known->second);
    erase_if_empty(place->second);
}

inline const member_group::member_list& memberships::members(const std::string& group, time_point now) noexcept {
    const auto place = groups_.find(group);
    if (place == groups_.end()) return nobody_;
    const member_group::member_list& found = place->second.members;
    while (!found.empty() && found.front().expires <= now) drop(place->second.members.front());
    if (!found.empty()) return found;
    groups_.erase(place);
    return nobody_;
}

inline void memberships::clear() noexcept {
    while (by_age_.pop_front() != nullptr) {}
    groups_.clear();
}

inline void memberships::drop(membership& member) noexcept {
    member_group& home = member.home;
    by_age_.erase(member);
    const auto known = home.by_channel.find(member.channel);
    const auto place = known->second;
    home.by_channel.erase(known);  // before the member, whose name is the key
    home.members.erase(place);
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
