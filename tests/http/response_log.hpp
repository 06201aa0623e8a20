// tests/http/response_log.hpp - everything a response parser says about the octets of one connection
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/http/response_parser.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/request_log.hpp"

namespace ferry_test {
/// Feeds octets, in any pieces, to the responses to GET, or to HEAD, up to the end of the first final one that closes the
/// connection, or of as many as were asked for.
class response_log {
public:
    struct received_response {
        int status = 0;
        std::string version, reason, body;
        field_list headers, trailers;
        std::vector<int> interim;
        bool keep_alive = false;

        bool operator==(const received_response&) const = default;
    };

    explicit response_log(bool to_head, std::size_t requests = 1, const ferry::http::response_limits& limits = {})
        : parser_(limits), to_head_(to_head), requests_left_(requests) {
        begin_next();
    }

    void feed(std::string_view piece) {
        using ferry::http::response_event;
        // A copy of exactly this size, so that the sanitizer sees each octet read beyond it.
        const std::vector<char> exact(piece.begin(), piece.end());
        std::string_view bytes(exact.data(), exact.size());
        while (!stopped_) {
            switch (parser_.read(bytes)) {
                case response_event::need_more:
                    consumed_ += exact.size();
                    return;
                case response_event::interim:
                    now_.interim.push_back(parser_.head().status());
                    break;
                case response_event::head:
                    begin();
                    break;
                case response_event::body:
                    now_.body += parser_.body();
                    break;
                case response_event::end:
                    finish();
                    break;
                case response_event::error:
                    fail();
                    break;
            }
        }
        consumed_ += exact.size() - bytes.size();
    }
    void end_of_stream() {
        if (stopped_) return;
        if (parser_.end_of_stream() == ferry::http::response_event::end) {
            finish();
        } else {
            fail();
        }
    }

    [[nodiscard]] const std::vector<received_response>& responses() const { return responses_; }
    /// Empty without an error.
    [[nodiscard]] const std::string& reason() const { return reason_; }
    [[nodiscard]] std::size_t consumed() const { return consumed_; }
    /// Whether a response is complete, or none will come.
    [[nodiscard]] bool stopped() const { return stopped_; }

    /// Whether both saw the same: responses, error, and how far they read.
    [[nodiscard]] bool same_as(const response_log& other) const {
        return responses_ == other.responses_ && now_ == other.now_ && reason_ == other.reason_ &&
               consumed_ == other.consumed_ && stopped_ == other.stopped_;
    }

private:
    void begin_next() {
        --requests_left_;
        now_ = received_response();
        parser_.begin(to_head_);
    }
    void begin() {
        const ferry::http::response_head& head = parser_.head();
        now_.status = head.status();
        now_.version = head.version();
        now_.reason = head.reason();
        now_.headers = fields_of(head.headers());
        now_.keep_alive = head.keep_alive();
    }
    void finish() {
        now_.trailers = fields_of(parser_.trailers());
        responses_.push_back(std::exchange(now_, received_response()));
        stopped_ = requests_left_ == 0 || !parser_.keep_alive();
        if (!stopped_) begin_next();
    }
    void fail() {
        reason_ = parser_.error().reason();
        stopped_ = true;
    }

    ferry::http::response_parser parser_;
    bool to_head_;
    std::size_t requests_left_;
    std::vector<received_response> responses_;
    received_response now_;
    std::string reason_;
    std::size_t consumed_ = 0;
    bool stopped_ = false;
};
}  // namespace ferry_test
