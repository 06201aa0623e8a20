// ferry/data/json.hpp - values from and to JSON text (RFC 8259)
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/data/utf8.hpp>
#include <ferry/data/value.hpp>

#include <locale.h>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace ferry::inline FERRY_ABI {
/// Text that is not JSON, or holds what a value cannot.
class json_error : public std::runtime_error {
public:
    json_error(const std::string& what, std::size_t offset)
        : std::runtime_error("json: " + what + " at offset " + std::to_string(offset)), offset_(offset) {}
    /// Of the octet where the text went wrong, counted from 0.
    [[nodiscard]] std::size_t offset() const noexcept { return offset_; }

private:
    std::size_t offset_;
};

namespace json {
/// How deep lists and maps may be nested; the parser's stack grows with the depth of its input.
inline constexpr std::size_t default_max_depth = 64;

/// Reads exactly one value, with whitespace around it. A number without fraction and exponent that fits is an integer,
/// every other one a real. Of a repeated key the last value counts.
///
/// Errors  json_error: any departure from RFC 8259, invalid UTF-8, half of a surrogate pair, a number beyond double,
///         too deep a nesting.
[[nodiscard]] value parse(std::string_view text, std::size_t max_depth = default_max_depth);

/// Writes compact JSON: keys in the order of the map, UTF-8 as it is, control characters escaped, reals so that they
/// come back the same and come back as reals.
///
/// Errors  value_error for what JSON cannot say: bytes, infinities and NaN, text that is not UTF-8.
[[nodiscard]] std::string dump(const value& from);
}  // namespace json

// ---- implementation ---------------------------------------------------------------
namespace json::detail {
class reader {
public:
    reader(std::string_view text, std::size_t max_depth) noexcept : text_(text), depth_left_(max_depth) {}

