// ferry/deadlock/wait_options.hpp - what a blocking call says of its wait: where it is, and whether it may take long
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <source_location>

namespace ferry::inline FERRY_ABI {
/// The last argument of every blocking call. Without it reports know the line of the call; with it the call can say that a
/// long wait is meant:
///
///     ferry::block_on(loop, serve_for_ever(), ferry::wait_options().patient());
///
/// Cost  Two words; nobody looks at them unless the thread sleeps.
class wait_options {
public:
    /// Not explicit: `wait_options how = std::source_location::current()`, as a default argument, is the caller's line.
    constexpr wait_options(std::source_location where = std::source_location::current()) noexcept : where_(where) {}

    /// The wait may take as long as it likes: it gets no hang report. One that can never end is refused all the same.
    [[nodiscard]] constexpr wait_options patient() const noexcept {
        wait_options copy = *this;
        copy.patient_ = true;
        return copy;
    }

    [[nodiscard]] constexpr const std::source_location& where() const noexcept { return where_; }
    [[nodiscard]] constexpr bool is_patient() const noexcept { return patient_; }

private:
    std::source_location where_;
    bool patient_ = false;
};
}  // namespace ferry::inline FERRY_ABI
