// ferry/client/http_connection.hpp - one connection to one server, over any stream
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/client/http_client_options.hpp>
#include <ferry/client/http_message.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/http/body_pace.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/http/request_writer.hpp>
#include <ferry/http/response_head.hpp>
#include <ferry/http/response_parser.hpp>
#include <ferry/loop/async_mutex.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/net/stream.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// Requests one after another, each answered before the next. http_client keeps such connections over TCP; this class
/// serves where the stream is another one.
///
///     co_await connection.begin("POST", "/upload", "host");
///     co_await connection.send(piece);                             // any number of times
///     co_await connection.finish();
///     const auto& head = co_await connection.response();           // interim responses are passed over
///     for (std::string piece; !(piece = co_await connection.read()).empty();) use(piece);
///
/// One task may send while another receives: a server that answers before it has read everything needs that.
///
/// Ownership      Owns the stream. Does not move; destroy it when no task waits for it.
/// Thread-safety  None: its loop's thread.
/// Errors         disconnected when the server is gone before the response is complete; bad_response; timeout_error, by
///                the limits of the options; all name the request. std::logic_error for calls out of order. After an error,
///                or a call that was cancelled, it cannot be used again.
template <net::stream Stream>
class http_connection {
public:
    http_connection(event_loop& loop, Stream stream, const http_client_options& options = http_client_options())
        : loop_(loop), stream_(std::move(stream)), options_(options), parser_(options.limits()), reading_(loop) {}
    http_connection(const http_connection&) = delete;
    http_connection& operator=(const http_connection&) = delete;

    /// Sends the head of a request whose body comes by send() and finish(): in chunks, unless `fields` declare a length.
    task<> begin(std::string method, std::string target, std::string host, http::headers fields = http::headers());
    /// The next piece of the body; waits until the server's side has taken it. False, with nothing sent, if the request
    /// asked for "100 Continue" and was answered in full instead.
    task<bool> send(std::string_view piece);
    task<> finish();

    /// The head of the final response; the reference is valid until the next begin().
    task<const http::response_head&> response();
    /// The next piece of the response's body; empty at its end. A server may send it as slowly as stall_timeout lets it.
    task<std::string> read();
    /// The rest of it, no more than the options' max_body_bytes, no slower than their min_body_rate.
    task<std::string> read_all();
    /// After the end of the body.
    [[nodiscard]] const http::headers& trailers() const noexcept { return parser_.trailers(); }

    /// Sends a request with the body that it has, and waits for the head of the response. The parameters outlive the call.
    task<> ask(const client_request& what, const std::string& target, const std::string& host);
    /// All of that. A body is sent while the response comes, whichever the server wants to be done with first.
    task<client_response> exchange(const client_request& what, const std::string& target, const std::string& host);

    /// Whether an octet has come in answer to the last request.
    [[nodiscard]] bool answered() const noexcept { return parser_.started(); }
    /// Whether another request can follow: both messages are complete, both sides allow it, and nothing came unasked.
    [[nodiscard]] bool reusable() const noexcept {
        return !broken_ && !sending_ && writer_ && writer_->finished() && parser_.keep_alive() && keep_alive_ &&
               unread_from_ == pending_.size() && !stream_.is_readable();
    }
    /// After a 101: the stream, and what has come on it already of the new protocol.
    [[nodiscard]] std::pair<Stream, std::string> take_stream();

private:
    using milliseconds = std::chrono::milliseconds;

    void start(std::string_view method, std::string_view target, std::string_view host, const http::headers& fields);
    task<bool> start_whole(const client_request& what, const std::string& target, const std::string& host);
    task<> flush();
    task<> flush_while_answered();
    task<bool> may_send();
    task<> read_heads(const bool& enough);
    task<client_response> take_response();
    task<std::string> read_in_time(http::body_pace& pace);
    task<http::response_event> next_event(milliseconds limit, const event_loop::time_point& since);
    task<bool> receive_more(milliseconds limit, const event_loop::time_point& since);
    [[noreturn]] void fail(const std::string& why);

    event_loop& loop_;
    Stream stream_;
    http_client_options options_;
    std::string what_;  // the request, for errors
    std::string out_;   // written, not sent
    std::optional<http::request_writer> writer_;
    http::response_parser parser_;
    http::response_head head_;
    std::string pending_;  // received; parsed up to unread_from_
    std::size_t unread_from_ = 0;
    async_mutex reading_;  // heads: a task that sends waits for "100 Continue", while another waits for the response
    event_loop::time_point last_sent_;      // when the server's side took something
    event_loop::time_point last_progress_;  // or something came from it
    bool head_seen_ = false;
    bool ended_ = false;
    bool waits_for_continue_ = false;
    bool continued_ = false;  // a 100 has come
    bool unwanted_ = false;   // the body
    bool sending_ = false;    // or it was given up in the middle
    bool keep_alive_ = true;  // as far as the requests say
    bool broken_ = false;     // something was left in the middle
};

