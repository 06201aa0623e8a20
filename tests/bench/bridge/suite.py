# tests/bench/bridge/suite.py - what tests/bench/run builds, runs and compares for the bridge
# SPDX-License-Identifier: BSL-1.0

# What is measured, beside which limit, and how far from it ferry may be. A ratio is ferry's time by the limit's.
TARGETS = [
    ("to_thread/hot", "to_thread/hot", 2.0),
    ("to_thread/pinned", "to_thread/pinned", 2.0),
    ("to_thread/parked", "to_thread/parked", 1.1),
    ("to_thread/1000", "to_thread/1000", None),  # at least twice as many as any peer
    ("block_on/hot", "block_on/hot", 2.0),
    ("block_on/parked", "block_on/parked", 1.1),
    ("block_on/plain", "block_on/plain", 0.25),  # the limit is asio's io_context, used again and again
    ("graph/10", "graph/10", 0.01),  # the limit is what a wait that parks costs anyway
]
# What the programs count, the most in any run.
COUNTS = {"allocations": "allocations in all rounds"}
REPORTS = []

# Program, its arguments, source, flags, libraries. The last argument is the number of rounds.
OWN = [
    ("to_thread", ["6"], "to_thread.cpp", [], []),
    ("block_on", ["6"], "block_on.cpp", [], []),
    ("graph", ["20"], "graph.cpp", [], []),
]
PEERS = {
    "asio": ("asio.hpp", "libasio-dev", "peers_asio.cpp", ["-DASIO_STANDALONE"], [],
             [["to_thread", "3"], ["block_on", "3"]]),
    "libuv": ("uv.h", "libuv1-dev", "peers_libuv.cpp", [], ["-luv"], [["to_thread", "3"]]),
}

MEDIANS = {"to_thread/parked": "us", "block_on/parked": "us"}  # the median instead of the best, in that unit
