// tests/support/json.hpp - a small strict JSON reader for the vector files
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#ifndef FERRY_TEST_VECTORS_DIR
#define FERRY_TEST_VECTORS_DIR "tests/vectors"
#endif

namespace ferry_test {
/// One JSON value. Everything throws std::runtime_error: parse() on text that RFC 8259 does not allow or that names a
/// member twice, the accessors on a value of another kind, at() on a member that is not there.
class json {
public:
    json() = default;

    [[nodiscard]] static json parse(std::string_view text);
    [[nodiscard]] static json parse_file(const std::string& path);

    [[nodiscard]] bool is_null() const noexcept { return kind_ == kind::null; }
    [[nodiscard]] bool is_boolean() const noexcept { return kind_ == kind::boolean; }
    [[nodiscard]] bool is_number() const noexcept { return kind_ == kind::number; }
    [[nodiscard]] bool is_string() const noexcept { return kind_ == kind::string; }
    [[nodiscard]] bool is_array() const noexcept { return kind_ == kind::array; }
    [[nodiscard]] bool is_object() const noexcept { return kind_ == kind::object; }

    [[nodiscard]] bool boolean() const { return need(kind::boolean).number_ != 0; }
    [[nodiscard]] double number() const { return need(kind::number).number_; }
    /// The string as UTF-8.
    [[nodiscard]] const std::string& string() const { return need(kind::string).string_; }
    /// The string with each code point U+0000..U+00FF as one octet; throws on any other code point.
    [[nodiscard]] std::string octets() const;
    [[nodiscard]] const std::vector<json>& array() const { return need(kind::array).items_; }
    /// Member names of an object, in the order of the text.
    [[nodiscard]] const std::vector<std::string>& names() const { return need(kind::object).names_; }
    [[nodiscard]] bool has(std::string_view name) const { return find(name) != nullptr; }
    [[nodiscard]] const json& at(std::string_view name) const;

private:
    enum class kind { null, boolean, number, string, array, object };
    class reader;

    [[nodiscard]] const json& need(kind wanted) const;
    [[nodiscard]] const json* find(std::string_view name) const;

    kind kind_ = kind::null;
    double number_ = 0;  // also the boolean
    std::string string_;
    std::vector<json> items_;         // of an array or, beside names_, of an object
    std::vector<std::string> names_;  // of an object
};

// ---- implementation ---------------------------------------------------------------
class json::reader {
public:
    explicit reader(std::string_view text) noexcept : text_(text) {}

    json document() {
        json result = value(0);
        skip_space();
        if (at_ != text_.size()) fail("text after the value");
        return result;
    }

private:
    static constexpr int max_depth = 64;

    [[noreturn]] void fail(const char* what) const {
        throw std::runtime_error("JSON offset " + std::to_string(at_) + ": " + what);
    }
    [[nodiscard]] char peek() const {
        if (at_ == text_.size()) fail("unexpected end");
        return text_[at_];
    }
    char take() {
        const char c = peek();
        ++at_;
        return c;
    }
    void skip_space() {
        while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
    }
    bool accept(char c) {
        skip_space();
        if (peek() != c) return false;
        ++at_;
        return true;
    }
    void expect(char c) {
        if (!accept(c)) fail("unexpected character");
    }
    void expect_word(std::string_view word) {
        if (text_.substr(at_, word.size()) != word) fail("unknown word");
        at_ += word.size();
    }

    json value(int depth) {
        if (depth > max_depth) fail("nested too deeply");
        skip_space();
        json result;
        switch (peek()) {
            case '{':
                read_object(result, depth);
                break;
            case '[':
                read_array(result, depth);
                break;
            case '"':
                result.kind_ = kind::string;
                result.string_ = string();
                break;
            case 't':
                expect_word("true");
                result.kind_ = kind::boolean;
                result.number_ = 1;
                break;
            case 'f':
                expect_word("false");
                result.kind_ = kind::boolean;
                break;
            case 'n':
                expect_word("null");
                break;
            default:
                result.kind_ = kind::number;
                result.number_ = number();
        }
        return result;
    }

    void read_object(json& result, int depth) {
        result.kind_ = kind::object;
        expect('{');
        if (accept('}')) return;
        do {
            skip_space();
            std::string name = string();
            if (result.find(name) != nullptr) fail("a member is named twice");
            expect(':');
            result.names_.push_back(std::move(name));
            result.items_.push_back(value(depth + 1));
        } while (accept(','));
        expect('}');
    }

    void read_array(json& result, int depth) {
        result.kind_ = kind::array;
        expect('[');
        if (accept(']')) return;
        do result.items_.push_back(value(depth + 1));
        while (accept(','));
        expect(']');
    }

