// tests/channels/detail/memberships_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/channels/detail/memberships.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <string>

using namespace std::chrono_literals;

namespace {
std::chrono::steady_clock::time_point at(std::chrono::seconds elapsed) {
    return std::chrono::steady_clock::time_point(elapsed);
}
}  // namespace

TEST_CASE("each new membership clears away up to two expired ones of any group", "[channels][memberships]") {
    ferry::detail::memberships groups;
    for (const char* name : {"x", "y", "z"}) groups.add(name, "a", at(0s), at(10s));
    groups.add("x", "b", at(1s), at(11s));
    // Asked for a time before they expired, a group still has the members that were not cleared away.
    const auto members = [&](const char* group) { return groups.members(group, at(2s)).size(); };
    groups.add("other", "a", at(10s - 1s), at(20s));
    CHECK(members("x") == 2);
    groups.add("other", "a", at(10s), at(20s));
    CHECK(members("x") == 1);
    CHECK(members("y") == 0);
    CHECK(members("z") == 1);
    groups.add("other", "a", at(11s), at(20s));
    CHECK(members("x") == 0);
    CHECK(members("z") == 0);
    CHECK(members("other") == 1);
}
