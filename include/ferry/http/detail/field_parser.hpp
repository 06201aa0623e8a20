// ferry/http/detail/field_parser.hpp - reads a header or trailer section, octet by octet if need be
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/detail/grammar.hpp>
#include <ferry/http/detail/step.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/http/status.hpp>

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace ferry::inline FERRY_ABI::http::detail {
/// RFC 9112 5: field lines up to and including the empty line that ends them. No obs-fold, no bare CR or LF.
///
/// It writes names and values straight into the headers it fills, so nothing is kept or copied twice, and what a line
/// cut by the end of a read leaves behind is counted by the same limit.
class field_parser {
public:
    field_parser(std::size_t max_bytes, std::size_t max_fields) noexcept
        : bytes_left_(max_bytes), fields_left_(max_fields) {}

    /// Takes octets off the front of `bytes`. need_more: all of them are read. failed: see error().
    [[nodiscard]] step read(std::string_view& bytes, headers& fields);
    /// After done: a further section of the same message, such as its trailers, on what is left of the limits.
    void continue_with_trailers() noexcept { state_ = state::line_start; }
    [[nodiscard]] const parse_error& error() const noexcept { return error_; }

private:
    enum class state { line_start, name, before_value, value, value_lf, last_lf };

    step advance(const char*& at, const char* end, headers& fields);
    void end_field(headers& fields);
    step fail(int status, std::string_view reason) noexcept {
        error_ = parse_error(status, reason);
        return step::failed;
    }

    std::size_t bytes_left_;
    std::size_t fields_left_;
    std::size_t begin_ = 0;      // of the field's name in the text of the headers
    std::size_t name_size_ = 0;  // known from the colon on
    state state_ = state::line_start;
    parse_error error_;
};

// ---- implementation ---------------------------------------------------------------
inline step field_parser::read(std::string_view& bytes, headers& fields) {
    const char* at = bytes.data();
    const char* const end = at + std::min(bytes.size(), bytes_left_);
    step result = step::need_more;
    while (at != end && result == step::need_more) result = advance(at, end, fields);
    const auto taken = static_cast<std::size_t>(at - bytes.data());
    bytes.remove_prefix(taken);
    bytes_left_ -= taken;
    if (result == step::need_more && !bytes.empty()) return fail(431, "the header section is too large");
    return result;
}

/// One run of octets; `at != end`.
inline step field_parser::advance(const char*& at, const char* end, headers& fields) {
    switch (state_) {
        case state::line_start:
            if (*at == '\r') {
                ++at;
                state_ = state::last_lf;
                return step::need_more;
            }
            if (is_whitespace(*at)) return fail(400, "a header line starts with whitespace");
            if (fields_left_ == 0) return fail(431, "too many header fields");
            --fields_left_;
            begin_ = fields.text_.size();
            state_ = state::name;
            [[fallthrough]];
        case state::name: {
            const char* const stop = skip(at, end, token_octet);
            fields.text_.append(at, stop);
            at = stop;
            if (at == end) return step::need_more;
            name_size_ = fields.text_.size() - begin_;
            if (*at != ':') {
                return fail(400, is_whitespace(*at) ? "whitespace between a header name and its colon"
                                                    : "a header name has an invalid character or no colon");
            }
            if (name_size_ == 0) return fail(400, "a header has no name");
            ++at;
            state_ = state::before_value;
            return step::need_more;
        }
        case state::before_value:
            while (at != end && is_whitespace(*at)) ++at;
            if (at == end) return step::need_more;
            state_ = state::value;
            [[fallthrough]];
        case state::value: {
            const char* const stop = skip(at, end, value_octet);
            fields.text_.append(at, stop);
            at = stop;
            if (at == end) return step::need_more;
            if (*at != '\r') return fail(400, "a header value has a control character, or LF without CR");
            ++at;
            state_ = state::value_lf;
            return step::need_more;
        }
        case state::value_lf:
            if (*at != '\n') return fail(400, "a header line has CR without LF");
            ++at;
            end_field(fields);
            state_ = state::line_start;
            return step::need_more;
        case state::last_lf:
            if (*at != '\n') return fail(400, "the header section ends in CR without LF");
            ++at;
            return step::done;
    }
    return step::failed;
}

inline void field_parser::end_field(headers& fields) {
    const std::size_t value_begin = begin_ + name_size_;
    while (fields.text_.size() > value_begin && is_whitespace(fields.text_.back())) fields.text_.pop_back();
    fields.fields_.push_back(headers::field{begin_, name_size_, fields.text_.size() - value_begin});
}
}  // namespace ferry::inline FERRY_ABI::http::detail
