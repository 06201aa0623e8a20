// tests/fuzz/response_parser_fuzz.cpp - any octets as the responses of a connection
// SPDX-License-Identifier: BSL-1.0
#include <ferry/http/response_parser.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fuzz/fuzz.hpp"
#include "http/response_log.hpp"

namespace {
namespace http = ferry::http;
using ferry_test::must;
using ferry_test::response_log;

void check(const response_log::received_response& response) {
    must(response.status >= 100 && response.status <= 999, "the status is out of range");
    must(response.status >= 200 || response.status == 101, "an interim response was taken for a final one");
    for (const int status : response.interim) must(status < 200 && status != 101, "a final response was passed over");
    for (const auto& fields : {response.headers, response.trailers}) {
        for (const auto& [name, value] : fields) {
            must(http::valid_header_name(name) && http::valid_header_value(value), "a field is invalid");
        }
    }
    const bool bodiless = response.status == 101 || response.status == 204 || response.status == 304;
    must(!bodiless || response.body.empty(), "a response without a body has one");
}

void read_all_ways(std::string_view octets, bool to_head, const http::response_limits& limits) {
    response_log whole(to_head, 5, limits), octetwise(to_head, 5, limits), cut(to_head, 5, limits);
    whole.feed(octets);
    ferry_test::feed_octetwise(octetwise, octets);
    ferry_test::feed_cut(cut, octets);
    must(whole.same_as(octetwise), "octet by octet it is another connection");
    must(whole.same_as(cut), "cut it is another connection");
    must(whole.consumed() <= octets.size(), "more was read than there was");
    const std::size_t complete = whole.responses().size();
    for (response_log* log : {&whole, &octetwise, &cut}) log->end_of_stream();
    must(whole.same_as(octetwise) && whole.same_as(cut), "at its end it is another connection");
    must(whole.stopped() && whole.responses().size() <= complete + 1, "the end of the stream is not the end");
    for (const auto& response : whole.responses()) {
        check(response);
        must(!to_head || response.body.empty(), "the response to HEAD has a body");
    }
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view octets = ferry_test::view_of(data, size);
    for (const bool to_head : {false, true}) {
        read_all_ways(octets, to_head, http::response_limits());
        read_all_ways(octets, to_head,
                      http::response_limits()
                          .max_status_line_bytes(24)
                          .max_header_bytes(80)
                          .max_header_fields(3)
                          .max_chunk_extension_bytes(5)
                          .max_interim_responses(1)
                          .max_body_bytes(8));
    }
    return 0;
}
