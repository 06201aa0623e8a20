// tests/data/base64_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/data/base64.hpp>

#include "support/catch.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace base64 = ferry::base64;

TEST_CASE("base64 gives the test vectors of RFC 4648 section 10", "[data][base64]") {
    struct row {
        std::string_view octets;
        std::string_view text;
    };
    const row rows[] = {{"", ""},
                        {"f", "Zg=="},
                        {"fo", "Zm8="},
                        {"foo", "Zm9v"},
                        {"foob", "Zm9vYg=="},
                        {"fooba", "Zm9vYmE="},
                        {"foobar", "Zm9vYmFy"}};
    for (const row& r : rows) {
        CHECK(base64::encode(r.octets) == r.text);
        CHECK(base64::decode(r.text) == std::string(r.octets));
    }
}

TEST_CASE("base64 brings back every octet at every place", "[data][base64]") {
    std::string octets;
    for (int i = 0; i < 256; ++i) octets += static_cast<char>(static_cast<unsigned char>(i));
    for (std::size_t first = 0; first < 4; ++first) {
        const std::string text = base64::encode(octets.substr(first));
        CHECK(text.size() % 4 == 0);
        CHECK(base64::decode(text) == octets.substr(first));
    }
    CHECK(base64::encode("\xFB\xFF\xBF") == "+/+/");
}

TEST_CASE("base64::decode refuses what encode would not give", "[data][base64]") {
    const std::string_view refused[] = {
        "Z",        "Zg",     "Zg=",      "Zm8",          "Zm9vYg",  // padding is missing
        "=",        "==",     "===",      "====",         "Z===",    // or too much
        "Zg==Zg==", "Zg=v",   "=Zg=",     "Z=g=",                    // or not at the end
        "Zh==",     "Zm9=",   "Zm9vYh==",                            // the bits it leaves over are not zero
        "Zm 9v",    "Zm9v\n", "\nZm9",    "Zm9v\r\n\r\n",            // whitespace
        "Zm-_",     "Zm9.",   "Zm9\xFF",  "Zm9*",                    // other characters
    };
    for (const std::string_view text : refused) CHECK(base64::decode(text) == std::nullopt);
    CHECK(base64::decode(std::string_view("Zm9\0", 4)) == std::nullopt);
}
