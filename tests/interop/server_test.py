#!/usr/bin/env python3
# tests/interop/server_test.py - the example servers as processes: other clients, signals, limits, wrong options
# SPDX-License-Identifier: BSL-1.0
"""Usage: server_test.py --bin DIR

Starts the examples in DIR on 127.0.0.1 and prints "ok NAME", "skipped NAME: reason" or "failed NAME: reason" for each
test. Exits 0 when none failed, 1 when one did, 77 when DIR has no examples.
"""

import argparse
import base64
import concurrent.futures
import errno
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from peers import Failure, Skipped, check

LIMIT_SECONDS = 20  # for anything that should happen at once, on a machine with other work


class Server:
    """An example that serves, from its start to its end; `log` has what it wrote to stderr.

    `unread` is the stream, "stdout" or "stderr", whose reader has gone before it starts.
    """

    def __init__(self, name, *arguments, preexec=None, environment=None, unread=None):
        self.errors = tempfile.TemporaryFile()
        self.port = free_port() if unread == "stdout" else 0
        command = [os.path.join(BIN, name), "--host", "127.0.0.1", "--port", str(self.port), *arguments]
        streams = {"stdout": subprocess.PIPE, "stderr": self.errors}
        if unread:
            reader, streams[unread] = os.pipe()
            os.close(reader)
        environment = {**os.environ, **(environment or {})}
        self.process = subprocess.Popen(command, **streams, env=environment, preexec_fn=preexec)
        if unread:
            os.close(streams[unread])
        try:
            if unread == "stdout":
                wait_until(lambda: self.process.poll() is not None or self.listens(), f"{name} does not listen")
                check(self.process.poll() is None, f"{name} exited with {self.process.poll()}; {self.log()!r}")
            else:
                line = self.process.stdout.readline().decode()
                found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)/\n", line)
                check(found, f"{name} said {line!r} instead of where it listens; {self.log()!r}")
                self.port = int(found[1])
        except Failure:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        self.errors.close()

    def log(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def stop(self, number=signal.SIGTERM):
        """Sends the signal; returns the exit status."""
        self.process.send_signal(number)
        try:
            return self.process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"still running {LIMIT_SECONDS} s after signal {number}") from None

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), LIMIT_SECONDS)

    def handles(self, number):
        """Has the process a handler for this signal?"""
        with open(f"/proc/{self.process.pid}/status") as status:
            caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status.read(), re.MULTILINE)
        return bool(int(caught[1], 16) >> (number - 1) & 1)

    def listens(self):
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return True

    def curl(self, path="/"):
        if not shutil.which("curl"):
            raise Skipped("no curl")
        command = ["curl", "-sS", "--max-time", str(LIMIT_SECONDS), f"http://127.0.0.1:{self.port}{path}"]
        got = subprocess.run(command, capture_output=True, text=True)
        check(got.returncode == 0, f"curl failed: {got.stderr.strip()}")
        return got.stdout

    def get(self, path="/"):
        """The same with nothing but a socket."""
        with self.connect() as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
            head, _, body = read_all(client).partition(b"\r\n\r\n")
        check(head.startswith(b"HTTP/1.1 200 "), f"the answer was {head!r}")
        return body.decode()


