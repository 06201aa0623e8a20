// ferry/http/response_parser.hpp - octets in, responses out
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/body_framing.hpp>
#include <ferry/http/detail/body_parser.hpp>
#include <ferry/http/detail/field_parser.hpp>
#include <ferry/http/detail/framing.hpp>
#include <ferry/http/detail/status_line_parser.hpp>
#include <ferry/http/detail/step.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/http/response_head.hpp>
#include <ferry/http/response_limits.hpp>
#include <ferry/http/status.hpp>

#include <cstddef>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace ferry::inline FERRY_ABI::http {
/// What response_parser::read() found.
enum class response_event {
    need_more,  // nothing yet; every octet has been read
    interim,    // head() is a 1xx; the same request's next response follows
    head,       // head() is complete, and final
    body,       // body() is the next piece of the body
    end,        // the message is complete, trailers() too; the octets that follow it are not read
    error,      // error() says why; nothing more will be read from this connection
};

/// Reads the responses on one connection (RFC 9112), strictly: what two implementations could understand differently is
/// an error. How the octets are cut into reads never changes what it finds.
///
///     parser.begin(request_was_head);
///     for (;;) {
///         switch (parser.read(bytes)) {
///             case response_event::need_more: return;                      // until more octets arrive
///             case response_event::interim: break;
///             case response_event::head: begin(parser.head()); break;
///             case response_event::body: take(parser.body()); break;
///             case response_event::end: finish(parser.trailers()); return;
///             case response_event::error: refuse(parser.error()); return;
///         }
///     }
///
/// When the stream ends, end_of_stream() tells whether that is the end of a response or cuts it.
///
/// Ownership  Keeps a started line and the head in its own buffers, which the limits bound and begin() reuses. body() is
///            a view of the octets given to read(), valid as long as they are.
/// Errors     A bad response is the event `error`, with the status 502 that a gateway would answer. Never throws for one.
/// Cost       Each octet is looked at a bounded number of times; no allocation for a body, however it is chunked.
class response_parser {
public:
    explicit response_parser(const response_limits& limits = response_limits()) noexcept
        : limits_(limits),
          line_(limits.max_status_line_bytes()),
          fields_(limits.max_header_bytes(), limits.max_header_fields()),
          body_parser_(limits.max_body_bytes(), limits.max_chunk_extension_bytes()) {}

    /// A request has been sent, whose response comes next; the response to HEAD has no body, whatever its head says.
    /// Throws std::logic_error unless the connection is new, or the last event was `end` and the connection stays open.
    void begin(bool request_was_head = false);

    /// Takes octets off the front of `bytes` up to the next event. Call it, with an empty view too, until it returns
    /// need_more, end or error. After a 101, `bytes` begins with what belongs to the new protocol. Octets that nobody
    /// asked for are an error.
    [[nodiscard]] response_event read(std::string_view& bytes);
    /// The peer has sent everything: `end` for a body that only this ends, and after the end of a response; else `error`.
    [[nodiscard]] response_event end_of_stream() noexcept;

    /// From the event `interim` or `head` until the next read() or begin().
    [[nodiscard]] const response_head& head() const noexcept { return head_; }
    /// Moves the head out, with its buffers; head() is unspecified from then on until the next one.
    [[nodiscard]] response_head take_head() noexcept { return std::move(head_); }
    [[nodiscard]] std::string_view body() const noexcept { return body_; }
    /// Fields after a chunked body. Kept apart from the headers, since nothing vouches for them; they never frame.
    [[nodiscard]] const headers& trailers() const noexcept { return trailers_; }
    [[nodiscard]] const parse_error& error() const noexcept { return error_; }

    /// Whether an octet of a response, interim ones included, has been read since begin().
    [[nodiscard]] bool started() const noexcept { return phase_ != phase::idle && (line_.started() || interims_ != 0); }
    /// Whether the response is complete and the connection can carry a next request.
    [[nodiscard]] bool keep_alive() const noexcept { return phase_ == phase::ended && keep_alive_; }

private:
    enum class phase { idle, status_line, fields, body, ended, failed };

    response_event read_head(std::string_view& bytes);
    parse_error interpret_head();
    response_event read_body(std::string_view& bytes);
    void restart() noexcept;
    response_event fail(const parse_error& error) noexcept;

    response_limits limits_;
    phase phase_ = phase::idle;
    std::size_t interims_ = 0;
    bool to_head_request_ = false;
    bool keep_alive_ = true;  // outlives take_head()
    detail::status_line_parser line_;
    detail::field_parser fields_;  // the headers, then the trailers
    detail::body_parser body_parser_;
    response_head head_;
    headers trailers_;
    std::string_view body_;
    parse_error error_;
};

