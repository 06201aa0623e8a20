// tests/deadlock/hang_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/deadlock/hang.hpp>

#include "support/catch.hpp"
#include "support/reports.hpp"

#include <chrono>

using ferry::detail::hang_watch;
using namespace std::chrono_literals;

TEST_CASE("a wait is reported after five seconds unless somebody says otherwise", "[deadlock][hang]") {
    CHECK(ferry::hang_after() == 5s);
    CHECK(ferry::set_hang_after(2s) == 5s);
    CHECK(ferry::hang_after() == 2s);
    CHECK(ferry::set_hang_after(5s) == 2s);
}

TEST_CASE("a wait is reported at its limit, again each time it has doubled, and at its end", "[deadlock][hang]") {
    const ferry_test::reports reports;
    const hang_watch::time_point start(1h);
    hang_watch watch("a test", start);
    CHECK(watch.next_report() == start + 5s);
    CHECK(!watch.is_due(start + 4s));
    CHECK(watch.is_due(start + 5s));
    watch.report(start + 5s, "  for nobody");
    CHECK(reports.mention("hang: a test has waited for 5.0 s\n  for nobody"));
    CHECK(watch.next_report() == start + 10s);
    watch.report(start + 12s, "  for nobody");  // it was looked at late
    CHECK(watch.next_report() == start + 24s);
    watch.ended(start + 13s + 250ms);
    CHECK(reports.count() == 3);
    CHECK(reports.mention("hang: a test has ended after all, after 13.2 s"));
}

TEST_CASE("a wait that ends in time says nothing, and one that may take for ever is never due", "[deadlock][hang]") {
    const ferry_test::reports reports;
    hang_watch quick("a test", hang_watch::time_point(1h));
    quick.ended(hang_watch::time_point(1h + 4s));
    const auto before = ferry::set_hang_after(std::chrono::nanoseconds::max());
    const hang_watch patient("a test", hang_watch::time_point(1h));
    ferry::set_hang_after(before);
    CHECK(patient.next_report() == hang_watch::time_point::max());
    CHECK(!patient.is_due(hang_watch::time_point(10'000h)));
    CHECK(reports.count() == 0);
}
