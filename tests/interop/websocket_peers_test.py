#!/usr/bin/env python3
# tests/interop/websocket_peers_test.py - other WebSocket libraries as client and as server: python3-websockets, node's ws
# SPDX-License-Identifier: BSL-1.0
"""Usage: websocket_peers_test.py --bin DIR [--only REGEX]

Each library is a client of `peer serve`, and a server for `peer connect`, in each of the scenarios of websocket_peer.py and .js;
and in some of them once more with nginx between the two.
Prints "ok NAME", "skipped NAME: reason" or "failed NAME: reason" for each test. Exits 0 when none failed, 1 when one did, 77
when DIR has no programs, or neither library is installed.
"""

import concurrent.futures
import contextlib
import functools
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True  # a test leaves the source tree as it is
import peers
from peers import LIMIT_SECONDS, Failure, Nginx, Program, Server, Skipped, check

HERE = os.path.dirname(os.path.abspath(__file__))
OFFER = ["--offer", "pattern.v1", "--offer", "pattern.v2"]

# How each scenario ends: (code and reason at the library, code and reason at ferry), or None for what it does not say. A side
# that closes first sees the other's answer, which has the code and no reason.
ENDS = {
    "talk": ("1000 ", "1000 "),
    "agreement": ("1000 ", "1000 "),
    "large": ("1000 ", "1000 "),
    "fragments": ("1000 ", "1000 "),
    "pings": ("1000 ", "1000 "),
    "close_here": ("4001 .*", "4001 " + "κ" * 61),
    "close_there": ("4002 go away", "4002 .*"),
    "close_busy": ("4003 .*", "4003 in the middle"),
    "abort_here": ("1006 ", "1006 .*"),
    "abort_there": ("1006 ", None),
    "idle": ("1000 ", "1000 "),
}
WITH_NGINX = ("agreement", "large", "fragments", "close_here", "close_there", "abort_here", "abort_there")


@functools.cache
def library(name):
    """The command that is a peer with this library, and its environment; or why there is none."""
    environment = {**os.environ, "NODE_PATH": os.pathsep.join(["/usr/share/nodejs", os.environ.get("NODE_PATH", "")])}
    if name == "node":
        probes = [(["node"], ["-e", "require('ws')"], "websocket_peer.js")]
    else:  # the distribution's packages are for its own python3, where another comes first
        probes = [([python, "-B"], ["-c", "import websockets"], "websocket_peer.py") for python in (sys.executable, "/usr/bin/python3")]
    for command, probe, script in probes:
        try:
            if subprocess.run([*command, *probe], env=environment, capture_output=True).returncode == 0:
                return [*command, os.path.join(HERE, script)], environment
        except FileNotFoundError:
            pass
    return "no " + {"node": "node with ws", "python": "python3-websockets"}[name]


def start(name, *arguments):
    found = library(name)
    if isinstance(found, str):
        raise Skipped(found)
    return Program(*found[0], *arguments, environment=found[1])


def ends_well(peer, scenario):
    said = peer.expect(rf"{scenario} (ok|failed) (.*)")
    check(said[1] == "ok", f"the library says: {said[2]}")
    return said[2]


def expect_end(seen, wanted, who):
    if not re.fullmatch(wanted, seen):
        raise Failure(f"{who} was closed with {seen!r}, not {wanted!r}")


@contextlib.contextmanager
def reached(port, through_nginx):
    """The port where one reaches what listens at this one."""
    if not through_nginx:
        yield port
        return
    with Nginx("server { listen 127.0.0.1:{port}; location / { proxy_pass http://127.0.0.1:%d; proxy_http_version 1.1; "
               "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } }" % port) as nginx:  # fmt: skip
        yield nginx.port


def often(scenario):
    """Options with which ferry pings every second, and waits no longer for the answer: for nobody who is busy."""
    return ["--ping", "1"] if scenario == "idle" else []


def as_client(name, scenario, through_nginx=False):
    here, there = ENDS[scenario]
    with Server("peer", *often(scenario)) as site, reached(site.port, through_nginx) as port:
        with start(name, "client", f"ws://127.0.0.1:{port}/{scenario}", scenario) as peer:
            peer.expect(f"{scenario} ready")
            if scenario == "abort_there":
                site.kill()
            expect_end(ends_well(peer, scenario), here, "the library")
            if there:
                expect_end(site.expect(f"/{scenario} closed (.*)")[1], there, "ferry")
                site.wait_for_connections(0)


def as_server(name, scenario, through_nginx=False):
    here, there = ENDS[scenario]
    with start(name, "server") as peer, reached(int(peer.expect(r"listening on (.*)")[1]), through_nginx) as port:
        url = f"ws://127.0.0.1:{port}/{scenario}"
        with Program(os.path.join(peers.BIN, "peer"), "connect", url, *often(scenario), *OFFER) as ferry:
            ferry.expect("open pattern.v2")
            peer.expect(f"{scenario} ready")
            if scenario == "abort_there":
                ferry.kill()
            expect_end(ends_well(peer, scenario), here, "the library")
            if there:
                expect_end(ferry.expect(r"closed (.*)")[1], there, "ferry")
                check(ferry.process.wait(LIMIT_SECONDS) == 0, f"ferry's client exited with {ferry.process.returncode}")


def each():
    for name in ("python", "node"):
        for role in (as_client, as_server):
            yield name, role, f"test_{name}_{role.__name__}"


TESTS = {f"{title}_{scenario}": functools.partial(role, name, scenario)
         for name, role, title in each() for scenario in ENDS if scenario != "idle"}  # fmt: skip


def together(calls):
    """Four at a time: what they do is mostly to wait for others."""
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        ends = {call: threads.submit(*call) for call in calls}
    wrong = [f"{role.__name__} {rest}: {end.exception()}" for (role, *rest), end in ends.items() if end.exception()]
    check(not wrong, "; ".join(wrong))


def idle():
    together((role, name, "idle") for name, role, _ in each())


def with_nginx_between():
    peers.find("nginx")
    together((role, name, scenario, True) for name, role, _ in each() for scenario in WITH_NGINX)


TESTS |= {"test_idle_connections_are_pinged_and_live_on": idle, "test_the_same_with_nginx_between": with_nginx_between}

if __name__ == "__main__":
    peers.main(__doc__, TESTS)
