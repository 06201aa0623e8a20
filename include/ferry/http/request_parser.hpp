// ferry/http/request_parser.hpp - octets in, requests out
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/detail/body_parser.hpp>
#include <ferry/http/detail/field_parser.hpp>
#include <ferry/http/detail/framing.hpp>
#include <ferry/http/detail/grammar.hpp>
#include <ferry/http/detail/request_line_parser.hpp>
#include <ferry/http/detail/step.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/http/request_head.hpp>
#include <ferry/http/request_limits.hpp>
#include <ferry/http/status.hpp>
#include <ferry/http/uri.hpp>

#include <stdexcept>
#include <string_view>
#include <utility>

namespace ferry::inline FERRY_ABI::http {
/// What request_parser::read() found.
enum class request_event {
    need_more,  // nothing yet; every octet has been read
    head,       // head() is complete
    body,       // body() is the next piece of the body
    end,        // the message is complete, trailers() too; the octets that follow it are not read
    error,      // error() says why; nothing more will be read from this connection
};

/// Reads the requests of one connection (RFC 9112), strictly: what two implementations could understand differently is
/// an error. How the octets are cut into reads never changes what it finds.
///
///     for (;;) {
///         switch (parser.read(bytes)) {
///             case request_event::need_more: return;                      // until more octets arrive
///             case request_event::head: begin(parser.head()); break;
///             case request_event::body: take(parser.body()); break;
///             case request_event::end: finish(parser.trailers()); return;  // next() once the response is complete
///             case request_event::error: refuse(parser.error()); return;
///         }
///     }
///
/// Ownership  Keeps a started line and the head in its own buffers, which the limits bound and next() reuses. body() is
///            a view of the octets given to read(), valid as long as they are.
/// Errors     A bad request is the event `error`, with 400, 413, 414, 417, 431, 501 or 505. Never throws for one.
/// Cost       Each octet is looked at a bounded number of times; no allocation for a body, however it is chunked.
class request_parser {
public:
    explicit request_parser(const request_limits& limits = request_limits()) noexcept
        : limits_(limits),
          line_(limits.max_request_line_bytes()),
          fields_(limits.max_header_bytes(), limits.max_header_fields()),
          body_parser_(limits.max_body_bytes(), limits.max_chunk_extension_bytes()) {}

    /// Takes octets off the front of `bytes` up to the next event. Call it, with an empty view too, until it returns
    /// need_more, end or error. After a head that wants an upgrade, `bytes` begins with what belongs to the new
    /// protocol.
    [[nodiscard]] request_event read(std::string_view& bytes);

    /// From the event `head` until next().
    [[nodiscard]] const request_head& head() const noexcept { return head_; }
    /// Moves the head out, with its buffers; head() is unspecified from then on until the next request's.
    [[nodiscard]] request_head take_head() noexcept { return std::move(head_); }
    [[nodiscard]] std::string_view body() const noexcept { return body_; }
    /// Fields after a chunked body. Kept apart from the headers, since nothing vouches for them; they never frame.
    [[nodiscard]] const headers& trailers() const noexcept { return trailers_; }
    [[nodiscard]] const parse_error& error() const noexcept { return error_; }

    /// Whether no octet of the next request has been read: the peer may close here without cutting a message.
    [[nodiscard]] bool idle() const noexcept;
    /// Gets ready for the request that follows on the connection. Throws std::logic_error unless the last event was
    /// `end` and the request allowed the connection to stay open.
    void next();

private:
    enum class phase { request_line, fields, body, ended, failed };

    request_event read_head(std::string_view& bytes);
    parse_error interpret_head();
    request_event read_body(std::string_view& bytes);
    request_event fail(const parse_error& error) noexcept;

