// tests/bench/soak_client.hpp - a small client of HTTP and WebSocket that shares no code with what it measures
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace ferry_bench {
/// One connection to 127.0.0.1. Only the constructor waits; whatever the server gets wrong is a std::runtime_error.
class soak_client {
public:
    explicit soak_client(std::uint16_t port);
    soak_client(soak_client&& other) noexcept
        : descriptor_(std::exchange(other.descriptor_, -1)),
          received_(std::move(other.received_)),
          accepted_(other.accepted_),
          close_code_(other.close_code_),
          ended_(other.ended_) {}
    ~soak_client() { close(); }

    [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
    /// The server has agreed to the WebSocket.
    [[nodiscard]] bool accepted() const noexcept { return accepted_; }
    /// Of the server's close frame; 0 while there was none.
    [[nodiscard]] unsigned close_code() const noexcept { return close_code_; }
    /// The server has closed the connection.
    [[nodiscard]] bool ended() const noexcept { return ended_; }
    /// What came and was no frame of a WebSocket.
    [[nodiscard]] const std::string& received() const noexcept { return received_; }

    void get(const std::string& target, const std::string& fields = "") {
        send("GET " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" + fields + "\r\n");
    }
    /// With the key of RFC 6455 1.3.
    void open_websocket(const std::string& target) {
        get(target,
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    }
    void send_text(std::string_view text) { send_frame(0x1, text); }
    void send_close() { send_frame(0x8, "\x03\xe8"); }

    /// Takes what there is.
    void receive();
    /// The same on a WebSocket; calls on_text(text) for each message.
    template <class OnText>
    void receive(OnText on_text);

    void close() noexcept {
        if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
    }
    /// Vanishes: the server sees a reset.
    void reset() noexcept {
        ::linger at_once{};
        at_once.l_onoff = 1;
        ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close();
    }

private:
    /// What a client says is little, and the kernel has room for it.
    void send(std::string_view octets) {
        if (::send(descriptor_, octets.data(), octets.size(), MSG_NOSIGNAL | MSG_DONTWAIT) !=
            static_cast<::ssize_t>(octets.size())) {
            throw std::system_error(errno, std::system_category(), "a client cannot send");
        }
    }
    void send_frame(unsigned opcode, std::string_view payload);
    void take_handshake();

    int descriptor_;
    std::string received_;
    bool accepted_ = false;
    unsigned close_code_ = 0;
    bool ended_ = false;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline soak_client::soak_client(std::uint16_t port) : descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    ::sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(port);
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int on = 1;
    if (descriptor_ < 0 || ::connect(descriptor_, reinterpret_cast<const ::sockaddr*>(&where), sizeof where) != 0 ||
        ::setsockopt(descriptor_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        const int error = errno;
        close();
        throw std::system_error(error, std::system_category(), "a client cannot connect");
    }
}

inline void soak_client::send_frame(unsigned opcode, std::string_view payload) {
    constexpr std::array<unsigned char, 4> mask = {0x37, 0xfa, 0x21, 0x3d};
    if (payload.size() > 125) throw std::logic_error("a client says nothing so long");
    std::string frame;
    frame += static_cast<char>(0x80 | opcode);
    frame += static_cast<char>(0x80 | payload.size());
    for (const unsigned char octet : mask) frame += static_cast<char>(octet);
    for (std::size_t i = 0; i < payload.size(); ++i) {
        frame += static_cast<char>(static_cast<unsigned char>(payload[i]) ^ mask[i % 4]);
    }
    send(frame);
}

inline void soak_client::receive() {
    static thread_local std::array<char, 256 * 1024> buffer;
    const ::ssize_t size = ::recv(descriptor_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size < 0 && errno == EAGAIN) return;
    if (size < 0) throw std::system_error(errno, std::system_category(), "a client cannot receive");
    ended_ = size == 0;
    received_.append(buffer.data(), static_cast<std::size_t>(size));
}

template <class OnText>
void soak_client::receive(OnText on_text) {
    receive();
    if (!accepted_) take_handshake();
    std::string_view left = received_;
    while (accepted_ && left.size() >= 2) {
        const auto octet = [&](std::size_t at) { return static_cast<unsigned char>(left[at]); };
        std::uint64_t size = octet(1);
        if (octet(0) != 0x81 && octet(0) != 0x88 && octet(0) != 0x89) throw std::runtime_error("an unexpected frame");
        if (size > 127) throw std::runtime_error("a masked frame from the server");
        const std::size_t extended = size < 126 ? 0 : size == 126 ? 2 : 8;
        if (left.size() < 2 + extended) break;
        if (extended > 0) size = 0;
        for (std::size_t i = 0; i < extended; ++i) size = size << 8 | octet(2 + i);
        if (left.size() - 2 - extended < size) break;
        const std::string_view payload = left.substr(2 + extended, size);
        if (octet(0) == 0x81) {
            if (close_code_ != 0) throw std::runtime_error("a message after the close frame");
            on_text(payload);
        } else if (octet(0) == 0x89) {
            send_frame(0xa, payload);
        } else {
            close_code_ = size < 2 ? 1005U : unsigned{octet(2)} << 8 | octet(3);
        }
        left.remove_prefix(2 + extended + size);
    }
    if (accepted_) received_.erase(0, received_.size() - left.size());
}

inline void soak_client::take_handshake() {
    const std::size_t end = received_.find("\r\n\r\n");
    if (end == received_.npos) return;
    if (!received_.starts_with("HTTP/1.1 101 ") || received_.find("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") > end) {
        throw std::runtime_error("the server refused a WebSocket: " + received_);
    }
    received_.erase(0, end + 4);
    accepted_ = true;
}
}  // namespace ferry_bench
