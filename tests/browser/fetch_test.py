#!/usr/bin/env python3
# tests/browser/fetch_test.py - a real browser's fetch() and WebSocket against ferry's server
# SPDX-License-Identifier: BSL-1.0
"""Usage: fetch_test.py --bin DIR [--only REGEX]

Starts the servers of DIR and a headless Chromium (packages chromium and chromium-driver), all on 127.0.0.1. Prints "ok NAME",
"skipped NAME: reason" or "failed NAME: reason" for each test. Exits 0 when none failed, 1 when one did, 77 when DIR has no
programs or there is no browser.
"""

import os
import sys
import tempfile

sys.dont_write_bytecode = True  # a test leaves the source tree as it is
sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
import peers
import webdriver
from peers import LIMIT_SECONDS, Server, Skipped, check

PRELUDE = """
const check = (is_so, otherwise) => { if (!is_so) throw new Error(otherwise); };
const pattern = (size) => Uint8Array.from({ length: size }, (_, at) => 65 + at % 26);
const same = (a, b) => a.length === b.length && a.every((octet, at) => octet === b[at]);
const octets_of = async (answer) => new Uint8Array(await answer.arrayBuffer());
class Socket {
    constructor(path, offers, type = 'arraybuffer') {
        this.socket = new WebSocket(new URL(path, location.href.replace('http', 'ws')), offers ?? []);
        this.socket.binaryType = type;
        this.heard = [];
        this.wake = () => {};
        this.socket.onmessage = (message) => { this.heard.push(message.data); this.wake(); };
        this.closed = new Promise((resolve) => { this.socket.onclose = (end) => { this.end = end; resolve(end); this.wake(); }; });
        this.opened = new Promise((resolve, reject) => {
            this.socket.onopen = () => resolve(this);
            this.socket.onerror = () => reject(new Error('the WebSocket failed'));
        });
    }
    async next() {
        while (!this.heard.length) {
            check(!this.end, 'closed with ' + this.end?.code);
            await new Promise((resolve) => { this.wake = resolve; });
        }
        return this.heard.shift();
    }
    close(...how) { this.socket.close(...how); return this.closed; }
}
"""


class Browser:
    """The one browser of all tests: it takes some seconds to start."""

    directory = tab = browser = None

    @classmethod
    def at(cls, url):
        """A tab that shows this."""
        if cls.tab is None:
            package = webdriver.missing_package()
            if package:
                raise Skipped(f"package {package} is not installed")
            cls.directory = tempfile.TemporaryDirectory(prefix="fetch_browser_", ignore_cleanup_errors=True)
            cls.browser = webdriver.Browser(cls.directory.name)
            cls.tab = cls.browser.first_tab()
        cls.tab.open(url)
        return cls.tab

    @classmethod
    def end(cls):
        webdriver.end_children()
        if cls.directory:
            cls.directory.cleanup()


class Page:
    """A page of `peer serve`, whose scripts may fetch what it has."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __enter__(self):
        self.site = Server("peer", *self.arguments)
        try:
            self.tab = Browser.at(self.site.url + "/page")
        except BaseException:
            self.site.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.site.__exit__()

    def run(self, script, *arguments):
        """The script's value; an error it throws is a failure."""
        return self.tab.run(f"return (async () => {{ {PRELUDE} {script} }})()", *arguments)


# ---- fetch -----------------------------------------------------------------------------
def test_fetch_reads_bodies_whole_and_as_streams():
    with Page() as page:
        page.run("""
            for (const framing of ['length', 'chunks']) {
                for (const size of [0, 1, 9999, 1 << 20]) {
                    const answer = await fetch(`/${framing}/${size}`);
                    check(answer.status === 200 && same(await octets_of(answer), pattern(size)), `${framing} ${size}`);
                }
                const answer = await fetch(`/${framing}/20000000`);
                let at = 0, pieces = 0;
                for (const reader = answer.body.getReader();;) {
                    const { done, value } = await reader.read();
                    if (done) break;
                    check(value[0] === 65 + at % 26 && value.at(-1) === 65 + (at + value.length - 1) % 26, `${framing}: wrong at ${at}`);
                    at += value.length;
                    ++pieces;
                }
                check(at === 20000000 && pieces > 1, `${framing}: ${at} octets in ${pieces} pieces`);
            }""")


