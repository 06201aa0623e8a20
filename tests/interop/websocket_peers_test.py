#!/usr/bin/env python3
# tests/interop/websocket_peers_test.py - other WebSocket libraries as client and as server: python3-websockets, node's ws
# SPDX-License-Identifier: BSL-1.0
"""Usage: websocket_peers_test.py --bin DIR

Each library is a client of examples/ws_echo, and a server for examples/ws_conformance_client, which sends back what it gets.
Prints "ok NAME", "skipped NAME: reason" or "failed NAME: reason" for each test. Exits 0 when none failed, 1 when one did, 77
when DIR has no examples, or neither library is installed.
"""

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys

try:
    import websockets
except ImportError:
    websockets = None
    system = "/usr/bin/python3"  # for which the distribution's packages are, where another python3 comes first
    if os.path.exists(system) and os.path.realpath(sys.executable) != os.path.realpath(system):
        os.execv(system, [system, *sys.argv])

LIMIT_SECONDS = 30
MIB = 1024 * 1024
MESSAGES = ["", "hello", "κόσμε \U0001f600", b"", bytes(range(256)), "x" * 125, "x" * 126, "x" * 65535, "x" * 65536, bytes(MIB)]

NODE_CLIENT = """
const { WebSocket } = require('ws');
const messages = ['', 'hello', 'κόσμε', Buffer.from([]), Buffer.from([0, 255]), 'x'.repeat(65536), Buffer.alloc(1 << 20)];
const client = new WebSocket(process.argv[1], { perMessageDeflate: true });  // which is declined
const fail = (why) => { console.error(why); process.exit(1); };
client.on('error', fail);
let heard = 0;
client.on('open', () => { if (client.extensions) fail('an extension'); client.ping('p'); messages.forEach((m) => client.send(m)); });
client.on('pong', (data) => { if (String(data) !== 'p') fail('the pong is another'); heard += 100; });
client.on('message', (data, binary) => {
    const expected = messages[heard % 100];
    if (binary !== Buffer.isBuffer(expected) || !Buffer.from(data).equals(Buffer.from(expected))) fail('not message ' + heard);
    if (++heard === 100 + messages.length) client.close(4000, 'enough');
});
client.on('close', (code) => { console.log('closed', code, heard); process.exit(code === 4000 ? 0 : 1); });
"""

NODE_SERVER = """
const { WebSocketServer } = require('ws');
const messages = ['', 'hello', 'κόσμε', Buffer.from([]), Buffer.from([0, 255]), 'x'.repeat(65536), Buffer.alloc(1 << 20)];
const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: true });
const fail = (why) => { console.error(why); process.exit(1); };
server.on('listening', () => console.log(server.address().port));
server.on('connection', (socket, request) => {
    socket.on('error', fail);
    if (request.url === '/getCaseCount') { socket.send('2'); return; }
    if (request.url.startsWith('/updateReports')) {
        socket.close(1000);
        socket.on('close', () => { console.log('reported'); process.exit(0); });
        return;
    }
    let heard = 0;
    messages.forEach((m) => socket.send(m));
    socket.ping('p');
    socket.on('pong', (data) => { if (String(data) !== 'p') fail('the pong is another'); heard += 100; });
    socket.on('message', (data, binary) => {
        const expected = messages[heard % 100];
        if (binary !== Buffer.isBuffer(expected) || !Buffer.from(data).equals(Buffer.from(expected))) fail('not message ' + heard);
        if (++heard % 100 === messages.length) socket.close(1000);
    });
    socket.on('close', (code) => { if (code !== 1000 || heard !== 100 + messages.length) fail('closed ' + code + ' ' + heard); });
});
"""


class Failure(Exception):
    pass


class Skipped(Exception):
    pass


def check(is_so, otherwise):
    if not is_so:
        raise Failure(otherwise)


class Echo:
    """examples/ws_echo, from its start to its end."""

    def __enter__(self):
        self.process = subprocess.Popen([os.path.join(BIN, "ws_echo"), "--port", "0"], stdout=subprocess.PIPE)
        found = re.search(r":(\d+)/", self.process.stdout.readline().decode())
        check(found, "ws_echo did not say where it listens")
        self.url = f"ws://127.0.0.1:{found[1]}/"
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def conformance_client(port):
    return [os.path.join(BIN, "ws_conformance_client"), "--url", f"ws://127.0.0.1:{port}", "--agent", "a"]


