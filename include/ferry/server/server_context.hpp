// ferry/server/server_context.hpp - what the connections of one server share
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/application.hpp>
#include <ferry/core/config.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/server/http_date.hpp>
#include <ferry/server/serve_options.hpp>

#include <cstdint>
#include <string_view>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// What the connections of one server share.
class server_context {
public:
    server_context(event_loop& loop, app::any_application app, serve_options options)
        : loop_(loop), app_(std::move(app)), options_(std::move(options)) {}
    [[nodiscard]] event_loop& loop() const noexcept { return loop_; }
    [[nodiscard]] const app::any_application& app() const noexcept { return app_; }
    [[nodiscard]] const serve_options& options() const noexcept { return options_; }
    [[nodiscard]] std::string_view date() { return date_.now(); }
    [[nodiscard]] bool stopping() const noexcept { return stopping_; }
    void stop() noexcept { stopping_ = true; }
    [[nodiscard]] std::uint64_t dropped_messages() const noexcept { return dropped_messages_; }
    void count_dropped_message() noexcept { ++dropped_messages_; }

private:
    event_loop& loop_;
    app::any_application app_;
    serve_options options_;
    http_date date_;
    std::uint64_t dropped_messages_ = 0;
    bool stopping_ = false;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
