#!/usr/bin/env python3
"""Kills a run with checkpoints at random moments and starts it again, each time with other workers, until it is done.

usage: crash.py BINARY OUT SEED [--kills N] [--patience S] [--workers N,...] [--processes] [--cluster] [--damage] [--configured RESET] -- RUN-ARGUMENTS...

Most ends are SIGKILL, which alone are counted; some are SIGTERM (which must exit with 0). --workers are those that a start is drawn from (1,2,3,8). With --processes every third start is a cluster of two processes, of which one
is killed alone now and then. With --cluster every start is one: two of its processes are killed, and counted, one after the other, each alone, and all must be started again;
then the supervisor is killed, alone, and the others must end with it; each after another epoch is decided. With --damage the newest files of the checkpoint are cut, flipped, emptied or removed between starts.
With --configured the sinks are those of the settings, OUT is their data directory, and the command RESET empties them. The
output is for somebody else to compare; what is checked here is that every end is an expected one, and that at least N kills hit a run.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

STARTS = 400
ATTEMPTS = 8
WORKERS = [1, 2, 3, 8]
# Seconds that what must happen may take, on a machine that has other things to do.
PATIENCE = 120


def damage(rnd, folder):
    """Spoils the newest manifest, its copy, or a state file: never all copies of the manifest at once."""
    kind = rnd.choice(["manifest", "manifest-copy", "state"])
    names = sorted(path for path in folder.glob("*") if path.is_file())
    wanted = {
        "manifest": [path for path in names if path.suffix == ".tg" and path.name.startswith("manifest-")],
        "manifest-copy": [path for path in names if path.suffix == ".copy"],
        "state": sorted(
            (path for path in names if path.name.startswith(("state-", "delta-"))), key=lambda path: path.name.split("-", 1)[1]
        ),
    }[kind]
    if not wanted:
        return None
    # Now and then an old one, without which no checkpoint is whole: then the log is read from its beginning.
    path = wanted[0] if kind == "state" and rnd.random() < 0.2 else wanted[-1]
    how = rnd.choice(["cut", "flip", "empty", "remove"])
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: rnd.randrange(len(content) or 1)])
    elif how == "flip" and content:
        at = rnd.randrange(len(content))
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << rnd.randrange(8)]) + content[at + 1 :])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    return f"{how} {path.name}"


def numbers(text):
    return [int(word) for word in text.split(",")]


def children(pid):
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def lives(pid):
    """Whether a process is there, and not just not yet collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def give_up(process, why):
    os.killpg(process.pid, signal.SIGKILL)
    # Where it does not write to us, its log says more.
    sys.exit(f"{why}\n{(process.communicate()[0] or b'').decode()[-3000:]}")


