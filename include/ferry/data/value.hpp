// ferry/data/value.hpp - a small dynamic value: what messages between programs are made of
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/data/detail/insertion_ordered.hpp>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ferry::inline FERRY_ABI {
enum class value_kind : unsigned char { null, boolean, integer, real, text, bytes, list, map };

[[nodiscard]] constexpr const char* to_string(value_kind kind) noexcept;

/// A value was not what its reader expected, or has no form in the encoding that was asked for.
class value_error : public std::logic_error {
public:
    using std::logic_error::logic_error;
};

namespace detail {
template <class T>
concept value_integer =
    std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char> && !std::same_as<T, wchar_t> &&
    !std::same_as<T, char8_t> && !std::same_as<T, char16_t> && !std::same_as<T, char32_t>;
}  // namespace detail

/// Null, a boolean, a 64-bit integer, a double, text (UTF-8), bytes, a list of values, or a map from text to values.
///
///     value said = value::map({{"type", "say"}, {"text", text}});
///     co_await layer.send(name, value::object().set("type", "say").set("n", 3));  // braces fail there on g++ 11, 12
///
/// A copy shares text, bytes, lists and maps with its original; who changes one of them first makes it its own.
/// A map keeps the order in which its keys were first set; equality does not look at it.
///
/// Ownership      Owns, or shares with its copies, all it holds. Accessors return references into an lvalue, and
///                values from an rvalue, so `parse(line).at("text").as_text()` does not dangle.
/// Thread-safety  As int: copies that share are used freely on different threads, one object is not.
/// Errors         Accessors throw value_error, which says what was expected and what was found.
/// Cost           16 bytes. Moving is free; copying is one increment at most; taking the content out of an rvalue
///                copies it only if it is shared. Nested values are destroyed and compared recursively: the decoders
///                limit the depth they accept.
class value {
public:
    using entry = std::pair<std::string, value>;

    value() noexcept : kind_(value_kind::null) {}
    value(std::nullptr_t) noexcept : value() {}
    template <std::same_as<bool> Boolean>  // nothing else turns into a boolean by accident
    value(Boolean b) noexcept : kind_(value_kind::boolean), is_(b) {}
    /// Throws value_error above the largest std::int64_t.
    template <detail::value_integer Integer>
    value(Integer n);
    template <std::floating_point Real>
    value(Real d) noexcept : kind_(value_kind::real), is_(static_cast<double>(d)) {}
    value(std::string text);
    value(std::string_view text) : value(std::string(text)) {}
    value(const char* text) : value(std::string(text)) {}

    [[nodiscard]] static value bytes(std::string octets);
    [[nodiscard]] static value list() { return list(std::vector<value>()); }
    [[nodiscard]] static value list(std::initializer_list<value> items) { return list(std::vector<value>(items)); }
    [[nodiscard]] static value list(std::vector<value> items);
    [[nodiscard]] static value map(std::initializer_list<entry> entries) { return map(std::vector<entry>(entries)); }
    /// Of entries with the same key, the last one gives the value.
    [[nodiscard]] static value map(std::vector<entry> entries);
    /// An empty map, for set() to fill.
    [[nodiscard]] static value object() { return map(std::vector<entry>()); }

    value(const value& other) noexcept;
    value(value&& other) noexcept : kind_(std::exchange(other.kind_, value_kind::null)), is_(other.is_) {}
    value& operator=(value other) noexcept;
    ~value() {
        if (shares()) release();
    }

    [[nodiscard]] value_kind kind() const noexcept { return kind_; }
    [[nodiscard]] bool is_null() const noexcept { return kind_ == value_kind::null; }

    [[nodiscard]] bool as_bool() const;
    [[nodiscard]] std::int64_t as_int() const;
    /// Of a real or an integer.
    [[nodiscard]] double as_double() const;
    [[nodiscard]] const std::string& as_text() const&;
    [[nodiscard]] std::string as_text() &&;
    [[nodiscard]] const std::string& as_bytes() const&;
    [[nodiscard]] std::string as_bytes() &&;
    [[nodiscard]] const std::vector<value>& as_list() const&;
    [[nodiscard]] std::vector<value> as_list() &&;
    /// The entries in the order in which their keys were first set.
    [[nodiscard]] const std::vector<entry>& as_map() const&;
    [[nodiscard]] std::vector<entry> as_map() &&;
    /// The text, or `fallback` if this is anything else.
    [[nodiscard]] std::string_view text_or(std::string_view fallback) const& noexcept;
    [[nodiscard]] std::string text_or(std::string_view fallback) && { return std::string(text_or(fallback)); }

    /// How many items or entries a list or a map has.
    [[nodiscard]] std::size_t size() const;
    /// The map's value under `key`, or nullptr.
    [[nodiscard]] const value* find(std::string_view key) const&;
    const value* find(std::string_view key) && = delete;
    /// The map's value under `key`, or null: `message.get("text").text_or("")`.
    [[nodiscard]] const value& get(std::string_view key) const&;
    [[nodiscard]] value get(std::string_view key) && { return get(key); }
    /// The map's value under `key`; throws value_error, naming the keys there are, if there is none.
    [[nodiscard]] const value& at(std::string_view key) const&;
    [[nodiscard]] value at(std::string_view key) && { return at(key); }
    /// The list's item; throws value_error past the end.
    [[nodiscard]] const value& at(std::size_t index) const&;
    [[nodiscard]] value at(std::size_t index) && { return at(index); }

    /// Adds an entry to a map, or replaces the one with that key.
    value& set(std::string key, value item) &;
    value set(std::string key, value item) && { return std::move(set(std::move(key), std::move(item))); }
    /// Whether there was an entry to remove.
    bool erase(std::string_view key);
    /// Adds an item to a list.
    value& push_back(value item) &;
    value push_back(value item) && { return std::move(push_back(std::move(item))); }

    /// Same kind, same content; the order of a map's entries does not matter.
    [[nodiscard]] friend bool operator==(const value& a, const value& b) noexcept { return a.equals(b); }

private:
    using map_type = detail::insertion_ordered<value>;
    struct node;
    struct text_node;
    struct list_node;
    struct map_node;
    union content {
        content() noexcept : integer(0) {}
        explicit content(bool b) noexcept : boolean(b) {}
        explicit content(std::int64_t n) noexcept : integer(n) {}
        explicit content(double d) noexcept : real(d) {}
        explicit content(node* n) noexcept : shared(n) {}

        bool boolean;
        std::int64_t integer;
        double real;
        node* shared;
    };

    value(value_kind kind, node* shared) noexcept : kind_(kind), is_(shared) {}

    [[nodiscard]] bool shares() const noexcept { return kind_ >= value_kind::text; }
    void release() noexcept;
    [[nodiscard]] bool equals(const value& other) const noexcept;
    void need(value_kind expected) const {
        if (kind_ != expected) throw_unexpected(to_string(expected));
    }
    [[noreturn]] void throw_unexpected(const char* expected) const;
    [[nodiscard]] const map_type& entries() const;
    template <class Node>
    [[nodiscard]] Node& own();

    value_kind kind_;
    content is_;
};

// ---- implementation ---------------------------------------------------------------
constexpr const char* to_string(value_kind kind) noexcept {
    constexpr const char* names[] = {"null", "boolean", "integer", "real", "text", "bytes", "list", "map"};
    return names[static_cast<unsigned char>(kind)];
}

struct value::node {
    std::atomic<std::uint32_t> owners{1};
};

struct value::text_node : node {
    explicit text_node(std::string from) noexcept : held(std::move(from)) {}
    std::string held;
};

struct value::list_node : node {
    explicit list_node(std::vector<value> from) noexcept : held(std::move(from)) {}
    std::vector<value> held;
};

struct value::map_node : node {
    explicit map_node(map_type from) noexcept : held(std::move(from)) {}
    map_type held;
};

template <detail::value_integer Integer>
value::value(Integer n) : kind_(value_kind::integer), is_(static_cast<std::int64_t>(n)) {
    if (!std::in_range<std::int64_t>(n)) {
        throw value_error("value: " + std::to_string(n) + " is above the largest integer a value holds");
    }
}

inline value::value(std::string text) : value(value_kind::text, new text_node(std::move(text))) {}
inline value value::bytes(std::string octets) { return value(value_kind::bytes, new text_node(std::move(octets))); }
inline value value::list(std::vector<value> items) { return value(value_kind::list, new list_node(std::move(items))); }
inline value value::map(std::vector<entry> entries) {
    return value(value_kind::map, new map_node(map_type(std::move(entries))));
}

inline value::value(const value& other) noexcept : kind_(other.kind_), is_(other.is_) {
    if (shares()) is_.shared->owners.fetch_add(1, std::memory_order_relaxed);
}

inline value& value::operator=(value other) noexcept {
    std::swap(kind_, other.kind_);
    std::swap(is_, other.is_);
    return *this;
}

inline void value::release() noexcept {
    // Release: this owner's reads come before the deletion. Acquire: the deletion comes after everyone's.
    if (is_.shared->owners.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    switch (kind_) {
        case value_kind::list:
            delete static_cast<list_node*>(is_.shared);
            break;
        case value_kind::map:
            delete static_cast<map_node*>(is_.shared);
            break;
        default:
            delete static_cast<text_node*>(is_.shared);
            break;
    }
}

inline void value::throw_unexpected(const char* expected) const {
    throw value_error(std::string("value: expected ") + expected + ", found " + to_string(kind_));
}

inline bool value::as_bool() const {
    need(value_kind::boolean);
    return is_.boolean;
}

inline std::int64_t value::as_int() const {
    need(value_kind::integer);
    return is_.integer;
}

inline double value::as_double() const {
    if (kind_ == value_kind::integer) return static_cast<double>(is_.integer);
    need(value_kind::real);
    return is_.real;
}

inline const std::string& value::as_text() const& {
    need(value_kind::text);
    return static_cast<const text_node*>(is_.shared)->held;
}

inline const std::string& value::as_bytes() const& {
    need(value_kind::bytes);
    return static_cast<const text_node*>(is_.shared)->held;
}

inline const std::vector<value>& value::as_list() const& {
    need(value_kind::list);
    return static_cast<const list_node*>(is_.shared)->held;
}

/// The content, which nobody else sees: a copy of it if it was shared. Items of the copy are shared further.
template <class Node>
Node& value::own() {
    // Acquire: the other owners' last reads come before our writes.
    if (is_.shared->owners.load(std::memory_order_acquire) != 1) {
        *this = value(kind_, new Node(static_cast<const Node*>(is_.shared)->held));
    }
    return *static_cast<Node*>(is_.shared);
}

inline std::string value::as_text() && {
    need(value_kind::text);
    return std::move(own<text_node>().held);
}

inline std::string value::as_bytes() && {
    need(value_kind::bytes);
    return std::move(own<text_node>().held);
}

inline std::vector<value> value::as_list() && {
    need(value_kind::list);
    return std::move(own<list_node>().held);
}

inline std::vector<value::entry> value::as_map() && {
    need(value_kind::map);
    return own<map_node>().held.take();
}

inline const value::map_type& value::entries() const {
    need(value_kind::map);
    return static_cast<const map_node*>(is_.shared)->held;
}

inline const std::vector<value::entry>& value::as_map() const& { return entries().entries(); }

inline std::string_view value::text_or(std::string_view fallback) const& noexcept {
    return kind_ == value_kind::text ? static_cast<const text_node*>(is_.shared)->held : fallback;
}

inline std::size_t value::size() const {
    if (kind_ == value_kind::list) return as_list().size();
    if (kind_ == value_kind::map) return as_map().size();
    throw_unexpected("list or map");
}

inline const value* value::find(std::string_view key) const& { return entries().find(key); }

inline const value& value::get(std::string_view key) const& {
    static const value null;
    const value* found = find(key);
    return found != nullptr ? *found : null;
}

inline const value& value::at(std::string_view key) const& {
    if (const value* found = find(key)) return *found;
    std::string message = "value: no key \"" + std::string(key) + "\" in a map of " + std::to_string(size());
    const char* before = ": ";
    constexpr std::size_t names_at_most = 8;
    for (std::size_t i = 0; i < size() && i < names_at_most; ++i) {
        message.append(before).append(as_map()[i].first);
        before = ", ";
    }
    if (size() > names_at_most) message += ", ...";
    throw value_error(message);
}

inline const value& value::at(std::size_t index) const& {
    const std::vector<value>& items = as_list();
    if (index < items.size()) return items[index];
    throw value_error("value: no item " + std::to_string(index) + " in a list of " + std::to_string(items.size()));
}

inline value& value::set(std::string key, value item) & {
    need(value_kind::map);
    own<map_node>().held.set(std::move(key), std::move(item));
    return *this;
}

inline bool value::erase(std::string_view key) { return find(key) != nullptr && own<map_node>().held.erase(key); }

inline value& value::push_back(value item) & {
    need(value_kind::list);
    own<list_node>().held.push_back(std::move(item));
    return *this;
}

inline bool value::equals(const value& other) const noexcept {
    if (kind_ != other.kind_) return false;
    switch (kind_) {
        case value_kind::null:
            return true;
        case value_kind::boolean:
            return is_.boolean == other.is_.boolean;
        case value_kind::integer:
            return is_.integer == other.is_.integer;
        case value_kind::real:
            return is_.real == other.is_.real;
        case value_kind::text:
        case value_kind::bytes:
            return static_cast<text_node*>(is_.shared)->held == static_cast<text_node*>(other.is_.shared)->held;
        case value_kind::list:
            return as_list() == other.as_list();
        case value_kind::map:
            break;
    }
    if (size() != other.size()) return false;
    for (const entry& mine : as_map()) {
        const value* theirs = other.find(mine.first);
        if (theirs == nullptr || !(mine.second == *theirs)) return false;
    }
    return true;
}
}  // namespace ferry::inline FERRY_ABI
