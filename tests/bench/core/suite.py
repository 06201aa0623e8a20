# tests/bench/core/suite.py - what tests/bench/run builds, runs and compares for the core
# SPDX-License-Identifier: BSL-1.0
# What is measured, beside which limit, and how far from it ferry may be. A ratio is ferry's time by the limit's.
TARGETS = [
    ("await/flat", "await/flat", 1.4),
    ("await/deep", "await/deep", 1.5),
    ("yield/2", "yield/2", 2.4),
    ("yield/2", "linked/2", 2.4),
    ("yield/1000", "yield/1000", 2.4),
    ("yield/1000", "linked/1000", 2.4),
    ("yield/polling", "yield/2", None),
    ("wait/2", "yield/2", None),
    ("timers/arm", "timers/arm", 1.2),
    ("timers/cancel", "timers/cancel", 1.3),
    ("timers/fire", "timers/fire", 1.4),
    ("timers/sleep", "timers/fire", None),
    ("post/node", "post/node", 1 / 0.8),
    ("post/callable", "post/node", 1 / 0.33),
    ("post/wake", "post/wake", 1.1),
]
# What the programs count, the most in any run.
COUNTS = {
    "allocations": "allocations in all rounds",
    "allocations-each": "allocations a post",
    "polls": "calls of the poller while the timers were armed",
}
# What the reports' share of a workload may cost, in nanoseconds.
REPORTS = [("await/flat", 2.0), ("await/deep", 2.0), ("yield/2", 5.0), ("wait/2", 5.0)]

# Program, its arguments, source, flags, libraries. The last argument is the number of rounds.
OWN = [
    ("await", ["12"], "await.cpp", [], []),
    ("await_bare", ["12"], "await.cpp", ["-DFERRY_BENCH_BARE"], []),
    ("yield", ["12"], "yield.cpp", [], []),
    ("yield_bare", ["12"], "yield.cpp", ["-DFERRY_BENCH_BARE"], []),
    ("timers", ["2"], "timers.cpp", [], []),
    ("post", ["10"], "post.cpp", [], []),
]
PEERS = {
    "asio": ("asio.hpp", "libasio-dev", "peers_asio.cpp", ["-DASIO_STANDALONE"], [],
             [["await", "12"], ["yield", "6"], ["timers", "1"], ["post", "6"]]),
    "libuv": ("uv.h", "libuv1-dev", "peers_libuv.cpp", [], ["-luv"], [["timers", "1"], ["post", "6"]]),
}

MEDIANS = {"post/wake": "us"}  # the median instead of the best, in that unit
