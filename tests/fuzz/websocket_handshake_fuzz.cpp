// tests/fuzz/websocket_handshake_fuzz.cpp - any octets as a server's answer, as a client's fields, as a URL and an origin
// SPDX-License-Identifier: BSL-1.0
#include <ferry/http/request_parser.hpp>
#include <ferry/websocket/client_handshake.hpp>
#include <ferry/websocket/handshake.hpp>
#include <ferry/websocket/origin.hpp>
#include <ferry/websocket/url.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "fuzz/fuzz.hpp"

namespace {
using ferry_test::must;
namespace ws = ferry::websocket;
namespace http = ferry::http;
using result = ws::client_handshake::result;

/// A client whose key is that of RFC 6455 1.3, and what it made of its server's answer.
class client_log {
public:
    client_log() : opening_(ws::url::parse("ws://server.example.com/chat"), sample_nonce()) {
        opening_.subprotocol("chat").subprotocol("superchat");
    }
    void feed(std::string_view piece) {
        const std::vector<char> exact(piece.begin(), piece.end());
        std::string_view unread(exact.data(), exact.size());
        if (last_ == result::need_more) last_ = opening_.read(unread);
        must(last_ != result::need_more || unread.empty(), "it wants more and has not read all");
        if (last_ == result::accepted) frames_ += unread;
    }
    bool operator==(const client_log& other) const {
        return last_ == other.last_ && frames_ == other.frames_ && opening_.status() == other.opening_.status() &&
               opening_.why() == other.opening_.why() && opening_.subprotocol() == other.opening_.subprotocol();
    }
    void check() const {
        if (last_ != result::accepted) return;
        must(opening_.status() == 101, "another status than 101 is accepted");
        must(opening_.headers().find("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
             "a wrong key is accepted");
        must(opening_.headers().contains_token("connection", "upgrade"), "it is not an upgrade");
        must(
            opening_.subprotocol().empty() || opening_.subprotocol() == "chat" || opening_.subprotocol() == "superchat",
            "a subprotocol that was not offered is accepted");
    }

private:
    static ws::client_handshake::nonce sample_nonce() {
        ws::client_handshake::nonce nonce{};
        const std::string_view text = "the sample nonce";
        for (std::size_t i = 0; i < nonce.size(); ++i) nonce[i] = static_cast<unsigned char>(text[i]);
        return nonce;
    }

    ws::client_handshake opening_;
    result last_ = result::need_more;
    std::string frames_;
};

void check_answer(std::string_view octets) {
    client_log whole, octetwise, cut;
    whole.feed(octets);
    ferry_test::feed_octetwise(octetwise, octets);
    ferry_test::feed_cut(cut, octets);
    must(whole == octetwise, "octet by octet it is another answer");
    must(whole == cut, "cut it is another answer");
    whole.check();
}

/// The octets as further fields of a handshake: what is accepted can be answered, and a client takes that answer.
void check_fields(std::string_view octets) {
    const std::string text =
        "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" +
        std::string(octets) + "\r\n\r\n";
    http::request_parser parser;
    std::string_view unread = text;
    if (parser.read(unread) != http::request_event::head) return;
    const http::request_head head = parser.take_head();
    const auto checked = ws::check_handshake(head);
    if (const auto* refusal = std::get_if<ws::handshake_refusal>(&checked)) {
        must(refusal->status() >= 400 && refusal->status() < 500 && !refusal->reason().empty(),
             "a refusal without a reason");
        return;
    }
    const auto& opening = std::get<ws::handshake>(checked);
    for (const std::string& name : opening.subprotocols()) {
        must(http::valid_header_name(name), "a subprotocol is no token");
        const http::headers fields = opening.response(name);
        must(fields.find("sec-websocket-protocol") == name, "the answer names another subprotocol");
        must(fields.find("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "the accept key is wrong");
    }
}

void check_url(std::string_view octets) {
    for (const std::string_view scheme : {"", "ws://", "wss://"}) {
        try {
            const ws::url parsed = ws::url::parse(std::string(scheme).append(octets));
            must(http::valid_host(parsed.authority()) && !parsed.host().empty() && parsed.port() != 0, "no valid host");
            must(parsed.target().front() == '/' && http::request_target::split(parsed.target()), "no valid target");
            const std::string again = (parsed.secure() ? "wss://" : "ws://") + parsed.authority() + parsed.target();
            const ws::url same = ws::url::parse(again);
            must(same.host() == parsed.host() && same.port() == parsed.port() && same.target() == parsed.target() &&
                     same.authority() == parsed.authority(),
                 "written out it is another URL");
            const std::string request = ws::client_handshake(parsed, {}).request();
            must(std::count(request.begin(), request.end(), '\n') == 7, "the URL breaks out of its line");
        } catch (const std::invalid_argument&) {}
    }
    const auto site = ws::origin::parse(octets);
    if (site) must(site == ws::origin::parse(octets), "an origin that is not itself");
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view octets = ferry_test::view_of(data, size);
    check_answer(octets);
    // The rest of an answer that is right so far.
    check_answer(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" +
        std::string(octets));
    check_fields(octets);
    check_url(octets);
    return 0;
}
