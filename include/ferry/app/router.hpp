// ferry/app/router.hpp - chooses an application by path
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/application.hpp>
#include <ferry/core/config.hpp>
#include <ferry/http/uri.hpp>

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ferry::inline FERRY_ABI::app {
/// What the {names} of a route's pattern stood for: scope.get<path_parameters>()->find("name").
class path_parameters {
public:
    /// Percent-decoded; empty if the pattern has no such name.
    [[nodiscard]] std::string_view find(std::string_view name) const noexcept {
        for (const auto& [key, text] : values_) {
            if (key == name) return text;
        }
        return {};
    }
    void add(std::string name, std::string text) { values_.emplace_back(std::move(name), std::move(text)); }

private:
    std::vector<std::pair<std::string, std::string>> values_;
};

/// Routes by path: the first pattern that matches the whole path gets the connection.
///
///     app::router site;
///     site.http("/room/{name}", page);
///     site.websocket("/ws/{name}", chat);
///
/// A pattern is a path whose segments are literal or one {name}, which matches one segment that is not empty. The path
/// is split before it is decoded, so an escaped "/" belongs to a name. What nothing matches gets 404, a WebSocket too.
///
/// Ownership  Keeps the applications. Complete it before it serves; it is copied into serve().
/// Errors     A pattern that does not begin with "/", or has a bad {name}: std::invalid_argument.
class router {
public:
    router& http(std::string_view pattern, any_application app) { return add(protocol::http, pattern, std::move(app)); }
    router& websocket(std::string_view pattern, any_application app) {
        return add(protocol::websocket, pattern, std::move(app));
    }

    task<> operator()(scope what, receive in, send out) const;

private:
    struct segment {
        std::string text;  // literal, or the name
        bool is_name;
    };
    struct route {
        protocol type;
        std::vector<segment> segments;
        any_application app;
        [[nodiscard]] bool matches(const std::vector<std::string>& path, path_parameters& parameters) const;
    };

    router& add(protocol type, std::string_view pattern, any_application app);
    static std::vector<std::string_view> split(std::string_view path);
    static task<> not_found(send out);

    std::vector<route> routes_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline std::vector<std::string_view> router::split(std::string_view path) {
    std::vector<std::string_view> parts;
    while (!path.empty()) {
        path.remove_prefix(1);  // the "/" before each segment
        const std::size_t end = std::min(path.find('/'), path.size());
        parts.push_back(path.substr(0, end));
        path.remove_prefix(end);
    }
    return parts;
}

inline router& router::add(protocol type, std::string_view pattern, any_application app) {
    const auto refuse = [pattern](const char* why) {
        throw std::invalid_argument("router: pattern \"" + std::string(pattern) + "\": " + why);
    };
    if (!pattern.starts_with('/')) refuse("it must begin with /");
    route made{type, {}, std::move(app)};
    for (std::string_view part : split(pattern)) {
        const bool is_name = part.starts_with('{') && part.ends_with('}');
        if (is_name) part = part.substr(1, part.size() - 2);
        if (is_name && part.empty()) refuse("{} needs a name");
        if (part.find_first_of("{}") != std::string_view::npos) refuse("a {name} is a whole segment");
        for (const segment& before : made.segments) {
            if (is_name && before.is_name && before.text == part) refuse("it has the same {name} twice");
        }
        made.segments.push_back(segment{std::string(part), is_name});
    }
    routes_.push_back(std::move(made));
    return *this;
}

inline bool router::route::matches(const std::vector<std::string>& path, path_parameters& parameters) const {
    if (path.size() != segments.size()) return false;
    for (std::size_t at = 0; at < path.size(); ++at) {
        if (segments[at].is_name ? path[at].empty() : path[at] != segments[at].text) return false;
    }
    for (std::size_t at = 0; at < path.size(); ++at) {
        if (segments[at].is_name) parameters.add(segments[at].text, path[at]);
    }
    return true;
}

inline task<> router::operator()(scope what, receive in, send out) const {
    std::vector<std::string> path;
    for (std::string_view part : split(what.raw_path()))
        path.push_back(http::decode_path(part).value_or(std::string()));
    for (const route& candidate : routes_) {
        path_parameters parameters;
        if (candidate.type != what.type() || !candidate.matches(path, parameters)) continue;
        co_await candidate.app(what.with(std::move(parameters)), in, out);
        co_return;
    }
    co_await not_found(out);
}

inline task<> router::not_found(send out) {
    co_await out(http_response_start(404).header("content-type", "text/plain; charset=utf-8"));
    co_await out(http_response_body("404: there is nothing at this path\n"));
}
}  // namespace ferry::inline FERRY_ABI::app