    value document() {
        value result = item();
        skip_space();
        if (at_ != text_.size()) fail("text after the value");
        return result;
    }

private:
    [[noreturn]] void fail(const char* what) const { throw json_error(what, at_); }
    /// The next octet, or NUL at the end: no JSON token begins with it.
    [[nodiscard]] char peek() const noexcept { return at_ < text_.size() ? text_[at_] : '\0'; }
    [[nodiscard]] bool skip(char wanted) noexcept {
        if (peek() != wanted || at_ == text_.size()) return false;
        ++at_;
        return true;
    }
    void skip_space() noexcept {
        while (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t') ++at_;
    }
    [[nodiscard]] bool skip_digits() noexcept {
        const std::size_t begin = at_;
        while (peek() >= '0' && peek() <= '9') ++at_;
        return at_ != begin;
    }
    value word(std::string_view wanted, value meaning) {
        if (text_.substr(at_, wanted.size()) != wanted) fail("expected a value");
        at_ += wanted.size();
        return meaning;
    }
    void enter() {
        if (depth_left_ == 0) fail("lists and maps nested too deep");
        --depth_left_;
        ++at_;
        skip_space();
    }
    void leave() noexcept { ++depth_left_; }

    value item();
    value list();
    value map();
    value number();
    double real(std::string_view digits) const;
    std::string string();
    void escape(std::string& out);
    std::uint32_t four_hex_digits();

    std::string_view text_;
    std::size_t at_ = 0;
    std::size_t depth_left_;
};

inline value reader::item() {
    skip_space();
    switch (peek()) {
        case '{':
            return map();
        case '[':
            return list();
        case '"':
            return string();
        case 't':
            return word("true", true);
        case 'f':
            return word("false", false);
        case 'n':
            return word("null", nullptr);
        default:
            return number();
    }
}

inline value reader::list() {
    enter();
    std::vector<value> items;
    if (!skip(']')) {
        do {
            items.push_back(item());
            skip_space();
        } while (skip(','));
        if (!skip(']')) fail("expected ',' or ']'");
    }
    leave();
    return value::list(std::move(items));
}

inline value reader::map() {
    enter();
    std::vector<value::entry> entries;
    if (!skip('}')) {
        do {
            skip_space();
            if (peek() != '"') fail("expected a key");
            std::string key = string();
            skip_space();
            if (!skip(':')) fail("expected ':'");
            entries.emplace_back(std::move(key), item());
            skip_space();
        } while (skip(','));
        if (!skip('}')) fail("expected ',' or '}'");
    }
    leave();
    return value::map(std::move(entries));
}

inline value reader::number() {
    const std::size_t begin = at_;
    bool whole = true;
    const bool negative = skip('-');
    if (!skip('0') && !skip_digits()) fail(negative ? "expected a digit" : "expected a value");
    if (skip('.')) {
        whole = false;
        if (!skip_digits()) fail("expected a digit");
    }
    if (skip('e') || skip('E')) {
        whole = false;
        if (!skip('+')) static_cast<void>(skip('-'));
        if (!skip_digits()) fail("expected a digit");
    }
    const std::string_view digits = text_.substr(begin, at_ - begin);
    if (whole) {
        std::int64_t integer = 0;
        if (std::from_chars(digits.data(), digits.data() + digits.size(), integer).ec == std::errc()) return integer;
    }
    const double result = real(digits);
    if (!std::isfinite(result)) throw json_error("a number beyond double", begin);
    return result;
}

inline double reader::real(std::string_view digits) const {
    // std::strtod would read the decimal point of the program's locale; libc++ 19 has no std::from_chars for double.
    static const locale_t c_locale = ::newlocale(LC_ALL_MASK, "C", nullptr);
    return ::strtod_l(std::string(digits).c_str(), nullptr, c_locale);
}

inline std::string reader::string() {
    ++at_;
    std::string out;
    for (;;) {
        const std::size_t begin = at_;
        while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
               static_cast<unsigned char>(text_[at_]) >= 0x20) {
            ++at_;
        }
        const std::string_view plain = text_.substr(begin, at_ - begin);
        if (!is_utf8(plain)) throw json_error("text that is not UTF-8", begin);
        out += plain;
        if (skip('"')) return out;
        if (at_ == text_.size()) fail("text without its closing quote");
        if (!skip('\\')) fail("a control character in text");
        escape(out);
    }
}

inline void reader::escape(std::string& out) {
    const char kind = peek();
    constexpr std::string_view names = "\"\\/bfnrt";
    const std::size_t which = names.find(kind);
    if (which != std::string_view::npos) {
        ++at_;
        out += std::string_view("\"\\/\b\f\n\r\t")[which];
        return;
    }
    if (!skip('u')) fail("an unknown escape");
    std::uint32_t code = four_hex_digits();
    if (code >= 0xD800 && code <= 0xDFFF) {
        const bool high = code < 0xDC00;
        const std::uint32_t low = high && skip('\\') && skip('u') ? four_hex_digits() : 0;
        if (low < 0xDC00 || low > 0xDFFF) fail("half of a surrogate pair");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    const auto append = [&out](std::uint32_t octet) { out += static_cast<char>(static_cast<unsigned char>(octet)); };
    if (code < 0x80) return append(code);
    if (code < 0x800) {
        append(0xC0 | code >> 6);
    } else {
        if (code < 0x10000) {
            append(0xE0 | code >> 12);
        } else {
            append(0xF0 | code >> 18);
            append(0x80 | (code >> 12 & 0x3F));
        }
        append(0x80 | (code >> 6 & 0x3F));
    }
    append(0x80 | (code & 0x3F));
}

inline std::uint32_t reader::four_hex_digits() {
    std::uint32_t code = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (error != std::errc() || end != digits.data() + 4) fail("expected four hexadecimal digits");
    at_ += 4;
    return code;
}

inline void append_string(std::string& out, std::string_view text) {
    if (!is_utf8(text)) throw value_error("json: text that is not UTF-8 has no JSON form; make it bytes, in base64");
    out += '"';
    std::size_t begin = 0;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const auto octet = static_cast<unsigned char>(text[at]);
        if (octet >= 0x20 && octet != '"' && octet != '\\') continue;
        out.append(text, begin, at - begin);
        begin = at + 1;
        constexpr std::string_view named = "\"\\\b\f\n\r\t";
        const std::size_t which = named.find(text[at]);
        if (which != std::string_view::npos) {
            out += '\\';
            out += std::string_view("\"\\bfnrt")[which];
        } else {
            constexpr const char* hex = "0123456789abcdef";
            out.append("\\u00").append(1, hex[octet >> 4]).append(1, hex[octet & 15]);
        }
    }
    out.append(text, begin);
    out += '"';
}

inline void append_real(std::string& out, double d) {
    if (!std::isfinite(d)) throw value_error("json: infinities and NaN have no JSON form");
    char digits[32];  // the longest shortest form is -2.2250738585072014e-308
    const std::string_view shortest(digits,
                                    static_cast<std::size_t>(std::to_chars(digits, digits + 32, d).ptr - digits));
    out += shortest;
    if (shortest.find_first_of(".e") == std::string_view::npos) out += ".0";
}

inline void append(std::string& out, const value& from) {
    switch (from.kind()) {
        case value_kind::null:
            out += "null";
            return;
        case value_kind::boolean:
            out += from.as_bool() ? "true" : "false";
            return;
        case value_kind::integer:
            out += std::to_string(from.as_int());
            return;
        case value_kind::real:
            append_real(out, from.as_double());
            return;
        case value_kind::text:
            append_string(out, from.as_text());
            return;
        case value_kind::bytes:
            throw value_error("json: bytes have no JSON form; encode them as text, in base64");
        case value_kind::list: {
            char before = '[';
            for (const value& item : from.as_list()) {
                out += std::exchange(before, ',');
                append(out, item);
            }
            out += from.as_list().empty() ? "[]" : "]";
            return;
        }
        case value_kind::map: {
            char before = '{';
            for (const auto& [key, item] : from.as_map()) {
                out += std::exchange(before, ',');
                append_string(out, key);
                out += ':';
                append(out, item);
            }
            out += from.as_map().empty() ? "{}" : "}";
            return;
        }
    }
}
}  // namespace json::detail

inline value json::parse(std::string_view text, std::size_t max_depth) {
    return detail::reader(text, max_depth).document();
}

inline std::string json::dump(const value& from) {
    std::string out;
    detail::append(out, from);
    return out;
}
}  // namespace ferry::inline FERRY_ABI
