// tests/fuzz/writer_fuzz.cpp - any texts as the parts of a request and of a response to be written
// SPDX-License-Identifier: BSL-1.0
#include <ferry/http/request_parser.hpp>
#include <ferry/http/request_writer.hpp>
#include <ferry/http/writer.hpp>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "fuzz/fuzz.hpp"
#include "http/request_log.hpp"
#include "http/response_log.hpp"

namespace {
namespace http = ferry::http;
using ferry_test::field_list;
using ferry_test::must;
using http::detail::equal_ignoring_case;

constexpr char separator = '\xFF';  // so that each part may have line ends in it

/// What the writers decide themselves, whatever they are told.
bool is_framing(std::string_view name) {
    for (const std::string_view own : {"transfer-encoding", "content-length", "connection"}) {
        if (equal_ignoring_case(name, own)) return true;
    }
    return false;
}

/// The fields that were given come out in their order; others are only those of the writer.
void check_fields(const http::headers& given, const field_list& written, std::string_view added) {
    std::size_t at = 0;
    for (const http::header field : given) {
        if (is_framing(field.name)) continue;
        while (at < written.size() && written[at].first != field.name) {
            must(is_framing(written[at].first) || written[at].first == added, "a field that nobody has given");
            ++at;
        }
        must(at < written.size() && written[at].second == field.value, "a field was lost, or is another one");
        ++at;
    }
    for (; at < written.size(); ++at) {
        must(is_framing(written[at].first) || written[at].first == added, "a field that nobody has given");
    }
}

void write_request(std::string_view method, std::string_view target, std::string_view host, const http::headers& fields,
                   std::string_view body) {
    std::string out;
    http::request_writer writer(out);
    try {
        writer.start(method, target, host, fields);
    } catch (const std::invalid_argument&) {
        must(out.empty() && !writer.started(), "what was refused was written");
        return;
    }
    try {
        writer.body(body, false);
    } catch (const std::logic_error&) {  // not as long as it was declared
        return;
    }
    const auto log = ferry_test::read_whole(out, http::request_limits().max_header_fields(1000));
    if (log.status() == 417 || log.status() == 414) return;
    must(log.status() == 0 && log.requests().size() == 1, "what was written is not one request");
    must(log.consumed() == out.size() || log.requests()[0].wants_upgrade, "something comes behind the request");
    must(log.requests()[0].method == method && log.requests()[0].target == target, "it is another request");
    must(log.requests()[0].body == body, "it is another body");
    check_fields(fields, log.requests()[0].headers, "Host");
}

void write_response(int status, std::string_view reason, const http::headers& fields, std::string_view body) {
    std::string_view octets = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    http::request_parser asked;
    must(asked.read(octets) == http::request_event::head, "the request");
    std::string out;
    http::response_writer writer(out, asked.head());
    try {
        writer.start(status, fields, reason);
    } catch (const std::invalid_argument&) {
        must(out.empty() && !writer.started(), "what was refused was written");
        return;
    }
    try {
        writer.body(body, false);
    } catch (const std::logic_error&) {  // not as long as it was declared, or where none may be
        return;
    }
    ferry_test::response_log log(false, 1, http::response_limits().max_header_fields(1000));
    log.feed(out);
    must(log.reason().empty() && log.responses().size() == 1, "what was written is not one response");
    must(log.consumed() == out.size(), "something comes behind the response");
    must(log.responses()[0].status == status && log.responses()[0].body == body, "it is another response");
    must(reason.empty() || log.responses()[0].reason == reason, "it is another reason");
    check_fields(fields, log.responses()[0].headers, {});
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string_view rest = ferry_test::view_of(data, size);
    const std::string_view method = http::detail::cut(rest, separator);
    const std::string_view target = http::detail::cut(rest, separator);
    const std::string_view host = http::detail::cut(rest, separator);
    const std::string_view body = http::detail::cut(rest, separator);
    http::headers fields;
    while (!rest.empty()) {
        const std::string_view name = http::detail::cut(rest, separator);
        const std::string_view value = http::detail::cut(rest, separator);
        const std::size_t before = fields.size();
        try {
            fields.add(name, value);
        } catch (const std::invalid_argument&) {
            must(fields.size() == before, "a field that was refused is there");
        }
    }
    write_request(method, target, host, fields, body);
    write_response(200 + static_cast<int>(method.size() % 410), target, fields, body);
    return 0;
}
