// ferry/app/application.hpp - the contract: (scope, receive, send) -> task
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/receive.hpp>
#include <ferry/app/scope.hpp>
#include <ferry/app/send.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/task.hpp>

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI::app {
/// Called once for each HTTP request and each WebSocket; the call lives as long as the connection, plus clean-up.
///
///     ferry::task<> hello(app::scope, app::receive, app::send send) {
///         co_await send(app::http_response_start(200).header("content-type", "text/plain"));
///         co_await send(app::http_response_body("hello\n"));
///     }
///
/// An application is called for many connections at a time and outlives the calls, so a lambda that captures is safe.
template <class T>
concept application = std::invocable<const T&, scope, receive, send> &&
    std::same_as<std::invoke_result_t<const T&, scope, receive, send>, task<>>;

/// Any application, chosen at run time. Copies share it.
class any_application {
public:
    template <application App>
    requires(!std::same_as<App, any_application>) any_application(App app)
        : call_(std::make_shared<const model<App>>(std::move(app))) {}

    task<> operator()(scope what, receive in, send out) const { return call_->run(std::move(what), in, out); }

private:
    class base {
    public:
        virtual ~base() = default;
        virtual task<> run(scope what, receive in, send out) const = 0;
    };
    template <class App>
    class model final : public base {
    public:
        explicit model(App app) : app_(std::move(app)) {}
        task<> run(scope what, receive in, send out) const override { return app_(std::move(what), in, out); }

    private:
        App app_;
    };

    std::shared_ptr<const base> call_;
};
static_assert(application<any_application>);
}  // namespace ferry::inline FERRY_ABI::app
