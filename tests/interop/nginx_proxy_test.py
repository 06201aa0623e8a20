#!/usr/bin/env python3
# tests/interop/nginx_proxy_test.py - nginx as reverse proxy in front of ferry's server, for HTTP and for WebSockets
# SPDX-License-Identifier: BSL-1.0
"""Usage: nginx_proxy_test.py --bin DIR [--only REGEX]

Starts the servers of DIR and an nginx in front of them on 127.0.0.1, and talks to nginx. Prints "ok NAME", "skipped NAME: reason"
or "failed NAME: reason" for each test. Exits 0 when none failed, 1 when one did, 77 when DIR has no programs or there is no nginx.
"""

import concurrent.futures
import http.client
import json
import os
import sys
import tempfile

sys.dont_write_bytecode = True  # a test leaves the source tree as it is
import peers
import ws_conformance_test as frames
from peers import LIMIT_SECONDS, MIB, Nginx, Program, Server, check, pattern, wait_until
from ws_conformance_test import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_payload

# The same site by several ways: buffered with kept connections, unbuffered, one connection a request over HTTP/1.0, WebSocket.
CONFIGURATION = """
    client_max_body_size 8m;
    map $http_upgrade $connection_upgrade { default upgrade; '' close; }
    # (A location that sets a field of its own inherits none.)
    upstream site { server 127.0.0.1:%(site)d; keepalive 4; }
    server {
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        %(fields)s
        location /buffered/ { proxy_pass http://site/; }
        location /unbuffered/ { proxy_pass http://site/; proxy_buffering off; proxy_request_buffering off; }
        location /old/ { proxy_pass http://site/; proxy_http_version 1.0; proxy_set_header Connection close; %(fields)s }
        location /unix/ { proxy_pass http://unix:%(path)s:/; }
        location /websocket/ {
            proxy_pass http://site/;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            %(fields)s
        }
    }
"""
FIELDS = "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
WAYS = ("buffered", "unbuffered", "old")


class Both:
    """A server and the nginx before it."""

    def __init__(self, name="peer", *arguments, path="/none"):
        self.name, self.arguments, self.path = name, arguments, path

    def __enter__(self):
        peers.find("nginx")
        self.site = Server(self.name, *self.arguments)
        try:
            self.nginx = Nginx(CONFIGURATION % {"site": self.site.port, "path": self.path, "fields": FIELDS})
        except BaseException:
            self.site.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.nginx.__exit__()
        self.site.__exit__()

    def client(self):
        return http.client.HTTPConnection("127.0.0.1", self.nginx.port, timeout=LIMIT_SECONDS)

    def ask(self, method, path, body=None, headers={}, client=None):
        """The status, fields and body of the answer; an iterable as body goes in chunks."""
        one = client or self.client()
        try:
            one.request(method, path, body, headers, encode_chunked=body is not None and not isinstance(body, bytes))
            answer = one.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            if client is None:
                one.close()

    def open(self, head):
        """A connection to nginx that has sent this."""
        client = peers.connect(self.nginx.port)
        client.sendall(head.encode() if isinstance(head, str) else head)
        return client

    def websocket(self, path="/websocket/"):
        return frames.open_websocket(self.nginx.port, path)


# ---- HTTP ------------------------------------------------------------------------------
def test_bodies_of_declared_length_and_in_chunks_come_whole_each_way():
    with Both() as both:
        for way in WAYS:
            for framing in ("length", "chunks"):
                for size in (0, 1, 9_999, 10_000, MIB):
                    status, fields, body = both.ask("GET", f"/{way}/{framing}/{size}")
                    check((status, body) == (200, pattern(size)), f"{way}, {framing}, {size}: {status}, {len(body)} octets")
                    declared = fields["content-length"]
                    check(framing == "chunks" or declared == str(size), f"{way}, {framing}, {size}: declared {declared}")
            for size in (0, 1, MIB):
                whole = os.urandom(size)
                cut = [whole[at : at + 60_000] for at in range(0, size, 60_000)]
                for framing, body in (("length", whole), ("chunks", iter(cut))):
                    status, _, back = both.ask("POST", f"/{way}/echo", body)
                    check((status, back) == (200, whole), f"{way}, {size} octets up, {framing}: {status}, {len(back)} back")


