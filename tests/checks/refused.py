#!/usr/bin/env python3
# tests/checks/refused.py - misuse does not compile, and the error says what to do
# SPDX-License-Identifier: BSL-1.0
"""usage: refused.py GCC...

Compiles refused.cpp with each. Every line marked `// refused: WORDS` must lead to an error with these words, and no
other line to any.
"""
import re
import subprocess
import sys

from source import ROOT, report

SOURCE = ROOT / "tests/checks/refused.cpp"
FLAGS = ["-std=c++20", "-pthread", "-fsyntax-only", f"-I{ROOT / 'include'}"]


def errors_by_line(compiler):
    """Line -> the text of all errors that an instantiation required from there ends in."""
    messages = subprocess.run([compiler, *FLAGS, SOURCE], capture_output=True, text=True).stderr
    errors, line = {}, None
    for message in messages.splitlines():
        if place := re.match(rf"{re.escape(str(SOURCE))}:(\d+):", message):
            line = int(place.group(1))
        if " error: " in message:
            errors[line] = errors.get(line, "") + message + "\n"
    return errors


def problems_of(compiler):
    errors = errors_by_line(compiler)
    for number, text in enumerate(SOURCE.read_text().splitlines(), 1):
        _, marked, words = text.partition("  // refused: ")
        found = errors.pop(number, "")
        if marked and words not in found:
            yield number, f"{compiler} {'says only: ' + found if found else 'takes it'}"
        if found and not marked:
            yield number, f"{compiler} refuses it: {found}"
    for line, found in errors.items():
        yield line or 1, f"{compiler}: {found}"


def main():
    report([(SOURCE.relative_to(ROOT), line, what)
            for compiler in sys.argv[1:] or sys.exit(__doc__) for line, what in problems_of(compiler)])


if __name__ == "__main__":
    main()
