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


SEEDS = {"request_parser": requests, "response_parser": responses, "chunk": bodies, "uri": targets, "writer": parts}


def main(target, directory):
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(SEEDS[target]() if target in SEEDS else []):
        (directory / f"vector_{number:03}").write_bytes(octets[:8192])


if __name__ == "__main__":
    main(*sys.argv[1:])
