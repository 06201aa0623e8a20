// ferry/net/resolver.hpp - the addresses behind a host's name
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/task.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/net/address.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <netdb.h>
#include <sys/socket.h>

namespace ferry::inline FERRY_ABI::net {
/// The category of the codes that getaddrinfo returns, such as EAI_NONAME.
[[nodiscard]] const std::error_category& resolver_category() noexcept;

/// Looks a name or numeric text up, best address first; never empty. "unix:PATH" is that path, whatever the port. It
/// blocks, for seconds if the name servers do not answer: call it before a loop runs, or on a pool's thread.
///
/// Thread-safety  Any thread.
/// Errors         std::system_error that names the host; blocking_error inside a loop's turn.
[[nodiscard]] std::vector<address> resolve_blocking(const std::string& host, std::uint16_t port);

/// The same for a task: a thread of the default pool looks the name up. A cancelled task leaves the call behind, since
/// nothing ends it. Numeric text and paths are read in place.
[[nodiscard]] task<std::vector<address>> resolve(std::string host, std::uint16_t port);

// ---- implementation ----------------------------------------------------------------------------------------------
inline const std::error_category& resolver_category() noexcept {
    class category final : public std::error_category {
    public:
        [[nodiscard]] const char* name() const noexcept override { return "getaddrinfo"; }
        [[nodiscard]] std::string message(int code) const override { return ::gai_strerror(code); }
    };
    static const category instance;
    return instance;
}

inline std::vector<address> resolve_blocking(const std::string& host, std::uint16_t port) {
    ferry::detail::check_own_wait("resolve_blocking", host.c_str(), nullptr);
    if (host.starts_with("unix:")) return std::vector<address>(1, address::parse(host));
    ::addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    ::addrinfo* list = nullptr;
    const int code = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
    if (code != 0) {
        const std::error_code reason = code == EAI_SYSTEM ? std::error_code(errno, std::system_category())
                                                          : std::error_code(code, resolver_category());
        throw std::system_error(reason, "ferry: cannot resolve \"" + host +
                                            "\"; check the name, or give a numeric address such as 127.0.0.1");
    }
    const std::unique_ptr<::addrinfo, decltype(&::freeaddrinfo)> owner(list, &::freeaddrinfo);
    std::vector<address> found;
    for (const ::addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
        const address next = address::from_native(entry->ai_addr, entry->ai_addrlen);
        // A hosts file may well say the same twice.
        if (std::find(found.begin(), found.end(), next) == found.end()) found.push_back(next);
    }
    return found;
}

inline task<std::vector<address>> resolve(std::string host, std::uint16_t port) {
    try {
        if (host.starts_with("unix:")) co_return std::vector<address>(1, address::parse(host));
        co_return std::vector<address>(1, address(host, port));
    } catch (const std::invalid_argument&) {  // a name
    }
    co_return co_await to_thread(abandonable, &resolve_blocking, host, port);
}
}  // namespace ferry::inline FERRY_ABI::net
