// tests/websocket/handshake_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/http/request_parser.hpp>
#include <ferry/websocket/handshake.hpp>

#include "support/catch.hpp"

#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace ws = ferry::websocket;
namespace http = ferry::http;

namespace {
/// The request that browsers send (RFC 6455 1.2), one line of which may be replaced.
class request {
public:
    /// Replaces the line with that name, or adds one; an empty line removes it.
    request& line(std::string_view name, std::string_view replacement) {
        for (std::string& l : lines_) {
            if (!l.starts_with(name)) continue;
            l = replacement;
            return *this;
        }
        lines_.emplace_back(replacement);
        return *this;
    }

    [[nodiscard]] http::request_head head() const {
        std::string text;
        for (const std::string& l : lines_) {
            if (!l.empty()) text += l + "\r\n";
        }
        text += "\r\n";
        http::request_parser parser;
        std::string_view rest = text;
        if (parser.read(rest) != http::request_event::head) throw std::runtime_error("not a request: " + text);
        return parser.take_head();
    }

    [[nodiscard]] std::variant<ws::handshake, ws::handshake_refusal> check(
        const ws::handshake_options& options = ws::handshake_options()) const {
        return ws::check_handshake(head(), options);
    }

    /// 101, or the status it is refused with.
    [[nodiscard]] int status(const ws::handshake_options& options = ws::handshake_options()) const {
        const auto result = check(options);
        const auto* refusal = std::get_if<ws::handshake_refusal>(&result);
        return refusal == nullptr ? 101 : refusal->status();
    }

private:
    std::vector<std::string> lines_ = {"GET /chat HTTP/1.1",
                                       "Host: server.example.com",
                                       "Upgrade: websocket",
                                       "Connection: Upgrade",
                                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                                       "Sec-WebSocket-Version: 13"};
};

ws::handshake accepted(const request& from) { return std::get<ws::handshake>(from.check()); }
ws::handshake_refusal refused(const request& from) { return std::get<ws::handshake_refusal>(from.check()); }
}  // namespace

