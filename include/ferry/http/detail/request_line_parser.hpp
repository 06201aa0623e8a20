// ferry/http/detail/request_line_parser.hpp - reads a request line, octet by octet if need be
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/detail/grammar.hpp>
#include <ferry/http/detail/step.hpp>
#include <ferry/http/status.hpp>
#include <ferry/http/uri.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI::http::detail {
/// RFC 9112 3: method SP request-target SP HTTP-version CRLF, with single spaces. Empty lines before it are skipped
/// (2.2). Method and target are written straight into the strings given to read(), so nothing is kept or copied twice.
class request_line_parser {
public:
    explicit request_line_parser(std::size_t max_bytes) noexcept : bytes_left_(max_bytes) {}

    /// Takes octets off the front of `bytes`. need_more: all of them are read. failed: see error().
    [[nodiscard]] step read(std::string_view& bytes, std::string& method, std::string& target);
    /// Whether an octet of the method has been read.
    [[nodiscard]] bool started() const noexcept { return state_ != state::start && state_ != state::start_lf; }
    /// After done: y of HTTP/1.y.
    [[nodiscard]] int minor_version() const noexcept { return minor_; }
    [[nodiscard]] const parse_error& error() const noexcept { return error_; }

private:
    enum class state { start, start_lf, method, target, version, cr, lf };

    step advance(const char*& at, const char* end, std::string& method, std::string& target);
    step check(std::string_view method, std::string_view target) noexcept;
    step fail(int status, std::string_view reason) noexcept {
        error_ = parse_error(status, reason);
        return step::failed;
    }

    std::size_t bytes_left_;
    std::size_t version_at_ = 0;  // how many octets of "HTTP/x.y" have been read
    int major_ = 0;
    int minor_ = 0;
    state state_ = state::start;
    parse_error error_;
};

// ---- implementation ---------------------------------------------------------------
inline step request_line_parser::read(std::string_view& bytes, std::string& method, std::string& target) {
    const char* at = bytes.data();
    const char* const end = at + std::min(bytes.size(), bytes_left_);
    step result = step::need_more;
    while (at != end && result == step::need_more) result = advance(at, end, method, target);
    const auto taken = static_cast<std::size_t>(at - bytes.data());
    bytes.remove_prefix(taken);
    bytes_left_ -= taken;
    if (result == step::need_more && !bytes.empty()) return fail(414, "the request line is too long");
    return result;
}

/// One run of octets; `at != end`.
inline step request_line_parser::advance(const char*& at, const char* end, std::string& method, std::string& target) {
    switch (state_) {
        case state::start:
            if (*at == '\r') {
                ++at;
                state_ = state::start_lf;
                return step::need_more;
            }
            if (!is(*at, token_octet)) return fail(400, "the request does not begin with a method");
            state_ = state::method;
            [[fallthrough]];
        case state::method: {
            const char* const stop = skip(at, end, token_octet);
            method.append(at, stop);
            at = stop;
            if (at == end) return step::need_more;
            if (*at != ' ') return fail(400, "the method has an invalid character, or no target follows it");
            ++at;
            state_ = state::target;
            return step::need_more;
        }
        case state::target: {
            const char* const stop = skip(at, end, target_octet);
            target.append(at, stop);
            at = stop;
            if (at == end) return step::need_more;
            if (*at != ' ') return fail(400, "the target has an invalid character, or no version follows it");
            ++at;
            state_ = state::version;
            return step::need_more;
        }
        case state::version: {
            constexpr std::string_view pattern = "HTTP/x.y";
            const char expected = pattern[version_at_];
            const bool digit = expected == 'x' || expected == 'y';
            if (digit ? !is_digit(*at) : *at != expected) return fail(400, "the request line has no HTTP version");
            if (digit) (expected == 'x' ? major_ : minor_) = *at - '0';
            ++at;
            if (++version_at_ == pattern.size()) state_ = state::cr;
            return step::need_more;
        }
        case state::cr:
            if (*at != '\r') return fail(400, "the HTTP version is not followed by CR LF");
            ++at;
            state_ = state::lf;
            return step::need_more;
        case state::start_lf:
        case state::lf:
            if (*at != '\n') return fail(400, "CR without LF in the request line");
            ++at;
            if (state_ == state::lf) return check(method, target);
            state_ = state::start;
            return step::need_more;
    }
    return step::failed;
}

inline step request_line_parser::check(std::string_view method, std::string_view target) noexcept {
    if (major_ != 1) return fail(505, "the HTTP version is not 1.0 or 1.1");
    if (method == "CONNECT") return fail(501, "CONNECT is for proxies");
    const std::optional<request_target> parts = request_target::split(target);
    if (!parts) return fail(400, "the target is neither a path nor an http URL");
    if (parts->form() == target_form::asterisk && method != "OPTIONS") {
        return fail(400, "the target * is for OPTIONS only");
    }
    return step::done;
}
}  // namespace ferry::inline FERRY_ABI::http::detail
