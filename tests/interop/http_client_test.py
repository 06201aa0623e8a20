#!/usr/bin/env python3
# tests/interop/http_client_test.py - the client against other servers
# SPDX-License-Identifier: BSL-1.0
"""Usage: http_client_test.py --bin DIR [--only REGEX]

Runs DIR/http_get and `DIR/peer fetch` against Python's http.server, nginx and node's http. Prints "ok NAME", "skipped NAME: reason"
or "failed NAME: reason" for each test. Exits 0 when none failed, 1 when one did, 77 when DIR has no programs.
"""

import http.server
import os
import socket
import subprocess
import sys
import threading

sys.dont_write_bytecode = True  # a test leaves the source tree as it is
import peers
from peers import LIMIT_SECONDS, MIB, Nginx, Program, Server, check, find, pattern

SIZES = (0, 1, 999, 100_000, 3_000_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers /SIZE with so many octets, framed as the server's `framing` says, and a body with the same body."""

    def do_GET(self):
        self.server.peers.add(self.client_address)
        if self.path[1:].isdigit():
            self.answer(pattern(int(self.path[1:])))
        else:
            self.send_error(404)

    def do_POST(self):
        self.server.peers.add(self.client_address)
        body, size = b"", int(self.headers.get("Content-Length", 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(size)
        self.answer(body)

    def answer(self, body):
        self.send_response(200)
        if self.server.framing == "length":
            self.send_header("Content-Length", str(len(body)))
        if self.server.framing == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.server.framing != "chunked":
            self.wfile.write(body)
            return
        for at in range(0, len(body), 1000):
            piece = body[at : at + 1000]
            self.wfile.write(b"%x%s\r\n%s\r\n" % (len(piece), b";first=yes" if at == 0 else b"", piece))
        self.wfile.write(b"0\r\nX-Trailer: yes\r\n\r\n")

    def log_message(self, *_):
        pass


class PythonServer:
    def __init__(self, version, framing):
        handler = type("Versioned", (Handler,), {"protocol_version": version})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.framing, self.server.peers = framing, set()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @property
    def connections(self):
        return len(self.server.peers)


def get(*urls):
    got = subprocess.run([os.path.join(peers.BIN, "http_get"), *urls], capture_output=True, timeout=LIMIT_SECONDS)
    return got.returncode, got.stdout, got.stderr.decode()


def fetch(*requests):
    """Each request is (METHOD[,chunked][,expect], URL, size of the body); yields (status, size, what, connection, trailer) of each."""
    arguments = [str(part) for request in requests for part in request]
    got = subprocess.run([os.path.join(peers.BIN, "peer"), "fetch", *arguments], capture_output=True, text=True, timeout=LIMIT_SECONDS)
    check(got.returncode == 0, f"it exited with {got.returncode}: {got.stderr}")
    for line in got.stdout.splitlines():
        status, size, what, connection, trailer = line.split(" ")
        yield int(status), int(size), what, connection, trailer


def fetches_sizes(server, connections):
    status, octets, log = get(*(f"{server.url}/{size}" for size in SIZES))
    check(status == 0, f"it exited with {status}: {log}")
    check(octets == b"".join(pattern(size) for size in SIZES), "the bodies differ")
    check(log.count("200 OK") == len(SIZES), f"it said {log!r}")
    check(server.connections == connections, f"there were {server.connections} connections")


def test_lengths_over_one_connection():
    with PythonServer("HTTP/1.1", "length") as server:
        fetches_sizes(server, 1)


def test_chunks_over_one_connection():
    with PythonServer("HTTP/1.1", "chunked") as server:
        fetches_sizes(server, 1)


def test_bodies_that_end_with_their_connection():
    with PythonServer("HTTP/1.0", "close") as server:
        fetches_sizes(server, 5)


def test_a_status_is_no_error_and_a_missing_server_is():
    with PythonServer("HTTP/1.1", "length") as server:
        status, _, log = get(server.url + "/5", server.url + "/not-a-number")
        check(status == 0 and "200 OK, 5 bytes" in log and "404 Not Found" in log, f"it exited with {status}: {log}")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    status, _, log = get(f"http://127.0.0.1:{port}/")
    check(status == 1 and f"127.0.0.1:{port}" in log, f"it exited with {status}: {log}")


def test_bodies_are_sent_and_come_back():
    for framing in ("length", "chunked"):
        with PythonServer("HTTP/1.1", framing) as server:
            how = ("POST", "POST,chunked", "POST,expect", "POST,chunked,expect")
            got = list(fetch(*((each, server.url, size) for each in how for size in SIZES)))
            check([one[:3] for one in got] == [(200, size, "pattern") for _ in how for size in SIZES], f"{framing}: {got}")
            check(server.connections == 1, f"{framing}: there were {server.connections} connections")


# A site of nginx's own: files that can be put and deleted, and answers of each status; and a proxy before another server.
NGINX = """
    client_max_body_size 4m;
    types { }
    server {
        listen 127.0.0.1:{port};
        root {here}/files;
        add_header X-Connection $connection always;
        location / { dav_methods PUT DELETE; create_full_put_path on; dav_access user:rw; }
        location /few/ { alias {here}/files/; keepalive_requests 3; }
        location /status/ { if ($uri ~ "/status/(204)") { return 204; } if ($uri ~ "/status/(301)") { return 301 /elsewhere; }
                            if ($uri ~ "/status/(418)") { return 418; } return 503; }
        location /site/ {
            proxy_pass http://127.0.0.1:%d/; proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off; add_header X-Connection $connection;
        }
    }
"""


def nginx(site_port=1):
    server = Nginx(NGINX % site_port)
    os.mkdir(f"{server.here}/files")
    return server


def test_nginx_serves_files_over_one_connection():
    with nginx() as server:
        with open(f"{server.here}/files/file", "wb") as file:
            file.write(b"x" * 1_000_000)
        status, octets, log = get(f"{server.url}/file", f"{server.url}/missing", f"{server.url}/file")
        check(status == 0 and octets.count(b"x") >= 2_000_000, f"it exited with {status}: {log}")
        check("404 Not Found" in log, f"it said {log!r}")
        got = list(fetch(*[("GET", f"{server.url}/few/file", 0)] * 7))
        check([one[:2] for one in got] == [(200, 1_000_000)] * 7, f"{got}")
        check(len({connection for *_, connection, _ in got}) == 3, f"three requests a connection: {got}")


def test_nginx_takes_uploads():
    with nginx() as server:
        for how in ("PUT", "PUT,chunked", "PUT,expect", "PUT,chunked,expect"):
            requests = []
            for size in SIZES:
                url = f"{server.url}/{how.replace(',', '-')}/{size}"
                requests += [(how, url, size), ("GET", url, 0), ("HEAD", url, 0), ("DELETE", url, 0), ("GET", url, 0)]
            got = list(fetch(*requests))
            for at, size in enumerate(SIZES):
                seen = [one[:2] for one in got[5 * at : 5 * at + 5]]
                check(seen[1] == (200, size) and got[5 * at + 1][2] == "pattern", f"{how} {size}: {seen}")
                check((seen[0][0], seen[2], seen[3][0], seen[4][0]) == (201, (200, 0), 204, 404), f"{how} {size}: {seen}")
            check(len({connection for *_, connection, _ in got}) == 1, f"{how}: more than one connection: {got}")


def test_nginx_refuses_an_upload_and_other_statuses_arrive():
    with nginx() as server:
        for how in ("PUT", "PUT,expect"):
            [(status, *_)] = fetch((how, f"{server.url}/large", 5 * MIB))
            check(status == 413, f"{how}: the status is {status}")
        got = list(fetch(*((method, f"{server.url}/status/{status}", 0) for status in (204, 301, 418, 503) for method in ("GET", "HEAD"))))
        check([one[0] for one in got] == [status for status in (204, 301, 418, 503) for _ in range(2)], f"{got}")
        check(len({connection for *_, connection, _ in got}) == 1, f"more than one connection: {got}")


def test_both_ends_are_ferry_and_nginx_is_between():
    find("nginx")
    with Server("peer") as site, nginx(site.port) as server:
        how = ("POST", "POST,chunked")
        got = list(fetch(*((each, f"{server.url}/site/echo", size) for each in how for size in SIZES)))
        check([one[:3] for one in got] == [(200, size, "pattern") for _ in how for size in SIZES], f"{got}")
        got = list(fetch(*(("GET", f"{server.url}/site/{what}/{size}", 0) for what in ("length", "chunks") for size in SIZES)))
        check([one[:3] for one in got] == [(200, size, "pattern") for _ in how for size in SIZES], f"{got}")


NODE_SERVER = """
const server = require('http').createServer((request, response) => {
    response.writeHead(200, { Trailer: 'X-Trailer' });  // in chunks, while the request still comes
    request.on('data', (piece) => { if (!response.write(piece)) { request.pause(); response.once('drain', () => request.resume()); } });
    request.on('end', () => { response.addTrailers({ 'X-Trailer': 'seen' }); response.end(); });
});
server.listen(0, '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
"""


def test_node_sends_back_what_still_comes_and_trailers():
    with Program(find("node"), "-e", NODE_SERVER) as node:
        url = f"http://127.0.0.1:{node.expect('listening on (.*)')[1]}/"
        how = ("POST", "POST,chunked", "PUT,expect", "PUT,chunked,expect")
        sizes = (0, 1, 100_000, 20_000_000)
        got = list(fetch(*((each, url, size) for each in how for size in sizes)))
        check([(*one[:3], one[4]) for one in got] == [(200, size, "pattern", "seen") for _ in how for size in sizes], f"{got}")


if __name__ == "__main__":
    peers.main(__doc__, globals())
