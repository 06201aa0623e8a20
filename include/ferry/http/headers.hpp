// ferry/http/headers.hpp - the fields of a message, in order
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/detail/grammar.hpp>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ferry::inline FERRY_ABI::http {
namespace detail {
class field_parser;
}

/// RFC 9110 5.1: a field name is one or more token octets.
[[nodiscard]] constexpr bool valid_header_name(std::string_view name) noexcept {
    return !name.empty() && detail::all(name, detail::token_octet);
}

/// RFC 9110 5.5: no control octets, no whitespace at either end.
[[nodiscard]] constexpr bool valid_header_value(std::string_view value) noexcept {
    return detail::all(value, detail::value_octet) && detail::trim(value).size() == value.size();
}

/// One field, as views into the headers it came from.
struct header {
    constexpr header(std::string_view field_name, std::string_view field_value) noexcept
        : name(field_name), value(field_value) {}

    std::string_view name;
    std::string_view value;
};

/// The fields of a message in the order they were added or received; lines with the same name stay apart.
///
/// Every field in it is valid: add() and set() refuse what would break out of its line, so header injection ends
/// there and not on the wire. Names keep their spelling and are compared without case.
///
/// Ownership  Owns all text in one buffer. A view into it is valid until the next change.
/// Errors     add() and set() throw std::invalid_argument for an invalid name or value, and change nothing then.
/// Cost       Look-ups are linear in the number of fields. Two allocations in all; clear() keeps both.
class headers {
public:
    class iterator;

    headers() = default;

    [[nodiscard]] std::size_t size() const noexcept { return fields_.size(); }
    [[nodiscard]] bool empty() const noexcept { return fields_.empty(); }
    [[nodiscard]] header operator[](std::size_t index) const noexcept;
    [[nodiscard]] iterator begin() const noexcept;
    [[nodiscard]] iterator end() const noexcept;

    /// The value of the first field of that name.
    [[nodiscard]] std::optional<std::string_view> find(std::string_view name) const noexcept;
    [[nodiscard]] bool contains(std::string_view name) const noexcept { return find(name).has_value(); }
    [[nodiscard]] std::size_t count(std::string_view name) const noexcept;
    /// Whether one of the comma-separated lists of that name has the member `token`, in any case.
    [[nodiscard]] bool contains_token(std::string_view name, std::string_view token) const noexcept;

    headers& add(std::string_view name, std::string_view value) &;
    headers&& add(std::string_view name, std::string_view value) && { return std::move(add(name, value)); }
    /// Leaves one field of that name: in place of the first one if there are any, else at the end.
    headers& set(std::string_view name, std::string_view value) &;
    /// Returns how many fields were removed.
    std::size_t remove(std::string_view name);
    void clear() noexcept;

private:
    friend class detail::field_parser;  // builds a field in place, octet by octet

    struct field {
        std::size_t begin;  // where its name starts in text_; its value follows at once
        std::size_t name_size;
        std::size_t value_size;
    };

    static void validate(std::string_view name, std::string_view value);
    [[nodiscard]] std::size_t index_of(std::string_view name, std::size_t from) const noexcept;
    void erase(std::size_t index);

    std::string text_;
    std::vector<field> fields_;  // in the order of text_, without gaps
};

class headers::iterator {
public:
    using iterator_category = std::input_iterator_tag;
    using value_type = header;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = header;

    iterator() = default;

    [[nodiscard]] header operator*() const noexcept { return (*owner_)[index_]; }
    iterator& operator++() noexcept {
        ++index_;
        return *this;
    }
    iterator operator++(int) noexcept {
        iterator before = *this;
        ++index_;
        return before;
    }
    [[nodiscard]] friend bool operator==(const iterator& a, const iterator& b) noexcept { return a.index_ == b.index_; }

private:
    friend class headers;
    iterator(const headers* owner, std::size_t index) noexcept : owner_(owner), index_(index) {}

    const headers* owner_ = nullptr;
    std::size_t index_ = 0;
};

// ---- implementation ---------------------------------------------------------------
inline header headers::operator[](std::size_t index) const noexcept {
    const field& f = fields_[index];
    const std::string_view text = text_;
    return header(text.substr(f.begin, f.name_size), text.substr(f.begin + f.name_size, f.value_size));
}

inline headers::iterator headers::begin() const noexcept { return iterator(this, 0); }
inline headers::iterator headers::end() const noexcept { return iterator(this, fields_.size()); }

inline std::size_t headers::index_of(std::string_view name, std::size_t from) const noexcept {
    while (from < fields_.size() && !detail::equal_ignoring_case((*this)[from].name, name)) ++from;
    return from;
}

inline std::optional<std::string_view> headers::find(std::string_view name) const noexcept {
    const std::size_t index = index_of(name, 0);
    if (index == fields_.size()) return std::nullopt;
    return (*this)[index].value;
}

inline std::size_t headers::count(std::string_view name) const noexcept {
    std::size_t found = 0;
    for (std::size_t i = index_of(name, 0); i < fields_.size(); i = index_of(name, i + 1)) ++found;
    return found;
}

inline bool headers::contains_token(std::string_view name, std::string_view token) const noexcept {
    for (std::size_t i = index_of(name, 0); i < fields_.size(); i = index_of(name, i + 1)) {
        if (detail::list_contains((*this)[i].value, token)) return true;
    }
    return false;
}

inline void headers::validate(std::string_view name, std::string_view value) {
    if (!valid_header_name(name)) throw std::invalid_argument("http: a header name must be a token (RFC 9110 5.1)");
    if (!valid_header_value(value)) {
        throw std::invalid_argument("http: the value of header \"" + std::string(name) +
                                    "\" has a control character, or whitespace at an end (RFC 9110 5.5)");
    }
}

inline headers& headers::add(std::string_view name, std::string_view value) & {
    validate(name, value);
    const std::size_t begin = text_.size();
    if (fields_.size() == fields_.capacity()) fields_.reserve(std::max<std::size_t>(8, 2 * fields_.size()));
    if (text_.capacity() - begin < name.size() + value.size()) {
        // name and value may be views into text_, which therefore lives until both are copied.
        std::string grown;
        grown.reserve(std::max(2 * text_.capacity(), begin + name.size() + value.size()));
        grown.append(text_).append(name).append(value);
        text_.swap(grown);
    } else {
        text_.append(name).append(value);
    }
    fields_.push_back(field{begin, name.size(), value.size()});
    return *this;
}

inline headers& headers::set(std::string_view name, std::string_view value) & {
    const std::size_t first = index_of(name, 0);
    if (first == fields_.size()) return add(name, value);
    validate(name, value);
    const std::string text = std::string(name).append(value);  // both may be views into text_, which is about to move
    const std::string_view kept_name = std::string_view(text).substr(0, name.size());
    for (std::size_t i = index_of(kept_name, first + 1); i < fields_.size(); i = index_of(kept_name, i)) erase(i);
    field& f = fields_[first];  // the erased ones came after it
    const std::size_t old_size = f.name_size + f.value_size;
    text_.replace(f.begin, old_size, text);
    f.name_size = kept_name.size();
    f.value_size = text.size() - kept_name.size();
    for (std::size_t i = first + 1; i < fields_.size(); ++i)
        fields_[i].begin = fields_[i].begin - old_size + text.size();
    return *this;
}

inline std::size_t headers::remove(std::string_view name) {
    const std::string kept_name(name);
    const std::size_t before = fields_.size();
    for (std::size_t i = index_of(kept_name, 0); i < fields_.size(); i = index_of(kept_name, i)) erase(i);
    return before - fields_.size();
}

inline void headers::clear() noexcept {
    text_.clear();
    fields_.clear();
}

inline void headers::erase(std::size_t index) {
    const std::size_t size = fields_[index].name_size + fields_[index].value_size;
    text_.erase(fields_[index].begin, size);
    fields_.erase(fields_.begin() + static_cast<std::ptrdiff_t>(index));
    for (std::size_t i = index; i < fields_.size(); ++i) fields_[i].begin -= size;
}
}  // namespace ferry::inline FERRY_ABI::http
