#!/usr/bin/env python3
# tests/interop/curl_test.py - curl as client of ferry's server
# SPDX-License-Identifier: BSL-1.0
"""Usage: curl_test.py --bin DIR [--only REGEX]

Starts the servers of DIR on 127.0.0.1 and asks them with curl. Prints "ok NAME", "skipped NAME: reason" or "failed NAME: reason"
for each test. Exits 0 when none failed, 1 when one did, 77 when DIR has no programs or there is no curl.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # a test leaves the source tree as it is
import peers
from peers import LIMIT_SECONDS, MIB, Program, Server, check, pattern


class Got:
    """What curl said: `body` is its stdout, `values` what was asked for as -w, `log` its -v."""

    def __init__(self, arguments, stdin=b"", write_out="%{http_code} %{num_connects}"):
        command = [peers.find("curl"), "-q", "-sS", "-v", "--noproxy", "*", "--max-time", str(LIMIT_SECONDS),
                   "-w", f"%{{stderr}}\n<<{write_out}>>\n", *arguments]  # fmt: skip
        with tempfile.TemporaryDirectory() as home:
            done = subprocess.run(command, input=stdin, capture_output=True, timeout=2 * LIMIT_SECONDS, cwd=home)
        self.exit, self.body, self.log = done.returncode, done.stdout, done.stderr.decode(errors="replace")
        self.values = [line[2:-2].split(" ") for line in self.log.splitlines() if line.startswith("<<")]

    @property
    def status(self):
        return int(self.values[-1][0])

    def is_200(self, what):
        self.has(200, what)

    def has(self, status, what):
        check(self.exit == 0, f"{what}: curl exited with {self.exit}: {self.log[-300:]!r}")
        check(self.status == status, f"{what}: the status is {self.status}")

    def said(self):
        return json.loads(self.body)


def curl(*arguments, **more):
    return Got(arguments, **more)


def test_get_head_post_put_and_others():
    with Server("peer") as site, Server("http_inspect") as inspect:
        for what in ("length", "chunks"):
            for size in (0, 1, 10_000, 3_000_000):
                got = curl(f"{site.url}/{what}/{size}")
                got.is_200(f"{what} {size}")
                check(got.body == pattern(size), f"{what} {size}: {len(got.body)} octets came")
            got = curl("-I", f"{site.url}/{what}/777")
            got.is_200(f"HEAD of {what}")
            check(("< content-length: 777" in got.log.lower()) == (what == "length"), f"HEAD of {what}: {got.log}")
        for arguments, method, body in ((["-d", "a=b&c"], "POST", b"a=b&c"), (["-X", "PATCH", "-d", "x"], "PATCH", b"x"),
                                        (["-X", "DELETE"], "DELETE", b""), (["-X", "OPTIONS"], "OPTIONS", b""),
                                        (["-X", "MADE-UP"], "MADE-UP", b""), (["-G", "-d", "a=b"], "GET", b"")):
            got = curl(*arguments, f"{inspect.url}/here")
            got.is_200(method)
            check(got.said()["method"] == method and bytes.fromhex(got.said()["body_hex"]) == body, f"{method}: {got.said()}")
        got = curl("-F", "field=value", "-F", "file=@-;filename=f.bin", f"{inspect.url}/", stdin=bytes(range(256)))
        got.is_200("a form")
        check(bytes(range(256)) in bytes.fromhex(got.said()["body_hex"]), "the file is not in the form")


def test_uploads_of_declared_length_and_in_chunks():
    with Server("peer") as site, tempfile.NamedTemporaryFile() as file:
        for size in (0, 1, 70_000, 3 * MIB):
            whole = os.urandom(size)
            file.seek(0)
            file.truncate()
            file.write(whole)
            file.flush()
            for how, arguments in (("declared", ["-T", file.name]), ("in chunks", ["-T", "-"]), ("posted", ["--data-binary", "@-"])):
                got = curl(*arguments, "-X", "PUT", f"{site.url}/echo", stdin=b"" if how == "declared" else whole)
                got.is_200(f"{size} octets {how}")
                check(got.body == whole, f"{size} octets {how}: {len(got.body)} came back")
                check(("Transfer-Encoding: chunked" in got.log.split("\n< ")[0]) == (how == "in chunks"), f"curl framed it another way: {how}")


def test_100_continue_is_sent_when_asked_for_and_a_refusal_comes_instead():
    with Server("http_inspect") as inspect:
        for how in ("-T", "--data-binary"):
            began = time.monotonic()
            got = curl("-H", "Expect: 100-continue", "--expect100-timeout", "10", how, "-" if how == "-T" else "@-",
                       f"{inspect.url}/", stdin=b"x" * MIB)
            got.is_200(how)
            check(got.log.count("< HTTP/1.1 100 Continue") == 1, f"{how}: there was no 100")
            check(len(got.said()["body_hex"]) == 2 * MIB, f"{how}: the body is cut")
            check(time.monotonic() - began < 9, f"{how}: curl waited for the 100")
        got = curl("-H", "Expect: 100-continue", "--expect100-timeout", "10", "--data-binary", "@-", f"{inspect.url}/",
                   stdin=b"x" * (MIB + 1))
        got.has(413, "too large")
        check("100 Continue" not in got.log, "there was a 100 before the refusal")
        got = curl("-H", "Expect: 200-ok", "-d", "x", f"{inspect.url}/")
        check(got.exit == 0 and got.status in (200, 417), f"another expectation: {got.status}")


def test_a_refusal_reaches_who_is_still_sending():
    with Server("http_inspect") as inspect:
        for how in (["--data-binary", "@-"], ["-T", "-"]):
            got = curl("-H", "Expect:", *how, f"{inspect.url}/", stdin=b"x" * (30 * MIB))
            got.has(413, how)


def test_one_connection_serves_many_requests():
    with Server("peer") as site:
        got = curl(*[f"{site.url}/length/{size}" for size in (5, 0, 100_000)], *[f"{site.url}/chunks/{size}" for size in (5, 0, 100_000)],
                   f"{site.url}/status/204", f"{site.url}/status/304", f"{site.url}/status/404")
        check([connects for _, connects in got.values] == ["1"] + ["0"] * 8, f"connects: {got.values}")
        check(got.log.count("Re-using existing connection") == 8, "curl does not say that it used the connection again")
        got = curl("-d", "one", f"{site.url}/echo", "--next", "-I", f"{site.url}/length/9", "--next", "-T", "-", f"{site.url}/echo",
                   "--next", f"{site.url}/length/3", stdin=b"two", write_out="%{http_code} %{num_connects}")
        check(got.exit == 0 and got.body.endswith(b"two" + pattern(3)), f"{got.body!r}")
        check(got.log.count("Re-using existing connection") == 3, "HEAD, POST or PUT ends the connection")
        got = curl("-H", "Connection: close", f"{site.url}/length/1", f"{site.url}/length/1")
        check([connects for _, connects in got.values] == ["1", "1"], f"connects: {got.values}")
        check(got.log.count("< Connection: close") == 2, "the server does not say that it closes")


def test_many_transfers_at_once():
    with Server("peer") as site:
        got = curl("-Z", "--parallel-max", "30", *[f"{site.url}/chunks/20000"] * 200)
        check(got.exit == 0 and len(got.body) == 200 * 20_000, f"{len(got.body)} octets came: {got.log[-300:]}")
        check([status for status, _ in got.values] == ["200"] * 200, "a status is not 200")


def test_http_1_0_gets_no_chunks_and_is_closed():
    with Server("peer") as site:
        for what in ("length", "chunks"):
            got = curl("--http1.0", f"{site.url}/{what}/100000", f"{site.url}/{what}/100000")
            got.is_200(what)
            check(got.body == pattern(100_000) * 2, f"{what}: {len(got.body)} octets came")
            check("< Transfer-Encoding" not in got.log, f"{what}: it came in chunks")
            check([connects for _, connects in got.values] == ["1", "1"], f"{what}: the connection was kept")
        got = curl("--http1.0", "--data-binary", "@-", f"{site.url}/echo", stdin=b"x" * 50_000)
        got.is_200("POST")
        check(got.body == b"x" * 50_000, f"{len(got.body)} octets came back")


def test_http_2_is_declined():
    with Server("peer") as site:
        got = curl("--http2", f"{site.url}/length/10", f"{site.url}/length/10")  # asks for an upgrade
        got.is_200("upgrade")
        check(got.body == pattern(10) * 2 and "< HTTP/1.1 200 OK" in got.log, f"{got.log}")
        got = curl("--http2-prior-knowledge", f"{site.url}/length/10")
        check(got.exit != 0, "curl believes to have spoken HTTP/2")
        got = curl(f"{site.url}/length/10")
        got.is_200("afterwards")


def test_each_status_arrives():
    with Server("peer") as site:
        statuses = [*range(200, 209), 226, *range(300, 309), *range(400, 419), 421, 422, 429, 431, 451, *range(500, 512), 599]
        got = curl(*[f"{site.url}/status/{status}" for status in statuses])
        check(got.exit == 0 and got.body == b"", f"curl exited with {got.exit}; {got.body!r}")
        check([int(status) for status, _ in got.values] == statuses, f"{got.values}")
        check([connects for _, connects in got.values] == ["1"] + ["0"] * (len(statuses) - 1), f"connects: {got.values}")


def test_requests_that_are_no_good_are_refused():
    with Server("http_inspect") as inspect:
        for status, *arguments in (
            (431, "-H", "X-Long: " + "x" * 100_000),
            (431, *[part for number in range(300) for part in ("-H", f"X-{number}: y")]),
            (414, "--request-target", "/" + "x" * 20_000),
            (400, "-X", "G ET"),
            (400, "--request-target", "no-slash"),
            (400, "--request-target", "/a b"),
            (400, "-H", "Host:"),
            (400, "-H", "Bad Name: x"),
            (400, "-H", "Content-Length: 5, 6", "-d", "hello"),
            (400, "-H", "Content-Length: -1", "-d", "hello"),
            (400, "-H", "Content-Length: 5", "-H", "Transfer-Encoding: chunked", "-d", "hello"),
            (501, "-H", "Transfer-Encoding: gzip, chunked", "-d", "hello"),
        ):
            got = curl(*arguments, f"{inspect.url}/")
            shown = [argument[:40] for argument in arguments[:4]]
            got.has(status, shown)
            check("< Connection: close" in got.log, f"{shown}: the connection is kept")
        got = curl(f"{inspect.url}/")
        got.is_200("afterwards")


def test_targets_of_each_form():
    with Server("http_inspect") as inspect:
        for arguments, target in ((["-X", "OPTIONS", "--request-target", "*"], "*"), (["--request-target", "/%41//../b?c?d"], "/%41//../b?c?d"),
                                  (["--request-target", "http://a.test/b"], "http://a.test/b")):
            got = curl(*arguments, f"{inspect.url}/")
            got.is_200(target)
            check(got.said()["target"] == target, f"{target}: {got.said()}")
        got = curl("--noproxy", "", "-x", inspect.url, "http://elsewhere.test/page")
        got.is_200("as a proxy")
        check(got.said()["target"] == "http://elsewhere.test/page", f"{got.said()}")
        got = curl("--noproxy", "", "-p", "-x", inspect.url, "http://elsewhere.test/")
        check(got.exit != 0 or got.status != 200, "it opened a tunnel")


def test_a_server_at_a_path():
    with tempfile.TemporaryDirectory() as here:
        path = os.path.join(here, "door")
        with Program(os.path.join(peers.BIN, "peer"), "serve", "--host", f"unix:{path}") as site:
            site.expect(f"listening on unix:{path}")
            got = curl("--unix-socket", path, "-d", "by the door", "http://any.test/echo", "http://any.test/echo")
            got.is_200("POST")
            check(got.body == b"by the door" * 2 and got.values[1][1] == "0", f"{got.body!r} {got.values}")
            check(site.stop() == 0, "it did not exit with 0")


def test_slow_transfers_are_waited_for():
    with Server("peer", "--idle", "1") as site:
        body = os.urandom(40_000)
        for how in (["--data-binary", "@-"], ["-T", "-"]):
            got = curl("--limit-rate", "40K", *how, f"{site.url}/echo", stdin=body)
            got.is_200(how)
            check(got.body == body, f"{how}: {len(got.body)} octets came back")
        got = curl("--limit-rate", "200K", f"{site.url}/chunks/200000")
        got.is_200("a slow reader")
        check(got.body == pattern(200_000), f"{len(got.body)} octets came")


def test_a_transfer_that_curl_breaks_off_is_noticed():
    with Server("peer") as site:
        got = curl("--max-time", "0.3", f"{site.url}/hang")
        check(got.exit == 28, f"curl exited with {got.exit}")
        site.expect("GET /hang gone")
        got = curl("--max-time", "0.3", "--limit-rate", "10K", f"{site.url}/length/100000000")
        check(got.exit == 28, f"curl exited with {got.exit}")
        site.expect("GET /length/100000000 gone")
        got = curl("--max-time", "0.3", "--limit-rate", "10K", "--data-binary", "@-", f"{site.url}/echo", stdin=bytes(1_000_000))
        check(got.exit == 28, f"curl exited with {got.exit}")
        site.expect("POST /echo gone")
        site.wait_for_connections(0)


if __name__ == "__main__":
    peers.main(__doc__, globals())
