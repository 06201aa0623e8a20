# tests/interop/peers.py - what tests with other programs share: children that end, lines that are waited for, nginx
# SPDX-License-Identifier: BSL-1.0
import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

LIMIT_SECONDS = 30  # for anything that should happen at once, on a machine with other work
MIB = 1024 * 1024
BIN = None  # where the programs under test are


class Failure(Exception):
    pass


class Skipped(Exception):
    pass


def check(is_so, otherwise):
    if not is_so:
        raise Failure(otherwise)


def wait_until(is_so, otherwise, seconds=LIMIT_SECONDS):
    give_up = time.monotonic() + seconds
    while not is_so():
        check(time.monotonic() < give_up, otherwise() if callable(otherwise) else otherwise)
        time.sleep(0.005)


def pattern(size):
    """The octets of what peer.cpp makes itself."""
    return (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ" * (size // 26 + 1))[:size]


def find(program):
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if not found:
        raise Skipped(f"no {program}")
    return found


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def connect(port):
    client = socket.create_connection(("127.0.0.1", port), LIMIT_SECONDS)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def listens(port):
    try:
        connect(port).close()
        return True
    except ConnectionRefusedError:
        return False


class Program:
    """A child process, from its start to its end; the lines of its stdout can be waited for, its stderr is kept."""

    running = set()  # what main() ends, should a test not have come so far

    def __init__(self, *command, environment=None):
        self.name = os.path.basename(command[0])
        self.errors = tempfile.TemporaryFile()
        self.lines, self.changed = [], threading.Condition()  # guards lines and taken
        self.taken = 0
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors,
                                        env=environment)
        Program.running.add(self)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.errors.close()

    def kill(self):
        Program.running.discard(self)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.lines.append(None)
            self.changed.notify_all()

    def log(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def expect(self, wanted):
        """Waits for a line that matches as a whole, later than those found before; returns the match."""
        give_up = time.monotonic() + LIMIT_SECONDS
        with self.changed:
            while True:
                for at in range(self.taken, len(self.lines)):
                    found = self.lines[at] is not None and re.fullmatch(wanted, self.lines[at])
                    if found:
                        self.taken = at + 1
                        return found
                ended = self.lines[-1:] == [None]
                if ended or not self.changed.wait(give_up - time.monotonic()):
                    seen = [line for line in self.lines[self.taken:] if line is not None]
                    raise Failure(f"{self.name} did not say {wanted!r}; it said {seen[-5:]}; {self.log()[-500:]!r}")

    def stop(self):
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_SECONDS)

    def sockets(self):
        """How many it has open, its listener and its own pairs included."""
        count, folder = 0, f"/proc/{self.process.pid}/fd"
        for name in os.listdir(folder):
            try:
                count += os.readlink(f"{folder}/{name}").startswith("socket:")
            except FileNotFoundError:
                pass  # closed meanwhile
        return count


class Server(Program):
    """One of the examples, or `peer serve`, on a port of its own."""

    def __init__(self, name, *arguments):
        where = ("--host", "127.0.0.1", "--port", "0")
        super().__init__(os.path.join(BIN, name), *(["serve"] if name == "peer" else []), *where, *arguments)
        try:
            self.port = int(self.expect(r"listening on http://127\.0\.0\.1:(\d+)/")[1])
        except Failure:
            self.__exit__()
            raise
        self.url = f"http://127.0.0.1:{self.port}"
        self.sockets_at_rest = self.sockets()

    def wait_for_connections(self, count):
        wait_until(lambda: self.sockets() - self.sockets_at_rest == count,
                   lambda: f"{self.name} has {self.sockets() - self.sockets_at_rest} connections, not {count}")


class Nginx(Program):
    """nginx as one process with this `http` block; "{port}" in it is where it listens, "{here}" a directory for its files."""

    def __init__(self, http):
        program = find("nginx")
        self.directory = tempfile.TemporaryDirectory()
        here = self.here = self.directory.name
        os.chmod(here, 0o755)
        paths = "".join(f"{kind}_temp_path {here}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        for last_try in (False, False, True):
            self.port = free_port()
            self.url = f"http://127.0.0.1:{self.port}"
            with open(f"{here}/conf", "w") as conf:
                conf.write(f"daemon off; master_process off; pid {here}/pid; error_log {here}/errors; "
                           f"events {{ worker_connections 512; }} http {{ access_log off; {paths} "
                           f"{http.replace('{port}', str(self.port)).replace('{here}', here)} }}\n")
            super().__init__(program, "-c", f"{here}/conf", "-e", f"{here}/errors")
            if self.has_the_port():
                return
            said = self.log() + self.said()
            super().__exit__()  # somebody else has the port
            if last_try or "bind()" not in said:
                self.directory.cleanup()
                raise Failure(f"nginx does not start: {said}")
            os.truncate(f"{here}/errors", 0)

    def has_the_port(self):
        """Waits until it has, or cannot have it: it writes its id when it listens."""
        written = f"{self.here}/pid"
        wait_until(lambda: os.path.exists(written) or self.process.poll() is not None or "bind()" in self.said(), "nginx does not start")
        return os.path.exists(written)

    def said(self):
        if not os.path.exists(f"{self.here}/errors"):
            return ""
        with open(f"{self.here}/errors") as errors:
            return errors.read()

    def __exit__(self, *_):
        super().__exit__()
        self.directory.cleanup()


def main(description, tests, program="peer", failures=()):
    """Runs what is named test_*, prints a line for each, and ends with 1 if one failed, 77 if none could run.

    `failures` are further exceptions that make a test fail; any others end everything.
    """
    global BIN
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, metavar="DIR", help="where the built examples are")
    parser.add_argument("--only", default="", metavar="REGEX", help="which tests")
    arguments = parser.parse_args()
    BIN = os.path.abspath(arguments.bin)
    if not os.path.exists(os.path.join(BIN, program)):
        print(f"skipped everything: there is no {BIN}/{program}")
        sys.exit(77)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the children end, too
    ran = failed = 0
    reason = None
    for name, test in list(tests.items()):
        title = name.removeprefix("test_").replace("_", " ")
        if not name.startswith("test_") or not re.search(arguments.only, title):
            continue
        try:
            counts = test()
            ran += 1
            print(f"ok {title}" + (f" ({counts})" if counts else ""), flush=True)
        except Skipped as why:
            reason = why
            print(f"skipped {title}: {why}", flush=True)
        except (Failure, OSError, ValueError, subprocess.SubprocessError, *failures) as why:
            ran += 1
            failed += 1
            print(f"failed {title}: {str(why) or type(why).__name__}", flush=True)
        finally:
            for program in list(Program.running):
                program.__exit__()
    print(f"{ran - failed} of {ran} passed", flush=True)
    if ran == 0:
        print(f"skipped everything: {reason}")
    sys.exit(1 if failed else 77 if ran == 0 else 0)
