// ferry/core/std_stop_token.hpp - opt-in: from std::stop_token to ferry::stop_token and back
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/stop_token.hpp>

#include <stop_token>
#include <utility>

#if !defined(__cpp_lib_jthread)
#error \
    "ferry/core/std_stop_token.hpp needs std::stop_token, which this standard library does not have (libc++ before 20)"
#endif

namespace ferry::inline FERRY_ABI {
/// Passes every stop that a std::stop_token sees on to tokens of ferry, for as long as it lives.
///
///     ferry::stop_from_std stop(thread_token);       // of a std::jthread
///     work(stop.get_token());
class stop_from_std {
public:
    explicit stop_from_std(std::stop_token token) : forward_(std::move(token), request(source_)) {}
    [[nodiscard]] stop_token get_token() const noexcept { return source_.get_token(); }

private:
    class request {
    public:
        explicit request(stop_source& source) noexcept : source_(source) {}
        void operator()() const noexcept { source_.request_stop(); }

    private:
        stop_source& source_;
    };
    stop_source source_;
    std::stop_callback<request> forward_;
};

/// Passes every stop that a token of ferry sees on to a std::stop_token, for as long as it lives.
class stop_to_std {
public:
    explicit stop_to_std(const stop_token& token) : forward_(token, request(source_)) {}
    [[nodiscard]] std::stop_token get_token() const noexcept { return source_.get_token(); }

private:
    class request {
    public:
        explicit request(std::stop_source& source) noexcept : source_(source) {}
        void operator()() const noexcept { source_.request_stop(); }

    private:
        std::stop_source& source_;
    };
    std::stop_source source_;
    stop_callback<request> forward_;
};
}  // namespace ferry::inline FERRY_ABI
