# tests/checks/source.py - C++ text without its comments and literals, for the checks beside it
# SPDX-License-Identifier: BSL-1.0
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

NOT_CODE = re.compile(
    r"""//[^\n]*                            # comment
      | /\*.*?\*/
      | \bR"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)"
      | "(?:[^"\\\n]|\\.)*"                 # string
      | (?<![0-9a-fA-F])'(?:[^'\\\n]|\\.)+' # character, not a digit separator
    """,
    re.VERBOSE | re.DOTALL,
)


def code_of(text):
    """The text with comments and literals blanked out; every character stays on its line and column."""
    return NOT_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def line_at(text, position):
    return text.count("\n", 0, position) + 1


def report(problems):
    """Prints `FILE:LINE: what is wrong` for each problem and ends the program."""
    for file, line, what in problems:
        print(f"{file}:{line}: {what}")
    sys.exit(1 if problems else 0)
