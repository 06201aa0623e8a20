// tests/http/request_log.hpp - everything a request parser says about the octets of one connection
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/http/request_parser.hpp>

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ferry_test {
using field_list = std::vector<std::pair<std::string, std::string>>;

inline field_list fields_of(const ferry::http::headers& fields) {
    field_list list;
    for (const ferry::http::header field : fields) list.emplace_back(field.name, field.value);
    return list;
}

/// A request that was read to its end.
struct received_request {
    std::string method, target, version, body;
    field_list headers, trailers;
    bool keep_alive = false, expects_continue = false, wants_upgrade = false;

    bool operator==(const received_request&) const = default;
};

/// Feeds a connection's octets, in any pieces, and goes on with the next request until one closes the connection, asks
/// for an upgrade, or is wrong.
class request_log {
public:
    explicit request_log(const ferry::http::request_limits& limits = {}) : parser_(limits) {}

    void feed(std::string_view piece) {
        using ferry::http::request_event;
        // A copy of exactly this size, so that the sanitizer sees each octet read beyond it.
        const std::vector<char> exact(piece.begin(), piece.end());
        std::string_view bytes(exact.data(), exact.size());
        while (!stopped_) {
            switch (parser_.read(bytes)) {
                case request_event::need_more:
                    consumed_ += exact.size();
                    return;
                case request_event::head:
                    begin();
                    stopped_ = now_.wants_upgrade;
                    if (stopped_) requests_.push_back(std::move(now_));
                    break;
                case request_event::body:
                    now_.body += parser_.body();
                    break;
                case request_event::end:
                    now_.trailers = fields_of(parser_.trailers());
                    stopped_ = !now_.keep_alive;
                    requests_.push_back(std::move(now_));
                    if (!stopped_) parser_.next();
                    break;
                case request_event::error:
                    status_ = parser_.error().status();
                    reason_ = parser_.error().reason();
                    stopped_ = true;
                    break;
            }
        }
        consumed_ += exact.size() - bytes.size();
    }

    [[nodiscard]] const std::vector<received_request>& requests() const { return requests_; }
    /// 0 without an error.
    [[nodiscard]] int status() const { return status_; }
    [[nodiscard]] const std::string& reason() const { return reason_; }
    [[nodiscard]] std::size_t consumed() const { return consumed_; }
    [[nodiscard]] bool idle() const { return parser_.idle(); }

    /// Whether both saw the same: requests, error, and how far they read.
    [[nodiscard]] bool same_as(const request_log& other) const {
        return requests_ == other.requests_ && status_ == other.status_ && reason_ == other.reason_ &&
               consumed_ == other.consumed_ && idle() == other.idle();
    }

private:
    void begin() {
        const ferry::http::request_head& head = parser_.head();
        now_ = received_request();
        now_.method = head.method();
        now_.target = head.target();
        now_.version = head.version();
        now_.headers = fields_of(head.headers());
        now_.keep_alive = head.keep_alive();
        now_.expects_continue = head.expects_continue();
        now_.wants_upgrade = head.wants_upgrade();
    }

    ferry::http::request_parser parser_;
    std::vector<received_request> requests_;
    received_request now_;
    std::string reason_;
    std::size_t consumed_ = 0;
    int status_ = 0;
    bool stopped_ = false;
};

inline request_log read_whole(std::string_view octets, const ferry::http::request_limits& limits = {}) {
    request_log log(limits);
    log.feed(octets);
    return log;
}

inline request_log read_octetwise(std::string_view octets, const ferry::http::request_limits& limits = {}) {
    request_log log(limits);
    for (std::size_t i = 0; i < octets.size(); ++i) log.feed(octets.substr(i, 1));
    return log;
}

/// Cut before each of the given offsets, which ascend.
inline request_log read_cut(std::string_view octets, std::initializer_list<std::size_t> cuts,
                            const ferry::http::request_limits& limits = {}) {
    request_log log(limits);
    std::size_t begin = 0;
    for (const std::size_t cut : cuts) {
        log.feed(octets.substr(begin, cut - begin));
        begin = cut;
    }
    log.feed(octets.substr(begin));
    return log;
}
}  // namespace ferry_test