    request_limits limits_;
    phase phase_ = phase::request_line;
    bool keep_alive_ = false;  // outlives take_head()
    detail::request_line_parser line_;
    detail::field_parser fields_;  // the headers, then the trailers
    detail::body_parser body_parser_;
    request_head head_;
    headers trailers_;
    std::string_view body_;
    parse_error error_;
};

// ---- implementation ---------------------------------------------------------------
inline request_event request_parser::read(std::string_view& bytes) {
    switch (phase_) {
        case phase::request_line:
            switch (line_.read(bytes, head_.method_, head_.target_)) {
                case detail::step::done:
                    break;
                case detail::step::failed:
                    return fail(line_.error());
                default:
                    return request_event::need_more;
            }
            head_.minor_version_ = line_.minor_version();
            phase_ = phase::fields;
            [[fallthrough]];
        case phase::fields:
            return read_head(bytes);
        case phase::body:
            return read_body(bytes);
        case phase::ended:
            return request_event::end;
        case phase::failed:
            break;
    }
    return request_event::error;
}

inline request_event request_parser::read_head(std::string_view& bytes) {
    switch (fields_.read(bytes, head_.headers_)) {
        case detail::step::done:
            break;
        case detail::step::failed:
            return fail(fields_.error());
        default:
            return request_event::need_more;
    }
    if (const parse_error refused = interpret_head()) return fail(refused);
    keep_alive_ = head_.keep_alive_;
    phase_ = phase::body;
    return request_event::head;
}

inline parse_error request_parser::interpret_head() {
    const headers& fields = head_.headers_;
    const bool at_least_1_1 = head_.minor_version_ >= 1;
    const std::size_t hosts = fields.count("host");
    if (hosts > 1) return parse_error(400, "the request has more than one Host");
    if (hosts == 0 && at_least_1_1) return parse_error(400, "the request has no Host");
    // RFC 9112 3.2 has clients send an empty Host where the target has no authority.
    if (hosts == 1 && !fields.find("host")->empty() && !valid_host(*fields.find("host"))) {
        return parse_error(400, "the Host is not a host with an optional port");
    }
    if (const parse_error refused = detail::decide_framing(fields, head_.minor_version_, head_.body_)) {
        return refused;
    }
    if (const parse_error refused = body_parser_.begin(head_.body_)) return refused;

    head_.keep_alive_ = detail::allows_keep_alive(fields, head_.minor_version_);
    if (!at_least_1_1) return parse_error();  // RFC 9110 7.8, 10.1.1: Upgrade and Expect are to be ignored
    head_.wants_upgrade_ =
        !head_.body_.has_body() && fields.contains("upgrade") && fields.contains_token("connection", "upgrade");
    if (const auto expectation = fields.find("expect")) {
        if (fields.count("expect") > 1 || !detail::equal_ignoring_case(*expectation, "100-continue")) {
            return parse_error(417, "the only expectation implemented is 100-continue");
        }
        head_.expects_continue_ = head_.body_.has_body();
    }
    return parse_error();
}

inline request_event request_parser::read_body(std::string_view& bytes) {
    switch (body_parser_.read(bytes, body_, fields_, trailers_)) {
        case detail::step::need_more:
            return request_event::need_more;
        case detail::step::data:
            return request_event::body;
        case detail::step::failed:
            return fail(body_parser_.error());
        case detail::step::done:
            break;
    }
    phase_ = phase::ended;
    return request_event::end;
}

inline request_event request_parser::fail(const parse_error& error) noexcept {
    error_ = error;
    phase_ = phase::failed;
    return request_event::error;
}

inline bool request_parser::idle() const noexcept { return phase_ == phase::request_line && !line_.started(); }

inline void request_parser::next() {
    if (phase_ != phase::ended) throw std::logic_error("http: next() before the end of the request");
    if (!keep_alive_) throw std::logic_error("http: next() after a request that closes the connection");
    phase_ = phase::request_line;
    line_ = detail::request_line_parser(limits_.max_request_line_bytes());
    fields_ = detail::field_parser(limits_.max_header_bytes(), limits_.max_header_fields());
    body_parser_ = detail::body_parser(limits_.max_body_bytes(), limits_.max_chunk_extension_bytes());
    head_.restart();
    trailers_.clear();
    body_ = {};
}
}  // namespace ferry::inline FERRY_ABI::http
