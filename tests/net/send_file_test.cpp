// tests/net/send_file_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/combine.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/net/send_file.hpp>

#include "net/pair.hpp"
#include "support/catch.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <system_error>

#include <unistd.h>

namespace net = ferry::net;
using ferry_test::connected_pair;
using namespace std::chrono_literals;

namespace {
/// A file with these bytes, which has no name any more.
class nameless_file {
public:
    explicit nameless_file(const std::string& bytes) {
        char name[] = "/tmp/ferry_send_file_XXXXXX";
        descriptor_ = ::mkstemp(name);
        REQUIRE(descriptor_ >= 0);
        ::unlink(name);
        REQUIRE(::pwrite(descriptor_, bytes.data(), bytes.size(), 0) == static_cast<::ssize_t>(bytes.size()));
    }
    ~nameless_file() { ::close(descriptor_); }
    nameless_file(const nameless_file&) = delete;
    nameless_file& operator=(const nameless_file&) = delete;
    int descriptor() const { return descriptor_; }

private:
    int descriptor_ = -1;
};

std::string numbers(std::size_t count) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) text += std::to_string(i) + " ";
    return text;
}

ferry::task<std::uint64_t> send_and_finish(net::socket& to, int file, std::uint64_t offset, std::uint64_t count) {
    const std::uint64_t sent = co_await net::send_file(to, file, offset, count);
    to.shutdown_send();
    co_return sent;
}
ferry::task<std::string> collect(net::socket& from) {
    std::string all;
    for (;;) {
        const net::borrowed_bytes bytes = co_await from.receive();
        if (bytes.empty()) co_return all;
        all += bytes.view();
    }
}
}  // namespace

TEST_CASE("a file, or a part of it, arrives as it is", "[net][send_file]") {
    ferry::event_loop loop;
    const std::string bytes = numbers(400'000);  // more than the kernel takes at once
    const nameless_file file(bytes);
    for (const std::size_t offset : {std::size_t(0), std::size_t(1000), bytes.size()}) {
        for (const std::size_t count : {std::size_t(0), std::size_t(7), bytes.size(), bytes.size() + 5}) {
            auto [server, client] = loop.run(connected_pair());
            const auto [sent, received] =
                loop.run(ferry::when_all(send_and_finish(client, file.descriptor(), offset, count), collect(server)));
            const std::string expected = bytes.substr(offset, count);
            CHECK(sent == expected.size());
            CHECK((received == expected));
        }
    }
}

TEST_CASE("a peer that has gone is disconnected, and no signal", "[net][send_file]") {
    ferry::event_loop loop;
    const nameless_file file(numbers(400'000));
    auto [server, client] = loop.run(connected_pair());
    server.close();
    CHECK_THROWS_AS(loop.run(net::send_file(client, file.descriptor(), 0, 4'000'000)), ferry::disconnected);
    ::sigset_t pending, blocked;
    ::sigpending(&pending);
    ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    CHECK(::sigismember(&pending, SIGPIPE) == 0);
    CHECK(::sigismember(&blocked, SIGPIPE) == 0);
}

TEST_CASE("a file that cannot be read is a system_error with the peer's address", "[net][send_file]") {
    ferry::event_loop loop;
    auto [server, client] = loop.run(connected_pair());
    try {
        loop.run(net::send_file(client, -1, 0, 1));
        FAIL("it was sent");
    } catch (const std::system_error& error) {
        CHECK(error.code().value() == EBADF);
        CHECK(std::string(error.what()).find(client.peer().to_string()) != std::string::npos);
    }
}

TEST_CASE("sending a file waits for its reader and can be cancelled", "[net][send_file]") {
    ferry::event_loop loop;
    const nameless_file file(std::string(16'000'000, 'x'));
    auto [server, client] = loop.run(connected_pair());
    CHECK_THROWS_AS(loop.run(ferry::timeout(0ns, net::send_file(client, file.descriptor(), 0, 16'000'000))),
                    ferry::timeout_error);
}
