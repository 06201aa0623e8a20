// ferry/http/writer.hpp - responses in, octets out
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/detail/grammar.hpp>
#include <ferry/http/detail/output.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/http/request_head.hpp>
#include <ferry/http/status.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI::http {
/// Writes the response to one request: any number of interim responses, then start() and body() up to its last piece;
/// or switch_protocols() instead of those two.
///
/// It owns the framing (RFC 9112 6): the Content-Length that was declared; a Content-Length of its own if the first
/// piece of the body is also the last; else chunks, or for an HTTP/1.0 client the end of the connection. The head stays
/// open until the first body() decides that, or flush_head(). In the same way it owns the connection: it says "close"
/// or "keep-alive" where the client must know. A Transfer-Encoding of the application is dropped.
///
/// Ownership  Appends to `out` and keeps a reference to it. The caller may empty it between calls.
/// Errors     std::invalid_argument for a status, reason, date or length that HTTP cannot carry (`headers` has refused
///            such names and values before). std::logic_error for calls out of order, for a body on 204, 205 or 304,
///            and for one that is longer or shorter than declared. A call that throws has written nothing.
/// Cost       No allocation but the growth of `out`.
class response_writer {
public:
    /// For a connection that ends with this response, whatever it answers.
    explicit response_writer(std::string& out) noexcept : out_(out) {}
    /// To a request: its method, its version and whether it lets the connection stay open shape the response.
    response_writer(std::string& out, const request_head& request) noexcept
        : out_(out),
          to_head_request_(request.method() == "HEAD"),
          to_http_1_0_(request.minor_version() == 0),
          keep_alive_(request.keep_alive()) {}
    response_writer(const response_writer&) = delete;
    response_writer& operator=(const response_writer&) = delete;

    /// The Date (RFC 9110 6.6.1) for start() to add to fields that have none. The view must last until then.
    response_writer& date(std::string_view now);
    /// Makes this response the connection's last, for a server that shuts down or leaves a request body unread. The
    /// client is told if the head is still open.
    response_writer& close_connection() noexcept;

    /// An interim response (100 to 199 but not 101). HTTP/1.0 clients get none: for them it writes nothing.
    void interim(int status, const headers& fields = headers());
    /// Begins the final response, 200 to 599. `reason` replaces the registered phrase.
    void start(int status, const headers& fields = headers(), std::string_view reason = {});
    /// Ends a head that waits for the first piece to choose its framing, so that the client sees it now.
    void flush_head();
    /// A piece of the body; the response is complete after one with `more` false. HEAD gets none of them.
    void body(std::string_view piece, bool more);
    /// 101 with these fields, among them Upgrade and Connection, and no framing: after it come the octets of the new
    /// protocol.
    void switch_protocols(const headers& fields);

    /// Whether start() has been called, or switch_protocols().
    [[nodiscard]] bool started() const noexcept { return state_ != state::start; }
    /// Whether flush_head() would have something to do.
    [[nodiscard]] bool head_open() const noexcept { return state_ == state::head; }
    /// Whether the response is complete.
    [[nodiscard]] bool finished() const noexcept { return state_ == state::finished; }
    /// Whether the connection can carry a next request: the response is complete, and both sides allow it.
    [[nodiscard]] bool keep_alive() const noexcept { return finished() && keep_alive_; }

private:
    enum class state { start, head, body, finished };
    enum class framing { undecided, no_body, length, chunked, until_close };

    [[nodiscard]] bool status_has_body() const noexcept { return status_ != 204 && status_ != 205 && status_ != 304; }
    void check_body(std::string_view piece, bool more) const;
    void end_head(std::optional<std::size_t> whole_body);
    void write_status_line(int status, std::string_view reason);
    void write_fields(const headers& fields);

    std::string& out_;
    std::string_view date_;
    std::uint64_t length_left_ = 0;  // of a body of declared length
    int status_ = 0;
    state state_ = state::start;
    framing framing_ = framing::undecided;
    bool to_head_request_ = false;
    bool to_http_1_0_ = false;
    bool keep_alive_ = false;
};

// ---- implementation ---------------------------------------------------------------
namespace detail {
/// RFC 9110 8.6, RFC 9112 6.1: no 1xx response has a body, nor fields that speak of one.
inline void refuse_framing_fields(const headers& fields) {
    if (fields.contains("content-length") || fields.contains("transfer-encoding")) {
        throw std::invalid_argument("http: a 1xx response has no Content-Length and no Transfer-Encoding");
    }
}
}  // namespace detail

inline response_writer& response_writer::date(std::string_view now) {
    if (!valid_header_value(now)) throw std::invalid_argument("http: the date is not a header value");
    date_ = now;
    return *this;
}

inline response_writer& response_writer::close_connection() noexcept {
    keep_alive_ = false;
    return *this;
}

inline void response_writer::interim(int status, const headers& fields) {
    if (started()) throw std::logic_error("http: interim() after the final response was started");
    if (status < 100 || status > 199 || status == 101) {
        throw std::invalid_argument("http: the status of an interim response is 100 to 199, and not 101");
    }
    detail::refuse_framing_fields(fields);
    if (to_http_1_0_) return;  // RFC 9110 15.2: they would not understand it
    write_status_line(status, reason_phrase(status));
    write_fields(fields);
    out_.append("\r\n");
}

