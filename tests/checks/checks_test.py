#!/usr/bin/env python3
# tests/checks/checks_test.py - the checks themselves: each finds what it is for and lets the rest pass
# SPDX-License-Identifier: BSL-1.0
import os
import subprocess
import unittest

import co_await
import headers
import tree
from source import ROOT

PREAMBLE = "// ferry/{} - a header\n// SPDX-License-Identifier: BSL-1.0\n#pragma once\n\n{}\n"


class CoAwait(unittest.TestCase):
    def found(self, body):
        return [what for _, what in co_await.problems_of("task<> f() {\n" + body + "\n}\n")]

    def test_accepts(self):
        for body in (
            "auto&& x = co_await f();",
            "if (a && b) co_await f();",
            "if (co_await f()) x = a && b;",
            "if (a) { g(); } co_await f(); bool c = a && b;",
            "int n = a ? 1 : 2;\n co_await f(n);",
            "co_await f(g([&](T&& t) { return t ? 1 : 2; }));",
            "co_await group.start([](int n) -> task<> { if (n > 0 && n < 3) co_await f(); co_return; });",
            "CHECK(run([]() -> task<int> { co_return co_await f(); }()) == 3);",
            "while (auto x = co_await q.pop()) use(x);",
            "g(a && b, co_await f());",
            "co_await sleep_for(slow ? 2s : 1s);  // lint: trivial ?:",
            "co_await f();  // true && false ? yes : no",
            'co_await f("a ? b : c");',
            "struct a { auto operator co_await() && noexcept { return b(); } };",
            "co_await f<decltype(x)>(y); g(a ? b : c);",
        ):
            with self.subTest(body):
                self.assertEqual(self.found(body), [])

    def test_refuses(self):
        for body, expected in (
            ("if (a && co_await f()) g();", "&&"),
            ("bool b = co_await f() || c;", "&&"),
            ("bool b = c && g(1, co_await f());", "&&"),
            ("bool b = c && T{co_await f()}.ok;", "&&"),
            ("int n = c ? co_await f() : 0;", "operand of ?:"),
            ("int n = co_await f() ? 1 : 0;", "operand of ?:"),
            ("CHECK(co_await f() == 1);", "CHECK"),
            ("REQUIRE_THROWS_AS(co_await f(), int);", "REQUIRE_THROWS_AS"),
            ("FERRY_ASSERT(g(co_await f()), x);", "FERRY_ASSERT"),
            ("co_await f(c ? a : b);", "operand of a co_await"),
            ("co_await (c ? a : b);", "operand of a co_await"),
            ("co_await s.send(x).header(g(c ? a : b));", "operand of a co_await"),
            ("co_await app::send<int>{c ? a : b};", "operand of a co_await"),
        ):
            with self.subTest(body):
                found = self.found(body)
                self.assertTrue(found and all(expected in what for what in found), found)


class Headers(unittest.TestCase):
    def found(self, name, body):
        return [what for _, what in headers.problems_of(f"ferry/{name}", PREAMBLE.format(name, body))]

    def test_accepts(self):
        for name, body in (
            ("loop/x.hpp", "#include <ferry/core/config.hpp>\n\n#include <vector>"),
            ("http/x.hpp", "#include <ferry/core/error.hpp>"),
            ("server/x.hpp", "#include <thread>"),
            ("core/this_thread.hpp", "inline thread_local int x;"),
            ("core/x.hpp", "#define FERRY_X 1\nint y = FERRY_X;\n#undef FERRY_X"),
            ("core/x.hpp", "// never std::function, never thread_local"),
            ("app/x.hpp", "namespace ferry::inline FERRY_ABI::app {\n}"),
        ):
            with self.subTest(body):
                self.assertEqual(self.found(name, body), [])

    def test_refuses(self):
        for name, body, expected in (
            ("loop/x.hpp", "#include <iostream>", "banned"),
            ("loop/x.hpp", "#include <functional>", "banned in core"),
            ("loop/x.hpp", '#include "event.hpp"', "<ferry/"),
            ("loop/x.hpp", "#include <vector>\n#include <ferry/core/config.hpp>", "own includes go first"),
            ("loop/x.hpp", "#include <ferry/core/nothing.hpp>", "does not exist"),
            ("loop/x.hpp", "std::function<void()> f;", "std::function"),
            ("loop/x.hpp", "inline thread_local int x;", "thread_local"),
            ("loop/x.hpp", "#define FERRY_X 1", "macro"),
            ("loop/x.hpp", "namespace ferry {\n}", "FERRY_ABI"),
            ("loop/x.hpp", "\n" * 400, "limit"),
            ("elsewhere/x.hpp", "", "no layer"),
        ):
            with self.subTest(body):
                found = self.found(name, body)
                self.assertTrue(len(found) == 1 and expected in found[0], found)

    def test_refuses_a_wrong_preamble(self):
        self.assertEqual(len(list(headers.problems_of("ferry/core/x.hpp", "#pragma once\n"))), 2)

    def test_layers(self):
        for header, included, allowed in (
            ("loop/x.hpp", "core/y.hpp", True),
            ("loop/x.hpp", "loop/detail/y.hpp", True),
            ("bridge/x.hpp", "loop/detail/y.hpp", False),
            ("core/x.hpp", "loop/y.hpp", False),
            ("http/x.hpp", "core/error.hpp", True),
            ("http/x.hpp", "core/task.hpp", False),
            ("http/x.hpp", "net/socket.hpp", False),
            ("websocket/x.hpp", "http/uri.hpp", True),
            ("websocket/x.hpp", "loop/event.hpp", False),
            ("ferry.hpp", "server/y.hpp", True),
            ("bridge.hpp", "net/y.hpp", False),
            ("ferry.hpp", "debug/guard.hpp", False),
            ("server/x.hpp", "ferry.hpp", False),
        ):
            with self.subTest(f"{header} includes {included}"):
                problem = headers.layer_problem(f"ferry/{header}", f"ferry/{included}")
                self.assertEqual(problem is None, allowed, problem)


class Tree(unittest.TestCase):
    def test_page(self):
        text = "[a](LICENSE) [b](https://x.y/z) `tests/run` ./tests/run --quick <ferry/core/config.hpp>"
        self.assertEqual(list(tree.page("README.md", text)), [])
        for text in ("[a](nowhere.md)", "`tests/nothing`", "./examples/run nothing", "./tests/run --nothing", "<ferry/no.hpp>"):
            with self.subTest(text):
                self.assertEqual(len(list(tree.page("README.md", text))), 1)

    def test_names_its_pages(self):
        self.assertEqual([page for page in ROOT.glob(".github/*.md") if str(page.relative_to(ROOT)) not in tree.PAGES], [])


class ExamplesRun(unittest.TestCase):
    def test_takes_no_other_compiler_than_it_is_told(self):
        environment = {**os.environ, "CXX": "/nowhere/g++"}
        run = subprocess.run([ROOT / "examples/run", "http_hello"], env=environment, capture_output=True, text=True)
        self.assertEqual((run.returncode, run.stdout), (1, ""))
        self.assertIn("CXX=/nowhere/g++", run.stderr)


if __name__ == "__main__":
    unittest.main()
