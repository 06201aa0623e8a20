// ferry/app/middleware.hpp - applications around applications, composed with |
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/application.hpp>
#include <ferry/core/config.hpp>

#include <concepts>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI::app {
/// Base class that marks a middleware: a callable that makes an application of an application.
///
///     auto site = access_log() | only_members() | router;  // access_log sees a request first and its response last
class middleware_tag {};

template <class T>
concept middleware = std::derived_from<std::remove_cvref_t<T>, middleware_tag>;

/// Two middlewares as one; what operator| of two makes.
template <class Outer, class Inner>
class composed_middleware : public middleware_tag {
public:
    composed_middleware(Outer outer, Inner inner) : outer_(std::move(outer)), inner_(std::move(inner)) {}
    template <application App>
    auto operator()(App app) const {
        return outer_(inner_(std::move(app)));
    }

private:
    Outer outer_;
    Inner inner_;
};

/// Composes: the left one is the outer one.
template <middleware Outer, middleware Inner>
auto operator|(Outer outer, Inner inner) {
    return composed_middleware<Outer, Inner>(std::move(outer), std::move(inner));
}

/// Applies.
template <middleware Outer, application App>
requires(!middleware<App>) auto operator|(Outer outer, App app) { return outer(std::move(app)); }
}  // namespace ferry::inline FERRY_ABI::app
