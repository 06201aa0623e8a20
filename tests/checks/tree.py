#!/usr/bin/env python3
# tests/checks/tree.py - the repository's shape: its top level, what its pages point to, how long examples are
# SPDX-License-Identifier: BSL-1.0
import re
import subprocess

from source import ROOT, line_at, report

TOP_LEVEL = set("include tests examples single_include CMakeLists.txt meson.build README.md LICENSE".split())
PAGES = ("README.md", ".github/CONTRIBUTING.md", ".github/CHANGELOG.md", ".github/INTERNALS.md")
MAX_EXAMPLE_LINES = {"chat": 150}
USUAL_EXAMPLE_LINES = 100


def top_level():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    paths = listed.stdout.split() if listed.returncode == 0 else [path.name for path in ROOT.glob("[!.]*")]
    visible = {path.split("/")[0] for path in paths if not path.startswith(".")} - {"build"}
    for name in sorted(visible - TOP_LEVEL):
        yield name, 1, "does not belong at the top level"
    for name in sorted(TOP_LEVEL - visible):
        yield name, 1, "is missing from the top level"


def page(name, text):
    """Paths, links, commands and headers that a page names and the repository does not have."""
    options = set(re.findall(r"--[a-z][\w-]*", (ROOT / "tests/run").read_text()))
    for pattern, exists, what in (
        (r"\]\((?!https?:|#|mailto:)([^)#\s]+)", lambda path: (ROOT / name).parent.joinpath(path).exists(), "link"),
        (r"`\.?/?((?:include|tests|examples|single_include|\.ci|\.github)/[\w./-]*)", lambda path: (ROOT / path).exists(), "path"),
        (r"\./examples/run ([a-z]\w*)", lambda example: (ROOT / f"examples/{example}.cpp").is_file(), "example"),
        (r"\./tests/run (--[\w-]+)", lambda option: option in options, "option of tests/run"),
        (r"<(ferry/[\w/.]+)>", lambda header: (ROOT / "include" / header).is_file(), "header"),
    ):
        for match in re.finditer(pattern, text):
            if not exists(match.group(1)):
                yield name, line_at(text, match.start()), f"no such {what}: {match.group(1)}"


def examples():
    for file in sorted((ROOT / "examples").glob("*.cpp")):
        name, lines = file.relative_to(ROOT), file.read_text().splitlines()
        limit = MAX_EXAMPLE_LINES.get(file.stem, USUAL_EXAMPLE_LINES)
        if len(lines) >= limit:
            yield name, len(lines), f"{len(lines)} lines; an example stays under {limit}"
        if not lines or not lines[0].startswith("// "):
            yield name, 1, "an example opens with what it shows and how to run it"


def version():
    config = (ROOT / "include/ferry/core/config.hpp").read_text()
    expected = ".".join(re.findall(r"#define FERRY_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", config))
    if f"version : '{expected}'" not in (ROOT / "meson.build").read_text():
        yield "meson.build", 1, f"its version is not {expected}, which include/ferry/core/config.hpp states"


def main():
    problems = [*top_level(), *examples(), *version()]
    for name in PAGES:
        if (ROOT / name).is_file():
            problems += page(name, (ROOT / name).read_text())
        else:
            problems.append((name, 1, "is missing"))
    report(problems)


if __name__ == "__main__":
    main()
