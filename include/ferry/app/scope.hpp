// ferry/app/scope.hpp - what a connection is
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/http/request_head.hpp>
#include <ferry/http/uri.hpp>
#include <ferry/net/address.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace ferry::inline FERRY_ABI::app {
enum class protocol { http, websocket };

/// The facts of one request, or of one WebSocket, and what middleware adds to them in typed slots.
///
/// A cheap value: copies share the facts, and with() returns a copy that has one thing more, so whoever was given a
/// scope never sees another's changes.
///
/// Thread-safety  A copy may go to another thread; the facts are never changed.
class scope {
public:
    scope(protocol type, http::request_head head, net::address client, net::address server,
          std::vector<std::string> subprotocols = {});

    [[nodiscard]] protocol type() const noexcept { return facts_->type; }
    [[nodiscard]] bool is_http() const noexcept { return type() == protocol::http; }
    [[nodiscard]] bool is_websocket() const noexcept { return type() == protocol::websocket; }
    [[nodiscard]] std::string_view method() const noexcept { return facts_->head.method(); }
    /// "1.0" or "1.1".
    [[nodiscard]] std::string_view http_version() const noexcept { return facts_->head.version(); }
    /// Percent escapes decoded; begins with "/".
    [[nodiscard]] std::string_view path() const noexcept { return facts_->path; }
    /// As received.
    [[nodiscard]] std::string_view raw_path() const noexcept { return facts_->head.uri().path(); }
    /// As received, without the "?".
    [[nodiscard]] std::string_view query_string() const noexcept { return facts_->head.uri().query(); }
    [[nodiscard]] const http::headers& headers() const noexcept { return facts_->head.headers(); }
    /// The first field of that name; empty if there is none.
    [[nodiscard]] std::string_view header(std::string_view name) const noexcept {
        return headers().find(name).value_or(std::string_view());
    }
    /// The peer of the socket, never what a header claims.
    [[nodiscard]] const net::address& client() const noexcept { return facts_->client; }
    [[nodiscard]] const net::address& server() const noexcept { return facts_->server; }
    [[nodiscard]] const http::request_head& head() const noexcept { return facts_->head; }
    /// Of a WebSocket: what the client offers to speak, in its order of preference. websocket_accept may choose one.
    [[nodiscard]] const std::vector<std::string>& subprotocols() const noexcept { return facts_->subprotocols; }

    /// A copy that holds this object in the slot of its type, in place of what was there.
    template <class T>
    [[nodiscard]] scope with(T object) const;
    /// What is in the slot of that type; null if nothing is.
    template <class T>
    [[nodiscard]] const T* get() const noexcept;

private:
    struct facts {
        protocol type;
        http::request_head head;
        std::string path;
        net::address client;
        net::address server;
        std::vector<std::string> subprotocols;
    };
    /// Slots form a list that copies share; the newest of a type hides the others.
    struct slot {
        std::string_view type;
        std::shared_ptr<const void> object;
        std::shared_ptr<const slot> next;
    };

    /// The same in every shared object, without RTTI.
    template <class T>
    [[nodiscard]] static constexpr std::string_view type_name() noexcept {
        return __PRETTY_FUNCTION__;
    }

    std::shared_ptr<const facts> facts_;
    std::shared_ptr<const slot> slots_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline scope::scope(protocol type, http::request_head head, net::address client, net::address server,
                    std::vector<std::string> subprotocols) {
    std::string path = http::decode_path(head.uri().path()).value_or("/");
    facts_ = std::make_shared<const facts>(
        facts{type, std::move(head), std::move(path), client, server, std::move(subprotocols)});
}

template <class T>
scope scope::with(T object) const {
    scope copy = *this;
    copy.slots_ = std::make_shared<const slot>(
        slot{type_name<T>(), std::make_shared<const T>(std::move(object)), std::move(copy.slots_)});
    return copy;
}

template <class T>
const T* scope::get() const noexcept {
    for (const slot* at = slots_.get(); at != nullptr; at = at->next.get()) {
        if (at->type == type_name<T>()) return static_cast<const T*>(at->object.get());
    }
    return nullptr;
}
}  // namespace ferry::inline FERRY_ABI::app