def test_head_has_the_fields_and_no_body():
    with Both() as both:
        for way in WAYS:
            client = both.client()
            for _ in range(2):  # the second would read the body of the first
                status, fields, body = both.ask("HEAD", f"/{way}/length/12345", client=client)
                check((status, body) == (200, b""), f"{way}: {status} {body!r}")
                check(fields["content-length"] == "12345", f"{way}: the length is {fields['content-length']}")
                status, _, body = both.ask("HEAD", f"/{way}/chunks/12345", client=client)
                check((status, body) == (200, b""), f"{way}, chunks: {status} {body!r}")
            client.close()


def test_statuses_pass_and_those_without_a_body_leave_the_connection_usable():
    with Both() as both:
        for way in WAYS:
            client = both.client()
            for status in (200, 201, 204, 205, 301, 304, 400, 404, 405, 418, 500, 503, 599):
                got = both.ask("GET", f"/{way}/status/{status}", client=client)
                check((got[0], got[2]) == (status, b""), f"{way}: {got[0]} {got[2]!r} for {status}")
            client.close()


def test_one_connection_to_the_server_is_kept_for_many_requests():
    with Both() as both:
        used = {both.ask("GET", "/buffered/length/10")[1]["x-connection"] for _ in range(20)}  # each a connection to nginx
        check(len(used) == 1, f"20 requests took {len(used)} connections")
        for method, path, body in (("HEAD", "length/9", None), ("POST", "echo", b"abc"), ("POST", "echo", iter([b"a", b"b"])),
                                   ("GET", "chunks/70000", None), ("GET", "status/204", None), ("GET", "status/304", None)):
            used.add(both.ask(method, f"/buffered/{path}", body)[1]["x-connection"])
        check(len(used) == 1, "some exchange did not leave the connection usable")
        both.site.wait_for_connections(1)
        used = {both.ask("GET", "/old/length/10")[1]["x-connection"] for _ in range(3)}
        check(len(used) == 3, f"3 requests over HTTP/1.0 took {len(used)} connections")


def test_requests_sent_at_once_are_answered_in_order():
    with Both() as both:
        ask = "GET /buffered/length/{} HTTP/1.1\r\nHost: a.test\r\n{}\r\n"
        with both.open("".join(ask.format(size, "Connection: close\r\n" if size == 9 else "") for size in range(10))) as client:
            answers = b""
            while piece := client.recv(65536):
                answers += piece
        bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers.split(b"HTTP/1.1 200 OK")[1:]]
        check(bodies == [pattern(size) for size in range(10)], f"the bodies are {bodies}")


def test_many_clients_at_once():
    with Both() as both, concurrent.futures.ThreadPoolExecutor(16) as clients:
        def one(number):
            way = ("buffered", "unbuffered")[number % 2]
            body = bytes([number]) * 50_000
            return both.ask("POST", f"/{way}/echo", body)[2] == body
        check(all(clients.map(one, range(100))), "a body came back wrong")


def test_what_nginx_adds_arrives():
    with Both("http_inspect") as both:
        for way, version in (("buffered", "1.1"), ("unbuffered", "1.1"), ("old", "1.0")):
            status, _, body = both.ask("PUT", f"/{way}/a%20b?c=%2f", b"hi", {"X-Forwarded-For": "192.0.2.7", "X-Mine": "two  words"})
            said = json.loads(body)
            fields = {name.lower(): text for name, text in said["headers"]}
            check(status == 200 and said["version"] == version and said["method"] == "PUT", f"{way}: {status} {said}")
            check(fields["x-forwarded-for"] == "192.0.2.7, 127.0.0.1", f"{way}: {fields}")
            check(fields["host"] == f"127.0.0.1:{both.nginx.port}" and fields["x-mine"] == "two  words", f"{way}: {fields}")
            check(said["body_hex"] == b"hi".hex(), f"{way}: the body is {said['body_hex']}")
        body = os.urandom(MIB)
        said = json.loads(both.ask("POST", "/buffered/", body)[2])
        check(bytes.fromhex(said["body_hex"]) == body, "a mebibyte arrived wrong")
        check(both.ask("POST", "/buffered/", body + b"x")[0] == 413, "the server's refusal of more did not come back")
        check(both.ask("GET", "/buffered/", None, {"X-Long": "x" * 7000})[0] == 200, "a long field was refused")


