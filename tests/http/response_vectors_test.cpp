// tests/http/response_vectors_test.cpp - the response vectors: whole, octet by octet, and cut anywhere
// SPDX-License-Identifier: BSL-1.0
#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "http/response_log.hpp"
#include "http/vectors.hpp"
#include "support/catch.hpp"

namespace {
using ferry_test::given;
using ferry_test::json;
using ferry_test::response_log;

json load() { return ferry_test::load_vectors("http1-responses.json"); }
std::string octets_of(const json& vector) { return ferry_test::octets_of(vector, "response"); }

/// Cut before each of the given offsets, which ascend.
response_log read(const json& vector, std::string_view octets, const std::vector<std::size_t>& cuts) {
    response_log log(given(vector, "method") && vector.at("method").string() == "HEAD");
    std::size_t begin = 0;
    for (const std::size_t cut : cuts) {
        log.feed(octets.substr(begin, cut - begin));
        begin = cut;
    }
    log.feed(octets.substr(begin));
    if (given(vector, "eof")) log.end_of_stream();
    return log;
}

bool same_response(const json& expect, const response_log::received_response& response) {
    const auto agrees = [&](std::string_view name, const std::string& actual) {
        return !given(expect, name) || expect.at(name).octets() == actual;
    };
    std::vector<int> interim;
    if (given(expect, "interim")) {
        for (const json& status : expect.at("interim").array()) interim.push_back(static_cast<int>(status.number()));
    }
    return static_cast<int>(expect.at("status").number()) == response.status && interim == response.interim &&
           agrees("version", response.version) && agrees("reason", response.reason) && agrees("body", response.body) &&
           (!given(expect, "headers") || ferry_test::same_fields(expect.at("headers"), response.headers)) &&
           (given(expect, "trailers") ? ferry_test::same_fields(expect.at("trailers"), response.trailers)
                                      : response.trailers.empty()) &&
           (!given(expect, "keep_alive") || expect.at("keep_alive").boolean() == response.keep_alive);
}

bool agrees_with_vector(const json& vector, const std::string& octets, const response_log& log) {
    const json& expect = vector.at("expect");
    if (given(expect, "incomplete")) return log.responses().empty() && !log.stopped();
    if (!expect.at("accept").boolean()) return log.responses().empty() && !log.reason().empty();
    const std::size_t left = given(expect, "left") ? static_cast<std::size_t>(expect.at("left").number()) : 0;
    return log.responses().size() == 1 && log.reason().empty() && log.consumed() + left == octets.size() &&
           same_response(expect, log.responses()[0]);
}
}  // namespace

TEST_CASE("response vectors are read as they say", "[http][response_vectors]") {
    const json file = load();
    std::vector<std::string> failures;
    ferry_test::strengths checked;
    for (const json& vector : file.at("vectors").array()) {
        const std::string octets = octets_of(vector);
        const response_log log = read(vector, octets, {});
        if (!agrees_with_vector(vector, octets, log)) {
            failures.push_back(vector.at("id").string() + " (" + vector.at("rule").string() + "): " + log.reason());
        }
        ++checked[vector.at("strength").string()];
    }
    CHECK(checked == ferry_test::strengths{{"must", 51}, {"should", 3}, {"policy", 26}});
    CHECK(failures == std::vector<std::string>());
}

TEST_CASE("response vectors are read the same however they are cut", "[http][response_vectors]") {
    const json file = load();
    std::vector<std::string> failures;
    std::size_t checked = 0;
    for (const json& vector : file.at("vectors").array()) {
        const std::string octets = octets_of(vector);
        const response_log whole = read(vector, octets, {});
        const std::string& id = vector.at("id").string();
        std::vector<std::size_t> everywhere;
        for (std::size_t at = 1; at < octets.size(); ++at) everywhere.push_back(at);
        if (!whole.same_as(read(vector, octets, everywhere))) failures.push_back(id + " octet by octet");
        for (const std::size_t cut : ferry_test::cuts_of(octets.size(), whole.consumed())) {
            if (!whole.same_as(read(vector, octets, {cut}))) failures.push_back(id + " cut at " + std::to_string(cut));
        }
        const std::size_t wide = octets.size() <= 4096 ? 3 : octets.size() / 16;
        for (std::size_t first = 1; first < octets.size(); first += wide) {
            for (std::size_t second = first + 1; second < octets.size(); second += wide) {
                if (!whole.same_as(read(vector, octets, {first, second}))) {
                    failures.push_back(id + " cut at " + std::to_string(first) + " and " + std::to_string(second));
                }
            }
        }
        ++checked;
    }
    REQUIRE(checked == static_cast<std::size_t>(file.at("count").number()));
    CHECK(failures == std::vector<std::string>());
}