inline void response_writer::start(int status, const headers& fields, std::string_view reason) {
    if (started()) throw std::logic_error("http: start() called twice for one request");
    if (status < 200 || status > 599) throw std::invalid_argument("http: the status of a response is 200 to 599");
    if (!detail::all(reason, detail::value_octet)) {
        throw std::invalid_argument("http: the reason phrase has a control character");
    }
    const std::optional<std::uint64_t> length = detail::declared_length(fields);

    status_ = status;
    state_ = state::head;
    if (!status_has_body() || (to_head_request_ && length)) {
        framing_ = framing::no_body;
    } else if (length) {
        framing_ = framing::length;
    }
    length_left_ = length.value_or(0);
    if (fields.contains_token("connection", "close")) keep_alive_ = false;

    write_status_line(status, reason.empty() ? reason_phrase(status) : reason);
    write_fields(fields);
    if (!date_.empty() && !fields.contains("date")) detail::append_field(out_, "Date", date_);
    if (status == 205) detail::append_field(out_, "Content-Length", "0");
}

inline void response_writer::flush_head() {
    if (!started()) throw std::logic_error("http: flush_head() before start()");
    if (state_ == state::head) end_head(std::nullopt);
}

inline void response_writer::body(std::string_view piece, bool more) {
    check_body(piece, more);
    if (state_ == state::head) end_head(more ? std::nullopt : std::optional<std::size_t>(piece.size()));
    if (framing_ == framing::chunked) {
        detail::append_chunk(out_, piece);
        if (!more) out_.append("0\r\n\r\n");
    } else if (framing_ != framing::no_body) {
        out_.append(piece);
        length_left_ -= framing_ == framing::length ? piece.size() : 0;
    }
    if (!more) state_ = state::finished;
}

inline void response_writer::check_body(std::string_view piece, bool more) const {
    if (!started()) throw std::logic_error("http: body() before start()");
    if (finished()) throw std::logic_error("http: body() after the response was complete");
    if (!status_has_body() && !piece.empty()) {
        throw std::logic_error("http: a response with status 204, 205 or 304 has no body");
    }
    if (framing_ != framing::length) return;
    if (piece.size() > length_left_) throw std::logic_error("http: the body is longer than its Content-Length");
    if (!more && piece.size() < length_left_) {
        throw std::logic_error("http: the body is shorter than its Content-Length");
    }
}

inline void response_writer::switch_protocols(const headers& fields) {
    if (started()) throw std::logic_error("http: switch_protocols() after a response was started");
    if (to_http_1_0_) throw std::logic_error("http: switch_protocols() for an HTTP/1.0 request");
    if (!fields.contains("upgrade") || !fields.contains_token("connection", "upgrade")) {
        throw std::invalid_argument("http: a 101 response needs Upgrade, and Connection with upgrade");  // RFC 9110 7.8
    }
    detail::refuse_framing_fields(fields);
    write_status_line(101, reason_phrase(101));
    write_fields(fields);
    out_.append("\r\n");
    state_ = state::finished;
    keep_alive_ = false;  // no further HTTP here
}

inline void response_writer::end_head(std::optional<std::size_t> whole_body) {
    if (framing_ == framing::undecided) {
        // RFC 9110 8.6: to HEAD, a length is the one that GET would get, so an empty piece proves nothing.
        if (whole_body && (*whole_body != 0 || !to_head_request_)) {
            framing_ = framing::length;
            length_left_ = *whole_body;
            out_.append("Content-Length: ");
            detail::append_number(out_, *whole_body, 10);
            out_.append("\r\n");
        } else if (to_http_1_0_ && !to_head_request_) {
            framing_ = framing::until_close;
            keep_alive_ = false;
        } else if (!to_head_request_) {
            framing_ = framing::chunked;
            detail::append_field(out_, "Transfer-Encoding", "chunked");
        }
        if (to_head_request_) framing_ = framing::no_body;
    }
    if (!keep_alive_) {
        detail::append_field(out_, "Connection", "close");
    } else if (to_http_1_0_) {
        detail::append_field(out_, "Connection", "keep-alive");
    }
    out_.append("\r\n");
    state_ = state::body;
}

inline void response_writer::write_status_line(int status, std::string_view reason) {
    out_.append("HTTP/1.1 ");  // also to HTTP/1.0: it states what the server speaks (RFC 9110 6.2)
    detail::append_number(out_, static_cast<std::uint64_t>(status), 10);
    out_.append(" ").append(reason).append("\r\n");
}

/// All but what the writer decides itself.
inline void response_writer::write_fields(const headers& fields) {
    for (const header field : fields) {
        if (detail::equal_ignoring_case(field.name, "transfer-encoding")) continue;
        if (detail::equal_ignoring_case(field.name, "connection") &&
            (detail::equal_ignoring_case(field.value, "close") ||
             detail::equal_ignoring_case(field.value, "keep-alive"))) {
            continue;
        }
        if ((status_ == 204 || status_ == 205) && detail::equal_ignoring_case(field.name, "content-length")) continue;
        detail::append_field(out_, field.name, field.value);
    }
}
}  // namespace ferry::inline FERRY_ABI::http
