// ferry/core/error.hpp - the failures that more than one folder of ferry throws
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <stdexcept>

namespace ferry::inline FERRY_ABI {
/// What a cancelled task ends in. It does not derive from std::exception, so `catch (const std::exception&)`
/// in code that knows nothing of ferry cannot swallow it. Let it pass, or rethrow it after cleaning up.
class cancelled {
public:
    [[nodiscard]] const char* what() const noexcept { return "ferry: the task was cancelled"; }
};

/// A deadline passed before the work it guards was done.
class timeout_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The loop, pool, queue or layer that was asked has been closed: the work was refused or will never finish.
class closed_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The last promise of a future was destroyed without a result.
class broken_promise : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The peer of a connection is gone: what was sent cannot arrive any more.
class disconnected : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};
}  // namespace ferry::inline FERRY_ABI
