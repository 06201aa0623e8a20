// tests/client/detail/random_words_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/client/detail/random_words.hpp>

#include "support/catch.hpp"

#include <cstddef>
#include <cstdint>
#include <set>

TEST_CASE("random words do not come again, and are other ones in each place", "[client][random_words]") {
    ferry::detail::random_words one;
    ferry::detail::random_words other;
    std::set<std::uint32_t> seen;
    constexpr std::size_t draws = 500;  // of each, over many refills
    for (std::size_t draw = 0; draw < draws; ++draw) {
        seen.insert(one());
        seen.insert(other());
    }
    CHECK(seen.size() >= 2 * draws - 3);  // two of a thousand are the same once in ten thousand runs
}

TEST_CASE("each bit of a random word is a coin of its own", "[client][random_words]") {
    ferry::detail::random_words words;
    int heads[32] = {};
    constexpr int draws = 4096;
    for (int draw = 0; draw < draws; ++draw) {
        const std::uint32_t word = words();
        for (int bit = 0; bit < 32; ++bit) heads[bit] += static_cast<int>(word >> bit & 1);
    }
    for (const int count : heads) CHECK((count > draws * 2 / 5 && count < draws * 3 / 5));  // 12 standard deviations
}