def test_a_server_at_a_path():
    peers.find("nginx")
    with tempfile.TemporaryDirectory() as here:
        os.chmod(here, 0o755)
        path = os.path.join(here, "door")
        with Program(os.path.join(peers.BIN, "peer"), "serve", "--host", f"unix:{path}") as site:
            site.expect(f"listening on unix:{path}")
            with Both(path=path) as both:
                status, _, body = both.ask("POST", "/unix/echo", b"by the door")
                check((status, body) == (200, b"by the door"), f"{status} {body!r}")
                site.expect("POST /echo done")


def test_idle_connections_that_the_server_closes_cost_no_request():
    with Both("peer", "--idle", "1") as both:
        first = both.ask("GET", "/buffered/length/10")[1]["x-connection"]
        both.site.wait_for_connections(1)
        both.site.wait_for_connections(0)
        status, fields, body = both.ask("POST", "/buffered/echo", b"again")
        check((status, body) == (200, b"again"), f"{status} {body!r}")
        check(fields["x-connection"] != first, "it was the same connection")


def test_a_client_that_leaves_in_the_middle_of_its_body_is_noticed():
    with Both() as both:
        with both.open(b"POST /unbuffered/echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n" + bytes(200_000)):
            both.site.expect("POST /echo asked")
        both.site.expect("POST /echo gone")
        with both.open(b"POST /unbuffered/echo HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"):
            both.site.expect("POST /echo asked")
        both.site.expect("POST /echo gone")
        both.site.wait_for_connections(0)


def test_a_client_that_leaves_in_the_middle_of_its_answer_is_noticed():
    with Both() as both:
        for framing in ("length", "chunks"):
            with both.open(f"GET /unbuffered/{framing}/1000000000 HTTP/1.1\r\nHost: a.test\r\n\r\n") as client:
                check(client.recv(10_000).startswith(b"HTTP/1.1 200 OK"), "no answer")
            both.site.expect(f"GET /{framing}/1000000000 gone")
            with both.open("GET /unbuffered/hang HTTP/1.1\r\nHost: a.test\r\n\r\n"):
                both.site.expect("GET /hang asked")
        both.site.expect("GET /hang gone")
        both.site.wait_for_connections(0)


def test_a_server_that_stops_finishes_its_answer():
    with Both() as both, both.open("GET /unbuffered/length/20000000 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n") as client:
        answer = client.recv(10_000)
        check(answer.startswith(b"HTTP/1.1 200 OK"), "no answer")
        both.site.process.terminate()
        wait_until(lambda: not peers.listens(both.site.port), "it still listens")
        while piece := client.recv(1 << 20):
            answer += piece
        body = answer.partition(b"\r\n\r\n")[2]
        check(body == pattern(20_000_000), f"{len(body)} octets came")
        check(both.site.process.wait(LIMIT_SECONDS) == 0, "it did not exit with 0")
        check(both.ask("GET", "/buffered/length/1")[0] == 502, "nginx finds a server")


# ---- WebSocket -------------------------------------------------------------------------
def exchange(peer, opcode, payload, expected=None):
    peer.connection.sendall(peer.frame(opcode, payload))
    got = peer.read_message()
    check(got == (expected or (opcode, payload)), f"opcode {got[0]} with {len(got[1])} octets, {got[1][:20]!r}...")


def test_websocket_messages_come_back_as_they_were_sent():
    with Both("ws_echo") as both:
        peer = both.websocket()
        for payload in (b"", b"hello", "κόσμε \U0001f600".encode(), b"x" * 125, b"x" * 126, b"x" * 65535, b"x" * 65536, b"x" * MIB):
            exchange(peer, TEXT, payload)
        for payload in (b"", bytes(range(256)), os.urandom(MIB), os.urandom(8 * MIB)):
            for part in range(0, max(len(payload), 1), 60_000):  # nginx holds little, so we read as we write
                exchange(peer, BINARY, payload[part : part + 60_000])
        peer.close()


