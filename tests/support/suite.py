#!/usr/bin/env python3
# tests/support/suite.py - runs Catch2 executables for tests/run and counts their test cases
# SPDX-License-Identifier: BSL-1.0
"""Three commands, all used by tests/run:

  suite.py folders [--only REGEX] [--tag TAG]            prints the folders of tests/ that have a matching test case
  suite.py run [--only REGEX] [--tag TAG] [--seconds N] [--results FILE] EXECUTABLE...
                                                         runs them, prints failures in full, and appends
                                                         "COUNT STATUS NAME" lines to FILE
  suite.py shuffle --seeds FIRST:COUNT [the same options] EXECUTABLE...
                                                         the same with FERRY_SEED set to one seed after the other; counts
                                                         seeds, and goes on with the next executable after a failure

A test case is called FOLDER/NAME; --only searches that. --tag is a Catch2 test spec such as [mt] or ~[order]~[.].
Works with Catch2 v2 and v3: results come from the XML reporter, which both write as they go, so the test that crashed or
hung can be named.
"""
import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
TEST_CASE = re.compile(r'\bTEST_CASE\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)(?:,\s*"([^"]*)")?')


def folders(only, tag):
    """The folders that have a test case whose FOLDER/NAME and tags match, read from the sources."""
    found = set()
    for file in sorted(TESTS.rglob("*_test.cpp")):
        folder = file.relative_to(TESTS).parts[0]
        for literals, tags in TEST_CASE.findall(file.read_text()):
            name = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', literals))
            wanted = all((each[1] in tags) != bool(each[0]) for each in re.findall(r"(~?)(\[[^]]*\])", tag))
            if re.search(only, f"{folder}/{name}") and wanted:
                found.add(folder)
    return sorted(found)


def folder_of(executable):
    return Path(executable).name.removeprefix("ferry_test_")


def selected_names(executable, only, tag):
    """The executable's test cases that --only and --tag ask for."""
    spec = [tag] if tag else []
    listing = subprocess.run([executable, *spec, "--list-test-names-only"], capture_output=True, text=True)  # v2
    if "nrecognised" in listing.stdout + listing.stderr:  # v3
        listing = subprocess.run([executable, *spec, "--list-tests", "--verbosity", "quiet"], capture_output=True, text=True)
    names = [line.strip() for line in listing.stdout.splitlines() if line.strip()]
    return [name for name in names if re.search(only, f"{folder_of(executable)}/{name}")]


def run_to_end(command, log, seconds, seed):
    """Runs the command and returns how it ended, in words; empty if it exited with 0."""
    environment = os.environ if seed is None else {**os.environ, "FERRY_SEED": str(seed)}
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
                               start_new_session=True)
    try:
        status = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGABRT)
        process.wait()
        return f"did not end within {seconds} s and was killed"
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return "" if status == 0 else f"exited with {status}"


class Report:
    """What one XML report says; the report may stop in the middle, where its process did."""

    def __init__(self, path):
        self.passed, self.failures, self.skipped, self.running, self.complete = 0, [], 0, None, False
        parser = xml.XMLPullParser(["start", "end"])
        try:
            parser.feed(path.read_bytes())
            for event, element in parser.read_events():
                if element.tag == "TestCase":
                    self.end_of_case(element) if event == "end" else self.start_of_case(element)
                elif element.tag in ("OverallResults", "OverallResultsCases"):
                    self.complete = True
        except xml.ParseError as error:
            self.failures.append(("the report", f"  unreadable: {error}\n"))

    def start_of_case(self, element):
        self.running = element.get("name")

    def end_of_case(self, element):
        self.running = None
        result = element.find("OverallResult")
        if result is not None and result.get("success") == "true":
            if int(result.get("skips", "0")):
                self.skipped += 1
            else:
                self.passed += 1
        else:
            self.failures.append((element.get("name"), "".join(dict.fromkeys(describe(element, [])))))


def describe(element, sections):
    """The failures below a TestCase or Section element, one text each."""
    for child in element:
        if child.tag == "Section":
            yield from describe(child, [*sections, child.get("name")])
        elif child.tag == "Expression" and child.get("success") == "false":
            thrown = [line for tag in ("Exception", "FatalErrorCondition") for line in map(message, child.findall(tag))]
            if child.get("type"):
                thrown.insert(0, f"    {child.get('type')}( {text(child, 'Original')} )\n    with {text(child, 'Expanded')}\n")
            yield place(child, sections) + "".join(thrown)
        elif child.tag in ("Exception", "FatalErrorCondition", "Failure"):
            yield place(child, sections) + message(child)
        elif child.tag in ("Info", "Warning"):
            yield message(child)


