#!/usr/bin/env python3
# tests/interop/http_inspect_test.py - the request vectors against a server process, over real sockets
# SPDX-License-Identifier: BSL-1.0
"""Usage: http_inspect_test.py --bin DIR

Starts DIR/http_inspect on 127.0.0.1, sends it every vector of tests/vectors/http1-requests.json, and compares what it says
it has read. Prints "ok NAME" or "failed NAME: reason" for each test. Exits 0 when none failed, 1 when one did, 77 when DIR
has no http_inspect.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

LIMIT_SECONDS = 20
VECTORS = json.loads((Path(__file__).parent.parent / "vectors/http1-requests.json").read_text())["vectors"]


class Failure(Exception):
    pass


def check(is_so, otherwise):
    if not is_so:
        raise Failure(otherwise)


def octets_of(vector):
    parts = vector.get("request_parts") or [{"s": vector["request"], "n": 1}]
    return b"".join(part["s"].encode("latin-1") * part["n"] for part in parts)


def exchange(port, pieces):
    """Sends the pieces, each in a segment of its own as far as that can be asked for, and returns all that comes back."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), LIMIT_SECONDS) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has closed: what it said before is there to be read
        try:
            while piece := client.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
    return answer


def responses_of(octets):
    """(status, headers, body) of each response; a response without a length is the last."""
    while octets:
        head, _, octets = octets.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", lines[0])[1])
        headers = {name.lower(): content for name, content in (line.split(": ", 1) for line in lines[1:])}
        if status == 100:
            continue
        size = int(headers.get("content-length", len(octets)))
        check(len(octets) >= size, "a response is cut")
        yield status, headers, octets[:size]
        octets = octets[size:]


def differences(expect, said):
    """What one accepted request was read as, against what it should be."""
    if "body" in expect and expect["body"] is not None:
        expect = {**expect, "body_hex": expect["body"].encode("latin-1").hex()}
    for name in ("method", "target", "version", "body_hex"):
        if expect.get(name) is not None and expect[name] != said[name]:
            yield f"{name} is {said[name]!r}"
    for name in ("headers", "trailers"):
        if expect.get(name) is not None:
            wanted = [[field.lower(), content] for field, content in expect[name]]
            if wanted != [[field.lower(), content] for field, content in said[name]]:
                yield f"{name} are {said[name]!r}"


def problem(expect, responses):
    """What is wrong with the responses to a connection that should go as `expect` says; None if nothing is."""
    for each in [expect, *(expect.get("then") or [])]:
        if not each["accept"]:
            if not responses:
                return None if each.get("incomplete") or each.get("status") is None else "there was no answer"
            status, headers, _ = responses.pop(0)
            allowed = set(each.get("status_any") or []) | {each.get("status")}
            if status not in allowed:
                return f"the status is {status}"
            if headers.get("connection") != "close":
                return "the refusal does not close the connection"
            return "it went on after a refusal" if responses else None
        if not responses:
            return "there was no answer"
        status, headers, body = responses.pop(0)
        if status != 200:
            return f"the status is {status}: {body!r}"
        if wrong := list(differences(each, json.loads(body))):
            return "; ".join(wrong)
        if each.get("keep_alive") is False and headers.get("connection") != "close":
            return "it does not close the connection"
    return "it answered more than it was asked" if responses and expect.get("then") is not None else None


def failures(port, cut):
    """The vectors that went wrong, and how many there were of each strength."""
    failed, counted = [], Counter()
    for vector in VECTORS:
        counted[vector["strength"]] += 1
        answer = exchange(port, cut(octets_of(vector)))
        wrong = [problem(each, list(responses_of(answer))) for each in [vector["expect"], *vector.get("alternatives", [])]]
        if all(wrong):
            failed.append(f"{vector['id']} ({vector['rule']}): {wrong[0]}")
    check(len(VECTORS) == 127, f"there are {len(VECTORS)} vectors")
    check(not failed, "; ".join(failed))
    return ", ".join(f"{counted[strength]} {strength}" for strength in ("must", "should", "policy"))