// ---- implementation ----------------------------------------------------------------------------------------------
template <net::stream Stream>
void http_connection<Stream>::start(std::string_view method, std::string_view target, std::string_view host,
                                    const http::headers& fields) {
    if (broken_ || sending_ || (writer_ && !writer_->finished())) {
        throw std::logic_error("ferry: this connection is of no more use");
    }
    http::request_writer begun(out_);
    out_.clear();
    begun.start(method, target, host, fields);  // before anything changes: it may throw
    out_.clear();
    parser_.begin(method == "HEAD");
    writer_.emplace(out_).start(method, target, host, fields);
    what_ = std::string(method).append(" http://").append(host).append(target);
    head_seen_ = ended_ = unwanted_ = continued_ = false;
    waits_for_continue_ = fields.contains_token("expect", "100-continue");
    keep_alive_ = !fields.contains_token("connection", "close");
    last_sent_ = last_progress_ = loop_.now();
}

template <net::stream Stream>
task<> http_connection<Stream>::begin(std::string method, std::string target, std::string host, http::headers fields) {
    start(method, target, host, fields);
    writer_->flush_head();
    co_await flush();
}

template <net::stream Stream>
task<bool> http_connection<Stream>::send(std::string_view piece) {
    const bool wanted = co_await may_send();
    if (!wanted) co_return false;
    writer_->body(piece, true);
    co_await flush();
    co_return true;
}

template <net::stream Stream>
task<> http_connection<Stream>::finish() {
    const bool wanted = co_await may_send();
    if (!wanted) co_return;
    writer_->body({}, false);
    co_await flush();
}

template <net::stream Stream>
task<bool> http_connection<Stream>::may_send() {
    if (!writer_) throw std::logic_error("ferry: a body before begin()");
    if (std::exchange(waits_for_continue_, false)) {
        const bool in_time = co_await try_timeout(options_.continue_timeout(), read_heads(continued_));
        unwanted_ = in_time && !continued_;  // the server may or may not wait for the body: RFC 9110 10.1.1
        last_sent_ = loop_.now();
    }
    co_return !unwanted_;
}

/// Until there is enough, or the final one has come.
template <net::stream Stream>
task<> http_connection<Stream>::read_heads(const bool& enough) {
    while (!enough && !head_seen_) {
        const async_mutex::guard my_turn = co_await reading_.lock();
        if (enough || head_seen_) break;  // the other task has read it
        const http::response_event found = co_await next_event(options_.response_timeout(), last_sent_);
        if (found == http::response_event::head) {
            head_ = parser_.take_head();
            head_seen_ = true;
        } else if (found == http::response_event::interim && parser_.head().status() == 100) {
            continued_ = true;
        }
    }
}

template <net::stream Stream>
task<> http_connection<Stream>::flush() {
    sending_ = true;  // until it is done: part of it may have been sent
    std::size_t sent = 0;
    while (sent < out_.size()) {
        const std::size_t taken = stream_.send_some(std::string_view(out_).substr(sent));
        sent += taken;
        if (taken != 0) last_sent_ = last_progress_ = loop_.now();
        if (sent == out_.size()) break;
        const bool room = co_await try_timeout(options_.stall_timeout(), stream_.writable());
        if (!room) {
            throw timeout_error("ferry: " + what_ + ": the server has taken nothing for " +
                                std::to_string(options_.stall_timeout().count()) + " ms");
        }
    }
    out_.clear();
    sending_ = false;
}

template <net::stream Stream>
task<> http_connection<Stream>::ask(const client_request& what, const std::string& target, const std::string& host) {
    const bool wanted = co_await start_whole(what, target, host);
    if (wanted) co_await flush_while_answered();
    co_await response();
}

/// Up to the point where the body is written, if it is wanted, and can be flushed.
template <net::stream Stream>
task<bool> http_connection<Stream>::start_whole(const client_request& what, const std::string& target,
                                                const std::string& host) {
    start(what.method(), target, host, what.headers());
    if (!what.body().empty() && waits_for_continue_) {
        writer_->flush_head(what.body().size());
        co_await flush();
        const bool wanted = co_await may_send();
        if (!wanted) co_return false;
    }
    writer_->body(what.body(), false);
    co_return true;
}

/// A server that does not take the whole request may still have answered it: that is for the reader to find out.
template <net::stream Stream>
task<> http_connection<Stream>::flush_while_answered() {
    try {
        co_await flush();
    } catch (const disconnected&) {}
}

template <net::stream Stream>
task<client_response> http_connection<Stream>::exchange(const client_request& what, const std::string& target,
                                                        const std::string& host) {
    const bool wanted = co_await start_whole(what, target, host);
    if (!wanted) co_return co_await take_response();
    std::optional<client_response> answer;
    if (out_.size() <= 16 * 1024) {  // the kernel takes it, or the server does not need its answer to be read first
        co_await flush_while_answered();
        answer.emplace(co_await take_response());
    } else {
        co_await with_task_group([&](task_group& tasks) -> task<> {
            tasks.start(flush_while_answered());
            answer.emplace(co_await take_response());
            tasks.cancel();
        });
    }
    co_return std::move(*answer);
}

