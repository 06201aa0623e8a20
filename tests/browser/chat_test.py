#!/usr/bin/env python3
# tests/browser/chat_test.py - two tabs of a real browser use examples/chat, through restarts of the server
# SPDX-License-Identifier: BSL-1.0
"""Usage: chat_test.py --bin DIR [--screenshots DIR]

Starts DIR/chat and a headless Chromium (packages chromium and chromium-driver), all on 127.0.0.1.
Exits 0 when all is well, 1 with the reason when not, 77 when there is no browser (an error where CI=true).
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # a test leaves the source tree as it is
import webdriver
from webdriver import Failure, check, wait_until

HOSTILE = '<img src="x" onerror="document.title=1"> <b>&amp;</b> \\u00e9 \u00e9\u0436\u6f22'


class Chat:
    """The server under test."""

    def __init__(self, program, directory):
        self.program = program
        self.history = os.path.join(directory, "history")
        self.log = os.path.join(directory, "chat.log")
        self.port = 0  # picked by the first start, kept by the later ones
        self.process = None

    def start(self):
        command = [self.program, "--host", "127.0.0.1", "--port", str(self.port), "--history", self.history]
        self.process, match = webdriver.start(command, rb"listening on http://127\.0\.0\.1:(\d+)/\n", self.log)
        check(self.port in (0, int(match[1])), f"chat was told port {self.port} and took {int(match[1])}")
        self.port = int(match[1])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(webdriver.STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"chat was still running {webdriver.STOP_SECONDS} s after SIGTERM") from None
        check(status == 0, f"chat exited with {status} after SIGTERM")

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait(webdriver.STOP_SECONDS)

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"


class Visitor:
    """Somebody in the chat, and the tab they use."""

    ENTER = "\ue007"

    def __init__(self, name, tab):
        self.name = name
        self.tab = tab

    def state(self):
        return self.tab.run("return document.getElementById('status').dataset.state")

    def lines(self):
        """[[name, text, mark], ...] as the page shows them; mark is null for what the server confirmed."""
        return self.tab.run("return Array.from(document.querySelectorAll('#messages > li'), (li) =>"
                            " [li.querySelector('.name').textContent, li.querySelector('.text').textContent,"
                            "  li.dataset.state ?? null])")

    def presence(self):
        return self.tab.run("return document.getElementById('presence').innerText")

    def notice(self):
        """What it says; empty where it is not shown."""
        return self.tab.run("const it = document.getElementById('notice'); return it.hidden ? '' : it.innerText")

    def sees_the_end(self):
        """Whether the newest message is in sight."""
        return self.tab.run("const log = document.getElementById('log');"
                            "return log.scrollHeight - log.scrollTop - log.clientHeight < 2")

    def say(self, text):
        self.tab.type("#text", text + self.ENTER)

    def wait_for_state(self, *states):
        wait_until(f"{self.name}'s page is {' or '.join(states)}", lambda state: state in states, self.state)

    def wait_for(self, lines):
        expected = [[*line, None] for line in lines]
        wait_until(f"{self.name} sees exactly {expected}", lambda seen: seen == expected, self.lines)

    def wait_for_people(self, names):
        wait_until(f"{self.name} sees {len(names)} here: {', '.join(names)}",
                   lambda seen: f"{len(names)} here" in seen and all(name in seen for name in names), self.presence)


# ---- what is tried --------------------------------------------------------------------


def passed(what):
    print(f"ok chat_browser: {what}", flush=True)


def take_pictures(visitor, directory, name, schemes=("light",), sizes=("phone",)):
    for size in sizes if directory else ():
        for scheme in schemes:
            width, height = {"phone": (390, 844), "desktop": (1280, 800)}[size]
            visitor.tab.screenshot(directory, f"{name}-{size}-{scheme}", width, height, scheme, visitor.sees_the_end)


def scenario(chat, browser, tabs, screenshots):
    chat.start()

    ann = Visitor("ann", browser.first_tab())
    tabs.append(ann.tab)
    ann.tab.open(chat.url("/"))
    room = ann.tab.run("return document.getElementById('room').textContent")
    check(room == "lobby", f"/ is the room {room}, not the lobby")
    check(ann.tab.run("return document.getElementById('name').value.trim()"), "no name is proposed to a new visitor")
    take_pictures(ann, screenshots, "join")
    ann.tab.run("document.getElementById('name').select()")
    ann.tab.type("#name", ann.name + Visitor.ENTER)
    ann.wait_for_state("online")
    ann.tab.reload()
    ann.wait_for_state("online")
    ann.wait_for_people(["ann"])
    passed("a new visitor is asked for a name once, and the browser remembers it")

    bob = Visitor("bob", browser.new_tab())
    tabs.append(bob.tab)
    bob.tab.open(chat.url("/room/quiet%20%2F%20%C3%A9?name=bob"))
    bob.say(HOSTILE)
    bob.wait_for([["bob", HOSTILE]])
    bob.tab.reload()
    bob.wait_for([["bob", HOSTILE]])
    check(not bob.tab.run("return document.querySelector('#messages img, #messages b')"), "a message became markup")
    ann.wait_for([])
    ann.wait_for_people(["ann"])
    passed("rooms keep to themselves, whatever they are called, and messages stay plain text")

    both = (ann, bob)
    bob.tab.open(chat.url("/room/lobby?name=bob"))
    for visitor in both:
        visitor.wait_for_state("online")
        visitor.wait_for_people(["ann", "bob"])
    passed("two tabs see that two are here")

    said = []
    for speaker, text in ((ann, "Good morning! Who takes the early ferry?"), (bob, "I do."),
                          (bob, "7:40, if I am awake."), (ann, "See you on deck then.")):
        speaker.say(text)
        said.append([speaker.name, text])
        for visitor in both:
            visitor.wait_for(said)
    mine = ann.tab.run("return Array.from(document.querySelectorAll('#messages .mine .name'), (e) => e.textContent)")
    check(mine == ["ann", "ann"], f"ann's own messages are those of {mine}")
    passed("each tab sees what the other types, once and in one order")

    bob.tab.reload()
    bob.wait_for(said)
    for visitor in both:
        visitor.wait_for_people(["ann", "bob"])
    passed("a reload shows the history")

    bob.tab.type("#text", "There is tea on board, too.")
    for tab in tabs:
        errors = [entry for entry in tab.console() if entry.startswith("SEVERE")]
        check(not errors, f"the browser reports: {errors}")
    chat.stop()
    for visitor in both:
        visitor.wait_for_state("offline", "connecting")
    ann.say("Is it just me, or did we lose the pier?")
    said.append(["ann", "Is it just me, or did we lose the pier?"])
    check(ann.lines()[-1] == [*said[-1], "waiting"], f"what ann said offline is {ann.lines()[-1]}")
    wait_until("the page says that the server stops", lambda notice: "the server stops" in notice, ann.notice)
    take_pictures(ann, screenshots, "offline")
    passed("SIGTERM ends the server, and what is said meanwhile waits, marked as such")

    chat.start()
    for visitor in both:
        visitor.wait_for_state("online")
        visitor.wait_for(said)
        visitor.wait_for_people(["ann", "bob"])
        check(visitor.notice() == "", f"{visitor.name} is online, and the page says {visitor.notice()!r}")
    bob.tab.click("#send")
    said.append(["bob", "There is tea on board, too."])
    for visitor in both:
        visitor.wait_for(said)
    passed("both tabs come back by themselves after a restart, lose nothing and see nothing twice")

    # The server is frozen when ann speaks and she moves to another network: only the history can tell that it arrived.
    chat.pause()
    ann.say("Tea it is.")
    said.append(["ann", "Tea it is."])
    check(ann.lines()[-1] == [*said[-1], "sending"], f"what ann said to the frozen server is {ann.lines()[-1]}")
    ann.tab.run("window.dispatchEvent(new Event('online'))")
    check(ann.lines()[-1] == [*said[-1], "unconfirmed"], f"without its connection it is {ann.lines()[-1]}")
    chat.resume()
    for visitor in both:
        visitor.wait_for(said)
    passed("a message whose answer was lost is found in the history, once")

    bob.tab.reload()
    bob.wait_for(said)
    chat.pause()
    ann.say("Milk?")
    check(ann.lines()[-1] == ["ann", "Milk?", "sending"], f"what ann said to the frozen server is {ann.lines()[-1]}")
    chat.kill()
    ann.wait_for_state("offline", "connecting")
    chat.start()
    bob.wait_for(said)
    ann.wait_for_state("online")
    check(ann.lines() == [[*line, None] for line in said] + [["ann", "Milk?", "unconfirmed"]],
          f"after the server was killed ann sees {ann.lines()}")
    take_pictures(ann, screenshots, "unconfirmed")
    ann.tab.click("#messages .mark button")
    said.append(["ann", "Milk?"])
    for visitor in both:
        visitor.wait_for(said)
    passed("a message that never arrived is kept, marked, and sent again at a click")

    cleo = Visitor("cleo", browser.new_tab())
    tabs.append(cleo.tab)
    cleo.tab.open(chat.url("/room/lobby?name=cleo"))
    for text in ("Hello from the pier. Is there still room for one bicycle and a very large dog?", "He is friendly."):
        cleo.say(text)
        said.append(["cleo", text])
    for visitor in (ann, bob, cleo):
        visitor.wait_for(said)
        visitor.wait_for_people(["ann", "bob", "cleo"])
    ann.say("Plenty of room for the dog.")
    said.append(["ann", "Plenty of room for the dog."])
    cleo.wait_for(said)
    take_pictures(ann, screenshots, "chat", schemes=("light", "dark"), sizes=("phone", "desktop"))
    tabs.remove(cleo.tab)
    cleo.tab.close()
    for visitor in both:
        visitor.wait_for_people(["ann", "bob"])
    passed("a third visitor comes and goes, and presence follows")

    chat.stop()
    passed("SIGTERM ends the server while visitors are connected")


def main():
    arguments = argparse.ArgumentParser(description="Two tabs of a real browser use examples/chat.")
    arguments.add_argument("--bin", required=True, metavar="DIR", help="where the built chat is")
    arguments.add_argument("--screenshots", metavar="DIR", help="where to put pictures of the page")
    arguments = arguments.parse_args()

    package = webdriver.missing_package()
    if package:
        required = os.environ.get("CI") == "true"
        print(f"{'FAILED' if required else 'skipped'} chat_browser: package {package} is not installed")
        return 1 if required else 77
    if arguments.screenshots:
        os.makedirs(arguments.screenshots, exist_ok=True)

    # A runner that loses patience ends us with SIGTERM; the children must still go.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    webdriver.adopt_orphans()
    tabs = []
    with tempfile.TemporaryDirectory(prefix="chat_browser_", ignore_cleanup_errors=True) as directory:
        chat = Chat(os.path.join(os.path.abspath(arguments.bin), "chat"), directory)
        try:
            scenario(chat, webdriver.Browser(directory), tabs, arguments.screenshots)
        except (Failure, OSError) as failure:
            print(f"FAILED chat_browser: {failure}", file=sys.stderr)
            for tab in tabs:
                tab.print_console()
            webdriver.print_end_of(chat.log)
            return 1
        finally:
            webdriver.end_children()
    print("ok chat_browser")
    return 0


if __name__ == "__main__":
    sys.exit(main())
