// ferry/client/http_message.hpp - what an HTTP client asks, and what it is answered
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/http/response_head.hpp>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// A server's answer is not HTTP, could be read in two ways, or is larger than the client's limits.
class bad_response : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// A request to be sent: client_request("PUT", url).header("content-type", "text/plain").body(text).
///
/// Errors  header() throws std::invalid_argument for what would break out of its line.
class client_request {
public:
    client_request(std::string method, std::string url) noexcept : method_(std::move(method)), url_(std::move(url)) {}
    [[nodiscard]] static client_request get(std::string url) { return client_request("GET", std::move(url)); }
    [[nodiscard]] static client_request head(std::string url) { return client_request("HEAD", std::move(url)); }
    [[nodiscard]] static client_request post(std::string url, std::string body) {
        return client_request("POST", std::move(url)).body(std::move(body));
    }

    client_request& header(std::string_view name, std::string_view content) & {
        headers_.add(name, content);
        return *this;
    }
    client_request&& header(std::string_view name, std::string_view content) && {
        headers_.add(name, content);
        return std::move(*this);
    }
    client_request& body(std::string whole) & {
        body_ = std::move(whole);
        return *this;
    }
    client_request&& body(std::string whole) && {
        body_ = std::move(whole);
        return std::move(*this);
    }

    [[nodiscard]] const std::string& method() const noexcept { return method_; }
    [[nodiscard]] const std::string& url() const noexcept { return url_; }
    [[nodiscard]] const http::headers& headers() const noexcept { return headers_; }
    [[nodiscard]] const std::string& body() const noexcept { return body_; }
    /// RFC 9110 9.2.2: to send it twice is the same as once.
    [[nodiscard]] bool idempotent() const noexcept {
        for (const std::string_view known : {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"}) {
            if (method_ == known) return true;
        }
        return false;
    }

private:
    std::string method_;
    std::string url_;
    http::headers headers_;
    std::string body_;
};

/// A response that was taken whole. Redirects are responses like any other: nothing is followed.
class client_response {
public:
    client_response(http::response_head head, std::string body, http::headers trailers) noexcept
        : head_(std::move(head)), body_(std::move(body)), trailers_(std::move(trailers)) {}

    [[nodiscard]] int status() const noexcept { return head_.status(); }
    /// Of any class but 4xx and 5xx (or above, which count as such).
    [[nodiscard]] bool ok() const noexcept { return status() < 400; }
    [[nodiscard]] const http::response_head& head() const noexcept { return head_; }
    [[nodiscard]] const http::headers& headers() const noexcept { return head_.headers(); }
    /// The first field of that name; empty if there is none.
    [[nodiscard]] std::string_view header(std::string_view name) const noexcept {
        return headers().find(name).value_or(std::string_view());
    }
    [[nodiscard]] const std::string& body() const noexcept { return body_; }
    [[nodiscard]] std::string take_body() noexcept { return std::move(body_); }
    /// Fields after a chunked body. Nothing vouches for them.
    [[nodiscard]] const http::headers& trailers() const noexcept { return trailers_; }

private:
    http::response_head head_;
    std::string body_;
    http::headers trailers_;
};
}  // namespace ferry::inline FERRY_ABI
