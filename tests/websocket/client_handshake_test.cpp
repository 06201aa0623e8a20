// tests/websocket/client_handshake_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/http/request_parser.hpp>
#include <ferry/http/writer.hpp>
#include <ferry/websocket/client_handshake.hpp>
#include <ferry/websocket/handshake.hpp>

#include "support/catch.hpp"

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace ws = ferry::websocket;
namespace http = ferry::http;
using result = ws::client_handshake::result;

namespace {
/// "the sample nonce" is the key dGhlIHNhbXBsZSBub25jZQ== of RFC 6455 1.3.
ws::client_handshake handshake() {
    ws::client_handshake::nonce sample{};
    const std::string_view text = "the sample nonce";
    for (std::size_t i = 0; i < sample.size(); ++i) sample[i] = static_cast<unsigned char>(text[i]);
    return ws::client_handshake(ws::url::parse("ws://server.example.com:8000/chat?x=1"), sample);
}

/// The answer to it, one line of which may be replaced.
class answer {
public:
    /// Replaces the line with that name, or adds one; an empty line removes it.
    answer& line(std::string_view name, std::string_view replacement) {
        for (std::string& l : lines_) {
            if (!l.starts_with(name)) continue;
            l = replacement;
            return *this;
        }
        return add(replacement);
    }
    answer& add(std::string_view another) {
        lines_.emplace_back(another);
        return *this;
    }
    [[nodiscard]] std::string text() const {
        std::string all;
        for (const std::string& l : lines_) {
            if (!l.empty()) all += l + "\r\n";
        }
        return all + "\r\n";
    }

private:
    std::vector<std::string> lines_ = {"HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
                                       "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="};
};

std::string describe(const ws::client_handshake& opening, result outcome, std::string_view rest) {
    const std::string_view word = outcome == result::accepted  ? "accepted"
                                  : outcome == result::refused ? "refused"
                                                               : "need more";
    return std::string(word) + " " + std::to_string(opening.status()) + " " + opening.subprotocol() + " " +
           std::string(opening.why()) + " " + std::string(rest);
}

/// What becomes of this answer; the same wherever it is cut, or an exception.
std::string outcome_of(const std::string& text, std::vector<std::string_view> offered = {}) {
    std::string whole;
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        ws::client_handshake opening = handshake();
        for (const std::string_view name : offered) opening.subprotocol(name);
        std::string_view rest = std::string_view(text).substr(0, cut);
        result outcome = opening.read(rest);
        const std::string left = std::string(rest) + text.substr(cut);
        rest = left;
        if (outcome == result::need_more) outcome = opening.read(rest);
        const std::string now = describe(opening, outcome, rest);
        if (cut == 0) whole = now;
        if (now != whole) throw std::runtime_error("cut at " + std::to_string(cut) + ": " + now + " and not " + whole);
    }
    return whole;
}

bool accepts(const answer& from, std::vector<std::string_view> offered = {}) {
    return outcome_of(from.text(), std::move(offered)).starts_with("accepted 101 ");
}
bool refuses(const answer& from, std::vector<std::string_view> offered = {}) {
    return outcome_of(from.text(), std::move(offered)).starts_with("refused 101 ");
}
}  // namespace

