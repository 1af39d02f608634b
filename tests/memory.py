"""Runs a command that is killed once while it holds more state than its memory limit, and started again; says what it took.

usage: memory.py LIMIT_MIB MOST_MIB COMMAND...     LIMIT_MIB is what the settings of COMMAND say
Ends with 0 if COMMAND did, had at least three times LIMIT_MIB on disk when it was killed and once again after it had been started,
and took no more than MOST_MIB of memory of its own while state was on disk (what the kernel calls anonymous; files that are read are
not counted). When the input has ended all of it becomes rows at once, and the limit is none of rows.
"""
import os
import signal
import subprocess
import sys
import time

limit, most, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]


def own_mib(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) // 1024
    return 0


def spilt_mib(pid):
    """What lies in files that have no name: state that is on disk."""
    sizes = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        file = f"/proc/{pid}/fd/{name}"
        try:
            if "tidegate-spill" in os.readlink(file):
                sizes += os.stat(file).st_size
        except OSError:
            pass  # Closed meanwhile.
    return sizes >> 20


def live(until):
    """Starts it, and returns it with its peaks once `until` says so or it has ended."""
    run = subprocess.Popen(command)
    peak = spilt = 0
    while run.poll() is None and not until(spilt):
        try:
            now = spilt_mib(run.pid)
            spilt = max(spilt, now)
            if now >= limit or spilt < 3 * limit:
                peak = max(peak, own_mib(run.pid))
        except OSError:
            pass  # It has just ended.
        time.sleep(0.02)
    return run, peak, spilt


run, peak, spilt = live(lambda spilt: spilt >= 3 * limit)
print(f"until it was killed: {peak} MiB of memory, {spilt} MiB on disk", flush=True)
if run.poll() is not None:
    sys.exit("it has ended before so much was on disk")
run.send_signal(signal.SIGKILL)
run.wait()

run, again, spilt_again = live(lambda _: False)
print(f"after that: {again} MiB of memory, {spilt_again} MiB on disk, exit code {run.returncode}")
if run.returncode != 0 or spilt_again < 3 * limit or max(peak, again) > most:
    sys.exit(f"wanted: exit code 0, at least {3 * limit} MiB on disk, at most {most} MiB of memory")
