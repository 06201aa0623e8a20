// tests/http/vectors.hpp - what the vector files of requests and responses have in common
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/http/detail/grammar.hpp>

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "http/request_log.hpp"
#include "support/json.hpp"

namespace ferry_test {
inline json load_vectors(const std::string& name) {
    return json::parse_file(std::string(FERRY_TEST_VECTORS_DIR "/") + name);
}

/// The octets of a vector: its member `what`, or its member `what`_parts.
inline std::string octets_of(const json& vector, const std::string& what) {
    if (vector.has(what)) return vector.at(what).octets();
    std::string octets;
    for (const json& part : vector.at(what + "_parts").array()) {
        const std::string piece = part.at("s").octets();
        for (double n = part.at("n").number(); n > 0; --n) octets += piece;
    }
    return octets;
}

inline bool given(const json& expect, std::string_view name) { return expect.has(name) && !expect.at(name).is_null(); }

inline bool same_fields(const json& expected, const field_list& actual) {
    if (expected.array().size() != actual.size()) return false;
    for (std::size_t i = 0; i < actual.size(); ++i) {
        const std::vector<json>& field = expected.array()[i].array();
        if (!ferry::http::detail::equal_ignoring_case(field.at(0).octets(), actual[i].first)) return false;
        if (field.at(1).octets() != actual[i].second) return false;
    }
    return true;
}

/// How many vectors there are of each strength.
using strengths = std::map<std::string, int>;

/// Where to cut: everywhere; where a limit has stopped the parser (at `read` octets) nothing behind that, and in the
/// middle of what is long, runs of one octet, not at each.
inline std::vector<std::size_t> cuts_of(std::size_t size, std::size_t read) {
    constexpr std::size_t edge = 4096;
    std::vector<std::size_t> cuts;
    for (std::size_t cut = 1; cut < size && cut <= read + 1; ++cut) {
        const bool in_the_middle = cut > edge && cut + 256 < read;
        if (!in_the_middle || cut % 97 == 0) cuts.push_back(cut);
    }
    return cuts;
}
}  // namespace ferry_test
