// tests/fuzz/request_parser_fuzz.cpp - any octets as the requests of a connection
// SPDX-License-Identifier: BSL-1.0
#include <ferry/http/request_parser.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz/fuzz.hpp"
#include "http/request_log.hpp"

namespace {
namespace http = ferry::http;
using ferry_test::must;
using ferry_test::received_request;
using ferry_test::request_log;

std::size_t count(const ferry_test::field_list& fields, std::string_view name) {
    return static_cast<std::size_t>(std::count_if(fields.begin(), fields.end(), [&](const auto& field) {
        return http::detail::equal_ignoring_case(field.first, name);
    }));
}

/// What holds for a request that was let through, however odd its octets.
void check(const received_request& request) {
    must(http::valid_header_name(request.method), "the method is no token");
    must(http::request_target::split(request.target).has_value(), "the target cannot be split");
    for (const auto& fields : {request.headers, request.trailers}) {
        for (const auto& [name, value] : fields) {
            must(http::valid_header_name(name) && http::valid_header_value(value), "a field is invalid");
        }
    }
    const std::size_t lengths = count(request.headers, "content-length");
    const std::size_t codings = count(request.headers, "transfer-encoding");
    must(lengths + codings <= 1, "the framing has two readings");
    must(count(request.headers, "host") == 1 || (request.version == "1.0" && count(request.headers, "host") == 0),
         "there is not one Host");
    must(codings == 1 || request.trailers.empty(), "trailers without chunks");
    must(lengths + codings == 1 || request.body.empty(), "a body that was not announced");
}

/// The request as it would be written by somebody who follows the RFC to the letter.
std::string write(const received_request& request) {
    std::string octets = request.method + " " + request.target + " HTTP/" + request.version + "\r\n";
    for (const auto& [name, value] : request.headers) octets.append(name).append(": ").append(value).append("\r\n");
    octets += "\r\n";
    if (count(request.headers, "transfer-encoding") == 0) return octets + request.body;
    constexpr std::string_view digits = "0123456789abcdef";
    for (const char octet : request.body) octets.append({digits[1], '\r', '\n', octet, '\r', '\n'});
    octets += "0\r\n";
    for (const auto& [name, value] : request.trailers) octets.append(name).append(": ").append(value).append("\r\n");
    return octets + "\r\n";
}

void read_all_ways(std::string_view octets, const http::request_limits& limits) {
    const request_log whole = ferry_test::read_whole(octets, limits);
    request_log octetwise(limits), cut(limits);
    ferry_test::feed_octetwise(octetwise, octets);
    ferry_test::feed_cut(cut, octets);
    must(whole.same_as(octetwise), "octet by octet it is another connection");
    must(whole.same_as(cut), "cut it is another connection");
    must(whole.consumed() <= octets.size(), "more was read than there was");
    for (const received_request& request : whole.requests()) check(request);
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view octets = ferry_test::view_of(data, size);
    read_all_ways(octets, http::request_limits());
    read_all_ways(octets, http::request_limits()
                              .max_request_line_bytes(40)
                              .max_header_bytes(80)
                              .max_header_fields(3)
                              .max_chunk_extension_bytes(5)
                              .max_body_bytes(8));
    // What was read once is read again from what a careful sender would make of it. The limits count other octets.
    const auto generous = http::request_limits().max_header_bytes(1 << 20).max_request_line_bytes(1 << 20);
    const request_log once = ferry_test::read_whole(octets, generous);
    for (const received_request& request : once.requests()) {
        if (request.wants_upgrade) continue;
        const request_log again = ferry_test::read_whole(write(request), generous);
        must(again.requests().size() == 1 && again.requests()[0] == request, "written out, it is another request");
    }
    return 0;
}
