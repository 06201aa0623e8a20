// ferry/core/config.hpp - version, ABI tag and the one assertion macro; every public macro of ferry is here
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdio>
#include <cstdlib>

#define FERRY_VERSION_MAJOR 0
#define FERRY_VERSION_MINOR 1
#define FERRY_VERSION_PATCH 0

/// The inline namespace of everything in ferry. Files that disagree on FERRY_DEBUG, the only macro that changes
/// a layout, get different symbols and fail to link with each other instead of failing at run time. (The same goes for
/// FERRY_BENCH_BARE, which is for tests/bench/core alone: there ferry keeps no names and lines for its reports, so that
/// their price can be measured.)
#if defined(FERRY_DEBUG)
#define FERRY_ABI v0_debug
#elif defined(FERRY_BENCH_BARE)
#define FERRY_ABI v0_bare
#else
#define FERRY_ABI v0
#endif

namespace ferry::inline FERRY_ABI {
namespace detail {
#if defined(FERRY_BENCH_BARE)
inline constexpr bool records_for_reports = false;
#else
inline constexpr bool records_for_reports = true;
#endif

[[noreturn, gnu::noinline, gnu::cold]] inline void assertion_failed(const char* condition, const char* message,
                                                                    const char* file, int line) noexcept {
    std::fprintf(stderr, "ferry: %s:%d: assertion failed: %s (%s)\n", file, line, message, condition);
    std::abort();
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI

/// A caller's bug that cannot be reported in time. On in every build: the program prints the message and aborts.
#define FERRY_ASSERT(condition, message)                 \
    (static_cast<bool>(condition) ? static_cast<void>(0) \
                                  : ::ferry::detail::assertion_failed(#condition, message, __FILE__, __LINE__))