def need_websockets():
    if websockets is None:
        raise Skipped("no python3-websockets")


def node_environment():
    if not shutil.which("node"):
        raise Skipped("no node")
    environment = {**os.environ, "NODE_PATH": os.pathsep.join(["/usr/share/nodejs", os.environ.get("NODE_PATH", "")])}
    if subprocess.run(["node", "-e", "require('ws')"], env=environment, capture_output=True).returncode != 0:
        raise Skipped("node has no ws")
    return environment


def test_python_websockets_as_client():
    need_websockets()

    async def talk(url):
        async with websockets.connect(url, max_size=2 * MIB) as client:  # offers compression, which is declined
            check(not client.extensions, f"extensions: {client.extensions}")
            for message in MESSAGES:
                await client.send(message)
                check(await client.recv() == message, f"{message[:20]!r} did not come back")
            for message in MESSAGES:
                await client.send(message)
            for message in MESSAGES:
                check(await client.recv() == message, f"{message[:20]!r} did not come back in order")
            await client.send(iter(["in ", "three ", "pieces"]))
            check(await client.recv() == "in three pieces", "the fragments did not come back")
            await (await client.ping(b"p"))
            await client.close(4001, "enough")
            check(client.close_code == 4001, f"closed with {client.close_code}")

    with Echo() as server:
        asyncio.run(asyncio.wait_for(talk(server.url), LIMIT_SECONDS))


def test_python_websockets_as_server():
    need_websockets()
    failures = []
    cases = len(MESSAGES)

    async def handle(connection):
        path = connection.path
        try:
            if path == "/getCaseCount":
                await connection.send(str(cases))
            elif path.startswith("/runCase"):
                message = MESSAGES[int(re.search(r"case=(\d+)", path)[1]) - 1]
                await connection.send(message)
                await (await connection.ping(b"p"))
                check(await connection.recv() == message, f"{message[:20]!r} did not come back")
        except Exception as error:  # the library would only log it
            failures.append(f"{path}: {error!r}")

    async def serve():
        async with websockets.serve(handle, "127.0.0.1", 0, max_size=2 * MIB) as server:
            port = server.sockets[0].getsockname()[1]
            client = await asyncio.create_subprocess_exec(*conformance_client(port), stdout=subprocess.PIPE)
            output, _ = await client.communicate()
            check(client.returncode == 0, f"the client exited with {client.returncode}")
            check(output.decode() == f"{cases} cases\ndone\n", f"the client said {output!r}")

    asyncio.run(asyncio.wait_for(serve(), LIMIT_SECONDS))
    check(not failures, failures)


def test_node_ws_as_client():
    environment = node_environment()
    with Echo() as server:
        got = subprocess.run(["node", "-e", NODE_CLIENT, server.url], env=environment, capture_output=True, text=True,
                             timeout=LIMIT_SECONDS)
        check(got.returncode == 0, f"{got.stdout} {got.stderr}")


def test_node_ws_as_server():
    environment = node_environment()
    server = subprocess.Popen(["node", "-e", NODE_SERVER], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline())
        got = subprocess.run(conformance_client(port), capture_output=True, text=True, timeout=LIMIT_SECONDS)
        check(got.stdout == "2 cases\ndone\n", f"the client said {got.stdout!r} {got.stderr!r}")
        output, errors = server.communicate(timeout=LIMIT_SECONDS)
        check(server.returncode == 0 and "reported" in output, f"{output} {errors}")
    finally:
        server.kill()
        server.wait()


def main():
    failed = skipped = 0
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    for name, test in tests:
        title = name.removeprefix("test_").replace("_", " ")
        try:
            test()
            print(f"ok {title}", flush=True)
        except Skipped as reason:
            skipped += 1
            print(f"skipped {title}: {reason}", flush=True)
        except (Failure, OSError, ValueError, asyncio.TimeoutError, subprocess.SubprocessError) as reason:
            failed += 1
            print(f"failed {title}: {reason!r}", flush=True)
    return 1 if failed else 77 if skipped == len(tests) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, metavar="DIR")
    BIN = parser.parse_args().bin
    if not os.path.exists(os.path.join(BIN, "ws_conformance_client")):
        print(f"skipped everything: there is no {BIN}/ws_conformance_client")
        sys.exit(77)
    sys.exit(main())
