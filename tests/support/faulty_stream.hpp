// tests/support/faulty_stream.hpp - a stream that does as little at a time as it may, and ends where a test says
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/net/borrowed_bytes.hpp>
#include <ferry/net/stream.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace ferry_test {
class faults {
public:
    static constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

    /// At most so many bytes are received, or sent, at a time.
    faults& short_reads(std::size_t bytes) { return set(read_, bytes); }
    faults& short_writes(std::size_t bytes) { return set(write_, bytes); }
    /// The connection is reset when so many bytes have been received, or sent.
    faults& reset_after_receiving(std::size_t bytes) { return set(receive_limit_, bytes); }
    faults& reset_after_sending(std::size_t bytes) { return set(send_limit_, bytes); }
    /// The loop's time that each receive and each piece that is sent takes.
    faults& delay(std::chrono::nanoseconds each) { return set(delay_, each); }

private:
    template <class Stream>
    friend class faulty_stream;

    template <class T>
    faults& set(T& what, T value) {
        what = value;
        return *this;
    }

    std::size_t read_ = never;
    std::size_t write_ = never;
    std::size_t receive_limit_ = never;
    std::size_t send_limit_ = never;
    std::chrono::nanoseconds delay_{0};
};

/// A stream over another one, with faults.
template <class Stream>
class faulty_stream {
public:
    faulty_stream(ferry::event_loop& loop, Stream inner, faults plan)
        : loop_(&loop), inner_(std::move(inner)), plan_(plan) {}

    ferry::task<ferry::net::borrowed_bytes> receive() {
        char bytes[512];
        const std::size_t count = co_await receive(bytes, sizeof bytes);
        const ferry::net::detail::shared_buffer buffer(*loop_);
        buffer.begin_generation();
        std::memcpy(buffer.data(), bytes, count);
        co_return ferry::net::borrowed_bytes(buffer, count);
    }
    ferry::task<std::size_t> receive(char* buffer, std::size_t size) {
        if (plan_.delay_.count() != 0) co_await ferry::sleep_for(plan_.delay_);
        if (plan_.receive_limit_ == 0) reset();
        const std::size_t wanted = std::min({size, plan_.read_, plan_.receive_limit_});
        const std::size_t count = co_await inner_.receive(buffer, wanted);
        if (plan_.receive_limit_ != faults::never) plan_.receive_limit_ -= count;
        co_return count;
    }
    auto readable() { return inner_.readable(); }
    [[nodiscard]] bool is_readable() const { return gone_ || inner_.is_readable(); }

    std::size_t send_some(std::string_view bytes) {
        if (plan_.send_limit_ == 0) reset();
        const std::size_t count = inner_.send_some(bytes.substr(0, std::min(plan_.write_, plan_.send_limit_)));
        if (plan_.send_limit_ != faults::never) plan_.send_limit_ -= count;
        return count;
    }
    auto writable() { return inner_.writable(); }
    ferry::task<> send_all(std::string_view bytes) {
        while (!bytes.empty()) {
            if (plan_.delay_.count() != 0) co_await ferry::sleep_for(plan_.delay_);
            bytes.remove_prefix(send_some(bytes));
            if (!bytes.empty()) co_await writable();
        }
    }
    ferry::task<> send_all(std::span<const std::string_view> pieces) {
        for (const std::string_view piece : pieces) co_await send_all(piece);
    }
    void shutdown_send() {
        if (!gone_) inner_.shutdown_send();
    }
    void close() { inner_.close(); }
    void abort() { inner_.abort(); }

private:
    [[noreturn]] void reset() {
        if (!std::exchange(gone_, true)) inner_.abort();
        throw ferry::disconnected("faulty_stream: reset, as planned");
    }

    ferry::event_loop* loop_;
    Stream inner_;
    faults plan_;
    bool gone_ = false;
};
}  // namespace ferry_test
