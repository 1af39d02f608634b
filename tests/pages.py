#!/usr/bin/env python3
"""The page of a cluster: process 0 shows all processes, each serves its own metrics on a port of its own, and the log says which.

usage: pages.py BINARY FIXTURE DIR
"""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

PATIENCE = 90.0


def two_ports():
    """Two free ports that follow each other."""
    for first in range(24140, 24900, 2):
        try:
            for port in (first, first + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            pass
    sys.exit("no two ports are free")


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read().decode()


def wait_for(what, condition, run, said):
    """What the condition gives in the end: it is asked again while it gives nothing or nobody answers yet."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if found := condition():
                return found
        except OSError:
            pass  # Nobody listens yet.
        if run.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"it does not happen: {what}\n{''.join(said)}")
        time.sleep(0.05)


def read_records(metrics):
    found = re.findall(r"^tidegate_source_records_read_total\{.*\} (\d+)$", metrics, re.M)
    return sum(map(int, found))


def main():
    binary, fixture, place = sys.argv[1:]
    port, said = two_ports(), []
    command = [binary, "cluster", "2", "run", "activity", "--fixture", fixture, "--out", place, "--epoch", "200ms", "-w", "1"]
    # As slow as its records came, many times over: it is still at work when it is looked at.
    command += ["--speed", "60x", "--web", f"127.0.0.1:{port}"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    threading.Thread(target=lambda: said.extend(run.stderr), daemon=True).start()
    try:

        def both():
            for pipeline in json.loads(get(port, "/api/v1/state"))["pipelines"]:
                if len([line for line in pipeline["processes"] if line["records"] > 0]) == 2:
                    return pipeline
            return None

        pipeline = wait_for("process 0 shows two processes at work", both, run, said)
        processes = pipeline["processes"]
        assert sorted(line["process"] for line in processes) == [0, 1], processes
        assert sum(line["records"] for line in processes) == pipeline["records"], (processes, pipeline["records"])
        assert sum(line["partitions"] for line in processes) == len(pipeline["partitions"]), processes
        # A partition is read by one of them.
        own = [wait_for(f"process {p} counts what it reads", lambda: read_records(get(port + p, "/metrics")), run, said) for p in (0, 1)]
        now = wait_for("process 0 hears of it", lambda: (found := both()) and found["records"] >= sum(own) and found, run, said)
        print(f"processes 0 and 1 read {own[0]} and {own[1]} records, process 0 shows {now['records']} a moment later")
        for p in (0, 1):
            url = f"on http://127.0.0.1:{port + p}"
            assert any(url in line for line in said), f"the log does not say {url}:\n{''.join(said)}"
    finally:
        run.send_signal(signal.SIGTERM)
    if run.wait(60) != 0:
        sys.exit(f"exit code {run.returncode} after SIGTERM\n{''.join(said)}")


main()
