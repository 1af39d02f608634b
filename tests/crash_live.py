#!/usr/bin/env python3
"""Kills a live run at random moments while its input is written, each time with other workers, and lets the last start read the rest.

usage: crash_live.py BINARY DATA SEED --input COMMAND [--kills N] [--workers N,...] [--cluster] -- PIPELINE... FLAGS...

COMMAND writes the input, from before the first start on. Most kills come a moment after another epoch is decided, which is when sinks commit;
the others at any moment, so also while a start recovers. Some ends are SIGTERM, which must exit with 0 and are not counted. --workers are
those that starts have in turn (1,2,3,8). With --cluster every start is two processes: one is killed alone, both must be started again and go on,
and then all are killed at once. At last each PIPELINE by itself reads to the end, in the order given: a second stage what the first has left.
The sinks are those of the settings, DATA the data directory. What is left is for somebody else to compare.
"""

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import crash

# Seconds for the whole input to be written, and for the rest of it to be read.
PATIENCE = 180


class Runs:
    def __init__(self, options):
        self.options = options
        self.rnd = random.Random(options.seed)
        # Each as often as the others.
        self.turns = itertools.cycle(self.rnd.sample(options.workers, len(options.workers)))
        self.pipelines = list(itertools.takewhile(lambda word: not word.startswith("-"), options.arguments))
        self.flags = options.arguments[len(self.pipelines) :]
        self.checkpoint = options.data / "checkpoint"
        self.environment = {**os.environ, "TIDEGATE_DATA": str(options.data), "TIDEGATE_CHECKPOINT": str(self.checkpoint)}
        options.data.mkdir(parents=True, exist_ok=True)
        self.log = open(f"{options.data}.log", "ab")

    def start(self, pipelines, *flags):
        workers = next(self.turns)
        cluster = ["cluster", "2"] if self.options.cluster else []
        command = [self.options.binary, *cluster, "run", *pipelines, *self.flags, *flags, "-w", str(workers)]
        return workers, subprocess.Popen(command, stdout=self.log, stderr=self.log, start_new_session=True, env=self.environment)

    def decided(self):
        """Watched is the last: what it reads, those before it have read."""
        return self.checkpoint / self.pipelines[-1]

    def killed(self):
        """One start and its end; whether it counts."""
        rnd = self.rnd
        workers, process = self.start(self.pipelines)
        if rnd.random() < 0.3:
            time.sleep(rnd.uniform(0.05, 1.5))
        else:
            crash.goes_on(process, self.decided())
            time.sleep(rnd.uniform(0.0, 0.5))
        if self.options.cluster:
            former = set(crash.members(process, set()))
            if former:
                os.kill(rnd.choice(sorted(former)), signal.SIGKILL)
            crash.members(process, former)
            crash.goes_on(process, self.decided())
        stopped = rnd.random() < 0.2
        ended = process.poll()
        if stopped:
            process.send_signal(signal.SIGTERM)
        else:
            os.killpg(process.pid, signal.SIGKILL)
        try:
            status = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            crash.give_up(process, "it does not end after SIGTERM")
        print(f"{workers} workers, {status}, epoch {crash.newest(self.decided())}", flush=True)
        # A signal that comes before the program listens ends it as signals do.
        wanted = (0, -signal.SIGTERM) if stopped else (-signal.SIGKILL,)
        if ended is not None or status not in wanted:
            sys.exit(f"exit code {status}, where it was to be one of {wanted}")
        return not stopped

    def finish(self):
        for pipeline in self.pipelines:
            workers, process = self.start([pipeline], "--until-end")
            try:
                status = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                crash.give_up(process, f"{pipeline} does not come to its end")
            if status != 0:
                sys.exit(f"{pipeline}, {workers} workers, to the end: exit code {status}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("data", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("--input", required=True)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--workers", type=crash.numbers, default=crash.WORKERS)
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("arguments", nargs="+")
    options = parser.parse_args()
    runs = Runs(options)
    writer = subprocess.Popen(["bash", "-ec", options.input])
    kills = 0
    try:
        while kills < options.kills:
            kills += runs.killed()
        if writer.wait(PATIENCE) != 0:
            sys.exit(f"the input: exit code {writer.returncode}")
    finally:
        writer.kill()
    runs.finish()
    print(f"done after {kills} kills, {crash.newest(runs.decided())} epochs")


main()
