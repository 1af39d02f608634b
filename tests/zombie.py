#!/usr/bin/env python3
"""A run that is taken for dead and is not: it stands still in the middle of an epoch, another one takes over and goes on, and then it
wakes up. It must commit nothing.

usage: zombie.py [--configured] [--broker PID] TEST BINARY LOG UNDISTURBED PLACE [-- RUN-ARGUMENTS...]

TEST says where in its epoch it stands still:
  staged    its output is staged, its state may be, and nothing is decided
  deciding  its state is written or half written, its manifest is not
  decided   its manifest is written, and no sink has committed it: whoever takes over commits it
  sending   other embedded sinks have committed it, and Kafka has not (with --configured and --broker PID)
LOG is a fixture of activity that takes some seconds, UNDISTURBED what its replay has left; with --configured they are not looked at,
the input and the sinks are those of the settings and RUN-ARGUMENTS, and what is left is for somebody else to compare.
PLACE, a directory, is made, and removed at the end, but for what a configured run has left in it.

Two runs on one machine are kept apart by locks, which end with their processes: the one that takes over is refused as long as the other
stands still. On storage that several machines share, a lock ends with its lease, and the one that stood still does not hear of it. Here
the lock's files are removed, which comes to the same.
"""

import argparse
import atexit
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from steps import HERE, Run, epochs, same, wait_for

# How many epochs more the one that takes over decides before the other wakes up, how long its epochs are, and whether it is killed then:
# whoever comes after it finds what the other may have written.
ROUNDS = [(3, "50ms", False), (0, "1s", True)]
# How long whatever is forced to the disk takes longer while a run is to be met at a place: a fast disk is past it within a millisecond.
SLOW_MS = 25


class Place:
    def __init__(self, options):
        self.options, self.work = options, options.place
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.slow = self.work / "slow_disk.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", self.slow, HERE / "slow_disk.c", "-ldl"], check=True)
        self.out = self.work / "out"
        self.checkpoint = (self.out / "checkpoint" if options.configured else self.work / "out.checkpoint") / "activity"
        self.mirror = self.out / ".tidegate/manifests/activity"
        self.locks = [self.checkpoint / "lock", self.out / ".tidegate/lock"]
        self.starts = 0

    def start(self, epoch="50ms", batch="64", slow=True):
        self.starts += 1
        to = options_of(self.options, self.out)
        environment = {**os.environ}
        if self.options.configured:
            environment |= {"TIDEGATE_DATA": str(self.out), "TIDEGATE_CHECKPOINT": str(self.checkpoint.parent)}
        if slow:
            environment |= {"LD_PRELOAD": str(self.slow.resolve()), "SLOW_MS": str(SLOW_MS)}
        command = [self.options.binary, "run", *to, "--web", "off", "--epoch", epoch, "--batch", batch, "-w", str(1 + self.starts % 2)]
        return Run(command, self.work / f"start-{self.starts}.log", env=environment)

    def decided(self):
        return max(epochs(self.checkpoint), default=0)

    def broker(self, told):
        """Tells Kafka's broker to stand still or to go on, where it is known."""
        if self.options.broker:
            os.kill(self.options.broker, told)

    def found(self, name):
        """Every file or directory of this name: while a run goes on, what is looked through may go."""
        walked = [(folder, folders + files) for folder, folders, files in os.walk(self.out) if Path(folder).parent.name != "staging"]
        return [Path(folder) / name for folder, names in walked if name in names]

    def staged(self):
        """The epochs of which some output is staged and not committed."""
        return {int(name.split("-")[0]) for staging in self.found("staging") for name in os.listdir(staging)}

    def holds_only_its_places(self, run):
        """Whoever stands still with a lock of a sink holds up everybody: that is another trial than this."""
        held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        own = {path.stat().st_ino for path in self.locks}
        return all(int(words[5].split(":")[2]) in own for words in held if words[4] == str(run.process.pid))

    def stands_still(self, run, where):
        """Stops the run at a place: looks until it is there, stops it, and looks again."""
        seen = where()
        if not seen:
            return None
        run.process.send_signal(signal.SIGSTOP)
        wait_for("it is stopped", lambda: Path(f"/proc/{run.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T")
        if where() == seen and self.holds_only_its_places(run):
            return seen
        run.process.send_signal(signal.SIGCONT)
        return None

    def marks(self):
        """The newest epoch in each embedded sink."""
        found = [json.loads(path.read_text())["epoch"] or 0 for path in self.found("mark.json")]
        if (tables := self.out / "tables.sqlite").exists():
            rows = sqlite3.connect(f"file:{tables}?mode=ro", uri=True).execute("SELECT epoch FROM tidegate_epochs").fetchall()
            found += [epoch or 0 for (epoch,) in rows]
        return found

    def content(self):
        """Every file but those that no reader looks at: of what is staged, and of what is not whole yet."""
        found = {}
        for root in (self.out, self.checkpoint):
            for path in root.rglob("*"):
                if path.is_file() and "staging" not in path.parts and path.suffix not in (".tmp", ".sqlite-shm"):
                    found[str(path.relative_to(self.work))] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found


def changes(before, after, at, was_decided):
    """Files that are others than before, but for what the step that stood still was about, which nobody relies on any more."""

    def matters(name):
        kind, epoch = re.match(r"([a-z]*)-?(\d*)", Path(name).name).groups()
        # A file of state that no manifest names; older manifests that go; the same decision once more, which is visible everywhere.
        old = kind == "manifest" and int(epoch) < at and name not in after
        return not (old or kind == "delta" and name not in before or was_decided and kind == "manifest" and int(epoch) == at)

    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name) and matters(name))