def test_fetch_sends_bodies_of_each_kind():
    with Page() as page:
        page.run("""
            const large = crypto.getRandomValues(new Uint8Array(65536));
            const many = new Uint8Array(1 << 20).map((_, at) => large[at % 65536] ^ (at >> 16));
            const text = 'κόσμε \\u{1f600}';
            for (const [what, body, octets] of [['text', text, new TextEncoder().encode(text)], ['nothing', '', new Uint8Array()],
                    ['an array', many, many], ['a blob', new Blob([many, 'end']), null], ['a form', new URLSearchParams({ a: '1 2' }),
                    new TextEncoder().encode('a=1+2')]]) {
                for (const method of ['POST', 'PUT', 'PATCH']) {
                    const answer = await fetch('/echo', { method, body });
                    const back = await octets_of(answer);
                    const expected = octets ?? new Uint8Array(await body.arrayBuffer());
                    check(answer.ok && same(back, expected), `${method} ${what}: ${answer.status}, ${back.length} octets back`);
                }
            }
            const form = new FormData();
            form.append('file', new Blob([large]), 'f.bin');
            const back = await octets_of(await fetch('/echo', { method: 'POST', body: form }));
            check(back.length > large.length, 'the form came back cut');""")


def test_fetch_takes_each_method_and_status():
    with Page() as page:
        page.run("""
            const head = await fetch('/length/4321', { method: 'HEAD' });
            check(head.headers.get('content-length') === '4321' && (await octets_of(head)).length === 0, 'HEAD');
            for (const status of [200, 201, 202, 204, 205, 206, 304, 400, 401, 403, 404, 405, 410, 418, 429, 451, 500, 502, 503, 599]) {
                const answer = await fetch(`/status/${status}`, { cache: 'no-store', method: 'GET' });
                check(answer.status === status && (await octets_of(answer)).length === 0, `${answer.status} for ${status}`);
            }""")


def test_many_requests_at_once_share_few_connections():
    with Page() as page:
        connections = page.run("""
            const ask = async (number) => {
                const up = number % 2 ? { method: 'POST', body: pattern(number * 100) } : {};
                const answer = await fetch(number % 2 ? `/echo?${number}` : `/chunks/${number * 100}?${number}`, up);
                check(same(await octets_of(answer), pattern(number * 100)), `request ${number}`);
                return answer.headers.get('x-connection');
            };
            return [...new Set(await Promise.all(Array.from({ length: 200 }, (_, number) => ask(number))))];""")
        check(1 <= len(connections) <= 12, f"200 requests took {len(connections)} connections")
        return f"200 requests, {len(connections)} connections"


def test_a_fetch_that_is_aborted_is_noticed():
    with Page() as page:
        page.run("""
            const abort = new AbortController();
            const reader = (await fetch('/chunks/1000000000', { signal: abort.signal })).body.getReader();
            check((await reader.read()).value.length > 0, 'nothing came');
            abort.abort();
            await reader.read().then(() => { throw new Error('it went on'); }, () => {});""")
        page.site.expect("GET /chunks/1000000000 gone")
        page.run("window.stop_it = new AbortController(); fetch('/hang', { signal: window.stop_it.signal }).catch(() => {});")
        page.site.expect("GET /hang asked")
        page.run("window.stop_it.abort();")
        page.site.expect("GET /hang gone")


def test_a_server_that_is_killed_fails_a_fetch():
    with Page() as page:
        page.run("""window.result = fetch('/chunks/1000000000').then(async (answer) => {
            window.began = true; await answer.arrayBuffer(); return 'complete'; }).catch((error) => error.name);""")
        webdriver.wait_until("the answer has begun", bool, lambda: page.run("return !!window.began;"))
        page.site.kill()
        result = page.run("return await window.result;")
        check(result in ("TypeError", "AbortError"), f"the fetch ended in {result}")


# ---- WebSocket -------------------------------------------------------------------------
def test_websocket_messages_of_each_kind_come_back():
    with Page() as page:
        page.run("""
            const octets = new Uint8Array(1 << 20).map((_, at) => at * 7 + (at >> 8));
            for (const type of ['arraybuffer', 'blob']) {
                const one = await new Socket('/echo', [], type).opened;
                check(one.socket.extensions === '' && one.socket.protocol === '', `agreed on ${one.socket.extensions}`);
                for (const text of ['', 'hello', 'κόσμε \\u{1f600}', 'x'.repeat(65536), 'y'.repeat(1 << 20)]) {
                    one.socket.send(text);
                    check(await one.next() === text, `text of ${text.length}`);
                }
                for (const message of [new Uint8Array(), octets.subarray(0, 125), octets.subarray(0, 126), octets, new Blob([octets])]) {
                    one.socket.send(message);
                    const back = await one.next();
                    check(back instanceof (type === 'blob' ? Blob : ArrayBuffer), 'it came as something else');
                    const expected = message instanceof Blob ? octets : message;
                    check(same(new Uint8Array(await new Blob([back]).arrayBuffer()), expected), `${expected.length} octets`);
                }
                for (let number = 0; number < 1000; ++number) one.socket.send(`message ${number}`);
                for (let number = 0; number < 1000; ++number) check(await one.next() === `message ${number}`, `order at ${number}`);
                const end = await one.close(1000);
                check(end.code === 1000 && end.wasClean, `closed with ${end.code}`);
            }""")


