// ferry/http/detail/body_parser.hpp - reads a body, however it is framed, and its trailers
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/body_framing.hpp>
#include <ferry/http/detail/chunk_parser.hpp>
#include <ferry/http/detail/field_parser.hpp>
#include <ferry/http/detail/step.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/http/status.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ferry::inline FERRY_ABI::http::detail {
/// What requests and responses have in common after their heads. Keeps no octet of the body.
class body_parser {
public:
    body_parser(std::uint64_t max_body_bytes, std::size_t max_extension_bytes) noexcept
        : max_body_bytes_(max_body_bytes), chunks_(max_body_bytes, max_extension_bytes) {}

    /// Fails if the announced length is above the limit.
    [[nodiscard]] parse_error begin(const body_framing& framing) noexcept;
    /// Takes octets off the front of `bytes`. data: `piece` is the view of some of the body among them. need_more: all are
    /// read. done: body and trailers are complete. failed: see error(). `section` has read the head, whose limits go on.
    [[nodiscard]] step read(std::string_view& bytes, std::string_view& piece, field_parser& section, headers& trailers);
    /// Whether the end of the stream is the end of the body.
    [[nodiscard]] bool ends_with_stream() const noexcept { return phase_ == phase::until_close; }
    [[nodiscard]] const parse_error& error() const noexcept { return error_; }

private:
    enum class phase { fixed, until_close, chunks, trailers };

    step fail(const parse_error& error) noexcept {
        error_ = error;
        return step::failed;
    }

    std::uint64_t max_body_bytes_;
    std::uint64_t left_ = 0;  // of a body of known length, or of the limit on one without
    phase phase_ = phase::fixed;
    chunk_parser chunks_;
    parse_error error_;
};

// ---- implementation ---------------------------------------------------------------
inline parse_error body_parser::begin(const body_framing& framing) noexcept {
    if (framing.length() > max_body_bytes_) return parse_error(413, "the body is too large");
    left_ = framing.length();
    if (framing.how() == body_framing::kind::chunked) phase_ = phase::chunks;
    if (framing.how() == body_framing::kind::until_close) {
        phase_ = phase::until_close;
        left_ = max_body_bytes_;
    }
    return parse_error();
}

inline step body_parser::read(std::string_view& bytes, std::string_view& piece, field_parser& section,
                              headers& trailers) {
    switch (phase_) {
        case phase::fixed:
        case phase::until_close:
            if (left_ == 0 && phase_ == phase::fixed) return step::done;
            if (bytes.empty()) return step::need_more;
            if (left_ == 0) return fail(parse_error(413, "the body is too large"));
            piece = bytes.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size())));
            bytes.remove_prefix(piece.size());
            left_ -= piece.size();
            return step::data;
        case phase::chunks:
            if (const step found = chunks_.read(bytes, piece); found != step::done) {
                return found == step::failed ? fail(chunks_.error()) : found;
            }
            section.continue_with_trailers();
            phase_ = phase::trailers;
            [[fallthrough]];
        case phase::trailers:
            if (const step found = section.read(bytes, trailers); found != step::failed) return found;
            return fail(section.error());
    }
    return step::failed;
}
}  // namespace ferry::inline FERRY_ABI::http::detail