def test_large_websocket_messages_and_fragments():
    with Both("ws_echo") as both:
        for size in (MIB, 16 * MIB):
            case = ("large", [(BINARY, os.urandom(size), True, 0), (CLOSE, close_payload(1000), True, 0)])
            frames.run_case(both.websocket(), (*case, [case[1][0][:2]], 1000))
        text = "κόσμε ".encode() * 1000
        for size in (1, 7, 1000):
            sent = [*frames.in_fragments(TEXT, text, size), (CLOSE, close_payload(1000), True, 0)]
            frames.run_case(both.websocket(), ("fragments", sent, [(TEXT, text)], 1000))
        between = [(TEXT, b"a", False, 0), (PING, b"p", True, 0), (CONTINUATION, b"b", True, 0), (CLOSE, close_payload(1000), True, 0)]
        frames.run_case(both.websocket(), ("a ping between", between, [(PONG, b"p"), (TEXT, b"ab")], 1000))


def test_messages_that_the_server_sends_in_fragments():
    with Both() as both:
        peer = both.websocket()
        exchange(peer, TEXT, b"pieces 100500", (TEXT, pattern(100_500)))
        peer.close()


def test_pings_are_answered_and_pongs_ignored():
    with Both() as both:
        peer = both.websocket()
        for payload in (b"", b"ping", os.urandom(125)):
            exchange(peer, PING, payload, (PONG, payload))
        peer.connection.sendall(peer.frame(PONG, b"not asked for"))
        exchange(peer, TEXT, b"still here")
        peer.close()


def test_close_codes_pass_each_way():
    with Both() as both:
        for code, reason in ((1000, b""), (1001, b"away"), (3000, b"three"), (4999, "κ".encode() * 61)):
            peer = both.websocket("/websocket/client")
            exchange(peer, CLOSE, close_payload(code, reason), (CLOSE, close_payload(code, b"") if not reason else close_payload(code)))
            check(peer.at_end(), "something came after the close frame")
            peer.close()
            both.site.expect(f"/client closed {code} {reason.decode()}")
            peer = both.websocket("/websocket/server")
            exchange(peer, TEXT, b"close %d " % code + reason, (CLOSE, close_payload(code, reason)))
            peer.connection.sendall(peer.frame(CLOSE, close_payload(code)))
            check(peer.at_end(), "something came after the close frame")
            peer.close()
            both.site.expect(rf"/server closed {code} .*")
        peer = both.websocket("/websocket/none")
        exchange(peer, CLOSE, b"", (CLOSE, b""))
        peer.close()
        both.site.expect(r"/none closed 1005 ")


def test_a_client_that_vanishes_is_noticed():
    with Both() as both:
        peer = both.websocket("/websocket/idle")
        exchange(peer, TEXT, b"hello")
        peer.close()
        both.site.expect(r"/idle closed 1006 .*")
        peer = both.websocket("/websocket/amid")
        peer.connection.sendall(peer.frame(TEXT, b"x" * MIB)[:100_000])
        peer.close()
        both.site.expect(r"/amid closed 1006 .*")
        both.site.wait_for_connections(0)


def test_a_server_that_stops_closes_with_1001_and_one_that_is_killed_just_ends():
    with Both() as both:
        peer = both.websocket()
        exchange(peer, TEXT, b"hello")
        both.site.process.terminate()
        opcode, payload = peer.read_message()
        check((opcode, payload[:2]) == (CLOSE, close_payload(1001)), f"opcode {opcode}, {payload!r}")
        peer.connection.sendall(peer.frame(CLOSE, close_payload(1001)))
        check(peer.at_end(), "something came after the close frame")
        check(both.site.process.wait(LIMIT_SECONDS) == 0, "it did not exit with 0")
        peer.close()
    with Both() as both:
        peer = both.websocket()
        exchange(peer, TEXT, b"hello")
        both.site.kill()
        check(peer.at_end(), "something came")
        peer.close()


def test_a_handshake_that_is_no_good_is_refused_by_the_server():
    with Both() as both:
        head = ("GET /websocket/ HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: {}\r\n{}\r\n")
        for version, fields, wanted in (("12", "", b"HTTP/1.1 426 "), ("13", "Origin: http://elsewhere.test\r\n", b"HTTP/1.1 403 "),
                                        ("13", "Origin: http://a.test\r\n", b"HTTP/1.1 101 ")):
            with both.open(head.format(version, fields)) as client:
                answer = client.recv(4096)
                check(answer.startswith(wanted), f"version {version}, {fields!r}: {answer!r}")


if __name__ == "__main__":
    peers.main(__doc__, globals())
