// ferry/core/context.hpp - the variables that follow a call: an immutable map behind one pointer
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// The value of one context variable: immutable, shared by every context that has it.
class context_value {
public:
    /// Of the variable with that number.
    explicit context_value(std::uint64_t variable) noexcept : variable_(variable) {}
    context_value(const context_value&) = delete;
    context_value& operator=(const context_value&) = delete;
    virtual ~context_value() = default;

    /// A number that no other variable has had, whose address may be that of one that has gone (L10).
    [[nodiscard]] std::uint64_t variable() const noexcept { return variable_; }

    void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }

private:
    std::atomic<std::uint32_t> references_{1};
    const std::uint64_t variable_;
};

/// Owns one reference to a value.
class context_value_reference {
public:
    explicit context_value_reference(context_value& owned) noexcept : value_(&owned) {}
    context_value_reference(const context_value_reference& other) noexcept : value_(other.value_) { value_->retain(); }
    context_value_reference& operator=(context_value_reference other) noexcept {
        std::swap(value_, other.value_);
        return *this;
    }
    ~context_value_reference() { value_->release(); }
    [[nodiscard]] const context_value& operator*() const noexcept { return *value_; }

private:
    context_value* value_;
};
}  // namespace detail

/// The context variables of one logical task or thread, as a value: setting one makes a new map and leaves every copy as
/// it was. Handing a context to another task or thread, and taking it back, moves one pointer.
///
/// Ownership      A counted reference to an immutable map; variables (context_local) are known by their addresses, and
///                tell by a number whether a value is theirs; they may go away first.
/// Thread-safety  That of a pointer: distinct objects on distinct threads, one object on one thread. What is in the map
///                is read-only.
/// Cost           Copying counts a reference; lookup and change are linear in the number of variables that are set.
class context {
public:
    context() noexcept = default;
    context(const context& other) noexcept : map_(other.map_) {
        if (map_ != nullptr) map_->references.fetch_add(1, std::memory_order_relaxed);
    }
    context(context&& other) noexcept : map_(std::exchange(other.map_, nullptr)) {}
    context& operator=(context other) noexcept {
        std::swap(map_, other.map_);
        return *this;
    }
    ~context() {
        if (map_ != nullptr) release();
    }

    [[nodiscard]] bool empty() const noexcept { return map_ == nullptr; }

    // For context_local: variables by their address.
    [[nodiscard]] const detail::context_value* find(const void* variable) const noexcept;
    /// With the value instead of the one before.
    void set(const void* variable, detail::context_value_reference value);
    void erase(const void* variable);

private:
    struct entry {
        entry(const void* key, detail::context_value_reference of_it) noexcept
            : variable(key), value(std::move(of_it)) {}
        const void* variable;
        detail::context_value_reference value;
    };
    struct map {
        std::atomic<std::uint32_t> references{1};
        std::vector<entry> entries;
    };

    [[nodiscard]] map* copy_without(const void* variable, std::size_t room) const;
    void replace_by(map* fresh) noexcept {
        if (map_ != nullptr) release();
        map_ = fresh;
    }
    void release() noexcept {
        if (map_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete map_;
    }

    map* map_ = nullptr;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline const detail::context_value* context::find(const void* variable) const noexcept {
    if (map_ == nullptr) return nullptr;
    for (const entry& known : map_->entries) {
        if (known.variable == variable) return &*known.value;
    }
    return nullptr;
}

inline void context::set(const void* variable, detail::context_value_reference value) {
    map* const fresh = copy_without(variable, 1);
    fresh->entries.emplace_back(variable, std::move(value));
    replace_by(fresh);
}

inline void context::erase(const void* variable) {
    if (find(variable) != nullptr) replace_by(copy_without(variable, 0));
}

inline context::map* context::copy_without(const void* variable, std::size_t room) const {
    std::unique_ptr<map> fresh(new map);
    fresh->entries.reserve((map_ == nullptr ? 0 : map_->entries.size()) + room);
    if (map_ != nullptr) {
        for (const entry& known : map_->entries) {
            if (known.variable != variable) fresh->entries.push_back(known);
        }
    }
    return fresh.release();
}
}  // namespace ferry::inline FERRY_ABI
