# tests/browser/webdriver.py - what a browser test needs: bounded waits, child processes that end, a headless Chromium
# SPDX-License-Identifier: BSL-1.0
import base64
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
CHROMEDRIVER = ("chromedriver",)
CHROMIUM_FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--no-proxy-server", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--lang=en-GB", "--window-size=1280,800",
]
PAGE_SECONDS = 20  # until the page shows what it should
START_SECONDS = 60  # until a program is ready
STOP_SECONDS = 20  # until a program has ended
REQUEST_SECONDS = 60  # for one answer of chromedriver


class Failure(Exception):
    """What should have been so and was not."""


def check(condition, what):
    if not condition:
        raise Failure(what)


def wait_until(what, accept, current):
    """Polls until accept(current()) holds; `what` says in the failure what was waited for."""
    deadline = time.monotonic() + PAGE_SECONDS
    while not accept(seen := current()):
        check(time.monotonic() < deadline, f"waited {PAGE_SECONDS} s for: {what}; it is {seen!r}")
        time.sleep(0.05)


# ---- child processes ------------------------------------------------------------------


def adopt_orphans():
    """Makes what chromedriver leaves behind our children, so that end_children() finds it by process id."""
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children():
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", encoding="latin-1") as stat:
                parent = stat.read().rpartition(")")[2].split()[1]
        except OSError:
            continue  # it ended meanwhile
        if int(parent) == os.getpid():
            found.append(int(entry))
    return found


def end_children():
    """Ends every child by its id, and again what becomes a child by that. An id stays ours until we reap it."""
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        except ChildProcessError:
            return
        time.sleep(0.02)
    print("some child processes did not end:", children(), file=sys.stderr)


def start(command, pattern, log):
    """Starts a program, adds its output to the file `log`, waits until that matches; returns process and match.

    Its temporary files go beside the log, and it is told of no proxy.
    """
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment["TMPDIR"] = os.path.dirname(log)
    with open(log, "ab") as output:
        before = output.tell()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        with open(log, "rb") as output:
            output.seek(before)
            printed = output.read()
        match = re.search(pattern, printed)
        if match:
            return process, match
        if ended:
            break
        time.sleep(0.02)
    printed = printed.decode(errors="replace")
    raise Failure(f"{' '.join(command)} did not print {pattern.decode()}; it printed: {printed}")


def print_end_of(log):
    if os.path.exists(log):
        with open(log, encoding="utf-8", errors="replace") as file:
            for line in file.readlines()[-20:]:
                print(f"  {os.path.basename(log)}: {line.rstrip()}", file=sys.stderr)


# ---- the browser ----------------------------------------------------------------------


def missing_package():
    """The package to install before a Browser can be made, if any."""
    if not find_program(CHROMIUM):
        return "chromium"
    return None if find_program(CHROMEDRIVER) else "chromium-driver"


def find_program(names):
    return next(filter(None, map(shutil.which, names)), None)


class Browser:
    """Chromium, driven through chromedriver's WebDriver interface (https://www.w3.org/TR/webdriver2/)."""

    ELEMENT = "element-6066-11e4-a52e-4f735466cecf"

    def __init__(self, directory):
        """All that the browser writes goes to the directory."""
        _, match = start([find_program(CHROMEDRIVER), "--port=0"], rb"started successfully on port (\d+)",
                         os.path.join(directory, "chromedriver.log"))
        self.base = f"http://127.0.0.1:{int(match[1])}/session"
        self.http = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        options = {"binary": find_program(CHROMIUM),
                   "args": CHROMIUM_FLAGS + [f"--user-data-dir={os.path.join(directory, 'profile')}"]}
        capabilities = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self.call("POST", "", {"capabilities": {"alwaysMatch": capabilities}})
        self.base += "/" + session["sessionId"]

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with self.http.open(request, timeout=REQUEST_SECONDS) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise Failure(f"browser: {method} {path}: {value['error']}: {value['message'].splitlines()[0]}") from None

    def first_tab(self):
        return Tab(self, self.call("GET", "/window"))

    def new_tab(self):
        return Tab(self, self.call("POST", "/window/new", {"type": "tab"})["handle"])


class Tab:
    """One tab. Every member brings it to the front first."""

    def __init__(self, browser, handle):
        self.browser = browser
        self.handle = handle

    def call(self, method, path, body=None):
        self.browser.call("POST", "/window", {"handle": self.handle})
        return self.browser.call(method, path, body)

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def reload(self):
        self.call("POST", "/refresh", {})

    def close(self):
        self.call("DELETE", "/window")

    def run(self, script, *arguments):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def cdp(self, command, **parameters):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def find(self, css):
        found = self.call("POST", "/element", {"using": "css selector", "value": css})
        return "/element/" + found[Browser.ELEMENT]

    def click(self, css):
        self.call("POST", self.find(css) + "/click", {})

    def type(self, css, text):
        self.call("POST", self.find(css) + "/value", {"text": text})

    def print_console(self):
        try:
            for line in self.console()[-20:]:
                print(f"  console: {line}", file=sys.stderr)
        except (Failure, OSError) as error:
            print(f"  console: not available: {error}", file=sys.stderr)

    def console(self):
        """What was logged since the last call."""
        return [f"{entry['level']} {entry['message']}" for entry in self.call("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, directory, name, width, height, scheme, ready):
        """What the page looks like in a window of that size, as soon as ready() is true."""
        phone = width < 600
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height,
                 deviceScaleFactor=2 if phone else 1, mobile=phone)
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        # A page learns of its new size with its next frame.
        wait_until(f"{name}: the page has its {width} px", lambda seen: seen == width,
                   lambda: self.run("return innerWidth"))
        sideways = self.run("return document.documentElement.scrollWidth - innerWidth")
        check(sideways <= 0, f"{name}: the page is {sideways} px wider than its {width} px window")
        wait_until(f"{name}: the page is ready", bool, ready)
        picture = base64.b64decode(self.call("GET", "/screenshot"))
        self.cdp("Emulation.clearDeviceMetricsOverride")
        self.cdp("Emulation.setEmulatedMedia", features=[])
        with open(os.path.join(directory, name + ".png"), "wb") as file:
            file.write(picture)
