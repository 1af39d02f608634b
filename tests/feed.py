#!/usr/bin/env python3
"""A GTFS-Realtime feed that is served badly, polled by `tidegate produce gtfs`, and what comes of it in a topic.

usage: feed.py BINARY SERVERS TOPIC FIXTURE RECORDED
    FIXTURE has whole snapshots in its first partition; they are served with answers in between that are no snapshots. RECORDED is
    where the topic is recorded to then. Exits 0 when each entity of each snapshot is one record, in order by its key.
"""

import gzip
import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

KEY = "a-key-of-the-feed"
SLOW = 1.5


def payload(record):
    import base64

    return base64.b64decode(record["payload_base64"]) if "payload_base64" in record else record["payload"].encode()


def lines(folder):
    for path in sorted(pathlib.Path(folder).rglob("*.jsonl")):
        yield from map(json.loads, path.read_text().splitlines())


def script(snapshots):
    """What is answered, one after the other: status, body, headers, and what else is done."""
    first, second, third = snapshots
    etag = {"ETag": '"first"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    return [
        (500, b"", {}, None),
        (200, gzip.compress(first), {**etag, "Content-Encoding": "gzip"}, None),
        (304, b"", {}, "knows"),
        (200, second, {}, "cut"),
        (200, second, {}, "slow"),
        (200, b"<html>later</html>", {}, None),
        (429, b"", {}, None),
        (200, second, {}, None),
        # The same again, from a server that does not know what it gave.
        (200, second, {}, None),
        (200, third, {}, None),
    ]


class Feed(http.server.BaseHTTPRequestHandler):
    answers, asked, wrong, done = [], 0, [], threading.Event()

    def do_GET(self):
        feed = type(self)
        if self.headers.get("X-Api-Key") != KEY:
            feed.wrong.append("a request without its key")
        if feed.asked >= len(feed.answers):
            # What the last answer has brought is written before its successor is asked for.
            feed.done.set()
            self.send_response(304)
            self.end_headers()
            return
        status, body, headers, what = feed.answers[feed.asked]
        feed.asked += 1
        if what == "knows" and self.headers.get("If-None-Match") != '"first"':
            feed.wrong.append("the second request does not name the first snapshot: %s" % self.headers)
        if what == "slow":
            time.sleep(SLOW)
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if what == "cut" else body)
            if what == "cut":
                self.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has not waited for the slow one

    def log_message(self, *_):
        pass


def main():
    binary, servers, topic, fixture, recorded = sys.argv[1:]
    snapshots = [payload(record) for record in lines(fixture) if record["key"] == "feed"][:3]
    Feed.answers = script(snapshots)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Feed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = "http://127.0.0.1:%d/vehicles.pb?token=not-to-be-shown" % server.server_address[1]
    command = [binary, "produce", "gtfs", "--url", url, "--every", "50ms", "--timeout", "%ds" % 1, "--topic", topic]
    command += ["--partitions", "3", "--bootstrap-servers", servers, "--header", "X-Api-Key: env:FEED_KEY"]
    process = subprocess.Popen(command, env={**os.environ, "FEED_KEY": KEY}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    came = Feed.done.wait(60)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0].decode()
    if not came or process.returncode != 0 or Feed.wrong:
        sys.exit("exit code %s, %d answers asked for, wrong: %s\n%s" % (process.returncode, Feed.asked, Feed.wrong, said))
    for secret in (KEY, "not-to-be-shown"):
        if secret in said:
            sys.exit("a secret is shown: %s" % said)
    subprocess.run([binary, "record", "--bootstrap-servers", servers, "--topic", topic, "--out", recorded], check=True)

    sys.path.insert(0, str(pathlib.Path(__file__).parent / "oracle"))
    import transit

    wanted, got = {}, {}
    for snapshot in snapshots:
        record = type("Record", (), {"value": snapshot, "ts_ms": 0})
        for entity, alone, _ in transit.items(record):
            wanted.setdefault(entity, []).append(alone)
    for record in sorted(lines(recorded), key=lambda record: (record["partition"], record["offset"])):
        got.setdefault(record["key"], []).append(payload(record))
    if not wanted or wanted != got:
        differ = [key for key in wanted.keys() | got.keys() if wanted.get(key) != got.get(key)]
        sys.exit("%d entities differ, such as %s" % (len(differ), differ[:5]))
    print("%d entities of 3 snapshots, each once\n%s" % (sum(map(len, wanted.values())), said))


main()
