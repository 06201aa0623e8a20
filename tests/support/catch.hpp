// tests/support/catch.hpp - Catch2 v3 where it is installed, else v2; tests use only what both offer
// SPDX-License-Identifier: BSL-1.0
#pragma once

#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
