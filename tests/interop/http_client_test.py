#!/usr/bin/env python3
# tests/interop/http_client_test.py - the client against other servers
# SPDX-License-Identifier: BSL-1.0
"""Usage: http_client_test.py --bin DIR

Runs DIR/http_get against Python's http.server, and against nginx where there is one. Prints "ok NAME", "skipped NAME: reason"
or "failed NAME: reason" for each test. Exits 0 when none failed, 1 when one did, 77 when DIR has no http_get.
"""

import argparse
import http.server
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

LIMIT_SECONDS = 20


class Failure(Exception):
    pass


class Skipped(Exception):
    pass


def check(is_so, otherwise):
    if not is_so:
        raise Failure(otherwise)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers /SIZE with so many octets, framed as the server's `framing` says."""

    def do_GET(self):
        self.server.peers.add(self.client_address)
        if not self.path[1:].isdigit():
            self.send_error(404)
            return
        body = bytes(65 + at % 26 for at in range(int(self.path[1:])))
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


class Server:
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
    got = subprocess.run([os.path.join(BIN, "http_get"), *urls], capture_output=True, timeout=LIMIT_SECONDS)
    return got.returncode, got.stdout, got.stderr.decode()


def fetches_sizes(server, connections):
    sizes = (0, 1, 999, 100_000, 3_000_000)
    status, octets, log = get(*(f"{server.url}/{size}" for size in sizes))
    check(status == 0, f"it exited with {status}: {log}")
    check(octets == b"".join(bytes(65 + at % 26 for at in range(size)) for size in sizes), "the bodies differ")
    check(log.count("200 OK") == len(sizes), f"it said {log!r}")
    check(server.connections == connections, f"there were {server.connections} connections")


def test_lengths_over_one_connection():
    with Server("HTTP/1.1", "length") as server:
        fetches_sizes(server, 1)


def test_chunks_over_one_connection():
    with Server("HTTP/1.1", "chunked") as server:
        fetches_sizes(server, 1)


def test_bodies_that_end_with_their_connection():
    with Server("HTTP/1.0", "close") as server:
        fetches_sizes(server, 5)


def test_a_status_is_no_error_and_a_missing_server_is():
    with Server("HTTP/1.1", "length") as server:
        status, _, log = get(server.url + "/5", server.url + "/not-a-number")
        check(status == 0 and "200 OK, 5 bytes" in log and "404 Not Found" in log, f"it exited with {status}: {log}")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    status, _, log = get(f"http://127.0.0.1:{port}/")
    check(status == 1 and f"127.0.0.1:{port}" in log, f"it exited with {status}: {log}")


def test_nginx_serves_files_over_one_connection():
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not program:
        raise Skipped("no nginx")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as here:
        os.chmod(here, 0o755)
        with open(f"{here}/file", "wb") as file:
            file.write(b"x" * 1_000_000)
        with open(f"{here}/conf", "w") as conf:
            conf.write(
                f"daemon off; master_process off; pid {here}/pid; error_log {here}/errors; events {{}}\n"
                f"http {{ access_log {here}/log; server {{ listen 127.0.0.1:{port}; root {here}; }} }}\n"
            )
        server = subprocess.Popen([program, "-c", f"{here}/conf", "-e", f"{here}/errors"], stderr=subprocess.DEVNULL)
        try:
            give_up = time.monotonic() + LIMIT_SECONDS
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), LIMIT_SECONDS).close()
                    break
                except ConnectionRefusedError:
                    check(time.monotonic() < give_up, "nginx does not listen")
                    time.sleep(0.01)
            url = f"http://127.0.0.1:{port}"
            status, octets, log = get(f"{url}/file", f"{url}/missing", f"{url}/file")
            check(status == 0 and octets.count(b"x") >= 2_000_000, f"it exited with {status}: {log}")
            check("404 Not Found" in log, f"it said {log!r}")
        finally:
            server.terminate()
            server.wait(LIMIT_SECONDS)


def main():
    failed = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        title = name.removeprefix("test_").replace("_", " ")
        try:
            test()
            print(f"ok {title}", flush=True)
        except Skipped as reason:
            print(f"skipped {title}: {reason}", flush=True)
        except (Failure, OSError, subprocess.SubprocessError) as reason:
            failed += 1
            print(f"failed {title}: {reason}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, metavar="DIR")
    BIN = parser.parse_args().bin
    if not os.path.exists(os.path.join(BIN, "http_get")):
        print(f"skipped everything: there is no {BIN}/http_get")
        sys.exit(77)
    sys.exit(main())
