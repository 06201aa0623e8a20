// tests/server/http_date_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/server/http_date.hpp>

#include "support/catch.hpp"

#include <string>

TEST_CASE("a date has the one form that HTTP writes", "[server][http_date]") {
    ferry::detail::http_date date;
    CHECK(date.at(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT");  // the example of RFC 9110 5.6.7
    CHECK(date.at(0) == "Thu, 01 Jan 1970 00:00:00 GMT");
    CHECK(date.at(951782400) == "Tue, 29 Feb 2000 00:00:00 GMT");
    CHECK(date.at(4102444799) == "Thu, 31 Dec 2099 23:59:59 GMT");
    CHECK(date.now().size() == 29);
    CHECK(date.now().substr(25) == " GMT");
}
