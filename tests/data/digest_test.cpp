// tests/data/digest_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/data/digest.hpp>

#include "support/catch.hpp"

#include <string>
#include <string_view>

namespace {
std::string hex(std::string_view octets) {
    std::string out;
    for (const char c : octets) {
        out += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
        out += "0123456789abcdef"[static_cast<unsigned char>(c) & 15];
    }
    return out;
}
}  // namespace

TEST_CASE("sha1 gives the published digests", "[data][digest]") {
    // FIPS 180-4's examples and RFC 3174 section 7.3.
    CHECK(hex(ferry::sha1::of("")) == "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    CHECK(hex(ferry::sha1::of("abc")) == "a9993e364706816aba3e25717850c26c9cd0d89d");
    CHECK(hex(ferry::sha1::of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")) ==
          "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    CHECK(hex(ferry::sha1::of(std::string(1000000, 'a'))) == "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    std::string repeated;
    for (int i = 0; i < 80; ++i) repeated += "01234567";
    CHECK(hex(ferry::sha1::of(repeated)) == "dea356a2cddd90c7a7ecedc5ebb563934f460452");
}

TEST_CASE("sha1 gives the same digest wherever its input is cut", "[data][digest]") {
    for (std::size_t size = 0; size <= 2 * ferry::sha1::block_bytes + 2; ++size) {
        const std::string octets(size, 'x');
        const std::string whole = ferry::sha1::of(octets);
        REQUIRE(whole.size() == ferry::sha1::digest_bytes);
        for (std::size_t cut = 0; cut <= size; ++cut) {
            ferry::sha1 pieces;
            pieces.update(std::string_view(octets).substr(0, cut)).update(std::string_view(octets).substr(cut));
            REQUIRE(pieces.finish() == whole);
        }
    }
}

TEST_CASE("sha1 begins anew after finish", "[data][digest]") {
    ferry::sha1 digest;
    const std::string first = digest.update("abc").finish();
    CHECK(digest.update("abc").finish() == first);
    CHECK(digest.finish() == ferry::sha1::of(""));
}
