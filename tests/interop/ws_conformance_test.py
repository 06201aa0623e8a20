#!/usr/bin/env python3
# tests/interop/ws_conformance_test.py - cases of each section of the public WebSocket suite, against client and server
# SPDX-License-Identifier: BSL-1.0
"""Usage: ws_conformance_test.py --bin DIR

One table of cases, each a row of frames and what has to come back. As a client it holds examples/ws_echo against them;
as a server that speaks the suite's driver protocol (/getCaseCount, /runCase, /updateReports) it holds
examples/ws_conformance_client against them. The framing is written anew here. Prints "ok NAME" or "failed NAME: reason" for
each; exits 0 when none failed, 1 when one did, 77 when DIR has no examples.
"""

import argparse
import base64
import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.parse

LIMIT_SECONDS = 30
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MIB = 1024 * 1024


class Failure(Exception):
    pass


def check(is_so, otherwise):
    if not is_so:
        raise Failure(otherwise)


class Peer:
    """One side of a WebSocket whose other side is under test. `masks`: this side is the client."""

    def __init__(self, connection, masks):
        self.connection, self.masks = connection, masks
        connection.settimeout(LIMIT_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = b""

    def frame(self, opcode, payload=b"", fin=True, rsv=0):
        head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
        mask_bit = 0x80 if self.masks else 0
        if len(payload) < 126:
            head += bytes([mask_bit | len(payload)])
        elif len(payload) < 65536:
            head += bytes([mask_bit | 126]) + len(payload).to_bytes(2, "big")
        else:
            head += bytes([mask_bit | 127]) + len(payload).to_bytes(8, "big")
        if not self.masks:
            return head + payload
        key = os.urandom(4)
        return head + key + mask(payload, key)

    def read(self, count):
        while len(self.unread) < count:
            piece = self.connection.recv(1 << 20)
            check(piece, "the connection ended too early")
            self.unread += piece
        taken, self.unread = self.unread[:count], self.unread[count:]
        return taken

    def read_frame(self):
        first, second = self.read(2)
        check(bool(second & 0x80) != self.masks, "the frame is masked, or is not, in the wrong direction")
        check(first & 0x70 == 0, "a reserved bit is set")
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(self.read(2), "big")
            check(length > 125, "a length that is not in its shortest form")
        elif length == 127:
            length = int.from_bytes(self.read(8), "big")
            check(length > 65535, "a length that is not in its shortest form")
        key = self.read(4) if second & 0x80 else bytes(4)
        return first & 15, bool(first & 0x80), mask(self.read(length), key)

    def read_message(self):
        """The next message or control frame: its opcode and payload."""
        opcode, fin, payload = self.read_frame()
        while not fin:
            following, fin, more = self.read_frame()
            check(following == CONTINUATION, "a message in fragments is interrupted")
            payload += more
        return opcode, payload

    def at_end(self):
        try:
            return not self.unread and self.connection.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.connection.close()


def mask(payload, key):
    if key == bytes(4) or not payload:
        return payload
    repeated = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")


def close_payload(code, reason=b""):
    return code.to_bytes(2, "big") + reason


# ---- the cases -----------------------------------------------------------------------
# Each is (name, frames to send, (opcode, payload) expected back in order, code of the close frame that ends it). A frame is
# (opcode, payload, fin, rsv); an int in their place cuts the octets there into a write of its own.
def echoes(*payloads, opcode=TEXT):
    return [(opcode, payload) for payload in payloads]


def in_fragments(opcode, payload, size):
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    last = len(pieces) - 1
    return [(opcode if at == 0 else CONTINUATION, piece, at == last, 0) for at, piece in enumerate(pieces)]


def cases():
    good_bye = (CLOSE, close_payload(1000), True, 0)
    for opcode in (TEXT, BINARY):
        for size in (0, 125, 126, 127, 128, 65535, 65536):
            payload = b"*" * size
            yield f"1 framing: {size} octets of opcode {opcode}", [(opcode, payload, True, 0), good_bye], [(opcode, payload)], 1000
    for size in (0, 10, 125):
        payload = os.urandom(size)
        yield f"2 ping of {size} octets", [(PING, payload, True, 0), good_bye], [(PONG, payload)], 1000
    yield "2 ping of 126 octets", [(PING, b"x" * 126, True, 0)], [], 1002
    yield "2 unsolicited pongs", [(PONG, b"x", True, 0), (PONG, b"", True, 0), (PING, b"y", True, 0), good_bye], [(PONG, b"y")], 1000
    pings = [(PING, b"%d" % number, True, 0) for number in range(10)]
    yield "2 ten pings", [*pings, good_bye], [(PONG, ping[1]) for ping in pings], 1000
    for rsv in (1, 2, 3, 4, 5, 6, 7):
        yield f"3 reserved bits {rsv}", [(TEXT, b"first", True, 0), (TEXT, b"x", True, rsv), (PING, b"", True, 0)], echoes(b"first"), 1002
        yield f"3 reserved bits {rsv} on a ping", [(TEXT, b"first", True, 0), (PING, b"x", True, rsv)], echoes(b"first"), 1002
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield f"4 reserved opcode {opcode}", [(TEXT, b"first", True, 0), (opcode, b"", True, 0), (PING, b"", True, 0)], echoes(b"first"), 1002
    yield "5 a ping in fragments", [(PING, b"a", False, 0), (CONTINUATION, b"b", True, 0)], [], 1002
    yield "5 two fragments", [(TEXT, b"a", False, 0), (CONTINUATION, b"b", True, 0), good_bye], echoes(b"ab"), 1000
    yield "5 a ping between fragments", [(TEXT, b"a", False, 0), (PING, b"p", True, 0), (CONTINUATION, b"b", True, 0), good_bye], [(PONG, b"p"), (TEXT, b"ab")], 1000
    yield "5 a continuation of nothing", [(TEXT, b"first", True, 0), (CONTINUATION, b"x", True, 0)], echoes(b"first"), 1002
    yield "5 a continuation of nothing, unfinished", [(CONTINUATION, b"x", False, 0), (TEXT, b"y", True, 0)], [], 1002
    yield "5 text within text", [(TEXT, b"a", False, 0), (TEXT, b"b", True, 0)], [], 1002
    yield "5 empty fragments", [*[(TEXT, b"", False, 0)], (CONTINUATION, b"", False, 0), (CONTINUATION, b"", True, 0), good_bye], echoes(b""), 1000
    greek = "κόσμε \U0001f600 \uffff \U0010ffff".encode()
    yield "6 valid text", [(TEXT, greek, True, 0), good_bye], echoes(greek), 1000
    yield "6 valid text, octet by octet", [*in_fragments(TEXT, greek, 1), good_bye], echoes(greek), 1000
    for name, octets in (("a surrogate", b"\xce\xba\xed\xa0\x80"), ("above U+10FFFF", b"\xf4\x90\x80\x80"), ("overlong", b"\xc0\xaf"),
                         ("five octets", b"\xf8\x88\x80\x80\x80"), ("FE", b"\xfe"), ("a lone continuation", b"\x80"), ("cut off", b"\xe2\x82")):
        yield f"6 {name}", [(TEXT, b"first", True, 0), (TEXT, octets, True, 0)], echoes(b"first"), 1007
        yield f"6 {name}, in fragments", [*in_fragments(TEXT, octets, 1)], [], 1007
    yield "6 fail fast", [(TEXT, greek + b"\xf4\x90", False, 0)], [], 1007
    yield "6 fail fast within a frame", [(TEXT, greek + b"\xf4\x90" + b"x" * 1000, True, 0), len(greek) + 20], [], 1007
    yield "7 a message after the close", [(TEXT, b"a", True, 0), good_bye, (TEXT, b"b", True, 0), (PING, b"", True, 0)], echoes(b"a"), 1000
    yield "7 a fragment after the close", [(TEXT, b"a", False, 0), good_bye, (CONTINUATION, b"b", True, 0)], [], 1000
    yield "7 256 KiB, then close", [(TEXT, b"*" * 262144, True, 0), good_bye], echoes(b"*" * 262144), 1000
    yield "7 no code", [(CLOSE, b"", True, 0)], [], None
    yield "7 half a code", [(CLOSE, b"\x03", True, 0)], [], 1002
    yield "7 a reason of 123 octets", [(CLOSE, close_payload(1000, b"*" * 123), True, 0)], [], 1000
    yield "7 a reason of 124 octets", [(CLOSE, close_payload(1000, b"*" * 124), True, 0)], [], 1002
    yield "7 a reason that is not text", [(CLOSE, close_payload(1000, b"\xce\xba\xed\xa0\x80"), True, 0)], [], 1007
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield f"7 code {code}", [(CLOSE, close_payload(code), True, 0)], [], code
    for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535):
        yield f"7 invalid code {code}", [(CLOSE, close_payload(code), True, 0)], [], 1002
    large = b"*" * (16 * MIB)
    yield "9 16 MiB of text", [(TEXT, large, True, 0), good_bye], echoes(large), 1000
    yield "9 16 MiB, binary", [(BINARY, large, True, 0), good_bye], echoes(large, opcode=BINARY), 1000
    yield "9 4 MiB in frames of 64 octets", [*in_fragments(TEXT, large[: 4 * MIB], 64), good_bye], echoes(large[: 4 * MIB]), 1000
    many = [(BINARY, b"%5d" % number, True, 0) for number in range(1000)]
    yield "9 1000 small messages", [*many, good_bye], echoes(*[frame[1] for frame in many], opcode=BINARY), 1000
    yield "10 64 KiB in fragments of 1300 octets", [*in_fragments(TEXT, b"*" * 65536, 1300), good_bye], echoes(b"*" * 65536), 1000


