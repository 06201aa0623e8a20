// ferry/client/detail/connection_limit.hpp - how many connections a client has in use at a time
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>

#include <cstddef>
#include <string>
#include <unordered_map>

namespace ferry::inline FERRY_ABI::detail {
/// So many connections in all, and so many to each place. Those who ask for one more wait in their order; who waits for a
/// place that is full does not hold up those behind who want to go elsewhere.
///
/// Thread-safety  None: its loop's thread. It outlives the waits.
/// Cost           acquire() O(1), release() O(those that wait for other places).
class connection_limit {
public:
    class awaiter;

    connection_limit(std::size_t in_all, std::size_t to_each_place) noexcept
        : in_all_(in_all), to_each_place_(to_each_place) {}
    connection_limit(const connection_limit&) = delete;
    connection_limit& operator=(const connection_limit&) = delete;

    /// Waits until one more is allowed, which release() gives back. A checkpoint. `place` outlives the wait.
    [[nodiscard]] awaiter acquire(const std::string& place) noexcept;
    void release(const std::string& place);
    [[nodiscard]] std::size_t in_use() const noexcept { return in_use_; }

private:
    [[nodiscard]] bool take(const std::string& place);
    void serve();

    std::size_t in_all_;
    std::size_t to_each_place_;
    std::size_t in_use_ = 0;
    std::unordered_map<std::string, std::size_t> places_;  // with one in use at least
    intrusive_list<waiter> waiters_;                       // none of them can go on, or it would have
};

class [[nodiscard]] connection_limit::awaiter : public leaf_awaiter<awaiter> {
public:
    static constexpr const char* what = "http_client: the end of another request";
    awaiter(connection_limit& owner, const std::string& place) noexcept : owner_(owner), place_(place) {}
    bool try_complete() noexcept { return owner_.take(place_); }
    void link() noexcept { owner_.waiters_.push_back(*this); }
    static void withdraw(waiter& self) noexcept {
        static_cast<awaiter&>(self).owner_.waiters_.erase(self);
        self.task().wake_interrupted();
    }
    void finish() noexcept {}

private:
    friend class connection_limit;
    connection_limit& owner_;
    const std::string& place_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline connection_limit::awaiter connection_limit::acquire(const std::string& place) noexcept {
    return awaiter(*this, place);
}

inline bool connection_limit::take(const std::string& place) {
    if (in_use_ >= in_all_) return false;
    std::size_t& there = places_[place];
    if (there >= to_each_place_) return false;
    ++there;
    ++in_use_;
    return true;
}

inline void connection_limit::release(const std::string& place) {
    const auto found = places_.find(place);
    if (--found->second == 0) places_.erase(found);
    --in_use_;
    serve();
}

/// One has ended, so one can go on: the oldest whose place is not full.
inline void connection_limit::serve() {
    for (waiter* each = waiters_.front(); each != nullptr; each = waiters_.next(*each)) {
        if (!take(static_cast<awaiter*>(each)->place_)) continue;
        waiters_.erase(*each);
        each->task().wake();
        return;
    }
}
}  // namespace ferry::inline FERRY_ABI::detail
