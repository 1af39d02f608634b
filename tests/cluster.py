#!/usr/bin/env python3
"""A cluster of two processes of which one is killed, one stands still, and the link between both goes: it leaves what an
undisturbed run leaves.

usage: cluster.py BINARY LOG OUT

Starts itself again in a network namespace of its own, so that the link can be taken down without disturbing anybody. Nothing tells
the processes that it is gone: neither an end nor a reset of a connection comes through. OUT is for somebody else to compare; what is
checked here is that each fault is noticed for what it is, that all processes are started again each time, and that the run comes to
its end with exit code 0.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

PATIENCE = 120.0
INSIDE = "IN_OWN_NETWORK_NAMESPACE"


def wait_for(what, condition):
    """Until the condition gives something; there is a deadline, since what is waited for may never come."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            sys.exit(f"it does not happen: {what}")
        time.sleep(0.01)
    return found


def link(state):
    subprocess.run(["ip", "link", "set", "lo", state], check=True)


class Cluster:
    def __init__(self, binary, log, out):
        self.checkpoint = Path(f"{out}.checkpoint") / "activity"
        self.said = []
        command = [binary, "cluster", "2", "--silence", "2s", "run", "activity"]
        command += ["--fixture", log, "--out", str(out), "--epoch", "20ms", "--web", "off", "-w", "2", "--batch", "256"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
        threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True).start()

    def members(self):
        pid = self.process.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def epoch(self):
        epochs = [int(path.stem.split("-")[1]) for path in self.checkpoint.glob("manifest-*.tg")]
        return max(epochs, default=0)

    def goes_on(self):
        """Waits for two processes that have decided another epoch."""
        before = self.epoch()

        def is_on():
            if self.process.poll() is not None:
                sys.exit(f"it came to its end, {self.process.returncode}, before it could be disturbed:\n{''.join(self.said)}")
            return self.epoch() > before and len(self.members()) == 2

        wait_for("another epoch is decided", is_on)

    def notices(self, what, disturb):
        self.goes_on()
        heard = len(self.said)
        disturb(self.members())
        line = wait_for(what, lambda: next((line for line in self.said[heard:] if what in line and "again" in line), None))
        print(line.strip())


def main():
    binary, log, out = sys.argv[1:]
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        os.execvp("unshare", ["unshare", *rights, "--net", sys.executable, *sys.argv])
    link("up")
    out = Path(out)
    for folder in (out, Path(f"{out}.checkpoint")):
        shutil.rmtree(folder, ignore_errors=True)
    cluster = Cluster(binary, log, out)
    try:
        cluster.notices("ended with", lambda members: os.kill(members[1], signal.SIGKILL))
        for stands_still in (0, 1):
            cluster.notices("no sign of life", lambda members, one=stands_still: os.kill(members[one], signal.SIGSTOP))
        cluster.notices("no sign of life", lambda _: link("down"))
        link("up")
        code = cluster.process.wait(PATIENCE)
        if code != 0:
            sys.exit(f"exit code {code}:\n{''.join(cluster.said)}")
    finally:
        if cluster.process.poll() is None:
            os.killpg(cluster.process.pid, signal.SIGKILL)
    starts = sum("again from the last checkpoint" in line for line in cluster.said)
    if starts < 4:
        sys.exit(f"it was started again {starts} times:\n{''.join(cluster.said)}")


main()