def run_case(peer, case):
    """Sends the case's frames, and compares all that comes back up to the end of the connection."""
    _, frames, expected, code = case
    octets = b"".join(peer.frame(*frame) for frame in frames if not isinstance(frame, int))
    cut = next((frame for frame in frames if isinstance(frame, int)), len(octets))

    def send():
        try:
            peer.connection.sendall(octets[:cut])
        except OSError:
            pass  # it was refused in the middle: what came back tells

    sender = threading.Thread(target=send)  # the echo of 16 MiB comes while they are sent
    sender.start()
    try:
        for opcode, payload in expected:
            got = peer.read_message()
            check(got == (opcode, payload), f"opcode {got[0]} with {got[1][:20]!r}..., not {opcode} with {payload[:20]!r}...")
        opcode, payload = peer.read_message()
        check(opcode == CLOSE, f"opcode {opcode} with {payload[:20]!r} in place of a close frame")
        got = int.from_bytes(payload[:2], "big") if payload else None
        check(got == code, f"closed with {got}, not {code}")
        if not peer.masks:  # the server closes the connection first
            peer.connection.shutdown(socket.SHUT_WR)
        check(peer.at_end(), "something came after the close frame")
    finally:
        sender.join()
        peer.close()


# ---- against the server --------------------------------------------------------------
def open_websocket(port, path):
    connection = socket.create_connection(("127.0.0.1", port), LIMIT_SECONDS)
    peer = Peer(connection, masks=True)
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.read(1)
    check(head.startswith(b"HTTP/1.1 101 ") and accept_key(key) in head.decode(), f"the answer was {head!r}")
    return peer


