// tests/net/cancel_everywhere_test.cpp - streams and listeners, cancelled at every step, in every nesting
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/task.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/net/address.hpp>
#include <ferry/net/listener.hpp>
#include <ferry/net/memory_stream.hpp>
#include <ferry/net/socket.hpp>
#include <ferry/net/stream.hpp>

#include "support/cancel_everywhere.hpp"
#include "support/catch.hpp"

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <sys/socket.h>
#include <unistd.h>

namespace net = ferry::net;
using ferry::task;
using ferry_test::cancel_everywhere;
using ferry_test::make;
using ferry_test::stepping_loop;
using ferry_test::world;
using namespace std::chrono_literals;

namespace {
template <class Stream>
std::pair<Stream, Stream> connected(stepping_loop& loop) {
    if constexpr (std::is_same_v<Stream, net::memory_stream>) {
        return net::memory_pair(loop, 1000);
    } else {
        loop.poll_too();
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
        net::socket first(loop, ends[0], net::address());
        return {std::move(first), net::socket(loop, ends[1], net::address())};
    }
}

/// Counts everything that is there to be received at the moment.
template <net::stream Stream>
task<> drain(Stream& from, std::size_t& total) {
    char some[4096];
    while (from.is_readable()) total += co_await from.receive(some, sizeof some);
}

enum class how { borrowed, own_buffer, readable_first };

template <net::stream Stream, how Way>
class receive_world final : public world {
public:
    receive_world(stepping_loop& loop, bool contended)
        : world(contended), loop_(loop), streams_(connected<Stream>(loop)) {
        delivers_completed = false;  // a byte that the cancelled one did not take is there for the next receive
        if (!contended) other_side();
    }
    std::string wrong() override {
        loop_.run(drain(streams_.first, received_));
        return received_ == sent_ ? "" : "a byte was lost, or came twice";
    }

private:
    task<int> use() override {
        char byte = 0;
        std::size_t count = 0;
        if (Way == how::readable_first) co_await streams_.first.readable();
        if (Way == how::borrowed) {
            const net::borrowed_bytes bytes = co_await streams_.first.receive();
            count = bytes.size();
        } else {
            count = co_await streams_.first.receive(&byte, 1);
        }
        received_ += count;
        co_return static_cast<int>(count);
    }
    void other_side() override { sent_ += streams_.second.send_some("x"); }
    stepping_loop& loop_;
    std::pair<Stream, Stream> streams_;
    std::size_t sent_ = 0;
    std::size_t received_ = 0;
};

/// Sends one byte into a stream that is full, or has room.
template <net::stream Stream, bool Pieces>
class send_world final : public world {
public:
    send_world(stepping_loop& loop, bool contended) : world(contended), loop_(loop), streams_(connected<Stream>(loop)) {
        delivers_completed = false;  // the room is there, and nothing has been sent
        if (!contended) return;
        const std::string much(64 * 1024, 'f');
        while (const std::size_t taken = streams_.first.send_some(much)) sent_ += taken;
    }
    std::string wrong() override {
        const std::size_t expected = sent_ + static_cast<std::size_t>(delivered());
        loop_.run(drain(streams_.second, drained_));
        return drained_ == expected ? "" : "a cancelled byte was sent, or one was lost";
    }

private:
    task<int> use() override {
        const std::string_view pieces[] = {"", "x", ""};
        if (Pieces) {
            co_await streams_.first.send_all(pieces);
        } else {
            co_await streams_.first.send_all("x");
        }
        co_return 1;
    }
    void other_side() override { reader_.emplace(loop_, drain(streams_.second, drained_)); }
    stepping_loop& loop_;
    std::pair<Stream, Stream> streams_;
    std::size_t sent_ = 0;
    std::size_t drained_ = 0;
    std::optional<stepping_loop::main_task> reader_;
};

class accept_world final : public world {
public:
    accept_world(stepping_loop& loop, bool contended)
        : world(contended),
          loop_(loop),
          door_(loop, net::address::of_path("@ferry-cancel-everywhere-" + std::to_string(::getpid()))),
          client_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        loop.poll_too();
        delivers_completed = false;  // a connection that the cancelled one did not take is there for the next accept
        if (!contended) other_side();
    }
    ~accept_world() override { ::close(client_); }
    std::string wrong() override {
        int left = 0;
        while (loop_.run(ferry::try_timeout(0s, door_.accept()))) ++left;
        return left + accepted_ == 1 ? "" : "a connection was lost, or came twice";
    }

private:
    task<int> use() override {
        const net::socket accepted = co_await door_.accept();
        ++accepted_;
        co_return 1;
    }
    void other_side() override {
        const net::address& at = door_.local();
        if (::connect(client_, at.data(), at.size()) != 0) std::abort();
    }
    stepping_loop& loop_;
    net::listener door_;
    int client_;
    int accepted_ = 0;
};

template <class Stream>
std::string receive_cancelled_everywhere() {
    std::string problems;
    problems += cancel_everywhere(&make<receive_world<Stream, how::borrowed>, false>);
    problems += cancel_everywhere(&make<receive_world<Stream, how::borrowed>, true>);
    problems += cancel_everywhere(&make<receive_world<Stream, how::own_buffer>, true>);
    problems += cancel_everywhere(&make<receive_world<Stream, how::readable_first>, true>);
    return problems;
}
template <class Stream>
std::string send_cancelled_everywhere() {
    std::string problems;
    problems += cancel_everywhere(&make<send_world<Stream, false>, false>);
    problems += cancel_everywhere(&make<send_world<Stream, false>, true>);
    problems += cancel_everywhere(&make<send_world<Stream, true>, true>);
    return problems;
}
}  // namespace

TEST_CASE("a socket loses no byte by a cancellation at any step, in any nesting", "[net][cancel_everywhere][long]") {
    CHECK(receive_cancelled_everywhere<net::socket>() == "");
    CHECK(send_cancelled_everywhere<net::socket>() == "");
}

TEST_CASE("nor does a memory stream", "[net][cancel_everywhere][long]") {
    CHECK(receive_cancelled_everywhere<net::memory_stream>() == "");
    CHECK(send_cancelled_everywhere<net::memory_stream>() == "");
}

TEST_CASE("nor does a listener lose a connection", "[net][cancel_everywhere][long]") {
    CHECK(cancel_everywhere(&make<accept_world, false>) == "");
    CHECK(cancel_everywhere(&make<accept_world, true>) == "");
}