def place(element, sections):
    where = f"  {element.get('filename')}:{element.get('line')}:"
    return " / ".join([where, *sections]) + "\n"


def message(element):
    return f"    {element.tag}: {(element.text or '').strip()}\n"


def text(element, tag):
    return (element.findtext(tag) or "").strip()


def run_once(executable, names, options, seed=None):
    """Runs one executable; returns its report, its failures as (name, details), and the seconds that it took."""
    with tempfile.TemporaryDirectory() as directory:
        log_path, report_path, names_path = (Path(directory, name) for name in ("log", "report.xml", "names"))
        command = [executable, "-r", "xml", "-o", report_path]
        if options.only or options.tag:
            names_path.write_text("".join(re.sub(r'([\\",])', r"\\\1", name) + "\n" for name in names))
            command += ["-f", names_path]
        report_path.touch()
        began = time.monotonic()
        with open(log_path, "wb") as log:
            end = run_to_end(command, log, options.seconds, seed)
        seconds = time.monotonic() - began
        report = Report(report_path)
        output = log_path.read_text(errors="replace")

    failures = report.failures
    if report.running:
        failures.append((report.running, f"  was running when {executable} {end or 'ended'}\n"))
    elif not report.complete or (end and not failures):  # for instance a leak found at exit
        failures.append(("(the whole program)", f"  {executable} {end or 'ended early'}\n"))
    elif report.passed + report.skipped + len(failures) != len(names):
        failures.append(("(the whole program)", f"  {len(names)} test cases were asked for\n"))
    report.end, report.output = end, output
    return report, failures, seconds


def print_failures(folder, executable, report):
    for name, details in report.failures:
        print(f"  FAILED {folder}/{name}\n{details}", end="")
    if report.end and report.failures:
        print(f"  {executable} {report.end}")
    if report.failures and report.output.strip():
        print("  its output:\n" + "".join(f"    {line}\n" for line in report.output.splitlines()[-200:]), end="", flush=True)


def run(executable, options):
    """Runs one executable; returns lines for the results file."""
    folder = folder_of(executable)
    names = selected_names(executable, options.only, options.tag)
    if not names:
        return []
    report, failures, seconds = run_once(executable, names, options)
    verdict = "failed" if failures else "ok"
    print(f"{verdict:8} {folder:14} {report.passed:4} passed  {len(failures):3} failed  {seconds:6.1f} s", flush=True)
    print_failures(folder, executable, report)
    lines = [f"{report.passed} passed {folder}", *(f"1 failed {folder}/{name}" for name, _ in failures)]
    return [*lines, f"{report.skipped} skipped {folder}"] if report.skipped else lines


def shuffle(executable, options):
    """Runs one executable with one seed after the other, up to the first that fails; returns lines for the results."""
    folder = folder_of(executable)
    names = selected_names(executable, options.only, options.tag)
    if not names:
        return []
    first, count = map(int, options.seeds.split(":"))
    began = time.monotonic()
    passed, lines = 0, []
    for seed in range(first, first + count):
        report, failures, _ = run_once(executable, names, options, seed)
        if failures:
            lines = [f"1 failed FERRY_SEED={seed} {folder}/{name}" for name, _ in failures]
            break
        passed += 1
    verdict = f"failed   with FERRY_SEED={seed}" if lines else "ok      "
    print(f"{verdict} {folder:14} {passed:4} seeds, {len(names):4} test cases each  {time.monotonic() - began:6.1f} s", flush=True)
    print_failures(folder, executable, report)
    return [f"{passed} passed {folder} with seeds from {first} on", *lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["folders", "run", "shuffle"])
    parser.add_argument("executables", nargs="*")
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--tag", default="")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--seeds", default="1:1", metavar="FIRST:COUNT")
    parser.add_argument("--results", type=Path, default=Path(os.devnull))
    options = parser.parse_intermixed_args()
    if options.command == "folders":
        print("\n".join(folders(options.only, options.tag)))
        return
    with open(options.results, "a") as results:
        for executable in options.executables:
            how = shuffle if options.command == "shuffle" else run
            results.writelines(f"{line}\n" for line in how(executable, options))


if __name__ == "__main__":
    main()
