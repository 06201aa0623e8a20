// ferry/http/request_writer.hpp - requests in, octets out
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/detail/grammar.hpp>
#include <ferry/http/detail/output.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/http/uri.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI::http {
/// Writes one request: start(), then body() up to its last piece.
///
/// It owns the framing (RFC 9112 6): the Content-Length that was declared; a Content-Length of its own if the first
/// piece of the body is also the last, where there is one or the method is known to come with one; else chunks. The head
/// stays open until the first body() decides that, or flush_head(). A Transfer-Encoding of the caller is dropped.
///
/// Ownership  Appends to `out` and keeps a reference to it. The caller may empty it between calls.
/// Errors     std::invalid_argument for a method, target, host or length that HTTP cannot carry (`headers` has refused
///            such names and values before), so nothing breaks out of its line. std::logic_error for calls out of order,
///            and for a body that is longer or shorter than declared. A call that throws has written nothing.
/// Cost       No allocation but the growth of `out`.
class request_writer {
public:
    explicit request_writer(std::string& out) noexcept : out_(out) {}
    request_writer(const request_writer&) = delete;
    request_writer& operator=(const request_writer&) = delete;

    /// `target` is a path with its query, a whole http URL (for a proxy), or "*" for OPTIONS. `host` goes into the Host
    /// field, unless `fields` has one.
    void start(std::string_view method, std::string_view target, std::string_view host,
               const headers& fields = headers());
    /// Ends a head that waits for the first piece to choose its framing, so that the server sees it now. `whole_body` is
    /// the size of the body, where it is known.
    void flush_head(std::optional<std::size_t> whole_body = std::nullopt);
    /// A piece of the body; the request is complete after one with `more` false.
    void body(std::string_view piece, bool more);

    [[nodiscard]] bool started() const noexcept { return state_ != state::start; }
    /// Whether flush_head() would have something to do.
    [[nodiscard]] bool head_open() const noexcept { return state_ == state::head; }
    /// Whether the request is complete.
    [[nodiscard]] bool finished() const noexcept { return state_ == state::finished; }

private:
    enum class state { start, head, body, finished };
    enum class framing { undecided, no_body, length, chunked };

    void end_head(std::optional<std::size_t> whole_body);

    std::string& out_;
    std::uint64_t length_left_ = 0;  // of a body of declared length
    state state_ = state::start;
    framing framing_ = framing::undecided;
    bool expects_body_ = false;  // by its method
};

// ---- implementation ---------------------------------------------------------------
inline void request_writer::start(std::string_view method, std::string_view target, std::string_view host,
                                  const headers& fields) {
    if (started()) throw std::logic_error("http: start() called twice for one request");
    if (!valid_header_name(method)) throw std::invalid_argument("http: a method must be a token (RFC 9110 9.1)");
    if (method == "CONNECT") throw std::invalid_argument("http: CONNECT is for proxies");
    const std::optional<request_target> parts = request_target::split(target);
    if (!parts || (parts->form() == target_form::asterisk && method != "OPTIONS")) {
        throw std::invalid_argument(
            "http: a target is a path, an http URL, or * for OPTIONS; escape what is not ASCII");
    }
    const std::optional<std::string_view> own_host = fields.find("host");
    if (!valid_host(own_host.value_or(host)) || fields.count("host") > 1) {
        throw std::invalid_argument("http: a host is a name or an address with an optional port, and there is one");
    }
    const std::optional<std::uint64_t> length = detail::declared_length(fields);

    state_ = state::head;
    if (length) framing_ = framing::length;
    length_left_ = length.value_or(0);
    expects_body_ = method == "POST" || method == "PUT" || method == "PATCH";
    out_.append(method).append(" ").append(target).append(" HTTP/1.1\r\n");
    if (!own_host) detail::append_field(out_, "Host", host);  // RFC 9110 7.2: first
    for (const header field : fields) {
        if (detail::equal_ignoring_case(field.name, "transfer-encoding")) continue;
        detail::append_field(out_, field.name, field.value);
    }
}

inline void request_writer::flush_head(std::optional<std::size_t> whole_body) {
    if (!started()) throw std::logic_error("http: flush_head() before start()");
    if (state_ == state::head) end_head(whole_body);
}

inline void request_writer::body(std::string_view piece, bool more) {
    if (!started()) throw std::logic_error("http: body() before start()");
    if (finished()) throw std::logic_error("http: body() after the request was complete");
    if (framing_ == framing::length || framing_ == framing::no_body) {
        if (piece.size() > length_left_) throw std::logic_error("http: the body is longer than its Content-Length");
        if (!more && piece.size() < length_left_) {
            throw std::logic_error("http: the body is shorter than its Content-Length");
        }
    }
    if (state_ == state::head) end_head(more ? std::nullopt : std::optional<std::size_t>(piece.size()));
    if (framing_ == framing::chunked) {
        detail::append_chunk(out_, piece);
        if (!more) out_.append("0\r\n\r\n");
    } else {
        out_.append(piece);
        length_left_ -= piece.size();
    }
    if (!more) state_ = state::finished;
}

inline void request_writer::end_head(std::optional<std::size_t> whole_body) {
    if (framing_ == framing::undecided) {
        if (!whole_body) {
            framing_ = framing::chunked;
            detail::append_field(out_, "Transfer-Encoding", "chunked");
        } else if (*whole_body != 0 || expects_body_) {  // RFC 9110 8.6
            framing_ = framing::length;
            length_left_ = *whole_body;
            out_.append("Content-Length: ");
            detail::append_number(out_, *whole_body, 10);
            out_.append("\r\n");
        } else {
            framing_ = framing::no_body;
        }
    }
    out_.append("\r\n");
    state_ = state::body;
}
}  // namespace ferry::inline FERRY_ABI::http
