// tests/bench/core/who.hpp - whether a program measures ferry, or ferry without what only its reports need
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <string_view>

namespace ferry_bench {
#define FERRY_BENCH_TEXT_OF(name) #name
#define FERRY_BENCH_TEXT(macro) FERRY_BENCH_TEXT_OF(macro)
/// Is this the build with FERRY_BENCH_BARE, and does the library know it?
inline constexpr bool is_bare = std::string_view(FERRY_BENCH_TEXT(FERRY_ABI)).ends_with("_bare");
#undef FERRY_BENCH_TEXT
#undef FERRY_BENCH_TEXT_OF

inline constexpr const char* ferry_or_bare = is_bare ? "bare" : "ferry";
}  // namespace ferry_bench