def test_vectors_sent_whole_are_read_as_they_say(port):
    return failures(port, lambda octets: [octets])


def test_vectors_sent_in_two_pieces_are_read_as_they_say(port):
    return failures(port, lambda octets: [octets[: len(octets) // 2], octets[len(octets) // 2 :]])


def test_vectors_sent_octet_by_octet_are_read_as_they_say(port):
    return failures(port, lambda octets: [octets[at : at + 1] for at in range(min(len(octets), 600))] + [octets[600:]])


def test_what_curl_sends_is_shown(port):
    if not shutil.which("curl"):
        return "without curl"
    command = ["curl", "-sS", "--max-time", str(LIMIT_SECONDS), "-H", "X-Two:  words ", "-d", "hi", f"http://127.0.0.1:{port}/a?b"]
    said = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    check((said["method"], said["target"], said["version"]) == ("POST", "/a?b", "1.1"), f"it said {said}")
    check(said["body_hex"] == "6869" and said["trailers"] == [], f"it said {said}")
    check(["X-Two", "words"] in said["headers"], f"it said {said}")
    return ""


def test_a_websocket_handshake_is_shown_like_any_request(port):
    fields = {"Host": f"127.0.0.1:{port}", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
              "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip
    request = "GET /chat HTTP/1.1\r\n" + "".join(f"{name}: {text}\r\n" for name, text in fields.items()) + "\r\n"
    [(status, _, body)] = responses_of(exchange(port, [request.encode()]))
    said = json.loads(body)
    check(status == 200 and said["target"] == "/chat", f"it answered {status} {said}")
    check(said["headers"] == [list(field) for field in fields.items()], f"the headers are {said['headers']}")
    return ""


def test_a_malformed_websocket_handshake_is_shown_too(port):
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    for start, fields, body in (
        ("GET / HTTP/1.1", "Upgrade: websocket\r\n", ""),
        ("GET / HTTP/1.1", f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 12\r\n{key}", ""),
        ("GET / HTTP/1.1", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n", ""),
        ("GET / HTTP/1.1", f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nOrigin: http://evil.test\r\n{key}", ""),
        ("POST / HTTP/1.1", f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n{key}Content-Length: 2\r\n", "hi"),
        ("GET / HTTP/1.0", f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n{key}", ""),
    ):
        [(status, _, answer)] = responses_of(exchange(port, [f"{start}\r\nHost: a.test\r\n{fields}\r\n{body}".encode()]))
        said = json.loads(answer)
        check(status == 200, f"it answered {status} to {start} {fields!r}")
        check(["Upgrade", "websocket"] in said["headers"], f"the headers are {said['headers']}")
        check(said["body_hex"] == body.encode().hex(), f"the body is {said['body_hex']}")
    return ""


def test_a_body_beyond_a_mebibyte_is_refused(port):
    head = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1048577\r\n\r\n"
    [(status, _, _)] = responses_of(exchange(port, [head]))
    check(status == 413, f"it answered {status}")
    return ""


def main(program):
    server = subprocess.Popen([program, "--host", "127.0.0.1", "--port", "0"], stdout=subprocess.PIPE, text=True)
    failed = 0
    try:
        line = server.stdout.readline()
        found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)/\n", line)
        check(found, f"http_inspect said {line!r} instead of where it listens")
        for name, test in list(globals().items()):
            if not name.startswith("test_"):
                continue
            title = name.removeprefix("test_").replace("_", " ")
            try:
                counts = test(int(found[1]))
                print(f"ok {title}" + (f" ({counts})" if counts else ""), flush=True)
            except (Failure, OSError, ValueError, subprocess.SubprocessError) as reason:
                failed += 1
                print(f"failed {title}: {reason}", flush=True)
    finally:
        server.terminate()
        server.wait(LIMIT_SECONDS)
        server.stdout.close()
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, metavar="DIR")
    path = os.path.join(parser.parse_args().bin, "http_inspect")
    if not os.path.exists(path):
        print(f"skipped everything: there is no {path}")
        sys.exit(77)
    sys.exit(main(path))
