#!/usr/bin/env python3
"""Stands between a program and PostgreSQL, and cuts the connection at chosen points of its transactions.

usage: severed.py PORT SERVER-PORT TOLD --times N --mute N --silent SECONDS [--early] [--seed N]

Each transaction that asks for its sink's mark is the commit of an epoch (FOR UPDATE) or shows rows within one (FOR SHARE). What is done
to it is a line of the file TOLD, `epoch FAULT` or, with --early, `early FAULT`, written once it has happened. N times each, and then no more:
  middle      half of a message is passed on behind the mark and before COMMIT, and the connection is cut
  swallowed   COMMIT is not passed on, and the connection is cut
  unknown     COMMIT is passed on, and the connection is cut at once
  unanswered  COMMIT is passed on, the server says that it is done, and the connection is cut in place of the answer
  silent      nothing comes through for so many seconds, and then it goes on
Beside these, `connection mute`: a new connection is taken and never answered, until the other side gives up.
`epoch known`: the commit that came after an unanswered one has found its mark, and rolled back. `epoch repeated`: it has not.
Half of the cuts are resets. Understands the protocol without TLS only.
"""

import argparse
import asyncio
import random
import socket
import struct
import sys
from collections import Counter

FAULTS = ("middle", "swallowed", "unknown", "unanswered", "silent")
SSL_REQUEST = 80877103


class Severed(Exception):
    """The connection is to be cut now."""


class Plan:
    """What is still to happen, and what has happened."""

    def __init__(self, options):
        self.rnd = random.Random(options.seed)
        kinds = ("epoch", "early") if options.early else ("epoch",)
        self.wanted = {(kind, fault): options.times for kind in kinds for fault in FAULTS}
        self.mute = options.mute
        self.silent = options.silent
        self.told = open(options.told, "a", buffering=1)
        self.done = Counter()
        # Silences that go on.
        self.under_way = Counter()
        # An epoch is committed, and its sink does not know.
        self.in_doubt = False

    def draw(self, kind):
        """A fault for two transactions of three, so that what comes after one is met too: the one that is most wanted."""
        had = self.done + self.under_way
        left = [fault for fault in FAULTS if had[kind, fault] < self.wanted.get((kind, fault), 0)]
        if not left or self.rnd.random() < 1 / 3:
            return None
        least = min(had[kind, fault] for fault in left)
        return self.rnd.choice([fault for fault in left if had[kind, fault] == least])

    def is_mute(self):
        # Not the first connections: a run that begins waits for as long as it takes.
        cuts = sum(self.done.values())
        return self.mute > 0 and cuts >= 4 and self.rnd.random() < 0.3

    def happened(self, kind, fault):
        self.done[kind, fault] += 1
        self.told.write(f"{kind} {fault}\n")


