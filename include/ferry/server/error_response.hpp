// ferry/server/error_response.hpp - how a server refuses a request itself
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/http/writer.hpp>

#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Writes a complete response, the connection's last: one line of text, "400: why".
inline void write_error_response(http::response_writer& to, std::string_view date, int status, std::string_view why,
                                 http::headers fields = http::headers()) {
    fields.set("content-type", "text/plain; charset=utf-8");
    to.date(date).close_connection().start(status, fields);
    to.body(std::to_string(status).append(": ").append(why).append("\n"), false);
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
