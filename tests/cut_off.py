#!/usr/bin/env python3
"""Two machines with a process of one run each, and a link between them that swallows everything, in both directions or in one.

usage: cut_off.py BINARY LOG UNDISTURBED PLACE

Each machine is a network namespace with a supervisor (`tidegate cluster 1 -n 2 -p …`) in it; the link is a pair of virtual interfaces, and
storage is shared. A machine is cut off by giving the other one a wrong hardware address of it: what is sent goes onto the wire and
is dropped where it arrives. So no connection ends, no packet is refused, the interface stays up, and nothing is learnt from the system.
Checked is that both supervisors notice within NOTICED seconds, that nothing is decided while the link is away, that they go on together when
it is back, end with exit code 0, and leave what the undisturbed run leaves. Needs root or user namespaces.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from steps import Run, epochs, same, wait_for

INSIDE = "IN_OWN_NAMESPACES"
# Shorter than the longest pause before a start, 6.4 s: a process that waits for the other one is not taken for dead.
SILENCE = 3
# Both have been silent by then, and time for a slow machine.
NOTICED = 20.0
# Machine k: its address and its hardware address.
ADDRESSES = ["10.99.0.1", "10.99.0.2"]
HARDWARE = ["02:00:00:00:00:01", "02:00:00:00:00:02"]
NOBODY = "02:00:00:00:00:99"


class Machine:
    """A network namespace: that of a process which does nothing."""

    def __init__(self, number):
        self.number = number
        # It ends with us, whose end of the pipe it waits for.
        self.holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        ours = os.readlink("/proc/self/ns/net")
        wait_for("a namespace", lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != ours)

    def inside(self, *command):
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *command]

    def does(self, *command):
        subprocess.run(self.inside(*command), check=True)

    def knows(self, hardware):
        """Where it sends what is for the other one."""
        self.does("ip", "neigh", "replace", ADDRESSES[1 - self.number], "lladdr", hardware, "dev", "wire", "nud", "permanent")


def wire(machines):
    pair = ["ip", "link", "add", "name", "wire", "address", HARDWARE[0], "type", "veth"]
    machines[0].does(*pair, "peer", "name", "wire", "address", HARDWARE[1], "netns", str(machines[1].holder.pid))
    for machine in machines:
        for words in ("addr add %s/24 dev wire" % ADDRESSES[machine.number], "link set wire up", "link set lo up"):
            machine.does("ip", *words.split())
        machine.knows(HARDWARE[1 - machine.number])


def turns(run):
    return [line for line in run.said().splitlines() if "again from the last checkpoint" in line]


def main():
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        os.execvp("unshare", ["unshare", *rights, "--net", sys.executable, *sys.argv])
    binary, log, undisturbed, work = sys.argv[1], *map(Path, sys.argv[2:])
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    out, hosts = work / "out", work / "hosts"
    checkpoint = Path(f"{out}.checkpoint/activity")
    hosts.write_text("".join(f"{address}:2101\n" for address in ADDRESSES))
    machines, runs = [], []

    def newest():
        return max(epochs(checkpoint), default=0)

    def go_on():
        begun = newest()
        wait_for("both go on", lambda: newest() >= begun + 2, runs=runs)

    def cut_off(what, machines_that_lose):
        go_on()
        before = [len(turns(run)) for run in runs]
        began = time.monotonic()
        for machine in machines_that_lose:
            machine.knows(NOBODY)
        wait_for(f"both notice: {what}", lambda: all(len(turns(run)) > count for run, count in zip(runs, before)), NOTICED, runs)
        print(f"{what}: noticed by both after {time.monotonic() - began:.1f} s: {turns(runs[0])[-1].strip()}")
        silent = 0
        for machine, run in zip(machines, runs):
            told = turns(run)[-1]
            if f"process {machine.number} " not in told:
                sys.exit(f"machine {machine.number} names another process than its own: {told}")
            silent += "has shown no sign of life" in told
        # Where one direction works, the end of a process that was given up for silence comes through, and may be what the other one notices.
        if silent < (2 if machines_that_lose == machines else 1):
            sys.exit(f"{what}: not noticed by silence: {[turns(run)[-1] for run in runs]}")
        # Nobody decides alone: they do not even begin.
        decided = newest()
        time.sleep(1)
        if newest() != decided:
            sys.exit(f"epoch {newest()} is decided without the other machine")
        for machine in machines:
            machine.knows(HARDWARE[1 - machine.number])

    try:
        for number in (0, 1):
            machines.append(Machine(number))
        wire(machines)
        for machine in machines:
            command = [binary, "cluster", "1", "-n", "2", "-p", machine.number, "-h", hosts, "--silence", f"{SILENCE}s", "--restarts", "30"]
            command += ["run", "activity", "--fixture", log, "--out", out, "--web", "off", "--epoch", "50ms", "--batch", "64"]
            here = {**os.environ, "TMPDIR": str(work)}
            runs.append(Run(machine.inside(*map(str, command)), work / f"machine-{machine.number}.log", env=here))
        cut_off("nothing comes through", machines)
        cut_off("nothing comes from the first", machines[:1])
        cut_off("nothing comes from the second", machines[1:])
        go_on()
        for run in runs:
            run.ends(0)
    finally:
        for run in runs:
            run.kill()
        for machine in machines:
            machine.holder.kill()
    same(undisturbed, out)
    shutil.rmtree(work)


main()
