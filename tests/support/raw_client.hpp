// tests/support/raw_client.hpp - a client that sends any octets, well formed or not, and sees what comes back
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/websocket/frame.hpp>

#include "support/delivered.hpp"
#include "support/site.hpp"
#include "websocket/peer.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <linux/filter.h>
#include <sys/socket.h>
#include <unistd.h>

namespace ferry_test {
struct response {
    int status = 0;
    std::string head;  // with the status line and the empty line
    std::string body;  // chunks joined

    /// Has the head this line?
    [[nodiscard]] bool has(std::string_view line) const {
        return head.find("\r\n" + std::string(line) + "\r\n") != std::string::npos;
    }
};

/// One connection to a site. Whatever waits here runs the site meanwhile, and throws std::runtime_error when nothing
/// comes of it.
class raw_client {
public:
    explicit raw_client(site& server, int receive_buffer_bytes = 0);
    ~raw_client() { close(); }
    raw_client(const raw_client&) = delete;
    raw_client& operator=(const raw_client&) = delete;

    void send(std::string_view octets);
    /// Sends what the kernel takes at once; returns how much.
    std::size_t send_some(std::string_view octets);
    /// Waits until what was sent is there for the server, which does not run meanwhile.
    void until_delivered() const { ferry_test::until_delivered(descriptor_); }
    /// A request without a body; `fields` are lines that end in CR LF.
    void request(std::string_view method, std::string_view target, std::string_view fields = {});
    /// Ends what this side sends.
    void finish_sending() { ::shutdown(descriptor_, SHUT_WR); }
    void close() {
        if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
    }
    /// Vanishes: the server sees a reset.
    void reset();
    /// Vanishes without a word behind what it has sent: nothing that the server sends reaches it any more, or is
    /// acknowledged.
    void fall_silent();

    [[nodiscard]] std::string read(std::size_t count);
    [[nodiscard]] std::string read_through(std::string_view end);
    /// All up to the end of the stream; throws if it is reset.
    [[nodiscard]] std::string read_to_end();
    /// The next response, and nothing of what follows it. `to_head`: it has no body, whatever its head says.
    [[nodiscard]] response read_response(bool to_head = false);
    /// Is the stream over, and nothing left to read?
    [[nodiscard]] bool at_end();
    /// Has the server cut it, so that the client cannot take what came for the whole?
    [[nodiscard]] bool was_reset();
    /// What has come up to now and is not read yet.
    [[nodiscard]] const std::string& unread();

    // WebSocket.
    /// Sends a handshake; read_response() has the answer.
    void ask_for_websocket(std::string_view target = "/", std::string_view fields = {});
    /// The same, and takes the 101.
    void open_websocket(std::string_view target = "/", std::string_view fields = {});
    void send_text(std::string_view payload) { send(masked(0x81, payload)); }
    void send_close(std::uint16_t code, std::string_view reason = {}) {
        send(masked(0x88, close_payload(code, reason)));
    }
    [[nodiscard]] sent_frame read_frame();

private:
    /// Takes what is there, up to `limit` unread octets; false when the stream is over.
    bool receive_some(std::size_t limit = std::string::npos);
    void receive_until(std::size_t count);

    site& site_;
    int descriptor_;
    std::string received_;
    bool ended_ = false;
    bool reset_ = false;
};

inline raw_client::raw_client(site& server, int receive_buffer_bytes)
    : site_(server), descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer_bytes != 0) {
        ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
    }
    if (::connect(descriptor_, server.address().data(), server.address().size()) != 0) {
        throw std::system_error(errno, std::system_category(), "raw_client: connect");
    }
}

inline void raw_client::send(std::string_view octets) {
    site_.until([&] {
        octets.remove_prefix(send_some(octets));
        return octets.empty();
    });
}

inline std::size_t raw_client::send_some(std::string_view octets) {
    const ::ssize_t sent = ::send(descriptor_, octets.data(), octets.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) throw std::system_error(errno, std::system_category(), "raw_client: send");
    return sent < 0 ? 0 : static_cast<std::size_t>(sent);
}

inline void raw_client::request(std::string_view method, std::string_view target, std::string_view fields) {
    send(std::string(method) + " " + std::string(target) + " HTTP/1.1\r\nHost: test\r\n" + std::string(fields) +
         "\r\n");
}

