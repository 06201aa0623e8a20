// ferry/data/detail/insertion_ordered.hpp - the entries of a map value: in the order they came, found by key
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ferry::inline FERRY_ABI::detail {
/// A map that keeps its entries in the order in which their keys were first set, as the peers that read ferry's
/// messages do, so that encoding one gives the same octets here and there.
///
/// Cost  One vector; above scan_limit entries also an index sorted by key. find() is O(log n), set() O(n) for a new
///       key and O(log n) for an old one, the constructor from many entries O(n log n) whatever their order.
template <class Value>
class insertion_ordered {
public:
    using entry = std::pair<std::string, Value>;

    insertion_ordered() = default;
    /// Of entries with the same key, the first gives the place and the last the value.
    explicit insertion_ordered(std::vector<entry> entries);

    [[nodiscard]] const std::vector<entry>& entries() const noexcept { return entries_; }
    [[nodiscard]] const Value* find(std::string_view key) const noexcept;
    void set(std::string key, Value item);
    bool erase(std::string_view key);
    /// The entries; the map is empty afterwards.
    [[nodiscard]] std::vector<entry> take() noexcept;

private:
    /// Most messages have a few keys: comparing them all is faster than a search, and needs no second vector.
    static constexpr std::size_t scan_limit = 16;

    [[nodiscard]] std::size_t position(std::string_view key) const noexcept;  // size() if there is none
    [[nodiscard]] std::vector<std::uint32_t>::const_iterator lower_bound(std::string_view key) const noexcept;
    void build_index();
    void merge_equal_keys();

    std::vector<entry> entries_;
    std::vector<std::uint32_t> by_key_;  // empty up to scan_limit entries, else all positions ordered by key
};

// ---- implementation ---------------------------------------------------------------
template <class Value>
insertion_ordered<Value>::insertion_ordered(std::vector<entry> entries) : entries_(std::move(entries)) {
    if (entries_.size() > scan_limit) build_index();
    merge_equal_keys();
}

template <class Value>
std::vector<typename insertion_ordered<Value>::entry> insertion_ordered<Value>::take() noexcept {
    by_key_ = {};
    return std::move(entries_);
}

template <class Value>
const Value* insertion_ordered<Value>::find(std::string_view key) const noexcept {
    const std::size_t at = position(key);
    return at == entries_.size() ? nullptr : &entries_[at].second;
}

template <class Value>
void insertion_ordered<Value>::set(std::string key, Value item) {
    const std::size_t at = position(key);
    if (at != entries_.size()) {
        entries_[at].second = std::move(item);
        return;
    }
    if (!by_key_.empty()) by_key_.insert(lower_bound(key), static_cast<std::uint32_t>(at));
    entries_.emplace_back(std::move(key), std::move(item));
    if (entries_.size() == scan_limit + 1) build_index();
}

template <class Value>
bool insertion_ordered<Value>::erase(std::string_view key) {
    const std::size_t at = position(key);
    if (at == entries_.size()) return false;
    entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(at));
    if (by_key_.empty()) return true;
    if (entries_.size() <= scan_limit) {
        by_key_ = {};
        return true;
    }
    by_key_.erase(std::find(by_key_.begin(), by_key_.end(), static_cast<std::uint32_t>(at)));
    for (std::uint32_t& other : by_key_) other -= other > at ? 1U : 0U;
    return true;
}

template <class Value>
std::size_t insertion_ordered<Value>::position(std::string_view key) const noexcept {
    if (by_key_.empty()) {
        std::size_t at = 0;
        while (at < entries_.size() && entries_[at].first != key) ++at;
        return at;
    }
    const auto found = lower_bound(key);
    return found != by_key_.end() && entries_[*found].first == key ? *found : entries_.size();
}

template <class Value>
std::vector<std::uint32_t>::const_iterator insertion_ordered<Value>::lower_bound(std::string_view key) const noexcept {
    return std::lower_bound(by_key_.begin(), by_key_.end(), key,
                            [this](std::uint32_t at, std::string_view wanted) { return entries_[at].first < wanted; });
}

template <class Value>
void insertion_ordered<Value>::build_index() {
    by_key_.resize(entries_.size());
    for (std::size_t at = 0; at < by_key_.size(); ++at) by_key_[at] = static_cast<std::uint32_t>(at);
    std::sort(by_key_.begin(), by_key_.end(), [this](std::uint32_t a, std::uint32_t b) {
        const int order = entries_[a].first.compare(entries_[b].first);
        return order != 0 ? order < 0 : a < b;
    });
}

template <class Value>
void insertion_ordered<Value>::merge_equal_keys() {
    std::vector<bool> superseded;  // sized when the first repetition is seen
    for (std::size_t at = 0; at < entries_.size(); ++at) {
        const std::size_t first = position(entries_[at].first);
        if (first == at) continue;
        superseded.resize(entries_.size());
        superseded[at] = true;
        entries_[first].second = std::move(entries_[at].second);
    }
    if (superseded.empty()) return;
    std::size_t kept = 0;
    for (std::size_t at = 0; at < entries_.size(); ++at) {
        if (superseded[at]) continue;
        if (kept != at) entries_[kept] = std::move(entries_[at]);
        ++kept;
    }
    entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(kept), entries_.end());
    by_key_ = {};
    if (kept > scan_limit) build_index();
}
}  // namespace ferry::inline FERRY_ABI::detail
