// tests/fuzz/fuzz.hpp - what the fuzz targets have in common
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace ferry_test {
/// Ends the process, which is a finding, unless that is so.
inline void must(bool is_so, const char* what) {
    if (is_so) return;
    std::fprintf(stderr, "finding: %s\n", what);
    std::abort();
}

/// Two places to cut octets at. They depend on nothing but the octets, so a finding is its octets and nothing else.
inline std::array<std::size_t, 2> cuts_of(std::string_view octets) {
    std::uint64_t hash = 14695981039346656037u;  // FNV-1a
    for (const char octet : octets) hash = (hash ^ static_cast<unsigned char>(octet)) * 1099511628211u;
    const std::size_t room = octets.size() + 1;
    std::array<std::size_t, 2> cuts{static_cast<std::size_t>(hash % room),
                                    static_cast<std::size_t>(hash / room % room)};
    std::sort(cuts.begin(), cuts.end());
    return cuts;
}

/// Feeds `log` in three pieces.
template <class Log>
void feed_cut(Log& log, std::string_view octets) {
    const auto [first, second] = cuts_of(octets);
    log.feed(octets.substr(0, first));
    log.feed(octets.substr(first, second - first));
    log.feed(octets.substr(second));
}

template <class Log>
void feed_octetwise(Log& log, std::string_view octets) {
    for (std::size_t at = 0; at < octets.size(); ++at) log.feed(octets.substr(at, 1));
}

inline std::string_view view_of(const std::uint8_t* data, std::size_t size) {
    return std::string_view(reinterpret_cast<const char*>(data), size);
}
}  // namespace ferry_test
