#!/usr/bin/env python3
# tests/checks/shared_objects.py - how many copies of ferry a program has whose shared objects use it
# SPDX-License-Identifier: BSL-1.0
"""usage: tests/checks/shared_objects.py GCC [CLANG]

Builds an executable and a shared object, puts them together in every way that people do, and compares what the program
counts with what the documentation of ferry_copies() says.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLAGS = ["-std=c++20", "-O1", "-g1", "-pthread", "-fPIC", f"-I{HERE.parent.parent / 'include'}"]


class Builder:
    def __init__(self, compiler, directory):
        self.compiler, self.directory = compiler, Path(directory)

    def run(self, *arguments):
        subprocess.run([self.compiler, *map(str, arguments)], check=True)

    def compile(self, source, name, *flags):
        made = self.directory / f"{name}.o"
        self.run(*FLAGS, *flags, "-c", HERE / "shared_objects" / source, "-o", made)
        return made

    def link(self, name, *arguments):
        made = self.directory / name
        self.run("-pthread", *arguments, "-o", made)
        return made

    def plug_ins(self, name, compiled):
        return [self.link(f"{name}_{letter}.so", "-shared", compiled) for letter in "ab"]


def programs(gcc, clang):
    """Yields (what, command, expected)."""
    host = gcc.compile("host.cpp", "host")
    plug = gcc.compile("plug.cpp", "plug")
    default = gcc.plug_ins("default", plug)
    linked = gcc.compile("host.cpp", "linked", "-DLINKED")
    yield "linked at start-up", [gcc.link("linked", linked, default[0], f"-Wl,-rpath,{gcc.directory}")], "1 shared"
    yield "loaded, -rdynamic", [gcc.link("exporting", host, "-rdynamic"), *default], "1 shared"
    alone = gcc.link("alone", host)
    yield "loaded, g++", [alone, *default], "2 apart"
    hidden = gcc.plug_ins("hidden", gcc.compile("plug.cpp", "hidden", "-fvisibility=hidden"))
    yield "loaded, hidden visibility", [alone, *hidden], "3 apart"
    if clang:
        yield "loaded, clang", [alone, *clang.plug_ins("clang", clang.compile("plug.cpp", "clang"))], "3 apart"


def main():
    failed = False
    with tempfile.TemporaryDirectory() as directory:
        builders = [Builder(compiler, directory) for compiler in sys.argv[1:3]]
        for what, command, expected in programs(*builders, *[None] * (2 - len(builders))):
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
            said = done.stdout.strip() if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr}"
            print(f"{'ok' if said == expected else 'FAILED':8} {what}: {said}")
            failed = failed or said != expected
    return failed


if __name__ == "__main__":
    sys.exit(main())