class Link:
    def __init__(self, plan, client, server):
        self.plan = plan
        (self.from_client, self.to_client), (self.from_server, self.to_server) = client, server
        self.kind = self.fault = None
        # Messages of a transaction that still come through before its fault.
        self.passes = 0
        # Answers come through while it is set.
        self.open = asyncio.Event()
        self.open.set()
        # Set once the server has said that the COMMIT of a fault is done, in place of the answer.
        self.answered = None

    def cut(self):
        reset = self.plan.rnd.random() < 0.5
        for side in (self.to_client, self.to_server):
            if reset:
                side.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            side.transport.abort()

    async def carry(self):
        while True:
            length, code = struct.unpack("!II", await self.from_client.readexactly(8))
            first = await self.from_client.readexactly(length - 8)
            if code != SSL_REQUEST:
                break
            self.to_client.write(b"N")
        if self.plan.is_mute():
            self.plan.mute -= 1
            while await self.from_client.read(4096):
                pass
            self.plan.happened("connection", "mute")
            return
        self.to_server.write(struct.pack("!II", length, code) + first)
        both = [asyncio.create_task(self.ask()), asyncio.create_task(self.answer())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            for ended in await asyncio.gather(*both, return_exceptions=True):
                if isinstance(ended, Exception) and not isinstance(ended, (Severed, OSError, asyncio.IncompleteReadError)):
                    raise ended

    async def ask(self):
        while True:
            head = await self.from_client.readexactly(5)
            body = await self.from_client.readexactly(struct.unpack("!I", head[1:])[0] - 4)
            await self.meet(head, body)
            self.to_server.write(head + body)
            await self.to_server.drain()

    async def meet(self, head, body):
        plan, text = self.plan, body.rstrip(b"\0") if head[:1] == b"Q" else b""
        if text.startswith(b"BEGIN"):
            self.kind = self.fault = None
            if b"SELECT epoch, generation" in text:
                self.kind = "early" if text.endswith(b" FOR SHARE") else "epoch"
                # So many messages are let through: those of an epoch send its rows first, and there are more of them.
                self.fault, self.passes = plan.draw(self.kind), plan.rnd.randrange(9 if self.kind == "early" else 30)
        elif text == b"ROLLBACK":
            if self.kind == "epoch" and plan.in_doubt:
                plan.in_doubt = False
                plan.happened("epoch", "known")
            self.kind = self.fault = None
        elif text.endswith(b"COMMIT"):
            await self.meet_commit(head + body)
        elif self.fault in ("middle", "silent"):
            self.passes -= 1
            if self.passes < 0:
                await self.disturb(head + body)

    async def disturb(self, message):
        fault, self.fault = self.fault, None
        if fault == "silent":
            await self.be_silent()
            return
        self.to_server.write(message[: len(message) // 2])
        await self.to_server.drain()
        self.plan.happened(self.kind, fault)
        raise Severed

    async def meet_commit(self, message):
        plan, kind, fault = self.plan, self.kind, self.fault
        self.kind = self.fault = None
        if kind == "epoch" and plan.in_doubt:
            plan.in_doubt = False
            plan.happened(kind, "repeated")
        if fault == "silent":
            # There were fewer messages than were to pass: then COMMIT is the one that is held up.
            self.kind = kind
            await self.be_silent()
            return
        if fault in (None, "middle"):
            return
        if fault == "unanswered":
            self.answered = asyncio.get_running_loop().create_future()
        if fault != "swallowed":
            self.to_server.write(message)
            await self.to_server.drain()
        if fault == "unanswered":
            if not await self.answered:
                raise Severed
            plan.in_doubt = plan.in_doubt or kind == "epoch"
        plan.happened(kind, fault)
        raise Severed

    async def be_silent(self):
        plan, kind = self.plan, self.kind
        plan.under_way[kind, "silent"] += 1
        self.open.clear()
        try:
            await asyncio.sleep(plan.silent)
        finally:
            # Whoever gave up meanwhile has not met it to its end: it is to happen again.
            plan.under_way[kind, "silent"] -= 1
        self.open.set()
        plan.happened(kind, "silent")

    async def answer(self):
        while True:
            head = await self.from_server.readexactly(5)
            body = await self.from_server.readexactly(struct.unpack("!I", head[1:])[0] - 4)
            await self.open.wait()
            # What was asked before COMMIT may not be answered yet: in the transaction still, the server is ready for more.
            is_done, is_refused = (head[:1], body) == (b"C", b"COMMIT\0"), head[:1] == b"Z" and body != b"T"
            if self.answered is None or not (is_done or is_refused or self.answered.done()):
                self.to_client.write(head + body)
                await self.to_client.drain()
            elif not self.answered.done():
                self.answered.set_result(is_done)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("server", type=int)
    parser.add_argument("told")
    parser.add_argument("--times", type=int, required=True)
    parser.add_argument("--mute", type=int, required=True)
    parser.add_argument("--silent", type=float, required=True)
    parser.add_argument("--early", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    plan = Plan(options)

    async def connected(reader, writer):
        try:
            server = await asyncio.open_connection("127.0.0.1", options.server)
        except OSError:
            writer.transport.abort()
            return
        link = Link(plan, (reader, writer), server)
        try:
            await link.carry()
        except (OSError, asyncio.IncompleteReadError):
            # Either side may go at any time.
            pass
        finally:
            link.cut()

    await (await asyncio.start_server(connected, "127.0.0.1", options.port)).serve_forever()


try:
    asyncio.run(main())
except KeyboardInterrupt:
    sys.exit(130)