def test_websocket_messages_of_16_mib_and_in_fragments():
    with Page() as page:
        page.run("""
            const one = await new Socket('/large').opened;
            const octets = new Uint8Array(16 << 20).map((_, at) => at ^ (at >> 10));
            one.socket.send(octets);
            check(same(new Uint8Array(await one.next()), octets), '16 MiB');
            one.socket.send('pieces 1000500');
            check(await one.next() === new TextDecoder().decode(pattern(1000500)), 'fragments');
            one.socket.send(new Uint8Array((16 << 20) + 1));
            const end = await one.closed;
            check(end.code === 1009, `closed with ${end.code}`);""")


def test_websocket_subprotocols_are_chosen_from_the_offer():
    with Page() as page:
        chosen = page.run("""
            const one = await new Socket('/echo', ['pattern.v3', 'pattern.v2', 'pattern.v1']).opened;
            await one.close();
            // Where a server takes none of what it is offered, a browser fails the WebSocket.
            return [one.socket.protocol, await new Socket('/echo', ['other']).opened.then(() => 'open', () => 'failed')];""")
        check(chosen == ["pattern.v2", "failed"], f"chosen: {chosen}")


def test_websocket_close_codes_pass_each_way():
    with Page() as page:
        for code, reason in ((1000, ""), (1000, "done"), (3000, "three"), (4999, "κ" * 61)):
            end = page.run("""
                const one = await new Socket('/client').opened;
                const end = await one.close(...arguments);
                return [end.code, end.wasClean];""", code, reason)
            check(end == [code, True], f"{code}: {end}")
            page.site.expect(f"/client closed {code} {reason}")
        page.run("await (await new Socket('/none').opened).close();")
        page.site.expect("/none closed 1005 ")
        for code, reason in ((1000, ""), (1001, "away"), (1008, "policy"), (1011, "κ" * 61), (4000, "four")):
            end = page.run("""
                const one = await new Socket('/server').opened;
                one.socket.send(`close ${arguments[0]} ${arguments[1]}`);
                const end = await one.closed;
                return [end.code, end.reason, end.wasClean];""", code, reason)
            check(end == [code, reason, True], f"{code}: {end}")
            page.site.expect(f"/server closed {code} .*")


def test_websockets_answer_pings_and_live_on():
    with Page("--ping", "1") as page:
        page.run("""
            const one = await new Socket('/idle').opened;
            await Promise.race([one.closed, new Promise((resolve) => setTimeout(resolve, 3500))]);  // three pings
            check(!one.end, `closed with ${one.end?.code}`);
            one.socket.send('still here');
            check(await one.next() === 'still here', 'the message did not come back');""")


def test_a_tab_that_is_closed_closes_its_websockets():
    with Page() as page:
        tab, page.tab = page.tab, Browser.browser.new_tab()  # (a page that is left, but not closed, may be kept with them)
        page.tab.open(page.site.url + "/page")
        page.run("window.kept = await Promise.all([1, 2, 3].map((number) => new Socket('/left').opened));")
        page.tab.close()
        page.tab = tab
        for _ in range(3):
            page.site.expect(r"/left closed (1001|1005|1006) .*")


def test_a_server_that_stops_says_so_and_one_that_is_killed_does_not():
    for kill, expected in ((False, [1001, True]), (True, [1006, False])):
        with Page() as page:
            page.run("window.one = await new Socket('/echo').opened;")
            page.site.kill() if kill else page.site.process.terminate()
            end = page.run("const end = await window.one.closed; return [end.code, end.wasClean];")
            check(end == expected, f"{end}")
            page.site.process.wait(LIMIT_SECONDS)


def test_pages_of_other_sites_may_not_open_websockets():
    with Page() as page, Server("peer") as other:
        opened = page.run("return await new Socket(`ws://127.0.0.1:${arguments[0]}/`).opened.then(() => true, () => false);", other.port)
        check(not opened, "it was opened")
        page.run("await (await new Socket('/echo').opened).close();")


if __name__ == "__main__":
    webdriver.adopt_orphans()
    try:
        peers.main(__doc__, globals(), failures=(webdriver.Failure,))
    finally:
        Browser.end()
