// ferry/core/home.hpp - where the thread-sensitive calls of a logical call stack run
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <atomic>
#include <cstdint>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
class home;

/// A counted reference to a home, or to none.
class home_reference {
public:
    home_reference() noexcept = default;
    explicit home_reference(home* place) noexcept;
    home_reference(const home_reference& other) noexcept : home_reference(other.home_) {}
    home_reference(home_reference&& other) noexcept : home_(std::exchange(other.home_, nullptr)) {}
    home_reference& operator=(home_reference other) noexcept {
        std::swap(home_, other.home_);
        return *this;
    }
    ~home_reference();
    [[nodiscard]] home* get() const noexcept { return home_; }

private:
    home* home_ = nullptr;
};

/// One place on a logical call stack to which thread-sensitive calls come back: a thread that is blocked in block_on, or a
/// thread_sensitive_scope. Tasks carry the innermost one; what it is exactly, and whether it is still there, the bridge
/// knows.
///
/// Ownership      Counted: a task that goes on after the place has ended still knows the next one out.
/// Thread-safety  The count and outer(), on every thread.
class home {
public:
    home(const home&) = delete;
    home& operator=(const home&) = delete;

    void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept {  // the only one who knows it need not count
        if (is_unshared() || references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }
    /// Does nobody but the caller know it?
    [[nodiscard]] bool is_unshared() const noexcept { return references_.load(std::memory_order_acquire) == 1; }
    /// The next one out on the call stack; null for none.
    [[nodiscard]] home* outer() const noexcept { return outer_.get(); }

protected:
    /// The first reference is the maker's.
    explicit home(home* outer) noexcept : outer_(outer) {}
    virtual ~home() = default;

private:
    std::atomic<std::uint32_t> references_{1};
    const home_reference outer_;
};

inline home_reference::home_reference(home* place) noexcept : home_(place) {
    if (home_ != nullptr) home_->retain();
}
inline home_reference::~home_reference() {
    if (home_ != nullptr) home_->release();
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
