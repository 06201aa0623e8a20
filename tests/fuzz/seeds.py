#!/usr/bin/env python3
# tests/fuzz/seeds.py - writes the inputs that a fuzz target begins with: the octets of the vectors
# SPDX-License-Identifier: BSL-1.0
"""Usage: seeds.py TARGET DIRECTORY"""
import json
import sys
from pathlib import Path

VECTORS = Path(__file__).resolve().parent.parent / "vectors"


def octets_of(vector, member):
    parts = vector.get(f"{member}_parts") or [{"s": vector[member], "n": 1}]
    return b"".join(part["s"].encode("latin-1") * part["n"] for part in parts)


def messages(file, member):
    return [octets_of(vector, member) for vector in json.loads((VECTORS / file).read_text())["vectors"]]


def requests():
    return messages("http1-requests.json", "request")


def responses():
    return messages("http1-responses.json", "response")


def bodies():
    """What follows the head of a chunked message."""
    return [octets.partition(b"\r\n\r\n")[2] for octets in requests() + responses() if b"hunked\r\n\r\n" in octets]


def targets():
    """The second word of each request, and each Host."""
    for octets in requests():
        if len(words := octets.split(b" ")) > 1:
            yield words[1]
        for line in octets.split(b"\r\n"):
            if line[:5].lower() == b"host:":
                yield line[5:].strip()
    yield from (b"http://[::1]:80/a%20b?c=d&e=%3D+f", b"::ffff:1.2.3.4", b"1:2:3:4:5:6:7:8", b"255.1.0.10", b"a=b&&c&=d&%41=+")


def parts():
    """The parts of each request that is a whole one: method, target, host, body, then names and values."""
    for octets in requests():
        head, _, body = octets.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        if len(words := line.split(b" ")) == 3:
            pairs = [text.strip() for field in fields for text in field.split(b":", 1)]
            yield b"\xff".join((*words[:2], b"a.test", body, *pairs))


def frames():
    """What a client sends after the handshake: the masked frames of each vector, in a row."""
    for vector in json.loads((VECTORS / "websocket-frames.json").read_text())["vectors"]:
        parts = vector.get("input_parts") or [{"hex": text, "repeat": 1} for text in vector["input_hex"]]
        yield b"".join(bytes.fromhex(part["hex"]) * part["repeat"] for part in parts)


def single_frames():
    """Each of them alone, then its payload alone, which may be text, then the payload as the key masks it."""
    for vector in json.loads((VECTORS / "websocket-frames.json").read_text())["vectors"]:
        for frame in map(bytes.fromhex, vector.get("input_hex", [])):
            at = 2 + {126: 2, 127: 8}.get(frame[1] & 127 if len(frame) > 1 else 0, 0)
            key, payload = frame[at : at + 4], frame[at + 4 :]
            yield frame
            yield key + payload
            if len(key) == 4:
                yield bytes(octet ^ key[i % 4] for i, octet in enumerate(payload))


def handshakes():
    """Servers' answers, good and bad; what clients add to a handshake; and where they want to go."""
    good = (b"Upgrade: websocket\r\n", b"Connection: Upgrade\r\n", b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")
    line = b"HTTP/1.1 101 Switching Protocols\r\n"
    more = (b"", b"Sec-WebSocket-Protocol: superchat\r\n", b"Sec-WebSocket-Protocol: other\r\n", b"Content-Length: 0\r\n",
            b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=\"15\"\r\n", b"Transfer-Encoding: chunked\r\n")
    for extra in more:
        yield line + b"".join(good) + extra + b"\r\n\x81\x02hi"
        yield extra + b"\r\n"  # behind an answer that is right so far
    for left_out in good:
        yield line + b"".join(field for field in good if field != left_out) + b"\r\n"
    yield b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + line + b"".join(good) + b"\r\n"
    yield b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
    yield from responses()
    for octets in requests():
        yield octets.partition(b"\r\n\r\n")[0].partition(b"\r\n")[2]
    for field in ("Origin: http://server.example.com", "Origin: https://evil.test:8443", "Origin: null",
                  "Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Protocol: a,, b ,", "Sec-WebSocket-Protocol: \"a\"",
                  "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", "Connection: keep-alive, Upgrade"):
        yield field.encode()
    yield from (b"server.example.com/chat?a=b", b"[::1]:8000/", b"user@a.test/", b"a.test:0/", b"http://a.test", b"https://[::1]:443")
    yield from targets()


SEEDS = {
    "request_parser": requests, "response_parser": responses, "chunk": bodies, "uri": targets, "writer": parts,
    "websocket_frame": single_frames, "websocket_handshake": handshakes, "websocket_session": frames,
}  # fmt: skip


def main(target, directory):
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(dict.fromkeys(SEEDS[target]())):  # each once; a target without seeds is an error
        (directory / f"vector_{number:03}").write_bytes(octets[:8192])


if __name__ == "__main__":
    main(*sys.argv[1:])