    void digits() {
        if (peek() < '0' || peek() > '9') fail("a digit is missing");
        while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    }

    double number() {
        const std::size_t begin = at_;
        if (peek() == '-') ++at_;
        if (peek() == '0') {
            ++at_;
        } else {
            digits();
        }
        if (at_ < text_.size() && text_[at_] == '.') {
            ++at_;
            digits();
        }
        if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
            ++at_;
            if (peek() == '+' || peek() == '-') ++at_;
            digits();
        }
        return std::stod(std::string(text_.substr(begin, at_ - begin)));
    }

    std::string string() {
        std::string out;
        if (take() != '"') fail("a string is missing");
        for (;;) {
            const char c = take();
            if (c == '"') return out;
            if (static_cast<unsigned char>(c) < 0x20) fail("a control character in a string");
            if (c == '\\') {
                escape(out);
            } else {
                out.push_back(c);
            }
        }
    }

    void escape(std::string& out) {
        switch (take()) {
            case '"':
                out.push_back('"');
                break;
            case '\\':
                out.push_back('\\');
                break;
            case '/':
                out.push_back('/');
                break;
            case 'b':
                out.push_back('\b');
                break;
            case 'f':
                out.push_back('\f');
                break;
            case 'n':
                out.push_back('\n');
                break;
            case 'r':
                out.push_back('\r');
                break;
            case 't':
                out.push_back('\t');
                break;
            case 'u':
                append_utf8(out, code_point());
                break;
            default:
                fail("unknown escape");
        }
    }

    std::uint32_t four_hex() {
        const std::string_view hex = text_.substr(at_, 4);
        std::uint32_t unit = 0;
        const auto [end, error] = std::from_chars(hex.data(), hex.data() + hex.size(), unit, 16);
        if (hex.size() != 4 || error != std::errc() || end != hex.data() + 4) fail("bad \\u escape");
        at_ += 4;
        return unit;
    }

    std::uint32_t code_point() {
        const std::uint32_t unit = four_hex();
        if (unit < 0xD800 || unit > 0xDFFF) return unit;
        if (unit > 0xDBFF) fail("lone surrogate");
        expect_word("\\u");
        const std::uint32_t low = four_hex();
        if (low < 0xDC00 || low > 0xDFFF) fail("lone surrogate");
        return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    }

    static void append_utf8(std::string& out, std::uint32_t point) {
        const auto put = [&](std::uint32_t octet) { out.push_back(static_cast<char>(octet)); };
        if (point < 0x80) {
            put(point);
        } else if (point < 0x800) {
            put(0xC0 | (point >> 6));
            put(0x80 | (point & 0x3F));
        } else if (point < 0x10000) {
            put(0xE0 | (point >> 12));
            put(0x80 | ((point >> 6) & 0x3F));
            put(0x80 | (point & 0x3F));
        } else {
            put(0xF0 | (point >> 18));
            put(0x80 | ((point >> 12) & 0x3F));
            put(0x80 | ((point >> 6) & 0x3F));
            put(0x80 | (point & 0x3F));
        }
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

inline json json::parse(std::string_view text) { return reader(text).document(); }

inline json json::parse_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot open " + path);
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    return parse(text);
}

inline std::string json::octets() const {
    const std::string& utf8 = string();
    std::string out;
    for (std::size_t i = 0; i < utf8.size(); ++i) {
        const auto lead = static_cast<unsigned char>(utf8[i]);
        if (lead < 0x80) {
            out.push_back(utf8[i]);
        } else if ((lead == 0xC2 || lead == 0xC3) && i + 1 < utf8.size()) {
            const auto tail = static_cast<unsigned char>(utf8[++i]);
            out.push_back(static_cast<char>(((lead & 0x03) << 6) | (tail & 0x3F)));
        } else {
            throw std::runtime_error("JSON string has a code point above U+00FF");
        }
    }
    return out;
}

inline const json& json::at(std::string_view name) const {
    const json* member = find(name);
    if (member == nullptr) throw std::runtime_error("JSON object has no member \"" + std::string(name) + "\"");
    return *member;
}

inline const json& json::need(kind wanted) const {
    if (kind_ != wanted) throw std::runtime_error("JSON value is of another kind");
    return *this;
}

inline const json* json::find(std::string_view name) const {
    const std::vector<std::string>& known = names();
    for (std::size_t i = 0; i < known.size(); ++i) {
        if (known[i] == name) return &items_[i];
    }
    return nullptr;
}
}  // namespace ferry_test