template <net::stream Stream>
task<client_response> http_connection<Stream>::take_response() {
    co_await response();
    std::string body = co_await read_all();
    http::headers trailers = parser_.trailers();
    co_return client_response(std::move(head_), std::move(body), std::move(trailers));
}

template <net::stream Stream>
task<const http::response_head&> http_connection<Stream>::response() {
    if (!writer_) throw std::logic_error("ferry: response() before begin()");
    co_await read_heads(head_seen_);
    co_return head_;
}

template <net::stream Stream>
task<std::string> http_connection<Stream>::read() {
    if (!head_seen_) throw std::logic_error("ferry: read() before response()");
    if (ended_) co_return std::string();
    const http::response_event found = co_await next_event(options_.stall_timeout(), last_progress_);
    std::string piece;
    if (found == http::response_event::body) {
        piece = parser_.body();
        std::string_view unread = std::string_view(pending_).substr(unread_from_);
        while (parser_.read(unread) == http::response_event::body)
            piece += parser_.body();  // what it says else, it repeats
        unread_from_ = pending_.size() - unread.size();
    }
    ended_ = piece.empty();
    co_return piece;
}

template <net::stream Stream>
task<std::string> http_connection<Stream>::read_all() {
    if (!head_seen_) throw std::logic_error("ferry: read_all() before response()");
    std::string body;
    http::body_pace pace(options_.min_body_rate(), options_.body_grace_time(), options_.stall_timeout());
    const std::size_t limit = options_.max_body_bytes();
    for (bool more = head_.body().length() <= limit; more;) {
        const std::string piece = co_await read_in_time(pace);
        more = !piece.empty();
        if (piece.size() > limit - body.size()) break;
        body += piece;
    }
    if (!ended_) {
        broken_ = true;
        fail("the body is larger than " + std::to_string(limit) +
             " bytes; raise max_body_bytes, or read() it in pieces");
    }
    co_return body;
}

template <net::stream Stream>
task<std::string> http_connection<Stream>::read_in_time(http::body_pace& pace) {
    event_loop::time_point since = loop_.now();
    for (;;) {
        std::optional<std::string> piece = co_await try_timeout(since + pace.patience() - loop_.now(), read());
        since = std::max(since, last_sent_);  // while the server still takes octets of the request, its answer may wait
        if (piece) {
            pace.waited(loop_.now() - since, piece->size());
            co_return std::move(*piece);
        }
        if (loop_.now() - since < pace.patience()) continue;
        broken_ = true;
        throw timeout_error("ferry: " + what_ + ": the server sends the body too slowly, less than " +
                            std::to_string(options_.min_body_rate()) + " bytes a second");
    }
}

/// The next thing that the parser finds; an error throws.
template <net::stream Stream>
task<http::response_event> http_connection<Stream>::next_event(milliseconds limit,
                                                               const event_loop::time_point& since) {
    for (;;) {
        std::string_view unread = std::string_view(pending_).substr(unread_from_);
        const http::response_event found = parser_.read(unread);
        unread_from_ = pending_.size() - unread.size();
        if (found == http::response_event::error) fail(std::string(parser_.error().reason()));
        if (found != http::response_event::need_more) co_return found;
        const bool alive = co_await receive_more(limit, since);
        if (alive) continue;
        if (parser_.end_of_stream() == http::response_event::end) {
            broken_ = true;
            co_return http::response_event::end;
        }
        broken_ = true;
        throw disconnected("ferry: " + what_ +
                           ": the server has closed the connection: " + std::string(parser_.error().reason()));
    }
}

/// False at the end of the stream. `since` moves meanwhile: a request that is still being sent has all the time it needs.
template <net::stream Stream>
task<bool> http_connection<Stream>::receive_more(milliseconds limit, const event_loop::time_point& since) {
    for (;;) {
        try {
            auto octets = co_await try_timeout(since + limit - loop_.now(), stream_.receive());
            if (octets) {
                pending_.assign(octets->view());
                unread_from_ = 0;
                last_progress_ = loop_.now();
                co_return !pending_.empty();
            }
        } catch (const disconnected& lost) {
            broken_ = true;
            throw disconnected("ferry: " + what_ + ": " + lost.what());
        }
        if (loop_.now() - since < limit) continue;  // it has moved
        broken_ = true;
        throw timeout_error("ferry: " + what_ + ": the server has not answered within " +
                            std::to_string(limit.count()) + " ms");
    }
}

template <net::stream Stream>
void http_connection<Stream>::fail(const std::string& why) {
    broken_ = true;
    throw bad_response("ferry: " + what_ + ": the response is not acceptable: " + why);
}

template <net::stream Stream>
std::pair<Stream, std::string> http_connection<Stream>::take_stream() {
    if (!head_seen_ || head_.status() != 101) throw std::logic_error("ferry: take_stream() without a 101");
    broken_ = true;
    return {std::move(stream_), pending_.substr(unread_from_)};
}
}  // namespace ferry::inline FERRY_ABI
