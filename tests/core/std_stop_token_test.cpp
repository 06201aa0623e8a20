// tests/core/std_stop_token_test.cpp - std::stop_token and ferry::stop_token
// SPDX-License-Identifier: BSL-1.0
#include "support/catch.hpp"

#include <version>

#if defined(__cpp_lib_jthread)
#include <ferry/core/std_stop_token.hpp>

#include <stop_token>

TEST_CASE("a std::stop_token stops ferry's, and the other way round", "[core][std_stop_token]") {
    std::stop_source theirs;
    const ferry::stop_from_std from(theirs.get_token());
    CHECK_FALSE(from.get_token().stop_requested());
    theirs.request_stop();
    CHECK(from.get_token().stop_requested());

    ferry::stop_source ours;
    const ferry::stop_to_std to(ours.get_token());
    CHECK_FALSE(to.get_token().stop_requested());
    ours.request_stop();
    CHECK(to.get_token().stop_requested());
}

TEST_CASE("a stop that was requested before is seen at once", "[core][std_stop_token]") {
    std::stop_source theirs;
    theirs.request_stop();
    CHECK(ferry::stop_from_std(theirs.get_token()).get_token().stop_requested());
}
#endif
