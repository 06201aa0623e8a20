// ferry/client/detail/http_pool.hpp - the connections of an HTTP client: those in use, and those that are idle
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/client/detail/connection_limit.hpp>
#include <ferry/client/http_client_options.hpp>
#include <ferry/client/http_connection.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/net/socket.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace ferry::inline FERRY_ABI::detail {
/// Shared by a client and the calls that are under way.
class http_pool {
public:
    using connection = http_connection<net::socket>;

    http_pool(event_loop& loop, const http_client_options& options)
        : loop_(loop), options_(options), limit_(options.max_connections(), options.max_connections_per_host()) {}

    /// The one that was used last of those to this place that can still be used; null if there is none.
    [[nodiscard]] std::unique_ptr<connection> take(const std::string& place);
    /// Keeps it if it can be used again.
    void give(std::string place, std::unique_ptr<connection> used);
    void close_idle() noexcept { idle_.clear(); }

    [[nodiscard]] std::size_t size() const noexcept { return idle_.size(); }
    [[nodiscard]] connection_limit& limit() noexcept { return limit_; }
    [[nodiscard]] event_loop& loop() const noexcept { return loop_; }
    [[nodiscard]] const http_client_options& options() const noexcept { return options_; }

private:
    struct idle_connection {
        std::string place;
        std::unique_ptr<connection> kept;
        event_loop::time_point since;
    };

    event_loop& loop_;
    http_client_options options_;
    connection_limit limit_;
    std::vector<idle_connection> idle_;  // oldest first
};

/// One of the connections that a client may have at a time, whether it has been made yet or not.
///
/// Ownership  Owns the connection, and gives it and its place under the limit back at its end.
class http_lease {
public:
    /// Waits until there may be one more. A checkpoint.
    [[nodiscard]] static task<http_lease> of(std::shared_ptr<http_pool> pool, std::string place) {
        co_await pool->limit().acquire(place);
        co_return http_lease(std::move(pool), std::move(place));
    }
    http_lease(http_lease&&) noexcept = default;
    http_lease& operator=(http_lease&&) = delete;
    ~http_lease() {
        if (pool_ == nullptr) return;
        if (connection_ != nullptr) pool_->give(place_, std::move(connection_));
        pool_->limit().release(place_);  // who comes next finds the idle one
    }

    /// Takes an idle one, if there is one.
    [[nodiscard]] bool reuse() {
        connection_ = pool_->take(place_);
        return connection_ != nullptr;
    }
    void use(std::unique_ptr<http_pool::connection> made) noexcept { connection_ = std::move(made); }
    [[nodiscard]] http_pool& pool() const noexcept { return *pool_; }
    [[nodiscard]] http_pool::connection& connection() const noexcept { return *connection_; }

private:
    http_lease(std::shared_ptr<http_pool> pool, std::string place) noexcept
        : pool_(std::move(pool)), place_(std::move(place)) {}

    std::shared_ptr<http_pool> pool_;
    std::string place_;
    std::unique_ptr<http_pool::connection> connection_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline std::unique_ptr<http_pool::connection> http_pool::take(const std::string& place) {
    const event_loop::time_point now = loop_.now();
    std::erase_if(idle_, [&](const idle_connection& one) {
        return now - one.since >= options_.keep_alive_timeout() || !one.kept->reusable();
    });
    for (std::size_t at = idle_.size(); at-- > 0;) {
        if (idle_[at].place != place) continue;
        std::unique_ptr<connection> found = std::move(idle_[at].kept);
        idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(at));
        return found;
    }
    return nullptr;
}

inline void http_pool::give(std::string place, std::unique_ptr<connection> used) {
    if (options_.max_idle_connections() == 0 || options_.keep_alive_timeout().count() <= 0 || !used->reusable()) return;
    if (idle_.size() >= options_.max_idle_connections()) idle_.erase(idle_.begin());
    idle_.push_back(idle_connection{std::move(place), std::move(used), loop_.now()});
}
}  // namespace ferry::inline FERRY_ABI::detail
