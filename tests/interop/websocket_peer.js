// tests/interop/websocket_peer.js - node's ws as peer of the WebSocket tests: see websocket_peer.py, which is the same
// SPDX-License-Identifier: BSL-1.0
const { WebSocket, WebSocketServer } = require('ws');

const MIB = 1 << 20;
const LIMIT_MS = 30000;
const PATTERN = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';
const MESSAGES = ['', 'hello', 'κόσμε \u{1f600}', Buffer.alloc(0), Buffer.from([...Array(256).keys()]), 'x'.repeat(125), 'x'.repeat(126),
    Buffer.alloc(65535, 'x'), 'x'.repeat(65536), Buffer.alloc(MIB)];

const check = (isSo, otherwise) => { if (!isSo) throw new Error(otherwise); };
const same = (one, other) => typeof one === typeof other && (typeof one === 'string' ? one === other : one.equals(other));

/** A WebSocket whose messages, pongs and end can be awaited. */
class Peer {
    constructor(socket) {
        this.socket = socket;
        this.heard = [];
        this.pongs = [];
        this.pings = [];
        this.wake = () => {};
        this.error = null;
        socket.on('message', (data, binary) => { this.heard.push(binary ? data : data.toString()); this.wake(); });
        socket.on('pong', (data) => { this.pongs.push(data.toString()); this.wake(); });
        socket.on('ping', (data) => { this.pings.push(data); this.wake(); });
        socket.on('error', (error) => { this.error = error; });
        this.ended = new Promise((resolve) => socket.on('close', (code, reason) => {
            this.end = [code, reason.toString()];
            this.wake();
            resolve();
        }));
    }
    async from(list) {
        while (!list.length) {
            check(!this.end, `closed with ${this.end}`);
            await new Promise((resolve) => { this.wake = resolve; });
        }
        return list.shift();
    }
    next() { return this.from(this.heard); }
    async comesBack(message) {
        this.socket.send(message);
        check(same(await this.next(), message), `${message.slice(0, 20)} did not come back`);
    }
    async pingComesBack(payload) {
        this.socket.ping(payload);
        check(await this.from(this.pongs) === payload, 'the pong is another');
    }
}

const SCENARIOS = {
    async talk(peer) {
        for (const message of MESSAGES) await peer.comesBack(message);
        MESSAGES.forEach((message) => peer.socket.send(message));
        for (const message of MESSAGES) check(same(await peer.next(), message), 'not in order');
        peer.socket.close(1000);
    },
    async agreement(peer) {
        check(peer.socket.protocol === 'pattern.v2', `the subprotocol is ${peer.socket.protocol}`);
        check(peer.socket.extensions === '', `the extensions are ${peer.socket.extensions}`);
        peer.socket.close(1000);
    },
    async large(peer) {
        await peer.comesBack(Buffer.alloc(16 * MIB, Buffer.from([...Array(256).keys()])));
        await peer.comesBack(PATTERN.slice(0, 16).repeat(MIB));
        peer.socket.close(1000);
    },
    async fragments(peer) {
        peer.socket.send('in ', { fin: false });
        await peer.pingComesBack('between');
        peer.socket.send('three ', { fin: false });
        peer.socket.send('pieces', { fin: true });
        check(await peer.next() === 'in three pieces', 'the fragments did not come back');
        for (let number = 0; number < 2000; ++number) peer.socket.send(Buffer.alloc(100, number % 256), { fin: number === 1999 });
        const back = await peer.next();
        check(back.length === 200000 && back.every((octet, at) => octet === Math.floor(at / 100) % 256), '2000 fragments are wrong');
        peer.socket.send('pieces 100500');
        check(await peer.next() === PATTERN.repeat(4000).slice(0, 100500), "the other side's fragments are wrong");
        peer.socket.close(1000);
    },
    async pings(peer) {
        for (const payload of ['', 'p', 'x'.repeat(125)]) await peer.pingComesBack(payload);
        peer.socket.pong('not asked for');
        for (let number = 0; number < 10; ++number) peer.socket.ping(String(number));
        await peer.comesBack('after the pings');
        for (let number = 0; number < 10; ++number) check(await peer.from(peer.pongs) === String(number), 'the pong is another');
        peer.socket.close(1000);
    },
    async close_here(peer) { peer.socket.close(4001, 'κ'.repeat(61)); },
    async close_there(peer) { peer.socket.send('close 4002 go away'); },
    async close_busy(peer) {
        for (let number = 0; number < 100; ++number) peer.socket.send(`${number} ` + 'x'.repeat(10000));
        peer.socket.close(4003, 'in the middle');
    },
    async abort_here(peer) {
        await peer.comesBack('hello');
        peer.socket.terminate();
    },
    async abort_there() {},
    async idle(peer) {
        for (let number = 0; number < 2; ++number) await peer.from(peer.pings);
        await peer.comesBack('still here');
        peer.socket.close(1000);
    },
};

async function play(name, peer) {
    const late = setTimeout(() => { console.log(`${name} failed it takes too long`); process.exit(1); }, LIMIT_MS);
    try {
        console.log(`${name} ready`);
        await SCENARIOS[name](peer);
        await peer.ended;
        check(!peer.error || name.startsWith('abort'), peer.error);
        console.log(`${name} ok ${peer.end[0]} ${peer.end[1]}`);
    } catch (error) {
        console.log(`${name} failed ${error}`);
    }
    clearTimeout(late);
}

const [, , role, url, name] = process.argv;
const options = { perMessageDeflate: true, maxPayload: 16 * MIB };
if (role === 'client') {
    const socket = new WebSocket(url, ['pattern.v3', 'pattern.v2'], options);
    const peer = new Peer(socket);
    socket.on('open', () => play(name, peer));
    socket.on('error', (error) => console.log(`${name} failed ${error}`));
} else {
    const server = new WebSocketServer({ ...options, port: 0, host: '127.0.0.1',
        handleProtocols: (offered) => offered.has('pattern.v2') ? 'pattern.v2' : false });
    server.on('listening', () => console.log(`listening on ${server.address().port}`));
    server.on('connection', (socket, request) => play(request.url.slice(1), new Peer(socket)));
}