TEST_CASE("a handshake is answered as in RFC 6455 section 1.3", "[websocket][handshake]") {
    CHECK(ws::accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    const http::headers fields = accepted(request()).response();
    REQUIRE(fields.size() == 3);
    CHECK(fields.find("upgrade") == "websocket");
    CHECK(fields.find("connection") == "Upgrade");
    CHECK(fields.find("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST_CASE("a handshake is accepted in every form that clients use", "[websocket][handshake]") {
    CHECK(request().status() == 101);
    CHECK(request().line("Upgrade", "UPGRADE: WebSocket").status() == 101);
    CHECK(request().line("Upgrade", "Upgrade: h2c, websocket").status() == 101);
    CHECK(request().line("Connection", "Connection: keep-alive, Upgrade").status() == 101);
    CHECK(request().line("Connection", "connection: upgrade").status() == 101);
    CHECK(request().line("Content-Length", "Content-Length: 0").status() == 101);
    CHECK(request().line("GET", "GET http://server.example.com/chat HTTP/1.1").status() == 101);
    CHECK(request().line("Sec-WebSocket-Extensions", "Sec-WebSocket-Extensions: permessage-deflate").status() == 101);
    CHECK(request().line("Sec-WebSocket-Extensions", "Sec-WebSocket-Extensions: ;;=\"").status() == 101);
}

TEST_CASE("a request that does not ask for WebSocket is plain HTTP", "[websocket][handshake]") {
    CHECK(ws::wants_websocket(request().head()));
    CHECK(!ws::wants_websocket(request().line("Upgrade", "").head()));
    CHECK(!ws::wants_websocket(request().line("Upgrade", "Upgrade: h2c").head()));
    CHECK(!ws::wants_websocket(request().line("Upgrade", "Upgrade: websockets").head()));
    const ws::handshake_refusal refusal = refused(request().line("Upgrade", ""));
    CHECK(refusal.status() == 426);
    CHECK(refusal.headers().find("upgrade") == "websocket");
}

TEST_CASE("a handshake that breaks a rule is refused with the status for it", "[websocket][handshake]") {
    CHECK(request().line("GET", "POST /chat HTTP/1.1").status() == 405);
    CHECK(refused(request().line("GET", "POST /chat HTTP/1.1")).headers().find("allow") == "GET");
    CHECK(request().line("GET", "GET /chat HTTP/1.0").status() == 400);

    CHECK(request().line("Connection", "").status() == 400);
    CHECK(request().line("Connection", "Connection: keep-alive").status() == 400);
    CHECK(request().line("Connection", "Connection: not-upgrade").status() == 400);

    CHECK(request().line("Content-Length", "Content-Length: 1").status() == 400);
    CHECK(request().line("Transfer-Encoding", "Transfer-Encoding: chunked").status() == 400);

    for (const std::string_view key :
         {"", "Sec-WebSocket-Key:", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j",
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTE=", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ",
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25!ZQ=="}) {
        CHECK(request().line("Sec-WebSocket-Key", key).status() == 400);
    }
    CHECK(request().line("sec-websocket-key", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==").status() == 400);
    CHECK(request().line("sec-websocket-version", "sec-websocket-version: 13").status() == 400);
}

TEST_CASE("a handshake of another version is told which one is spoken", "[websocket][handshake]") {
    for (const std::string_view version : {"", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Version: 013",
                                           "Sec-WebSocket-Version: 13, 8", "Sec-WebSocket-Version:"}) {
        const ws::handshake_refusal refusal = refused(request().line("Sec-WebSocket-Version", version));
        CHECK(refusal.status() == 426);
        CHECK(refusal.headers().find("sec-websocket-version") == "13");
        CHECK(refusal.headers().find("upgrade") == "websocket");
        CHECK(refusal.headers().find("connection") == "Upgrade");
    }
}

TEST_CASE("a handshake from a page of another site is refused unless the site is allowed", "[websocket][handshake]") {
    const auto from = [](std::string_view origin) {
        return request().line("Origin", "Origin: " + std::string(origin));
    };
    CHECK(request().status() == 101);  // no browser
    CHECK(from("http://server.example.com").status() == 101);
    CHECK(from("http://SERVER.example.com:80").status() == 101);
    CHECK(from("http://example.com").status() == 403);
    CHECK(from("http://server.example.com.evil.test").status() == 403);
    CHECK(from("http://evilserver.example.com").status() == 403);
    CHECK(from("http://server.example.com:8080").status() == 403);
    CHECK(from("https://server.example.com").status() == 403);
    CHECK(from("null").status() == 403);
    CHECK(from("").status() == 403);
    CHECK(from("http://server.example.com").line("origin", "origin: http://server.example.com").status() == 400);
    CHECK(from("http://server.example.com:8000").line("Host", "Host: server.example.com:8000").status() == 101);

    CHECK(from("https://server.example.com").status(ws::handshake_options().secure(true)) == 101);
    CHECK(from("http://server.example.com").status(ws::handshake_options().secure(true)) == 403);

    const ws::handshake_options listed =
        ws::handshake_options().allow_origin("https://app.example.com").allow_origin("http://localhost:3000");
    CHECK(from("https://app.example.com").status(listed) == 101);
    CHECK(from("https://app.example.com:443").status(listed) == 101);
    CHECK(from("http://localhost:3000").status(listed) == 101);
    CHECK(from("http://server.example.com").status(listed) == 101);
    CHECK(from("http://localhost:3001").status(listed) == 403);
    CHECK(from("http://app.example.com").status(listed) == 403);

    const ws::handshake_options any = ws::handshake_options().allow_any_origin();
    CHECK(from("http://evil.test").status(any) == 101);
    CHECK(from("null").status(any) == 101);

    for (const std::string_view wrong : {"app.example.com", "*", "https://app.example.com/", "null", ""}) {
        REQUIRE_THROWS_AS(ws::handshake_options().allow_origin(wrong), std::invalid_argument);
    }
}

TEST_CASE("a handshake lists the subprotocols of all its lines and chooses among them only", "[websocket][handshake]") {
    CHECK(accepted(request()).subprotocols().empty());
    const ws::handshake offer =
        accepted(request()
                     .line("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: chat ,\tsuper.chat,,")
                     .line("sec-websocket-protocol", "sec-websocket-protocol: Chat"));
    CHECK(offer.subprotocols() == std::vector<std::string>{"chat", "super.chat", "Chat"});
    CHECK(offer.response().find("sec-websocket-protocol") == std::nullopt);
    CHECK(offer.response("super.chat").find("sec-websocket-protocol") == "super.chat");
    REQUIRE_THROWS_AS(offer.response("CHAT"), std::invalid_argument);
    REQUIRE_THROWS_AS(offer.response("chat, super.chat"), std::invalid_argument);
    REQUIRE_THROWS_AS(accepted(request()).response("chat"), std::invalid_argument);
    CHECK(request()
              .line("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: chat")
              .line("sec-websocket-protocol", "sec-websocket-protocol: chat")
              .status() == 400);  // RFC 6455 4.1: all unique

    for (const std::string_view malformed : {"a b", "a;b", "\"a\"", "a, b c", "a/b", "a, b, a"}) {
        CHECK(request().line("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: " + std::string(malformed)).status() ==
              400);
    }
}

TEST_CASE("a handshake response takes extra fields that are not its own", "[websocket][handshake]") {
    const ws::handshake shake = accepted(request());
    const http::headers fields =
        shake.response("", http::headers().add("Set-Cookie", "a=1").add("Set-Cookie", "b=2").add("Server", "x"));
    CHECK(fields.size() == 6);
    CHECK(fields.count("set-cookie") == 2);
    for (const char* own :
         {"Upgrade", "connection", "Sec-WebSocket-Protocol", "SEC-WEBSOCKET-ACCEPT", "Sec-WebSocket-Extensions"}) {
        REQUIRE_THROWS_AS(shake.response("", http::headers().add(own, "x")), std::invalid_argument);
    }
}
