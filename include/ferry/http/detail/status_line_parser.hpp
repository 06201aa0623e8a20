// ferry/http/detail/status_line_parser.hpp - reads a status line, octet by octet if need be
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/detail/grammar.hpp>
#include <ferry/http/detail/step.hpp>
#include <ferry/http/status.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI::http::detail {
/// RFC 9112 4: HTTP-version SP status-code SP [reason-phrase] CRLF, with single spaces. The one thing it forgives, since
/// it leaves no doubt, is a missing space where there is no reason.
class status_line_parser {
public:
    explicit status_line_parser(std::size_t max_bytes) noexcept : bytes_left_(max_bytes) {}

    /// Takes octets off the front of `bytes`. need_more: all of them are read. failed: see error().
    [[nodiscard]] step read(std::string_view& bytes, std::string& reason);
    [[nodiscard]] bool started() const noexcept { return pattern_at_ != 0; }
    // After done.
    [[nodiscard]] int status() const noexcept { return status_; }
    /// y of HTTP/1.y.
    [[nodiscard]] int minor_version() const noexcept { return minor_; }
    [[nodiscard]] const parse_error& error() const noexcept { return error_; }

private:
    enum class state { start, before_reason, reason, lf };

    step advance(const char*& at, const char* end, std::string& reason);
    step fail(std::string_view reason) noexcept {
        error_ = parse_error(400, reason);
        return step::failed;
    }

    std::size_t bytes_left_;
    std::size_t pattern_at_ = 0;  // how many octets of "HTTP/x.y sss" have been read
    int major_ = 0;
    int minor_ = 0;
    int status_ = 0;
    state state_ = state::start;
    parse_error error_;
};

// ---- implementation ---------------------------------------------------------------
inline step status_line_parser::read(std::string_view& bytes, std::string& reason) {
    const char* at = bytes.data();
    const char* const end = at + std::min(bytes.size(), bytes_left_);
    step result = step::need_more;
    while (at != end && result == step::need_more) result = advance(at, end, reason);
    const auto taken = static_cast<std::size_t>(at - bytes.data());
    bytes.remove_prefix(taken);
    bytes_left_ -= taken;
    if (result == step::need_more && !bytes.empty()) return fail("the status line is too long");
    return result;
}

/// One run of octets; `at != end`.
inline step status_line_parser::advance(const char*& at, const char* end, std::string& reason) {
    switch (state_) {
        case state::start: {
            constexpr std::string_view pattern = "HTTP/x.y sss";
            const char expected = pattern[pattern_at_];
            const bool digit = expected == 'x' || expected == 'y' || expected == 's';
            if (digit ? !is_digit(*at) : *at != expected) {
                return fail("the response does not begin with an HTTP version and a status");
            }
            if (expected == 'x') major_ = *at - '0';
            if (expected == 'y') minor_ = *at - '0';
            if (expected == 's') status_ = 10 * status_ + (*at - '0');
            ++at;
            if (++pattern_at_ == pattern.size()) state_ = state::before_reason;
            return step::need_more;
        }
        case state::before_reason:
            if (*at != ' ' && *at != '\r') return fail("the status is not a number of three digits");
            state_ = *at == ' ' ? state::reason : state::lf;
            ++at;
            return step::need_more;
        case state::reason: {
            const char* const stop = skip(at, end, value_octet);
            reason.append(at, stop);
            at = stop;
            if (at == end) return step::need_more;
            if (*at != '\r') return fail("the reason phrase has a control character, or LF without CR");
            ++at;
            state_ = state::lf;
            return step::need_more;
        }
        case state::lf:
            if (*at != '\n') return fail("CR without LF in the status line");
            ++at;
            if (major_ != 1) return fail("the HTTP version is not 1.0 or 1.1");
            if (status_ < 100) return fail("the status is below 100");
            return step::done;
    }
    return step::failed;
}
}  // namespace ferry::inline FERRY_ABI::http::detail
