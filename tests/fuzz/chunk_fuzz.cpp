// tests/fuzz/chunk_fuzz.cpp - any octets as a chunked body, against a decoder that has all of them at once
// SPDX-License-Identifier: BSL-1.0
#include <ferry/http/detail/chunk_parser.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/fuzz.hpp"

namespace {
using ferry::http::detail::chunk_parser;
using ferry::http::detail::step;
using ferry_test::must;

constexpr std::uint64_t max_body = 1000;
constexpr std::size_t max_extensions = 20;

class chunk_log {
public:
    void feed(std::string_view piece) {
        const std::vector<char> exact(piece.begin(), piece.end());
        std::string_view bytes(exact.data(), exact.size());
        while (last_ == step::need_more) {
            std::string_view data;
            last_ = parser_.read(bytes, data);
            if (last_ == step::data) {
                must(!data.empty(), "an empty piece of a body");
                must(data.data() >= exact.data() && data.data() + data.size() <= exact.data() + exact.size(),
                     "a piece of a body from elsewhere");
                body_ += data;
                last_ = step::need_more;
            } else if (last_ == step::need_more) {
                must(bytes.empty(), "it wants more and has not read all");
                break;
            }
        }
        consumed_ += exact.size() - bytes.size();
    }
    bool operator==(const chunk_log& other) const {
        return last_ == other.last_ && body_ == other.body_ && consumed_ == other.consumed_ &&
               parser_.error().reason() == other.parser_.error().reason();
    }
    [[nodiscard]] step last() const { return last_; }
    [[nodiscard]] const std::string& body() const { return body_; }
    [[nodiscard]] std::size_t consumed() const { return consumed_; }

private:
    chunk_parser parser_{max_body, max_extensions};
    step last_ = step::need_more;
    std::string body_;
    std::size_t consumed_ = 0;
};

/// RFC 9112 7.1 to the letter, but for whitespace around extensions: the body, and how many octets it took; nothing for
/// what is wrong, too large or cut.
struct decoded {
    std::string body;
    std::size_t consumed;
};
std::optional<decoded> decode(std::string_view octets) {
    decoded result{{}, 0};
    std::size_t extensions = 0;
    for (std::string_view rest = octets;;) {
        const std::size_t line_end = rest.find("\r\n");
        if (line_end == std::string_view::npos) return std::nullopt;
        const std::string_view line = rest.substr(0, line_end);
        rest.remove_prefix(line_end + 2);
        const std::size_t digits = line.find_first_not_of("0123456789abcdefABCDEF");
        const std::string_view number = line.substr(0, digits);
        if (number.empty()) return std::nullopt;
        if (digits != std::string_view::npos) {
            if (line[digits] != ';') return std::nullopt;
            for (const char c : line.substr(digits + 1)) {
                if (c != '\t' && (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)) return std::nullopt;
            }
            extensions += line.size() - digits - 1;
        }
        const std::size_t significant = number.find_first_not_of('0');
        const std::size_t zeros = significant == std::string_view::npos ? number.size() - 1 : significant;
        // The first zero of "05" is free, as is the only one of "0".
        extensions += zeros == 0 ? 0 : significant == std::string_view::npos ? zeros : zeros - 1;
        if (extensions > max_extensions || number.size() - zeros > 16) return std::nullopt;
        std::uint64_t size = 0;
        for (const char c : number) size = 16 * size + static_cast<std::uint64_t>(ferry::http::detail::hex_value(c));
        if (size == 0) {
            result.consumed = octets.size() - rest.size();
            return result;
        }
        if (size > max_body - result.body.size() || rest.size() < size + 2) return std::nullopt;
        result.body += rest.substr(0, size);
        if (rest.substr(size, 2) != "\r\n") return std::nullopt;
        rest.remove_prefix(size + 2);
    }
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view octets = ferry_test::view_of(data, size);
    chunk_log whole, octetwise, cut;
    whole.feed(octets);
    ferry_test::feed_octetwise(octetwise, octets);
    ferry_test::feed_cut(cut, octets);
    must(whole == octetwise, "octet by octet it is another body");
    must(whole == cut, "cut it is another body");
    must(whole.body().size() <= max_body, "the body is beyond its limit");
    const std::optional<decoded> expected = decode(octets);
    must(expected.has_value() == (whole.last() == step::done), "the decoder disagrees whether it is a body");
    if (expected) {
        must(expected->body == whole.body(), "the decoder has another body");
        must(expected->consumed == whole.consumed(), "the decoder has another end");
    }
    return 0;
}
