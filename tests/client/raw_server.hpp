// tests/client/raw_server.hpp - a server that answers a client with any octets, well formed or not
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/virtual_clock.hpp>
#include <ferry/websocket/frame.hpp>
#include <ferry/websocket/handshake.hpp>

#include "support/delivered.hpp"
#include "websocket/peer.hpp"

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace ferry_test {
/// A port of 127.0.0.1 that takes one connection at a time, and the loop on which its clients run: it turns while the test
/// waits for something. Its time moves only by advance().
class raw_server {
public:
    raw_server() : loop_(clock_), listening_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
        ::sockaddr_in where{};
        where.sin_family = AF_INET;
        where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        ::socklen_t size = sizeof where;
        if (::bind(listening_, reinterpret_cast<const ::sockaddr*>(&where), size) != 0 ||
            ::listen(listening_, 16) != 0 ||
            ::getsockname(listening_, reinterpret_cast<::sockaddr*>(&where), &size) != 0) {
            throw std::system_error(errno, std::system_category(), "raw_server");
        }
        port_ = ntohs(where.sin_port);
    }
    ~raw_server() {
        hang_up();
        ::close(listening_);
        loop_.close();
    }
    raw_server(const raw_server&) = delete;
    raw_server& operator=(const raw_server&) = delete;

    [[nodiscard]] ferry::event_loop& loop() noexcept { return loop_; }
    [[nodiscard]] std::string url(std::string_view target = "/") const {
        return "ws://127.0.0.1:" + std::to_string(port_) + std::string(target);
    }

    void turn() { loop_.run_until_idle(); }
    void advance(std::chrono::nanoseconds by) {
        turn();
        clock_.advance(by);
        turn();
    }
    [[nodiscard]] std::chrono::nanoseconds elapsed() const noexcept { return clock_.elapsed(); }
    template <class Condition>
    void until(Condition is_so) {
        const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        for (turn(); !is_so(); turn()) {
            if (std::chrono::steady_clock::now() > give_up) throw std::runtime_error("it did not come to that");
        }
    }

    /// Does a client ask for a connection? Then it is taken, in place of the one before.
    bool accept() {
        const int taken = ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (taken < 0) return false;
        hang_up();
        connected_ = taken;
        received_.clear();
        ended_ = false;
        return true;
    }
    /// The head of a request, from a client that connects now.
    std::string read_request() {
        until([this] { return accept(); });
        return read_through("\r\n\r\n");
    }
    /// Agrees to a WebSocket, `fields` are lines that end in CR LF. Returns the request.
    std::string open_websocket(std::string_view fields = {}) {
        std::string request = read_request();
        send(answer_to(request, fields));
        return request;
    }
    [[nodiscard]] static std::string answer_to(const std::string& request, std::string_view fields = {}) {
        const std::string_view name = "\r\nSec-WebSocket-Key: ";
        const std::size_t at = request.find(name);
        if (at == std::string::npos) throw std::runtime_error("the client sent no key");
        const std::string key = request.substr(at + name.size(), 24);
        return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
               "Upgrade\r\nSec-WebSocket-Accept: " +
               ws::accept_key(key) + "\r\n" + std::string(fields) + "\r\n";
    }

    void send(std::string_view octets) {
        until([&] {
            const ::ssize_t sent = ::send(connected_, octets.data(), octets.size(), MSG_NOSIGNAL);
            if (sent > 0) octets.remove_prefix(static_cast<std::size_t>(sent));
            return octets.empty() || (sent < 0 && errno != EAGAIN);
        });
    }
    void send_text(std::string_view payload) { send(unmasked(0x81, payload)); }
    /// Waits until what was sent is there for the client, which does not run meanwhile.
    void until_delivered() const { ferry_test::until_delivered(connected_); }
    void hang_up() {
        if (connected_ >= 0) ::close(std::exchange(connected_, -1));
    }

    [[nodiscard]] std::string read(std::size_t count) {
        until([&] { return receive_some(count) && received_.size() >= count; });
        std::string taken = received_.substr(0, count);
        received_.erase(0, count);
        return taken;
    }
    [[nodiscard]] std::string read_through(std::string_view end) {
        until([&] { return receive_some(max_head) && received_.find(end) != std::string::npos; });
        return read(received_.find(end) + end.size());
    }
    /// The client's next frame, which must be masked.
    [[nodiscard]] sent_frame read_frame() {
        std::string octets = read(2);
        octets += read(ws::frame_header_bytes(octets.data()) - 2);
        const ws::frame_header header = ws::decode_frame_header(octets.data());
        octets += read(static_cast<std::size_t>(header.payload_bytes));
        return frames_of(octets, ws::role::server).at(0);
    }
    /// Has the client ended the connection, and is nothing left to read?
    [[nodiscard]] bool at_end() {
        until([this] { return !receive_some(); });
        return received_.empty();
    }
    /// What has come up to now and is not read yet.
    [[nodiscard]] const std::string& unread() {
        turn();
        receive_some();
        return received_;
    }

private:
    static constexpr std::size_t max_head = 16 * 1024;

    /// Takes what is there, until there are `enough` unread octets; false when the stream is over, and all of it is read.
    bool receive_some(std::size_t enough = std::string::npos) {
        char buffer[16 * 1024];
        while (!ended_ && received_.size() < enough) {
            const ::ssize_t count = ::recv(connected_, buffer, sizeof buffer, 0);
            if (count < 0 && errno == EAGAIN) return true;
            if (count <= 0) {
                ended_ = true;
            } else {
                received_.append(buffer, static_cast<std::size_t>(count));
            }
        }
        return !ended_ || !received_.empty();
    }

    ferry::virtual_clock clock_;
    ferry::event_loop loop_;
    int listening_;
    int connected_ = -1;
    std::uint16_t port_ = 0;
    std::string received_;
    bool ended_ = false;
};
}  // namespace ferry_test
