// ferry/server/http_date.hpp - the Date of a response, made once a second
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <cstdio>
#include <ctime>
#include <string_view>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 5.6.7), whatever the locale.
class http_date {
public:
    /// The time now. The view is of this object, and changes with it.
    [[nodiscard]] std::string_view now() { return at(std::time(nullptr)); }

    [[nodiscard]] std::string_view at(std::time_t when) {
        if (when != made_for_) {
            static constexpr const char* days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
            static constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
            std::tm parts{};
            ::gmtime_r(&when, &parts);
            std::snprintf(text_, sizeof text_, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[parts.tm_wday],
                          parts.tm_mday, months[parts.tm_mon], parts.tm_year + 1900, parts.tm_hour, parts.tm_min,
                          parts.tm_sec);
            made_for_ = when;
        }
        return text_;
    }

private:
    std::time_t made_for_ = -1;
    char text_[64] = {};
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
