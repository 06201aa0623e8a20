#!/usr/bin/env python3
# tests/bench/requests.py - requests per second of examples/http_hello, beside nginx with the same answer
# SPDX-License-Identifier: BSL-1.0
"""Usage: requests.py --bin DIR [--connections N] [--seconds N] [--rounds N]

wrk asks DIR/http_hello and nginx for the same few octets over kept connections, in turn, so that a slow minute hits both. Each of
the three is one thread. Prints the best round of each: requests a second, CPU time of the server a request, and the time within
which 99 of 100 were answered. Times are printed, not judged: exits 1 where a request failed or was answered wrong, 77 where wrk,
nginx or the example is missing.
"""

import argparse
import http.client
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True  # a bench leaves the source tree as it is
sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
import peers
from peers import Failure, Nginx, Server, Skipped, check

BODY = "hello, /\n"
SITE = """
    keepalive_requests 1000000000;
    server {
        listen 127.0.0.1:{port};
        location / { default_type "text/plain; charset=utf-8"; return 200 "hello, /\\n"; }
    }
"""


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def answers_well(server):
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=peers.LIMIT_SECONDS)
    client.request("GET", "/")
    answer = client.getresponse()
    body = answer.read().decode()
    check((answer.status, body) == (200, BODY), f"{server.name} answers {answer.status} {body!r}")
    client.close()


def one_round(server, options):
    """(requests a second, microseconds of CPU time a request, 99th percentile as wrk writes it)"""
    before = cpu_seconds(server.process.pid)
    command = [peers.find("wrk"), "-t", "1", "-c", str(options.connections), "-d", f"{options.seconds}s", "--latency", server.url + "/"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds + peers.LIMIT_SECONDS)
    check(done.returncode == 0, f"{server.name}: wrk exited with {done.returncode}: {done.stderr}")
    errors = re.search(r"Socket errors:.*|Non-2xx.*", done.stdout)
    check(not errors, f"{server.name}: {errors and errors[0]}")
    count = int(re.search(r"(\d+) requests in", done.stdout)[1])
    check(count > 0, f"{server.name}: no request was answered")
    return (float(re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)[1]),
            (cpu_seconds(server.process.pid) - before) / count * 1e6, re.search(r"99%\s*(\S+)", done.stdout)[1])  # fmt: skip


def main(options):
    peers.find("wrk")
    with Server("http_hello") as ferry, Nginx(SITE) as nginx:
        best = {}
        for _ in range(options.rounds):
            for server in (ferry, nginx):
                answers_well(server)
                best[server] = max(best.get(server, (0,)), one_round(server, options))
        print(f"{options.connections} connections, {options.rounds} rounds of {options.seconds} s")
        print("            requests/s   CPU us/request   99% within")
        for name, server in (("ferry", ferry), ("nginx", nginx)):
            rate, cpu, latency = best[server]
            print(f"{name:<10}{rate:>12.0f}{cpu:>17.1f}{latency:>13}")
        print(f"{'ratio':<10}{best[ferry][0] / best[nginx][0]:>12.2f}{best[ferry][1] / max(best[nginx][1], 0.01):>17.2f}")
        check(ferry.stop() == 0, "ferry did not exit with 0")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, metavar="DIR", help="where the built examples are")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=5, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    peers.BIN = os.path.abspath(options.bin)
    try:
        if not os.path.exists(os.path.join(peers.BIN, "http_hello")):
            raise Skipped(f"there is no {peers.BIN}/http_hello")
        main(options)
    except Skipped as why:
        print(f"skipped requests: {why}")
        sys.exit(77)
    except (Failure, OSError, subprocess.SubprocessError) as why:
        print(f"failed requests: {why}")
        sys.exit(1)