def options_of(options, out):
    return options.arguments if options.configured else ["activity", "--fixture", options.log, "--out", out]


def where(test, place):
    """What tells that a run is at the place that the test is about: the epoch, which has some output, or nothing."""
    def staged():
        # The one before is all done, and this one is not decided.
        decided = place.decided()
        done = decided in epochs(place.mirror) and set(place.marks()) == {decided}
        begun = any(place.checkpoint.glob(f"manifest-{decided + 1:010}*"))
        return decided + 1 if place.staged() == {decided + 1} and done and not begun else None

    def deciding():
        epoch = place.decided() + 1
        state, manifest = (any(place.checkpoint.glob(f"{kind}-{epoch:010}*")) for kind in ("delta", "manifest"))
        return epoch if state and not manifest and epoch in place.staged() else None

    def decided():
        epoch = place.decided()
        done = epoch in epochs(place.mirror) or epoch in place.marks()
        return epoch if epoch in place.staged() and not done else None

    def sending():
        # Sinks commit beside each other: from when it is decided on Kafka's broker stands still, until the others are done. This run has sent
        # something before: whoever only now takes the id of its transactions over, after it has looked at the mark, would end the one that
        # has it.
        epoch, marks = place.decided(), [json.loads(path.read_text()) for path in place.found("mark.json")]
        late = [mark for mark in marks if mark["epoch"] == epoch - 1 and mark["generation"] == place.starts]
        if epoch in place.staged() and late:
            place.broker(signal.SIGSTOP)
            return epoch if len(late) == 1 and len(marks) > 1 else None
        place.broker(signal.SIGCONT)
        return None

    return {"staged": staged, "deciding": deciding, "decided": decided, "sending": sending}[test]


def trial(options):
    place = Place(options)
    run = place.start()
    for more, epoch, killed in ROUNDS:
        begun = place.decided()
        wait_for("epochs are decided", lambda: place.decided() >= begun + 2, runs=[run])
        at = wait_for(f"it is at: {options.test}", lambda: place.stands_still(run, where(options.test, place)), runs=[run])
        place.broker(signal.SIGCONT)
        zombie = run
        place.start().ends(2, "is in use by another process")
        place.starts -= 1
        for lock in place.locks:
            lock.unlink()
        run = place.start(epoch)
        wait_for("the next one goes on", lambda: all(mark >= at + more for mark in place.marks()), runs=[run])
        # Stopped too, so that whatever changes is the zombie's doing.
        wait_for("the next one pauses", lambda: place.stands_still(run, place.decided), runs=[run])
        before = place.content()
        zombie.process.send_signal(signal.SIGCONT)
        zombie.ends(1, "(?m)^error: .* was taken over by generation [0-9]+; this run is generation [0-9]+$")
        print(f"epoch {at}, then {place.decided()}: {[line for line in zombie.said().splitlines() if line.startswith('error')][-1]}")
        if changed := changes(before, place.content(), at, options.test == "decided"):
            zombie.fail(f"it has changed {changed}")
        if killed:
            run.kill()
            run = place.start()
        run.process.send_signal(signal.SIGCONT)
    begun = place.decided()
    wait_for("it goes on", lambda: place.decided() > begun, runs=[run])
    run.process.send_signal(signal.SIGTERM)
    run.ends(0)
    # The rest, as fast as can be.
    run = place.start("200ms", "4096", slow=False)
    run.ends(0)
    if not options.configured:
        same(options.undisturbed, place.out)
        shutil.rmtree(place.work)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("test")
    parser.add_argument("binary")
    parser.add_argument("log")
    parser.add_argument("undisturbed")
    parser.add_argument("place", type=Path)
    parser.add_argument("--configured", action="store_true")
    parser.add_argument("--broker", type=int)
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    if options.broker:
        # It is not to stand still for good, whatever happens here.
        atexit.register(os.kill, options.broker, signal.SIGCONT)
    for left in reversed(range(1 if options.configured else 5)):
        try:
            return trial(options)
        except SystemExit as missed:
            # The moment is short: the log may have ended before it was met.
            if not left or "before: it is at" not in str(missed):
                raise


main()