def members(process, former):
    """Waits for two processes that are none of the former ones; none where the run has come to its end."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None:
        now = children(process.pid)
        if len(now) == 2 and not former & set(now):
            return now
        if time.monotonic() > deadline:
            give_up(process, "the supervisor does not start two processes")
        time.sleep(0.01)
    return []


def newest(folder):
    """The newest epoch that is decided."""
    return max((int(path.stem.split("-")[1]) for path in folder.glob("manifest-*.tg")), default=0)


def goes_on(process, folder):
    """Waits for another epoch, or the end."""
    before, deadline = newest(folder), time.monotonic() + PATIENCE
    while process.poll() is None and newest(folder) == before:
        if time.monotonic() > deadline:
            give_up(process, "no other epoch is decided")
        time.sleep(0.01)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("out", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--patience", type=float, default=0.5, help="seconds that the first start lives, at most")
    parser.add_argument("--workers", type=numbers, default=WORKERS)
    parser.add_argument("--processes", action="store_true")
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("--damage", action="store_true")
    parser.add_argument("--configured")
    parser.add_argument("arguments", nargs="+")
    options = parser.parse_args()
    rnd = random.Random(options.seed)
    patience = options.patience
    # How fast a machine is decides how far a run gets between two kills, and must not decide the outcome: a run that is done
    # before it was killed often enough is begun anew and given half the time, and epochs of half the time: between two kills of members of
    # a cluster there is one.
    for _ in range(ATTEMPTS):
        if attempt(options, rnd, patience):
            return
        patience /= 2
        options.arguments = shorter(options.arguments)
    sys.exit(f"it always came to its end before {options.kills} kills: give it more to do")


def shorter(arguments):
    """The same with epochs of half the time, where they are given in ms and are long enough."""
    at = arguments.index("--epoch") + 1 if "--epoch" in arguments else 0
    ms = int(arguments[at].removesuffix("ms")) if at and re.fullmatch(r"\d+ms", arguments[at]) else 0
    return [*arguments[:at], f"{ms // 2}ms", *arguments[at + 1 :]] if ms >= 10 else arguments


def attempt(options, rnd, patience):
    """One run from the beginning to its end; whether it was killed often enough on the way."""
    checkpoint = options.out / "checkpoint" if options.configured else Path(f"{options.out}.checkpoint")
    for folder in (options.out, checkpoint):
        shutil.rmtree(folder, ignore_errors=True)
    if options.configured:
        subprocess.run(options.configured, shell=True, check=True)
    to = [] if options.configured else ["--out", str(options.out)]
    environment = {**os.environ, **({"TIDEGATE_DATA": str(options.out), "TIDEGATE_CHECKPOINT": str(checkpoint)} if options.configured else {})}
    kills = 0
    for start in range(STARTS):
        workers = rnd.choice(options.workers)
        run = ["run", *options.arguments, *to, "-w", str(workers)]
        is_cluster = options.cluster or (options.processes and start % 3 == 2)
        command = [options.binary, *(["cluster", "2"] if is_cluster else []), *run]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, env=environment)
        former = set()
        while True:
            if options.cluster and kills < options.kills:
                goes_on(process, checkpoint / options.arguments[0])
            # Once there were enough kills it may come to its end.
            limit = rnd.uniform(0.3, 1.0) * patience if kills < options.kills else 120
            try:
                said, _ = process.communicate(timeout=limit)
                if process.returncode != 0:
                    sys.exit(f"start {start}, {workers} workers: exit code {process.returncode}\n{said.decode()[-3000:]}")
                if kills < options.kills:
                    print(f"done after {kills} kills, before {options.kills}: once more, with half the time")
                    return False
                print(f"done after {kills} kills in {start + 1} starts")
                return True
            except subprocess.TimeoutExpired:
                pass
            if not options.cluster or len(former) == 4:
                break
            # One dies, and the others of its start with it; what comes next is killed later.
            now = members(process, former)
            if now:
                former |= set(now)
                os.kill(rnd.choice(now), signal.SIGKILL)
                kills += 1
                members(process, former)
        patience *= 1.1
        kind = 0.0 if options.cluster else rnd.random()
        alone = children(process.pid) if is_cluster and not options.cluster else []
        if alone and kind < 0.5:
            # One of two dies: the supervisor starts both again.
            os.kill(rnd.choice(alone), signal.SIGKILL)
            time.sleep(0.3)
        if kind < 0.8:
            if options.cluster:
                # Nobody would start the others again, and they are in the way of the next supervisor: they end by themselves.
                left = children(process.pid)
                process.kill()
                deadline = time.monotonic() + 10
                while any(lives(pid) for pid in left):
                    if time.monotonic() > deadline:
                        os.killpg(process.pid, signal.SIGKILL)
                        sys.exit(f"start {start}: its processes outlive the supervisor")
                    time.sleep(0.01)
            else:
                os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        else:
            process.send_signal(signal.SIGTERM)
        try:
            said, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            sys.exit(f"start {start}, {workers} workers, cluster {is_cluster}: it does not end after SIGTERM")
        # A signal that comes before the program listens ends it as signals do.
        if kind >= 0.8 and process.returncode not in (0, -signal.SIGTERM):
            sys.exit(f"start {start}: exit code {process.returncode} after SIGTERM\n{said.decode()[-3000:]}")
        spoilt = damage(rnd, checkpoint / options.arguments[0]) if options.damage and rnd.random() < 0.5 else None
        print(f"{start}: {'cluster, ' if is_cluster else ''}{workers} workers, {process.returncode}, epoch {newest(checkpoint / options.arguments[0])}{f', {spoilt}' if spoilt else ''}")
    sys.exit("it never came to its end")


if __name__ == "__main__":
    main()