inline void raw_client::reset() {
    ::linger at_once{};
    at_once.l_onoff = 1;
    ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close();
}

inline void raw_client::fall_silent() {
    until_delivered();
    ::sock_filter nothing_passes{};
    nothing_passes.code = BPF_RET | BPF_K;
    const ::sock_fprog filter{1, &nothing_passes};
    if (::setsockopt(descriptor_, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0) {
        throw std::system_error(errno, std::system_category(), "raw_client: SO_ATTACH_FILTER");
    }
}

inline bool raw_client::receive_some(std::size_t limit) {
    char buffer[16 * 1024];
    while (!ended_ && received_.size() < limit) {
        const std::size_t wanted = std::min(sizeof buffer, limit - received_.size());
        const ::ssize_t count = ::recv(descriptor_, buffer, wanted, MSG_DONTWAIT);
        if (count < 0 && errno == EAGAIN) return true;
        if (count <= 0) {
            ended_ = true;
            reset_ = count < 0;
        } else {
            received_.append(buffer, static_cast<std::size_t>(count));
        }
    }
    return !ended_;
}

inline void raw_client::receive_until(std::size_t count) {
    site_.until([&] {
        const bool goes_on = receive_some(count);
        if (!goes_on && received_.size() < count) throw std::runtime_error("the connection ended before");
        return received_.size() >= count;
    });
}

inline std::string raw_client::read(std::size_t count) {
    receive_until(count);
    std::string taken = received_.substr(0, count);
    received_.erase(0, count);
    return taken;
}

inline std::string raw_client::read_through(std::string_view end) {
    std::size_t at = received_.find(end);
    while (at == std::string::npos) {
        receive_until(received_.size() + 1);  // one by one: what follows stays with the kernel
        at = received_.find(end, received_.size() < end.size() ? 0 : received_.size() - end.size());
    }
    return read(at + end.size());
}

inline std::string raw_client::read_to_end() {
    site_.until([this] { return !receive_some(); });
    if (reset_) throw std::runtime_error("the connection was reset");
    return std::exchange(received_, std::string());
}

inline response raw_client::read_response(bool to_head) {
    response answer;
    answer.head = read_through("\r\n\r\n");
    std::from_chars(answer.head.data() + 9, answer.head.data() + 12, answer.status);
    if (to_head || answer.status < 200 || answer.status == 204 || answer.status == 304) return answer;
    std::string head = answer.head;
    for (char& letter : head) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    const std::size_t length_at = head.find("\r\ncontent-length: ");
    if (length_at != std::string::npos) {
        answer.body = read(std::stoul(head.substr(length_at + 18)));
    } else if (answer.has("Transfer-Encoding: chunked")) {
        for (;;) {
            const std::size_t size = std::stoul(read_through("\r\n"), nullptr, 16);
            answer.body += read(size);
            if (read(2) != "\r\n") throw std::runtime_error("a chunk does not end where it said");
            if (size == 0) break;
        }
    } else {
        answer.body = read_to_end();
    }
    return answer;
}

inline bool raw_client::at_end() {
    site_.until([this] { return !receive_some(); });
    return !reset_ && received_.empty();
}

inline bool raw_client::was_reset() {
    site_.until([this] { return !receive_some(); });
    return reset_;
}

inline const std::string& raw_client::unread() {
    site_.turn();
    receive_some();
    return received_;
}

inline void raw_client::ask_for_websocket(std::string_view target, std::string_view fields) {
    request("GET", target,
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
                std::string(fields));
}

inline void raw_client::open_websocket(std::string_view target, std::string_view fields) {
    ask_for_websocket(target, fields);
    if (read_response().status != 101) throw std::runtime_error("the handshake was refused");
}

inline sent_frame raw_client::read_frame() {
    receive_until(2);
    const std::size_t header_bytes = ws::frame_header_bytes(received_.data());
    receive_until(header_bytes);
    const ws::frame_header header = ws::decode_frame_header(received_.data());
    if (ws::find_violation(header, ws::role::client) != nullptr) throw std::runtime_error("a bad frame");
    receive_until(header_bytes + static_cast<std::size_t>(header.payload_bytes));
    static_cast<void>(read(header_bytes));
    return {header.op, read(static_cast<std::size_t>(header.payload_bytes))};
}
}  // namespace ferry_test
