// tests/http/request_vectors_test.cpp - the request vectors: whole, octet by octet, and cut anywhere
// SPDX-License-Identifier: BSL-1.0
#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "http/request_log.hpp"
#include "http/vectors.hpp"
#include "support/catch.hpp"

namespace {
using ferry_test::given;
using ferry_test::json;
using ferry_test::received_request;
using ferry_test::request_log;
using ferry_test::same_fields;

bool same_request(const json& expect, const received_request& request) {
    const auto agrees = [&](std::string_view name, const std::string& actual) {
        return !given(expect, name) || expect.at(name).octets() == actual;
    };
    return agrees("method", request.method) && agrees("target", request.target) && agrees("version", request.version) &&
           agrees("body", request.body) &&
           (!given(expect, "headers") || same_fields(expect.at("headers"), request.headers)) &&
           (!given(expect, "trailers") || same_fields(expect.at("trailers"), request.trailers)) &&
           (!given(expect, "keep_alive") || expect.at("keep_alive").boolean() == request.keep_alive);
}

bool allowed_status(const json& expect, int status) {
    if (given(expect, "status") && static_cast<int>(expect.at("status").number()) == status) return true;
    if (!given(expect, "status_any")) return false;
    const std::vector<json>& any = expect.at("status_any").array();
    return std::any_of(any.begin(), any.end(), [&](const json& s) { return static_cast<int>(s.number()) == status; });
}

/// Whether the connection ended as `expect` says, from its request number `first` on.
bool agrees(const json& expect, const request_log& log, std::size_t first) {
    if (!expect.at("accept").boolean()) {
        if (log.requests().size() != first) return false;
        const bool waits = log.status() == 0;
        return waits ? given(expect, "incomplete") && expect.at("incomplete").boolean()
                     : allowed_status(expect, log.status());
    }
    if (log.requests().size() <= first || !same_request(expect, log.requests()[first])) return false;
    ++first;
    if (!given(expect, "then")) return true;
    for (const json& next : expect.at("then").array()) {
        if (!agrees(next, log, first)) return false;
        first += next.at("accept").boolean() ? 1 : 0;
    }
    return log.requests().size() == first;
}

bool agrees_with_vector(const json& vector, const request_log& log) {
    if (agrees(vector.at("expect"), log, 0)) return true;
    if (!given(vector, "alternatives")) return false;
    const std::vector<json>& others = vector.at("alternatives").array();
    return std::any_of(others.begin(), others.end(), [&](const json& expect) { return agrees(expect, log, 0); });
}

std::string describe(const json& vector, const request_log& log) {
    std::string text = vector.at("id").string() + ": " + std::to_string(log.requests().size()) + " requests, status " +
                       std::to_string(log.status()) + " " + log.reason();
    return text + " (" + vector.at("rule").string() + ")";
}

json load() { return ferry_test::load_vectors("http1-requests.json"); }
std::string octets_of(const json& vector) { return ferry_test::octets_of(vector, "request"); }
}  // namespace

TEST_CASE("request vectors are answered as they say", "[http][request_vectors]") {
    const json file = load();
    std::vector<std::string> failures;
    ferry_test::strengths checked;
    for (const json& vector : file.at("vectors").array()) {
        const request_log log = ferry_test::read_whole(octets_of(vector));
        if (!agrees_with_vector(vector, log)) failures.push_back(describe(vector, log));
        ++checked[vector.at("strength").string()];
    }
    CHECK(checked == ferry_test::strengths{{"must", 97}, {"should", 4}, {"policy", 26}});
    CHECK(failures == std::vector<std::string>());
}

TEST_CASE("request vectors get the strict answer where the RFC leaves a choice", "[http][request_vectors]") {
    std::vector<std::string> failures;
    const json file = load();
    for (const json& vector : file.at("vectors").array()) {
        if (vector.at("strength").string() != "policy") continue;
        const request_log log = ferry_test::read_whole(octets_of(vector));
        if (!agrees(vector.at("expect"), log, 0)) failures.push_back(describe(vector, log));
    }
    CHECK(failures == std::vector<std::string>());
}

TEST_CASE("request vectors are answered the same however they are cut", "[http][request_vectors]") {
    const json file = load();
    std::vector<std::string> failures;
    std::size_t checked = 0;
    for (const json& vector : file.at("vectors").array()) {
        const std::string octets = octets_of(vector);
        const request_log whole = ferry_test::read_whole(octets);
        const std::string& id = vector.at("id").string();
        if (!whole.same_as(ferry_test::read_octetwise(octets))) failures.push_back(id + " octet by octet");

        for (const std::size_t cut : ferry_test::cuts_of(octets.size(), whole.consumed())) {
            if (!whole.same_as(ferry_test::read_cut(octets, {cut}))) {
                failures.push_back(id + " cut at " + std::to_string(cut));
            }
        }
        const std::size_t wide = octets.size() <= 4096 ? 3 : octets.size() / 16;
        for (std::size_t first = 1; first < octets.size(); first += wide) {
            for (std::size_t second = first + 1; second < octets.size(); second += wide) {
                if (!whole.same_as(ferry_test::read_cut(octets, {first, second}))) {
                    failures.push_back(id + " cut at " + std::to_string(first) + " and " + std::to_string(second));
                }
            }
        }
        ++checked;
    }
    REQUIRE(checked == static_cast<std::size_t>(file.at("count").number()));
    CHECK(failures == std::vector<std::string>());
}