// ---- implementation ---------------------------------------------------------------
inline void response_parser::begin(bool request_was_head) {
    if (phase_ != phase::idle && phase_ != phase::ended) {
        throw std::logic_error("http: begin() before the end of the response");
    }
    if (!keep_alive_) throw std::logic_error("http: begin() after a response that closes the connection");
    restart();
    interims_ = 0;
    to_head_request_ = request_was_head;
}

inline void response_parser::restart() noexcept {
    phase_ = phase::status_line;
    line_ = detail::status_line_parser(limits_.max_status_line_bytes());
    fields_ = detail::field_parser(limits_.max_header_bytes(), limits_.max_header_fields());
    body_parser_ = detail::body_parser(limits_.max_body_bytes(), limits_.max_chunk_extension_bytes());
    head_.restart();
    trailers_.clear();
    body_ = {};
}

inline response_event response_parser::read(std::string_view& bytes) {
    switch (phase_) {
        case phase::idle:
            if (bytes.empty()) return response_event::need_more;
            return fail(parse_error(502, "a response that nobody asked for"));
        case phase::status_line:
            if (head_.interim() && head_.status_ != 0) head_.restart();  // an interim one's, kept until now
            switch (line_.read(bytes, head_.reason_)) {
                case detail::step::done:
                    break;
                case detail::step::failed:
                    return fail(line_.error());
                default:
                    return response_event::need_more;
            }
            head_.status_ = line_.status();
            head_.minor_version_ = line_.minor_version();
            phase_ = phase::fields;
            [[fallthrough]];
        case phase::fields:
            return read_head(bytes);
        case phase::body:
            return read_body(bytes);
        case phase::ended:
            return response_event::end;
        case phase::failed:
            break;
    }
    return response_event::error;
}

inline response_event response_parser::read_head(std::string_view& bytes) {
    switch (fields_.read(bytes, head_.headers_)) {
        case detail::step::done:
            break;
        case detail::step::failed:
            return fail(fields_.error());
        default:
            return response_event::need_more;
    }
    if (const parse_error refused = interpret_head()) return fail(refused);
    if (!head_.interim()) {
        keep_alive_ = head_.keep_alive_;
        phase_ = phase::body;
        return response_event::head;
    }
    if (++interims_ > limits_.max_interim_responses()) return fail(parse_error(502, "too many interim responses"));
    phase_ = phase::status_line;
    line_ = detail::status_line_parser(limits_.max_status_line_bytes());
    fields_ = detail::field_parser(limits_.max_header_bytes(), limits_.max_header_fields());
    return response_event::interim;
}

inline parse_error response_parser::interpret_head() {
    const headers& fields = head_.headers_;
    body_framing framing;
    if (const parse_error refused = detail::decide_framing(fields, head_.minor_version_, framing)) return refused;
    head_.keep_alive_ = detail::allows_keep_alive(fields, head_.minor_version_);
    // RFC 9112 6.3: these end with their head. 1xx and 204 may not even speak of a body (RFC 9110 8.6, RFC 9112 6.1):
    // somebody could read what follows as one.
    if (head_.status_ < 200 || head_.status_ == 204) {
        if (framing.has_body()) return parse_error(502, "a response without a body announces one");
        if (head_.status_ == 101) head_.keep_alive_ = false;  // no further HTTP here
        return parse_error();
    }
    if (to_head_request_ || head_.status_ == 304) return parse_error();
    if (framing.how() == body_framing::kind::none) {
        framing = body_framing::until_close();
        head_.keep_alive_ = false;
    }
    head_.body_ = framing;
    return body_parser_.begin(framing);
}

inline response_event response_parser::read_body(std::string_view& bytes) {
    switch (body_parser_.read(bytes, body_, fields_, trailers_)) {
        case detail::step::need_more:
            return response_event::need_more;
        case detail::step::data:
            return response_event::body;
        case detail::step::failed:
            return fail(body_parser_.error());
        case detail::step::done:
            break;
    }
    phase_ = phase::ended;
    return response_event::end;
}

inline response_event response_parser::end_of_stream() noexcept {
    if (phase_ == phase::body && body_parser_.ends_with_stream()) phase_ = phase::ended;
    if (phase_ == phase::ended) return response_event::end;
    if (phase_ == phase::failed) return response_event::error;
    return fail(parse_error(502, started() ? "the response was cut" : "there was no response"));
}

inline response_event response_parser::fail(const parse_error& error) noexcept {
    error_ = parse_error(502, error.reason());
    phase_ = phase::failed;
    keep_alive_ = false;
    return response_event::error;
}
}  // namespace ferry::inline FERRY_ABI::http
