#!/usr/bin/env python3
"""A file system that is full while a run goes on: checkpoint, output, or what memory does not hold.

usage: full_disk.py TEST BINARY LOG UNDISTURBED PLACE

TEST is what lies on a small file system of its own:
  checkpoint  it is waited for: the run names the file, says so, and decides nothing meanwhile; with more room it goes on by itself. Killed
              while it waits, the next start goes on from what is whole
  output      what is full while an epoch ends is waited for; what is full while its rows are staged ends the run with exit code 1, which
              names the file and says what to do. With more room the next start goes on
  spill       it is not waited for: state that finds no room stays in memory, a warning says so, and the run comes to its end
What is left is each time what the undisturbed run leaves. LOG is a fixture of activity that takes some seconds. Needs root or user
namespaces.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from steps import Run, epochs, same, wait_for

INSIDE = "IN_OWN_MOUNT_NAMESPACE"


def mount(small, size, *more):
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join([*more, f"size={size}"]), "tidegate", small], check=True)


class Place:
    def __init__(self, binary, log, undisturbed, work):
        self.binary, self.log, self.undisturbed, self.work = binary, log, undisturbed, work
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        self.small = work / "small"
        self.small.mkdir()

    def start(self, out, checkpoint, *more, **environment):
        command = [self.binary, "run", "activity", "--fixture", self.log, "--out", out, "--checkpoint", checkpoint, "--web", "off"]
        return Run([*command, "--epoch", "100ms", "-w", "2", *more], self.work / "run.log", env={**os.environ, **environment})

    def says_so(self, run):
        """That there is no room, and where; whether it waits, and does not end."""

        def said():
            lines = run.said().splitlines()
            return [line for line in lines if "No space left" in line and ("WARN" in line and "again" in line or line.startswith("error"))]

        print(line := wait_for("it says that there is no room", said)[0])
        if f'"{self.small}' not in line:
            run.fail("it does not name the file")
        if "WARN" in line:
            return True
        run.ends(1, "(?m)^  mend: .*space")
        return False

    def waits(self, run, checkpoint):
        """It decides nothing meanwhile."""
        decided = epochs(checkpoint)
        # Longer than an epoch and than the first tries.
        time.sleep(1)
        if run.process.poll() is not None:
            run.fail(f"it has ended with {run.process.returncode}")
        if epochs(checkpoint) != decided:
            run.fail(f"it has decided {epochs(checkpoint)} where there were {decided}")

    def goes_on(self, out, checkpoint):
        """What is there is whole; with room for all the next start comes to the end."""
        verify = [self.binary, "checkpoint", "verify", "--checkpoint", checkpoint]
        if epochs(checkpoint / "activity"):
            subprocess.run(verify, check=True)
        mount(self.small, "2g", "remount")
        self.start(out, checkpoint).ends(0)
        subprocess.run(verify, check=True)
        same(self.undisturbed, out)


def test_checkpoint(place):
    out, checkpoint = place.work / "out", place.small / "checkpoint"
    mount(place.small, "6m")
    run = place.start(out, checkpoint)
    if not place.says_so(run):
        run.fail("it does not wait")
    place.waits(run, checkpoint / "activity")
    # Killed while it waits, the next one waits as well.
    run.kill()
    run = place.start(out, checkpoint)
    if not place.says_so(run):
        run.fail("the next one does not wait")
    decided = max(epochs(checkpoint / "activity"), default=0)
    mount(place.small, "64m", "remount")
    wait_for("it goes on", lambda: max(epochs(checkpoint / "activity"), default=0) > decided)
    wait_for("it says so", lambda: "works again" in run.said())
    run.kill()
    place.goes_on(out, checkpoint)


def test_output(place):
    out, checkpoint = place.small / "out", place.work / "checkpoint"
    mount(place.small, "24m")
    # In small steps, so that the first epoch finds room.
    run = place.start(out, checkpoint, "--batch", "64")
    # It may not even come so far.
    wait_for("an epoch, or the end", lambda: epochs(checkpoint / "activity") or run.process.poll() is not None)
    if place.says_so(run):
        place.waits(run, checkpoint / "activity")
        run.kill()
    place.goes_on(out, checkpoint)


def test_spill(place):
    # Only what is spilt lies there. Little memory, so that there is much of it.
    out = place.work / "out"
    spill = out / ".tidegate/spill"
    run = place.start(out, place.work / "checkpoint")
    wait_for("an epoch", lambda: epochs(place.work / "checkpoint/activity"), runs=[run])
    run.process.send_signal(signal.SIGTERM)
    run.ends(0)
    spill.mkdir(exist_ok=True)
    mount(spill, "1m")
    place.small = spill
    run = place.start(out, place.work / "checkpoint", TIDEGATE_MEMORY_LIMIT="4MiB")
    run.ends(0, "WARN.*No space left|WARN.*no space")
    print([line for line in run.said().splitlines() if "WARN" in line][0])
    same(place.undisturbed, out)


def main():
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        os.execvp("unshare", ["unshare", *rights, "--mount", sys.executable, *sys.argv])
    test, binary, log, undisturbed, work = sys.argv[1:]
    tests = {"checkpoint": test_checkpoint, "output": test_output, "spill": test_spill}
    place = Place(binary, Path(log), Path(undisturbed), Path(work))
    tests[test](place)
    # What is mounted goes with the namespace.
    subprocess.run(["umount", "-l", place.small], check=True)
    shutil.rmtree(work)


main()
