// ferry/http/detail/chunk_parser.hpp - takes the chunks of a chunked body apart
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/detail/grammar.hpp>
#include <ferry/http/detail/step.hpp>
#include <ferry/http/status.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ferry::inline FERRY_ABI::http::detail {
/// RFC 9112 7.1: the chunks of a body, without the trailer section that follows the last one. Strict: at least one
/// hexadecimal digit, CR LF after each size and each chunk, no whitespace before an extension. Extensions are checked
/// for control characters, ignored, and limited in all; zeros in front of a size count as extension.
class chunk_parser {
public:
    chunk_parser(std::uint64_t max_body_bytes, std::size_t max_extension_bytes) noexcept
        : body_left_(max_body_bytes), extension_left_(max_extension_bytes) {}

    /// Takes octets off the front of `bytes`. data: `piece` is the view of some chunk data among them.
    /// need_more: all are read. done: the line of the last chunk has been read. failed: see error().
    [[nodiscard]] step read(std::string_view& bytes, std::string_view& piece) noexcept;
    [[nodiscard]] const parse_error& error() const noexcept { return error_; }

private:
    enum class state { first_digit, digits, extension, size_lf, data, data_cr, data_lf };

    step advance(const char*& at, const char* end, std::string_view& piece) noexcept;
    step add_digit(int digit) noexcept;
    step end_size() noexcept;
    step fail(int status, std::string_view reason) noexcept {
        error_ = parse_error(status, reason);
        return step::failed;
    }

    std::uint64_t size_ = 0;  // of the chunk; in state data what is left of it
    std::uint64_t body_left_;
    std::size_t extension_left_;
    state state_ = state::first_digit;
    parse_error error_;
};

// ---- implementation ---------------------------------------------------------------
inline step chunk_parser::read(std::string_view& bytes, std::string_view& piece) noexcept {
    const char* at = bytes.data();
    const char* const end = at + bytes.size();
    step result = step::need_more;
    while (at != end && result == step::need_more) result = advance(at, end, piece);
    bytes.remove_prefix(static_cast<std::size_t>(at - bytes.data()));
    return result;
}

/// One run of octets; `at != end`.
inline step chunk_parser::advance(const char*& at, const char* end, std::string_view& piece) noexcept {
    switch (state_) {
        case state::first_digit:
        case state::digits: {
            if (const int digit = hex_value(*at); digit >= 0) {
                if (const step added = add_digit(digit); added == step::failed) return added;
                state_ = state::digits;
            } else if (state_ == state::first_digit || (*at != '\r' && *at != ';')) {
                return fail(400, "a chunk size is not a hexadecimal number");
            } else {
                state_ = *at == '\r' ? state::size_lf : state::extension;
            }
            ++at;
            return step::need_more;
        }
        case state::extension: {
            const std::size_t allowed = std::min(static_cast<std::size_t>(end - at), extension_left_);
            const char* const stop = skip(at, at + allowed, value_octet);
            extension_left_ -= static_cast<std::size_t>(stop - at);
            at = stop;
            if (at == end) return step::need_more;
            if (*at != '\r') {
                return is(*at, value_octet) ? fail(413, "the chunk extensions are too long")
                                            : fail(400, "a chunk extension has a control character, or LF without CR");
            }
            ++at;
            state_ = state::size_lf;
            return step::need_more;
        }
        case state::size_lf:
            if (*at != '\n') return fail(400, "a chunk size ends in CR without LF");
            ++at;
            return end_size();
        case state::data: {
            const std::uint64_t available = std::min(size_, static_cast<std::uint64_t>(end - at));
            piece = std::string_view(at, static_cast<std::size_t>(available));
            at += available;
            size_ -= available;
            if (size_ == 0) state_ = state::data_cr;
            return step::data;
        }
        case state::data_cr:
            if (*at != '\r') return fail(400, "chunk data is longer than its size");
            ++at;
            state_ = state::data_lf;
            return step::need_more;
        case state::data_lf:
            if (*at != '\n') return fail(400, "chunk data ends in CR without LF");
            ++at;
            state_ = state::first_digit;
            return step::need_more;
    }
    return step::failed;
}

inline step chunk_parser::add_digit(int digit) noexcept {
    if (size_ >> 60 != 0) return fail(413, "a chunk size does not fit in 64 bits");
    size_ = 16 * size_ + static_cast<std::uint64_t>(digit);
    if (size_ == 0 && state_ == state::digits) {
        if (extension_left_ == 0) return fail(413, "a chunk size has too many digits");
        --extension_left_;
    }
    return step::need_more;
}

inline step chunk_parser::end_size() noexcept {
    if (size_ == 0) return step::done;
    if (size_ > body_left_) return fail(413, "the body is too large");
    body_left_ -= size_;
    state_ = state::data;
    return step::need_more;
}
}  // namespace ferry::inline FERRY_ABI::http::detail
