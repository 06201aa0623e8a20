#!/usr/bin/env python3
# tests/checks/spelling_trap.py - what GCC 11 and 12 destroy twice does not compile there; all else compiles and works
# SPDX-License-Identifier: BSL-1.0
"""usage: spelling_trap.py COMPILER...

Compiles spelling_trap.cpp with each. GCC before 13 must refuse exactly the lines marked `// refused`, with the text
that says what to write instead; without them the program must work. Every other compiler takes all of it.
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from source import ROOT, report

SOURCE = ROOT / "tests/checks/spelling_trap.cpp"
ADVICE = ("Name it first", "ferry::moved(job)", "to_thread(fn, args...)")
FLAGS = ["-std=c++20", "-pthread", "-Wall", "-Wextra", f"-I{ROOT / 'include'}", f"-I{ROOT / 'tests'}"]


def marked_lines(text):
    return {number for number, line in enumerate(text.splitlines(), 1) if line.endswith("// refused")}


def without_marked_lines(text):
    return "".join("\n" if line.endswith("// refused") else line + "\n" for line in text.splitlines())


def is_concerned(compiler):
    command = [compiler, "-dM", "-E", "-x", "c++", "/dev/null"]
    macros = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return "__clang__" not in macros and int(re.search(r"__GNUC__ (\d+)", macros).group(1)) < 13


def refused_lines(compiler):
    """Line -> the error that an instantiation required from this line ends in."""
    compilation = subprocess.run([compiler, *FLAGS, "-fsyntax-only", SOURCE], capture_output=True, text=True)
    refused, line = {}, None
    for message in compilation.stderr.splitlines():
        if place := re.match(rf"{re.escape(str(SOURCE))}:(\d+):", message):
            line = int(place.group(1))
        if " error: " in message:
            refused.setdefault(line, message)
    return refused


def problems_of_refusal(compiler, text):
    refused, marked = refused_lines(compiler), marked_lines(text)
    for line in sorted(marked - set(refused)):
        yield line, f"{compiler} takes what it will destroy twice"
    for line in sorted(set(refused) - marked, key=str):
        yield line, f"{compiler} refuses what is safe: {refused[line]}"
    for line in sorted(marked & set(refused)):
        if not all(words in refused[line] for words in ADVICE):
            yield line, f"{compiler} does not say what to write: {refused[line]}"


def problems_of_program(compiler, text):
    with tempfile.TemporaryDirectory() as directory:
        source, program = Path(directory, "spelling_trap.cpp"), Path(directory, "spelling_trap")
        source.write_text(text)
        compilation = subprocess.run([compiler, *FLAGS, "-O1", source, "-o", program], capture_output=True, text=True)
        if compilation.returncode != 0:
            yield 1, f"{compiler} does not compile it:\n{compilation.stderr}"
            return
        run = subprocess.run([program], capture_output=True, text=True, timeout=60)
        if run.returncode != 0:
            yield 1, f"{compiler}: the program ends with {run.returncode}:\n{run.stdout}{run.stderr}"


def main():
    text, problems = SOURCE.read_text(), []
    for compiler in sys.argv[1:] or sys.exit(__doc__):
        found = []
        if is_concerned(compiler):
            found += problems_of_refusal(compiler, text)
            found += problems_of_program(compiler, without_marked_lines(text))
        else:
            found += problems_of_program(compiler, text)
        problems += [(SOURCE.relative_to(ROOT), line, what) for line, what in found]
    report(problems)


if __name__ == "__main__":
    main()
