#!/usr/bin/env python3
# tests/checks/co_await.py - finds co_await in places where compilers get it wrong
# SPDX-License-Identifier: BSL-1.0
"""Reports, in include/, tests/ and examples/:

- co_await in an operand of && or ||, or in any operand of ?: (GCC 112360 evaluates half of it);
- co_await inside a test or assertion macro (they expand to such expressions);
- ?: inside the operand of a co_await (an object it yields is destroyed twice by g++ 11 and 12). Where the ?: yields
  no class object, say so with `// lint: trivial ?:` on its line.

It relies on the repository's formatting: a && with a space before it is the operator, one without is a reference.
"""
import re

from source import ROOT, code_of, line_at, report

MACROS = re.compile(r"\b(?:(?:CHECK|REQUIRE)(?:_\w+)?|FERRY_ASSERT|assert|static_assert)\s*$")
CONTROL = re.compile(r"\b(?:if|while|for|switch|if constexpr|catch)\s*$")
LOGICAL = re.compile(r"(?<=\s)&&|\|\|")
CLOSING = {"(": ")", "[": "]", "{": "}"}
TRIVIAL = "// lint: trivial ?:"


def matching_brackets(code):
    """Position of each bracket -> position of its partner."""
    partner, open_brackets = {}, []
    for position, character in enumerate(code):
        if character in CLOSING:
            open_brackets.append(position)
        elif character in CLOSING.values() and open_brackets:
            partner[open_brackets[-1]] = position
            partner[position] = open_brackets.pop()
    return partner


def without_groups(code, partner, start, end):
    """code[start:end] with the insides of its brackets left out."""
    kept = []
    while start < end:
        kept.append(code[start])
        start = max(partner.get(start, start), start + 1) if code[start] in CLOSING else start + 1
    return "".join(kept)


def is_block(code, partner, brace):
    """A function's or statement's body, not an initializer: it has a statement of its own."""
    return ";" in without_groups(code, partner, brace + 1, partner.get(brace, len(code)))


def part_around(code, partner, position):
    """The (start, end) of the comma- or semicolon-separated part that holds position, inside its brackets."""
    start = end = position
    while start > 0 and code[start - 1] not in ",;([{":
        start -= 1
        if code[start] in ")]}":
            if code[start] == "}" and is_block(code, partner, partner.get(start, 0)):
                start += 1  # the statement before
                break
            start = partner.get(start, start)
    while end < len(code) and code[end] not in ",;)]}":
        end = partner.get(end, end) + 1 if code[end] in CLOSING else end + 1
    return start, end


def problems_around(code, partner, position):
    """What is wrong with the expressions that a co_await at position is a part of."""
    while True:
        start, end = part_around(code, partner, position)
        part = without_groups(code, partner, start, end)
        if LOGICAL.search(part):
            yield "co_await in an operand of && or ||: give its result a name first"
        if "?" in part:
            yield "co_await in an operand of ?: write an if, or give its result a name first"
        opening = start - 1
        while opening >= 0 and code[opening] not in "([{":
            opening = partner[opening] - 1 if code[opening] in ")]}" and opening in partner else opening - 1
        if opening < 0 or code[opening] == "{" and is_block(code, partner, opening):
            return
        if code[opening] == "(":
            before = code[:opening]
            if macro := MACROS.search(before[-40:]):
                yield f"co_await inside {macro.group().strip()}: give its result a name first"
            if CONTROL.search(before[-40:]):
                return
        position = opening


def operand_groups(code, partner, position):
    """The bracket groups of the postfix expression that starts at position."""
    while position < len(code):
        if code[position] in "([{":
            yield position
            position = partner.get(position, len(code)) + 1
        elif template := re.compile(r"<[^;(){}]*>(?=[({:])").match(code, position):
            position = template.end()
        elif token := re.compile(r"\s*(?:[\w:.]|->|[*&!~](?=\w))|\s+(?=[(\w])").match(code, position):
            position = token.end()
        else:
            return


def has_conditional(code, partner, group):
    """Is there a ?: between this bracket and its partner, outside the bodies of lambdas?"""
    position, end = group + 1, partner.get(group, len(code))
    while position < end:
        if code[position] == "?":
            return position
        if code[position] == "{" and is_block(code, partner, position):
            position = partner.get(position, end)
        position += 1
    return None


def problems_of(text):
    """Every (line, problem) of one file's text."""
    code, lines = code_of(text), text.splitlines()
    partner = matching_brackets(code)
    for match in re.finditer(r"\bco_await\b", code):
        if re.search(r"\boperator\s*$", code[: match.start()][-20:]):
            continue
        for problem in problems_around(code, partner, match.start()):
            yield line_at(code, match.start()), problem
        operand = re.compile(r"\s*").match(code, match.end()).end()
        for group in operand_groups(code, partner, operand):
            conditional = has_conditional(code, partner, group)
            if conditional is not None and TRIVIAL not in lines[line_at(code, conditional) - 1]:
                yield line_at(code, conditional), f"?: inside the operand of a co_await: name it first, or mark `{TRIVIAL}`"


def main():
    problems = []
    for folder in ("include", "tests", "examples"):
        for file in sorted([*(ROOT / folder).rglob("*.hpp"), *(ROOT / folder).rglob("*.cpp")]):
            problems += [(file.relative_to(ROOT), line, what) for line, what in problems_of(file.read_text())]
    report(problems)


if __name__ == "__main__":
    main()
