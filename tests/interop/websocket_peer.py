# tests/interop/websocket_peer.py - python3-websockets as peer of the WebSocket tests; websocket_peer.js is the same with node's ws
# SPDX-License-Identifier: BSL-1.0
"""Usage: websocket_peer.py client URL SCENARIO | websocket_peer.py server

The server prints "listening on PORT", and plays with each connection the scenario that its path names. The other side is
peer.cpp. Prints "SCENARIO ready" when it has begun, and at its end "SCENARIO ok CODE REASON", as the connection was closed, or
"SCENARIO failed WHY".
"""

import asyncio
import sys

import websockets

MIB = 1024 * 1024
LIMIT_SECONDS = 30
IDLE_SECONDS = 2.5  # in which the other side pings twice; the library does not tell
PATTERN = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MESSAGES = ["", "hello", "κόσμε \U0001f600", b"", bytes(range(256)), "x" * 125, "x" * 126, b"x" * 65535, "x" * 65536, bytes(MIB)]
SUBPROTOCOLS = ["pattern.v3", "pattern.v2"]


def check(is_so, otherwise):
    if not is_so:
        raise RuntimeError(otherwise)


async def comes_back(socket, message):
    await socket.send(message)
    check(await socket.recv() == message, f"{message[:20]!r} did not come back")


async def talk(socket):
    for message in MESSAGES:
        await comes_back(socket, message)
    for message in MESSAGES:
        await socket.send(message)
    for message in MESSAGES:
        check(await socket.recv() == message, f"{message[:20]!r} did not come back in order")
    await socket.close(1000)


async def agreement(socket):
    check(socket.subprotocol == "pattern.v2", f"the subprotocol is {socket.subprotocol}")
    check(not socket.extensions, f"the extensions are {socket.extensions}")  # compression was offered, or could have been
    await socket.close(1000)


async def large(socket):
    await comes_back(socket, bytes(range(256)) * (16 * MIB // 256))
    await comes_back(socket, PATTERN[:16] * MIB)
    await socket.close(1000)


async def fragments(socket):
    async def pieces():
        yield "in "
        waiter = await socket.ping(b"between")
        yield "three "
        await waiter  # it is answered before the message is complete
        yield "pieces"

    await socket.send(pieces())
    check(await socket.recv() == "in three pieces", "the fragments did not come back")
    await socket.send(iter([bytes([number % 256]) * 100 for number in range(2000)]))
    check(await socket.recv() == b"".join(bytes([number % 256]) * 100 for number in range(2000)), "2000 fragments did not come back")
    await socket.send("pieces 100500")
    check(await socket.recv() == (PATTERN * 4000)[:100500], "the other side's fragments are wrong")
    await socket.close(1000)


async def pings(socket):
    for payload in (b"", b"p", bytes(125)):
        await (await socket.ping(payload))
    await socket.pong(b"not asked for")
    waiters = [await socket.ping(b"%d" % number) for number in range(10)]
    await comes_back(socket, "after the pings")
    await asyncio.gather(*waiters)
    await socket.close(1000)


async def close_here(socket):
    await socket.close(4001, "κ" * 61)


async def close_there(socket):
    await socket.send("close 4002 go away")


async def close_busy(socket):
    """Closed here while messages are on their way back."""
    for number in range(100):
        await socket.send(f"{number} " + "x" * 10_000)
    await socket.close(4003, "in the middle")


async def abort_here(socket):
    await comes_back(socket, "hello")
    socket.transport.abort()


async def abort_there(socket):
    pass  # who runs this kills the other side


async def idle(socket):
    await asyncio.sleep(IDLE_SECONDS)
    await comes_back(socket, "still here")
    await socket.close(1000)


async def play(name, socket):
    try:
        print(f"{name} ready", flush=True)
        await asyncio.wait_for(globals()[name](socket), LIMIT_SECONDS)
        await asyncio.wait_for(socket.wait_closed(), LIMIT_SECONDS)
        print(f"{name} ok {socket.close_code} {socket.close_reason}", flush=True)
    except Exception as error:
        print(f"{name} failed {error!r}", flush=True)


# (Where its queue is full, the library reads no further, not even for the answer to its own close frame.)
OPTIONS = {"max_size": 16 * MIB, "max_queue": None, "ping_interval": None}


async def client(url, name):
    async with websockets.connect(url, subprotocols=SUBPROTOCOLS, **OPTIONS) as socket:
        await play(name, socket)


async def server():
    async def handle(socket):
        await play(socket.path.removeprefix("/"), socket)

    async with websockets.serve(handle, "127.0.0.1", 0, subprotocols=["pattern.v2"], **OPTIONS) as listening:
        print(f"listening on {listening.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(client(*sys.argv[2:]) if sys.argv[1] == "client" else server())