TEST_CASE("a client asks for a WebSocket as in RFC 6455 section 1.3", "[websocket][client_handshake]") {
    CHECK(handshake().request() ==
          "GET /chat?x=1 HTTP/1.1\r\nHost: server.example.com:8000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
    CHECK(handshake()
              .subprotocol("chat.v2")
              .subprotocol("chat")
              .header("Origin", "http://a.example")
              .request()
              .ends_with("13\r\nSec-WebSocket-Protocol: chat.v2, chat\r\nOrigin: http://a.example\r\n\r\n"));
}

TEST_CASE("a client's request is one that ferry's own server accepts, and the answer one that it takes",
          "[websocket][client_handshake]") {
    ws::client_handshake opening = handshake();
    opening.subprotocol("chat.v2").subprotocol("chat").header("X-Token", "abc");
    const std::string request = opening.request();
    http::request_parser parser;
    std::string_view unread = request;
    REQUIRE(parser.read(unread) == http::request_event::head);
    CHECK(unread.empty());
    const http::request_head head = parser.take_head();
    CHECK(head.headers().find("x-token") == "abc");
    const auto checked = ws::check_handshake(head);
    REQUIRE(std::holds_alternative<ws::handshake>(checked));
    std::string answered;
    http::response_writer writer(answered, head);
    writer.switch_protocols(std::get<ws::handshake>(checked).response("chat"));
    answered += "frames";
    unread = answered;
    CHECK(opening.read(unread) == result::accepted);
    CHECK(opening.subprotocol() == "chat");
    CHECK(unread == "frames");
}

TEST_CASE("a client's request cannot be broken open", "[websocket][client_handshake]") {
    REQUIRE_THROWS_AS(handshake().header("X", "a\r\nY: b"), std::invalid_argument);
    REQUIRE_THROWS_AS(handshake().header("X Y", "a"), std::invalid_argument);
    REQUIRE_THROWS_AS(handshake().subprotocol("a, b"), std::invalid_argument);
    REQUIRE_THROWS_AS(handshake().subprotocol(""), std::invalid_argument);
    REQUIRE_THROWS_AS(handshake().subprotocol("a").subprotocol("a"), std::invalid_argument);
    for (const std::string_view own : {"Host", "UPGRADE", "connection", "Sec-WebSocket-Key", "Sec-WebSocket-Extensions",
                                       "Content-Length", "Transfer-Encoding"}) {
        REQUIRE_THROWS_AS(handshake().header(own, "x"), std::invalid_argument);
    }
}

TEST_CASE("a client takes an answer in every form that servers use, and leaves the frames behind it",
          "[websocket][client_handshake]") {
    CHECK(accepts(answer()));
    CHECK(accepts(answer().line("HTTP", "HTTP/1.1 101 ")));
    CHECK(accepts(answer().line("HTTP", "HTTP/1.1 101")));  // which http::response_parser forgives
    CHECK(accepts(answer().line("HTTP", "HTTP/1.1 101 Web Socket Protocol Handshake")));
    CHECK(accepts(answer().line("Upgrade", "UPGRADE:WebSocket ")));
    CHECK(accepts(answer().line("Connection", "connection: keep-alive, upgrade")));
    CHECK(accepts(answer().add("Content-Length: 0")));
    CHECK(accepts(answer().add("Server: x").add("X-Empty:").add("Set-Cookie: a=b")));
    CHECK(outcome_of(answer().text() + "\x81\x01"
                                       "a") ==
          "accepted 101   \x81\x01"
          "a");
    CHECK(outcome_of("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + answer().text()) ==
          "accepted 101   ");
}

TEST_CASE("a client refuses an answer that differs from what it asked for", "[websocket][client_handshake]") {
    for (const std::string_view bad : {"", "Upgrade: h2c", "Upgrade: websocket, h2c", "Upgrade: websockets"}) {
        CHECK(refuses(answer().line("Upgrade", bad)));
    }
    CHECK(refuses(answer().add("Upgrade: websocket")));
    for (const std::string_view bad : {"", "Connection: close", "Connection: not-upgrade"}) {
        CHECK(refuses(answer().line("Connection", bad)));
    }
    for (const std::string_view bad :
         {"", "Sec-WebSocket-Accept:", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo",
          "Sec-WebSocket-Accept: S3PPLMBITXAQ9KYGZZHZRBK+XOO=", "Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI="}) {
        CHECK(refuses(answer().line("Sec-WebSocket-Accept", bad)));
    }
    CHECK(refuses(answer().add("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
    CHECK(refuses(answer().add("Transfer-Encoding: chunked")));
    CHECK(refuses(answer().add("Content-Length: 5")));
    CHECK(refuses(answer().line("HTTP", "HTTP/1.0 101 Switching Protocols")));
}

TEST_CASE("a client refuses extensions and subprotocols that it did not offer", "[websocket][client_handshake]") {
    CHECK(refuses(answer().add("Sec-WebSocket-Extensions: permessage-deflate")));
    CHECK(refuses(answer().add("Sec-WebSocket-Extensions: x; server_max_window_bits=99")));
    CHECK(refuses(answer().add("Sec-WebSocket-Extensions: \"")));
    CHECK(accepts(answer().add("Sec-WebSocket-Extensions:")));
    CHECK(refuses(answer().add("Sec-WebSocket-Protocol: chat")));
    CHECK(accepts(answer(), {"chat", "mqtt"}));
    CHECK(outcome_of(answer().add("Sec-WebSocket-Protocol: mqtt").text(), {"chat", "mqtt"}) == "accepted 101 mqtt  ");
    for (const std::string_view bad : {"Sec-WebSocket-Protocol: other", "Sec-WebSocket-Protocol: CHAT",
                                       "Sec-WebSocket-Protocol: chat, mqtt", "Sec-WebSocket-Protocol:"}) {
        CHECK(refuses(answer().add(bad), {"chat", "mqtt"}));
    }
    CHECK(refuses(answer().add("Sec-WebSocket-Protocol: chat").add("Sec-WebSocket-Protocol: chat"), {"chat"}));
}

TEST_CASE("a client tells with what status a server refuses", "[websocket][client_handshake]") {
    CHECK(outcome_of("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno") ==
          "refused 403  the server has refused the WebSocket no");
    CHECK(outcome_of("HTTP/1.1 200 OK\r\n\r\n").starts_with("refused 200 "));
    CHECK(outcome_of("HTTP/1.0 503 Busy\r\n\r\n").starts_with("refused 503 "));
    ws::client_handshake redirected = handshake();
    std::string_view text = "HTTP/1.1 301 Moved\r\nLocation: ws://elsewhere/\r\n\r\n";
    CHECK(redirected.read(text) == result::refused);
    CHECK(redirected.headers().find("location") == "ws://elsewhere/");
}

TEST_CASE("a client refuses an answer that is not HTTP to the letter", "[websocket][client_handshake]") {
    for (const std::string_view bad : {"HTTP/1.1  101 Switching", "HTTP/2.0 101 x", "HTTP/1.x 101 x", "HTTP/1.1 1o1 x",
                                       "HTTP/1.1 099 x", "HTTP/1.1 1010 x", "http/1.1 101 x", "HTTP/1.1\t101 x",
                                       " HTTP/1.1 101 x", "ICY 101 x", "HTTP/1.1 101 a\x01z"}) {
        CHECK(outcome_of(answer().line("HTTP", bad).text()).starts_with("refused 0 "));
    }
    for (const std::string_view bad : {"no colon", ": no name", "X : y", " folded: x", "X: a\nY: b", "X: a\rY",
                                       "X: \x01", "X: a\x7F", "X\xC3\xA9: y"}) {
        CHECK(refuses(answer().add(bad)));
    }
    CHECK(outcome_of("HTTP/1.1 101 x\n\n").starts_with("refused 0 "));
}

TEST_CASE("a client reads no more than 16 KiB and 100 fields of an answer", "[websocket][client_handshake]") {
    constexpr std::size_t most = 16 * 1024;
    std::string endless = "HTTP/1.1 101 x\r\nX: ";
    endless.append(2 * most, 'y');
    ws::client_handshake opening = handshake();
    std::string_view rest = endless;
    CHECK(opening.read(rest) == result::refused);
    CHECK(opening.why() == "the header section is too large");
    CHECK(opening.read(rest) == result::refused);

    const std::string line = "HTTP/1.1 101 Switching Protocols\r\n";
    const std::string exact(most - (answer().text().size() - line.size()) - 5, 'x');
    for (const bool fits : {true, false}) {
        ws::client_handshake other = handshake();
        const std::string text = answer().add("X: " + exact + (fits ? "" : "x")).text();
        std::size_t read = 0;
        result outcome = result::need_more;
        while (outcome == result::need_more && read < text.size()) {
            rest = std::string_view(text).substr(read, 1000);
            const std::size_t had = rest.size();
            outcome = other.read(rest);
            read += had - rest.size();
        }
        CHECK(outcome == (fits ? result::accepted : result::refused));
    }

    std::string interim;
    for (int i = 0; i < 17; ++i) interim += "HTTP/1.1 100 Continue\r\n\r\n";
    ws::client_handshake patient = handshake();
    rest = interim;
    CHECK(patient.read(rest) == result::refused);
    CHECK(patient.why() == "too many interim responses");

    answer crowded;
    for (int i = 0; i < 98; ++i) crowded.add("X: y");
    ws::client_handshake many = handshake();
    const std::string text = crowded.text();
    rest = text;
    CHECK(many.read(rest) == result::refused);
    CHECK(many.why() == "too many header fields");
}