def accept_key(key):
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


def against_server(program):
    """The name and failure, or None, of each case."""
    process = subprocess.Popen([program, "--host", "127.0.0.1", "--port", "0"], stdout=subprocess.PIPE)
    try:
        found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)/\n", process.stdout.readline().decode())
        check(found, "it did not say where it listens")
        for case in cases():
            yield case[0], failure_of(lambda case=case: run_case(open_websocket(int(found[1]), "/"), case))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# ---- against the client --------------------------------------------------------------
def against_client(program):
    """The same, with a server that speaks the driver protocol; the last one is that protocol itself."""
    table = list(cases())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT_SECONDS)
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        process = subprocess.Popen([program, "--url", url, "--agent", "ferry"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            asked = []
            for _ in range(len(table) + 2):
                peer = Peer(listener.accept()[0], masks=False)
                parts = urllib.parse.urlsplit(agree(peer))
                query = dict(urllib.parse.parse_qsl(parts.query))
                asked.append(parts.path)
                if parts.path == "/runCase":
                    check(query.get("agent") == "ferry", f"the agent is {query}")
                    case = table[int(query["case"]) - 1]
                    yield case[0], failure_of(lambda peer=peer, case=case: run_case(peer, case))
                    continue
                answers = [(TEXT, b"%d" % len(table), True, 0)] if parts.path == "/getCaseCount" else []
                peer.connection.sendall(b"".join(peer.frame(*frame) for frame in [*answers, (CLOSE, close_payload(1000), True, 0)]))
                check(peer.read_message()[0] == CLOSE, "the client does not close")
                peer.close()
            output = process.communicate(timeout=LIMIT_SECONDS)[0].decode()
            ends = ["/getCaseCount", *["/runCase"] * len(table), "/updateReports"]
            protocol = None if asked == ends else f"it asked for {asked}"
            if process.returncode != 0 or output != f"{len(table)} cases\ndone\n":
                protocol = f"it exited with {process.returncode}, and said {output!r}"
            yield "the driver protocol", protocol
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def agree(peer):
    """Takes the client's handshake; returns the target it asks for."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.read(1)
    key = re.search(rb"\r\nSec-WebSocket-Key: ([A-Za-z0-9+/]{22}==)\r\n", head)
    check(key and b"\r\nSec-WebSocket-Version: 13\r\n" in head, f"the handshake was {head!r}")
    peer.connection.sendall(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Accept: {accept_key(key[1].decode())}\r\n\r\n".encode())
    return head.split(b" ")[1].decode()


def failure_of(test):
    try:
        test()
        return None
    except (Failure, OSError) as reason:
        return str(reason) or type(reason).__name__


def main(directory):
    failed = 0
    for side, run, program in (("server", against_server, "ws_echo"), ("client", against_client, "ws_conformance_client")):
        try:
            for name, failure in run(os.path.join(directory, program)):
                print(f"ok {side}: {name}" if failure is None else f"failed {side}: {name}: {failure}", flush=True)
                failed += failure is not None
        except (Failure, OSError, subprocess.SubprocessError) as reason:
            print(f"failed {side}: {reason}", flush=True)
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, metavar="DIR")
    BIN = parser.parse_args().bin
    if not os.path.exists(os.path.join(BIN, "ws_conformance_client")):
        print(f"skipped everything: there is no {BIN}/ws_conformance_client")
        sys.exit(77)
    sys.exit(main(BIN))