class Visitor:
    """A WebSocket to the chat."""

    def __init__(self, server, room):
        self.client = server.connect()
        self.client.sendall(
            f"GET /ws/{room} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += read_exactly(self.client, 1)
        check(head.startswith(b"HTTP/1.1 101 "), f"room {room}: the answer was {head!r}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def send(self, opcode, payload):
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
        self.client.sendall(bytes([0x80 | opcode]) + size + bytes(4) + payload)  # masked with zeros

    def read(self):
        """The next frame's opcode and payload."""
        first, length = read_exactly(self.client, 2)
        if length == 126:
            length = int.from_bytes(read_exactly(self.client, 2), "big")
        return first & 15, read_exactly(self.client, length)

    def hello(self, name):
        """Says who is there, and waits for the answer; returns the names of all who are."""
        self.send(1, json.dumps({"type": "hello", "name": name}, ensure_ascii=False).encode())
        return self.presence()

    def heard(self, *types):
        """The next message of one of these types."""
        while (heard := json.loads(self.read()[1]))["type"] not in types:
            pass
        return heard

    def presence(self):
        """Waits until somebody comes or goes; returns the names of those who are there."""
        return self.heard("presence")["names"]

    def leave(self):
        """Says goodbye, and waits until the server has ended the visit."""
        self.send(8, b"\x03\xe8")
        while self.read()[0] != 8:
            pass
        check(read_all(self.client) == b"", "something came after the close frame")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_until(is_so, otherwise):
    give_up = time.monotonic() + LIMIT_SECONDS
    while not is_so():
        check(time.monotonic() < give_up, otherwise)
        time.sleep(0.001)


def read_all(client):
    octets = b""
    while piece := client.recv(65536):
        octets += piece
    return octets


def read_exactly(client, count):
    octets = b""
    while len(octets) < count:
        piece = client.recv(count - len(octets))
        check(piece, f"the connection ended {count - len(octets)} octets too early")
        octets += piece
    return octets


def exits_with_1(words, *arguments, program="http_hello"):
    """The program ends by itself, with status 1 and one line on stderr that has these words."""
    got = subprocess.run([os.path.join(BIN, program), *arguments], capture_output=True, text=True, timeout=LIMIT_SECONDS)
    check(got.returncode == 1, f"{arguments}: it exited with {got.returncode}")
    check(got.stdout == "", f"{arguments}: it said {got.stdout!r}")
    check(program in got.stderr and got.stderr.count("\n") == 1, f"{arguments}: unclear: {got.stderr!r}")
    for word in words:
        check(word in got.stderr, f"{arguments}: {word!r} is not in {got.stderr!r}")


def test_http_hello_answers_curl():
    with Server("http_hello") as server:
        check(server.curl("/ferry") == "hello, /ferry\n", "the greeting is wrong")
        check(server.curl("/a%20b?query") == "hello, /a b\n", "the path is not decoded")
        check(server.stop() == 0, "it did not exit with 0")
        check(server.log() == "", f"it wrote {server.log()!r} to stderr")


def test_a_server_at_a_path_serves_there_and_takes_the_path_away():
    with tempfile.TemporaryDirectory() as here:
        path = os.path.join(here, "door")
        command = [os.path.join(BIN, "http_hello"), "--host", f"unix:{path}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                check(server.stdout.readline() == f"listening on unix:{path}\n", "it did not say where it listens")
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(LIMIT_SECONDS)
                    client.connect(path)
                    client.sendall(b"GET /path HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
                    check(read_all(client).endswith(b"\r\n\r\nhello, /path\n"), "the answer is wrong")
                server.terminate()
                check(server.wait(LIMIT_SECONDS) == 0, "it did not exit with 0")
                check(not os.path.exists(path), "the path is still there")
            finally:
                server.kill()


def test_ws_echo_sends_messages_back():
    with Server("ws_echo") as server, server.connect() as client:
        key = base64.b64encode(os.urandom(16)).decode()
        client.sendall(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Origin: http://127.0.0.1:{server.port}\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += read_exactly(client, 1)
        check(head.startswith(b"HTTP/1.1 101 "), f"the answer was {head!r}")
        mask = os.urandom(4)
        for text in (b"hi", "gr\u00fc\u00dfe".encode()):
            masked = bytes(octet ^ mask[at % 4] for at, octet in enumerate(text))
            client.sendall(bytes([0x81, 0x80 | len(text)]) + mask + masked)
            check(read_exactly(client, 2 + len(text)) == bytes([0x81, len(text)]) + text, f"{text!r} did not come back")
        server.process.send_signal(signal.SIGTERM)
        check(read_exactly(client, 4)[2:] == b"\x03\xe9", "no close frame with 1001 at the end")
        client.close()
        check(server.process.wait(LIMIT_SECONDS) == 0, "it did not exit with 0")


def test_blocking_page_answers_while_it_blocks():
    with Server("blocking_page") as server:
        check(server.curl() == "42 rows\n", "the page is wrong")
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(10) as clients:
            pages = list(clients.map(lambda _: server.get(), range(10)))
        seconds = time.monotonic() - began
        check(pages == ["42 rows\n"] * 10, f"pages: {pages}")
        check(0.45 < seconds < 2.5, f"ten pages of 0.5 s at once took {seconds:.2f} s")
        check(server.stop() == 0, "it did not exit with 0")


def test_legacy_main_prints_the_best_price():
    got = subprocess.run([os.path.join(BIN, "legacy_main")], capture_output=True, text=True, timeout=LIMIT_SECONDS)
    check(got.returncode == 0, f"it exited with {got.returncode}: {got.stderr}")
    lines = got.stdout.splitlines()
    check(lines[0] == "north 54, south 84, west 44", f"it printed {lines}")
    check(re.fullmatch(r"best price 44, after \d+ ms and not 300", lines[1]), f"it printed {lines}")


def test_a_port_in_use_is_a_clear_error():
    with Server("http_hello") as server:
        exits_with_1(["in use", f"127.0.0.1:{server.port}"], "--port", str(server.port))
        check(server.get() == "hello, /\n", "the first server has gone")


def test_a_bad_host_is_a_clear_error():
    exits_with_1(["no-such-host.invalid"], "--host", "no-such-host.invalid", "--port", "0")
    exits_with_1(["192.0.2.1", "address of this machine"], "--host", "192.0.2.1", "--port", "0")


def test_bad_options_are_clear_errors():
    exits_with_1(["--prot", "--port"], "--prot", "8000")
    exits_with_1(["--port needs a value"], "--port")
    for number in ("65536", "-1", "80x", ""):
        exits_with_1([f"--port {number}", "0 to 65535"], "--port", number)


def test_signals_end_it_with_0():
    for number in (signal.SIGTERM, signal.SIGINT):
        with Server("http_hello") as server, server.connect() as idle:
            idle.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            check(idle.recv(4096).startswith(b"HTTP/1.1 200"), "no answer")
            server.process.send_signal(number)
            check(idle.recv(4096) == b"", "the idle connection was not closed")
            idle.close()
            check(server.process.wait(LIMIT_SECONDS) == 0, f"signal {number}: it did not exit with 0")


def test_a_running_request_is_finished_first():
    with Server("blocking_page") as server, server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        time.sleep(0.1)  # into the half second for which the page blocks
        server.process.send_signal(signal.SIGTERM)
        check(read_all(client).endswith(b"42 rows\n"), "the running request was not answered")
        client.close()
        check(server.process.wait(LIMIT_SECONDS) == 0, "it did not exit with 0")


def test_a_second_signal_does_not_wait():
    with Server("ws_echo") as server, server.connect() as client:
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        check(client.recv(4096).startswith(b"HTTP/1.1 101"), "the handshake was refused")
        server.process.send_signal(signal.SIGTERM)
        check(client.recv(4096)[2:4] == b"\x03\xe9", "no close frame")  # which is not answered
        began = time.monotonic()
        check(server.stop() == 0, "it did not exit with 0")
        check(time.monotonic() - began < 3, "it waited for the client")


def test_a_third_signal_ends_it_although_an_application_refuses_to_end():
    for _ in range(10):
        with Server("blocking_page") as server, server.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            time.sleep(0.1)  # into the half second for which the page blocks
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not server.listens(), "it still listens after the first signal")
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not server.handles(signal.SIGTERM), "it handles a third signal, too")
            if select.select([client], [], [], 0)[0]:
                continue  # the application has ended meanwhile, and the server by itself
            check(server.stop() == -signal.SIGTERM, f"it exited with {server.process.returncode}")
            return
    raise Failure("it was never without a handler while its application ran")


def test_nobody_needs_to_read_what_it_prints():
    for stream in ("stdout", "stderr"):
        with tempfile.TemporaryDirectory() as history, Server("chat", "--history", history, unread=stream) as server:
            for _ in range(3):  # each of them is a line of the log, on stderr
                check(server.get().startswith("<!DOCTYPE html>"), f"{stream}: the page is wrong")
            check(server.stop() == 0, f"{stream}: it did not exit with 0")


def test_chat_gives_rooms_back_when_their_visitors_have_left():
    with tempfile.TemporaryDirectory() as history, Server("chat", "--history", history) as server:
        with Visitor(server, "lobby") as first:
            check(first.hello("ann") == ["ann"], "somebody else is in the lobby")
            for number in range(1010):  # there are 1000 rooms
                with Visitor(server, f"room-{number}") as visitor:
                    check(visitor.hello("bob") == ["bob"], f"somebody else is in room {number}")
                    visitor.leave()
            with Visitor(server, "lobby") as second:  # a room that is in use is not given away
                check(sorted(second.hello("cy")) == ["ann", "cy"], "the lobby has lost its visitor")
                check(sorted(first.presence()) == ["ann", "cy"], "the lobby's visitor was not told who came")


def test_chat_keeps_its_history_beside_the_program_unless_it_is_told_where():
    with tempfile.TemporaryDirectory() as directory:
        program = os.path.join(directory, "chat")
        os.symlink(os.path.abspath(os.path.join(BIN, "chat")), program)
        with Server(program) as server, Visitor(server, "lobby") as visitor:
            visitor.hello("ann")
        check(os.path.isdir(os.path.join(directory, "chat-history")), "it is somewhere else")


def test_chat_sends_those_away_whom_it_does_not_understand():
    with tempfile.TemporaryDirectory() as history, Server("chat", "--history", history) as server:
        with Visitor(server, "lobby") as first:
            first.hello("ann")
            for nonsense in (b"hello", b"[]", b"{}", b'{"type":"hello","name":1}', b'{"type":"hello"}'):
                with Visitor(server, "lobby") as visitor:
                    visitor.send(1, nonsense)
                    while (heard := visitor.read())[0] != 8:
                        pass
                    check(heard[1][:2] == b"\x03\xf0", f"{nonsense!r}: it was closed with {heard[1]!r}")
        check("failed" not in server.log(), f"the log blames the application: {server.log()!r}")


def test_chat_tells_who_speaks_that_the_disk_has_failed():
    with tempfile.TemporaryDirectory() as directory:
        history = os.path.join(directory, "history")
        with Server("chat", "--history", history) as server, Visitor(server, "lobby") as ann, Visitor(server, "lobby") as bob:
            ann.hello("ann")
            bob.hello("bob")
            shutil.rmtree(history)
            ann.send(1, json.dumps({"type": "say", "text": "hello", "id": 1}).encode())
            said = ann.heard("said")
            check(said["text"] == "hello", f"the room has not heard it: {said}")
            check("not kept" in ann.heard("notice")["text"], "the notice is about something else")
            os.mkdir(history)
            bob.send(1, json.dumps({"type": "say", "text": "again", "id": 2}).encode())
            check(ann.heard("said", "notice")["text"] == "again", "another's line is not heard next")
            check([bob.heard("said", "notice")["text"] for _ in range(2)] == ["hello", "again"], "bob was told, too")
            check("1 lines are lost" in server.log(), f"the log does not say so: {server.log()!r}")


def test_chat_refuses_a_name_that_would_fill_everybody_s_memory():
    with tempfile.TemporaryDirectory() as history, Server("chat", "--history", history) as server:
        with Visitor(server, "lobby") as short, Visitor(server, "lobby") as long:
            check(short.hello("\U0001f6a2" * 32) == ["\U0001f6a2" * 32], "32 letters of any kind are no name")
            long.send(1, json.dumps({"type": "hello", "name": "n" * 129}).encode())
            while (heard := long.read())[0] != 8:
                pass
            check(heard[1][:2] == b"\x03\xf0", f"it was closed with {heard[1]!r}")


def test_chat_stops_while_it_loads_a_history():
    # Freed memory is overwritten, so that whoever uses it after all does not get away with it.
    overwrite = {"GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0"}
    for _ in range(10):
        with tempfile.TemporaryDirectory() as history:
            file = os.path.join(history, "lobby.log")
            os.mkfifo(file)  # it cannot be opened before somebody opens its other end
            with Server("chat", "--history", history, environment=overwrite) as server:
                with Visitor(server, "lobby") as visitor:
                    server.process.send_signal(signal.SIGTERM)
                    check(visitor.read() == (8, b"\x03\xe9the server stops"), "no close frame with 1001")
                    server.process.send_signal(signal.SIGTERM)
                    check(read_all(visitor.client) == b"", "something came after the close frame")
                try:
                    os.close(os.open(file, os.O_WRONLY | os.O_NONBLOCK))
                except OSError as error:
                    check(error.errno == errno.ENXIO, f"the history cannot be opened: {error}")
                    continue  # nobody waits at the other end: the load had not begun
                status = server.process.wait(LIMIT_SECONDS)
                check(status == 0, f"it exited with {status}: {server.log()!r}")
                return
    raise Failure("the history was never being loaded")


def test_out_of_descriptors_it_lives_and_serves_again():
    limit = 32
    with Server("http_hello", preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))) as server:
        clients = [server.connect() for _ in range(limit + 10)]
        clients[-1].settimeout(LIMIT_SECONDS)
        check(clients[-1].recv(1) == b"", "the last client was neither served nor turned away")
        check(server.process.poll() is None, "it has ended")
        for client in clients:
            client.close()
        for _ in range(20):
            check(server.get() == "hello, /\n", "it does not serve any more")
        check(server.stop() == 0, "it did not exit with 0")
        check(server.log().count("cannot accept") == 1, f"it reported {server.log()!r}")


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
    if not os.path.exists(os.path.join(BIN, "http_hello")):
        print(f"skipped everything: there is no {BIN}/http_hello")
        sys.exit(77)
    sys.exit(main())
