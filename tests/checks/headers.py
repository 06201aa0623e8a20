#!/usr/bin/env python3
# tests/checks/headers.py - the rules for headers: form, layers, what they must not include or define
# SPDX-License-Identifier: BSL-1.0
import re

from source import ROOT, code_of, line_at, report

INCLUDE = ROOT / "include"
# Folders are layers: a header includes its own folder and those before it.
LAYERS = ("core data deadlock loop bridge debug net http websocket app middleware channels server client testing").split()
# The codecs are pure functions of bytes and see less than their place in the order would allow.
CODEC_CORE = ("ferry/core/config.hpp", "ferry/core/error.hpp")
CODECS = {"http": ("data", "http"), "websocket": ("data", "http", "websocket")}
OPT_IN = {"ferry/debug/guard.hpp", "ferry/core/std_stop_token.hpp"}  # included by nothing else
UMBRELLAS = {"ferry/ferry.hpp": LAYERS, "ferry/bridge.hpp": LAYERS[: LAYERS.index("bridge") + 1]}
COMPILE_TIME_LAYERS = UMBRELLAS["ferry/bridge.hpp"]

BANNED_HEADERS = {"regex", "iostream", "fstream", "ranges", "format", "any"}
BANNED_BELOW_NET = {"thread", "functional", "condition_variable", "future"}
MAX_LINES = 400

INCLUDE_LINE = re.compile(r"^\s*#\s*include\s*(?:<([^>]+)>|\"([^\"]+)\")", re.MULTILINE)


def folder_of(header):
    parts = header.split("/")
    return parts[1] if len(parts) > 2 else ""


def layer_problem(header, included):
    """Why `header` may not include the ferry header `included`; None if it may."""
    here, there = folder_of(header), folder_of(included)
    if included in OPT_IN:
        return "is opt-in: users include it, no header does"
    if header in UMBRELLAS:
        return None if there in UMBRELLAS[header] or included in UMBRELLAS else f"is no part of {header}"
    if included in UMBRELLAS:
        return "is an umbrella: include what you use"
    if "/detail/" in included and here != there:
        return f"is private to {there}/"
    if here in CODECS and included not in CODEC_CORE and there not in CODECS[here]:
        return f"is out of reach of {here}/, which sees {', '.join((*CODEC_CORE, *CODECS[here]))} only"
    if LAYERS.index(there) > LAYERS.index(here):
        return f"is in a later layer than {here}/"
    return None


def problems_of(header, text):
    """Every (line, problem) of one header, given its name and its text."""
    lines = text.splitlines()
    code = code_of(text)
    if not lines or not re.fullmatch(rf"// {re.escape(header)} - \S.*", lines[0]):
        yield 1, f"the first line must read `// {header} - what it is`"
    if lines[1:3] != ["// SPDX-License-Identifier: BSL-1.0", "#pragma once"]:
        yield 2, "lines 2 and 3 must be the SPDX line and #pragma once"
    if len(lines) > MAX_LINES:
        yield len(lines), f"{len(lines)} lines; the limit is {MAX_LINES}"
    if header not in UMBRELLAS and folder_of(header) not in LAYERS:
        yield 1, f"its folder is no layer: {' '.join(LAYERS)}"
        return

    standard_seen = False
    for match in INCLUDE_LINE.finditer(text):
        line, included = line_at(text, match.start(1 if match.group(1) else 2)), match.group(1) or match.group(2)
        if match.group(2):
            yield line, f'"{included}": ferry includes its headers as <ferry/...>'
        elif included.startswith("ferry/"):
            if standard_seen:
                yield line, f"<{included}> comes after a standard header: own includes go first"
            if not (INCLUDE / included).is_file():
                yield line, f"<{included}> does not exist"
            elif problem := layer_problem(header, included):
                yield line, f"<{included}> {problem}"
        else:
            standard_seen = True
            if included in BANNED_HEADERS:
                yield line, f"<{included}> is banned: it costs every user compile time"
            if included in BANNED_BELOW_NET and folder_of(header) in COMPILE_TIME_LAYERS:
                yield line, f"<{included}> is banned in core .. bridge: it costs every user compile time"

    for pattern, problem in (
        (r"\bstd::(?:function|any)\b", "std::function and std::any are banned"),
        (r"\bnamespace ferry\b(?!::inline FERRY_ABI\b)[\w:]*\s*\{", "write `namespace ferry::inline FERRY_ABI`"),
    ):
        for match in re.finditer(pattern, code):
            yield line_at(code, match.start()), problem
    if header != "ferry/core/this_thread.hpp":
        for match in re.finditer(r"\bthread_local\b", code):
            yield line_at(code, match.start()), "thread_local belongs to core/this_thread.hpp"
    if header != "ferry/core/config.hpp":
        for match in re.finditer(r"^\s*#\s*define\s+(\w+)", code, re.MULTILINE):
            if not re.search(rf"#\s*undef\s+{match.group(1)}\b", code[match.end() :]):
                yield line_at(code, match.start(1)), f"macro {match.group(1)}: public macros live in core/config.hpp"


def reach_of(header, texts):
    """The ferry headers that `header` includes, directly or not."""
    reached, todo = set(), [header]
    while todo:
        for match in INCLUDE_LINE.finditer(texts[todo.pop()]):
            if match.group(1) in texts and match.group(1) not in reached:
                reached.add(match.group(1))
                todo.append(match.group(1))
    return reached


def main():
    texts = {file.relative_to(INCLUDE).as_posix(): file.read_text() for file in sorted(INCLUDE.rglob("*.hpp"))}
    problems = []
    for header, text in texts.items():
        problems += [(f"include/{header}", line, what) for line, what in problems_of(header, text)]
    for umbrella, layers in UMBRELLAS.items():
        if umbrella not in texts:
            problems.append((f"include/{umbrella}", 1, "is missing"))
            continue
        wanted = {header for header in texts if folder_of(header) in layers} - OPT_IN
        for header in sorted(wanted - reach_of(umbrella, texts)):
            problems.append((f"include/{umbrella}", 1, f"does not reach <{header}>"))
    report(problems)


if __name__ == "__main__":
    main()
