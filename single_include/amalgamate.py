#!/usr/bin/env python3
# single_include/amalgamate.py - writes single_include/ferry/ferry.hpp from include/
# SPDX-License-Identifier: BSL-1.0
"""Writes single_include/ferry/ferry.hpp: <ferry/ferry.hpp> with every ferry header it includes, each once, in place.

  single_include/amalgamate.py                   write the file
  single_include/amalgamate.py --check           exit 1 if the file is not what would be written
  single_include/amalgamate.py --forwarders DIR  write DIR/ferry/**: headers of the usual names that include the single
                                                 file instead (the tests build against them)

The result depends on nothing but include/ and LICENSE.
"""
import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INCLUDE = ROOT / "include"
ENTRY = "ferry/ferry.hpp"
TARGET = ROOT / "single_include" / ENTRY

DIRECTIVE = re.compile(r"\s*#\s*(\w+)")
OWN_INCLUDE = re.compile(r"\s*#\s*include\s*<(ferry/[^>]+)>")
STD_INCLUDE = re.compile(r"\s*#\s*include\s*(<[^>]+>)")


class Amalgamation:
    def __init__(self):
        self.headers = []  # names of what is inside, in order
        self.std_includes = set()
        self.body = []
        self.open = []  # the chain of headers being read, to name a circle
        self.add(ENTRY)

    def add(self, name):
        if name in self.open:
            sys.exit(f"amalgamate.py: circular include: {' -> '.join([*self.open, name])}")
        if name in self.headers:
            return
        self.open.append(name)
        own_lines = []
        conditions = 0  # how many #if are open
        for number, line in enumerate((INCLUDE / name).read_text().splitlines(), 1):
            directive = DIRECTIVE.match(line)
            word = directive.group(1) if directive else ""
            if word in ("if", "ifdef", "ifndef"):
                conditions += 1
            elif word == "endif":
                conditions -= 1
            if own := OWN_INCLUDE.match(line):
                if conditions:
                    sys.exit(f"amalgamate.py: {name}:{number}: a ferry header cannot be included under a condition")
                self.add(own.group(1))
            elif (std := STD_INCLUDE.match(line)) and not conditions:
                self.std_includes.add(std.group(1))
            elif line != "#pragma once" and "SPDX-License-Identifier" not in line:
                own_lines.append(line)
        self.open.pop()
        self.headers.append(name)
        self.body += [*own_lines, ""]

    def text(self):
        version = ".".join(re.findall(r"#define FERRY_VERSION_\w+ (\d+)", (INCLUDE / "ferry/core/config.hpp").read_text()))
        licence = "\n".join(f"// {line}".rstrip() for line in (ROOT / "LICENSE").read_text().splitlines())
        std_includes = "\n".join(f"#include {header}" for header in sorted(self.std_includes))
        text = (
            f"// ferry/ferry.hpp - ferry {version} in one file\n"
            "// SPDX-License-Identifier: BSL-1.0\n"
            "// Generated from include/ by single_include/amalgamate.py: change the headers there and run it again.\n"
            f"//\n{licence}\n"
            f"#pragma once\n\n{std_includes}\n\n" + "\n".join(self.body)
        )
        return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def write_if_changed(path, text):
    if path.is_file() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_forwarders(directory, inside):
    for header in sorted(INCLUDE.rglob("*.hpp")):
        name = header.relative_to(INCLUDE)
        goal = TARGET if name.as_posix() in inside else header
        write_if_changed(directory / name, f'#pragma once\n#include "{goal}"\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--forwarders", type=Path, metavar="DIR")
    options = parser.parse_args()

    amalgamation = Amalgamation()
    if options.forwarders:
        write_forwarders(options.forwarders, set(amalgamation.headers))
    elif not options.check:
        write_if_changed(TARGET, amalgamation.text())
    elif not TARGET.is_file() or TARGET.read_text() != amalgamation.text():
        sys.exit("single_include/ferry/ferry.hpp is not what include/ gives: run single_include/amalgamate.py")


if __name__ == "__main__":
    main()
