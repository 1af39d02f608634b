#!/usr/bin/env python3
"""Every metric that docs/metrics.md names, in a scrape of a run of all four pipelines, and the numbers in it.

usage: metrics.py BINARY

The recorded fixtures are read as fast as it goes; behind them waits a record that is thousands of years away, so that the run then stands,
with windows open. What it must count by then is in tests/expected: it was computed by others.
"""

import collections
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BARE = {key: value for key, value in os.environ.items() if not key.startswith("TIDEGATE_")}
PATIENCE = 240.0
PIPELINES = {"activity": "user_activity", "iot": "iot_data", "hydraulic": "hydraulic-PS1", "transit": "dev_topic"}
# In milliseconds: as far away as it takes to wait for it at this speed, and nearer than where times end.
FAR, SPEED = 250_000_000_000_000, "100000000x"
# What stays 0 here, since it takes a broker or a server to move it, and why.
QUIET = {
    "tidegate_source_partition_released": "of a broker's partitions alone: tests/offsets.sh",
    "tidegate_source_records_idle_total": "none was released",
    "tidegate_source_offsets_lost_total": "retention takes records of a broker alone: tests/offsets.sh",
    "tidegate_sink_failing": "embedded sinks do not go away: tests/beside.sh",
    "tidegate_sink_retries_total": "the same",
    "tidegate_sink_refused_rows_total": "by constraints that somebody has put on a server's table",
    "tidegate_ledger_unaccounted_records": "nothing is ever lost",
}


class Scrape:
    """What `/metrics` says: values by name and labels; the type of each family."""

    def __init__(self, text):
        self.types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M))
        self.helped = set(re.findall(r"^# HELP (\w+) \S", text, re.M))
        self.values = collections.defaultdict(list)
        for name, labels, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", text, re.M):
            self.values[name].append((dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)), float(value)))

    def of(self, name, **wanted):
        """The samples of a family whose labels are these."""
        return [(labels, value) for labels, value in self.values[name] if wanted.items() <= labels.items()]

    def sum(self, name, **wanted):
        found = self.of(name, **wanted)
        assert found, f"no sample of {name} with {wanted}"
        return sum(value for _, value in found)

    def by(self, name, *labels, **wanted):
        sums = collections.Counter()
        for of, value in self.of(name, **wanted):
            sums[tuple(of[label] for label in labels)] += value
        return dict(sums)


def scrape(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return Scrape(answer.read().decode())


def documented():
    """Name to type, as the documents have it."""
    return dict(re.findall(r"^\| `(tidegate_\w+)` \| (\w+) \|", (ROOT / "docs/metrics.md").read_text(), re.M))


def expected(pipeline):
    """What is known of the fixture: totals, rejected by reason, and the fates in each output."""
    totals, rejected, outputs = {}, {}, collections.defaultdict(dict)
    for line in (ROOT / f"tests/expected/{pipeline}/summary.txt").read_text().splitlines():
        words = line.split()
        if words[0] == "rejected":
            rejected[words[1]] = int(words[2])
        elif len(words) == 2:
            totals[words[0]] = int(words[1])
        else:
            outputs[words[0]][words[1]] = int(words[2])
    return totals, rejected, {name: fates for name, fates in outputs.items() if "counted" in fates}


def same(found, wanted, what):
    if isinstance(wanted, set):
        assert found == wanted, f"{what}: too many {found - wanted}, missing {wanted - found}"
    assert found == wanted, f"{what}: {found}, not {wanted}"


def shapes(now, families):
    """Each is there, is of its kind, and has moved where it can."""
    same(set(now.types), set(families), "families of the scrape")
    same(now.types, families, "their types")
    assert families.keys() <= now.helped, families.keys() - now.helped
    for name, kind in families.items():
        samples = now.of(name + ("_count" if kind == "histogram" else ""))
        assert samples, f"{name} has no sample"
        if name in QUIET:
            same({value for _, value in samples}, {0.0}, f"{name}, which cannot move here")
        if kind == "histogram":
            for labels, count in samples:
                buckets = [value for _, value in now.of(f"{name}_bucket", **labels)]
                assert buckets == sorted(buckets) and buckets[-1] == count, f"{name} {labels}: {buckets}, {count}"
                assert now.of(f"{name}_sum", **labels), f"{name} {labels} has no sum"


def counts(now, pipeline, extra):
    """Records by their fates, against what is known of the fixture; and the ledger of the contract, section 5."""
    totals, rejected, outputs = expected(pipeline)
    read, accepted = totals["read"] + extra, totals["accepted"] + extra
    same(now.sum("tidegate_source_records_read_total", pipeline=pipeline), read, f"records read of {pipeline}")
    same(now.sum("tidegate_source_records_accepted_total", pipeline=pipeline), accepted, f"records accepted of {pipeline}")
    same(now.sum("tidegate_source_records_duplicate_total", pipeline=pipeline), totals["duplicate_offsets"], f"duplicates of {pipeline}")
    same({reason: n for (reason,), n in now.by("tidegate_source_records_rejected_total", "reason", pipeline=pipeline).items() if n},
         rejected, f"rejected of {pipeline}")
    same(now.by("tidegate_ledger_records", "fate", pipeline=pipeline),
         {("read",): read, ("accepted",): accepted, ("rejected",): sum(rejected.values()), ("duplicate_offsets",): totals["duplicate_offsets"]},
         f"the ledger of {pipeline}")
    same({output for (output,) in now.by("tidegate_ledger_output_records", "output", pipeline=pipeline)}, set(outputs), f"outputs of {pipeline}")
    for output, fates in outputs.items():
        found = {fate: n for (fate,), n in now.by("tidegate_ledger_output_records", "fate", pipeline=pipeline, output=output).items()}
        same(sum(found.values()), accepted, f"the fates in {output}: {found}")
        for fate in ("late", "idle"):
            same(found[fate], fates[fate], f"{fate} in {output}")
        # What is in state will be counted, or found to be of no session.
        assert found["counted"] <= fates["counted"] + extra and found["filtered"] <= fates["filtered"], f"{output}: {found}, of {fates}"
        assert found["in_state"] > 0, f"no window of {output} is open"
    same(now.by("tidegate_ledger_unaccounted_records", "output", pipeline=pipeline), {(output,): 0.0 for output in ("", *outputs)}, "unaccounted")
    # One record waits, in one partition.
    same(now.sum("tidegate_source_lag_records", pipeline=pipeline), 1, f"lag of {pipeline}")
    for labels, end in now.of("tidegate_source_end_offset", pipeline=pipeline):
        place = {key: labels[key] for key in ("pipeline", "topic", "partition")}
        same(end - now.sum("tidegate_source_position_offset", **place), now.sum("tidegate_source_lag_records", **place), f"lag of {place}")
    same(now.sum("tidegate_watermark_holds_frontier", pipeline=pipeline), 1, f"partitions of {pipeline} that hold event time")
    same(now.sum("tidegate_pipeline_running", pipeline=pipeline), 1, f"{pipeline} runs")
    decided = now.sum("tidegate_epoch_decided_number", pipeline=pipeline)
    assert 0 < decided <= now.sum("tidegate_epoch_open_number", pipeline=pipeline), f"epochs of {pipeline}"


def text_of(seconds):
    """A time as the tables have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(seconds)) + f"{round(seconds % 1 * 1e6):06}Z"


def written(now, tables):
    """Rows in tables are the rows of outputs; figures of pipelines are those of their tables."""
    with contextlib.closing(sqlite3.connect(tables.as_uri() + "?mode=ro", uri=True)) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'") if not name.startswith("tidegate_")}
        assert len(names) > 10, names
        for name in names:
            closed, at = "true", ()
            if name == "real_time_aggregates":
                # Written in update mode: rows of open windows are there too, and not yet counted.
                closed, at = "window_end <= ?", (text_of(now.sum("tidegate_frontier_timestamp_seconds", pipeline="iot")),)
            rows = db.execute(f'SELECT count(*) FROM "{name}" WHERE {closed}', at).fetchone()[0]
            same(now.sum("tidegate_output_rows", output=name), rows, f"rows of {name}")
        newest = db.execute("SELECT window_end, pressure_mean, temperature_mean, flow_mean FROM synchronized_features ORDER BY window_start DESC LIMIT 1")
        end, *means = newest.fetchone()
        same(text_of(now.sum("tidegate_hydraulic_window_end_timestamp_seconds")), end, "the newest second of hydraulic")
        for name, mean in zip(("pressure_mean_bar", "temperature_mean_celsius", "flow_mean_liters_per_minute"), means, strict=True):
            same(now.sum(f"tidegate_hydraulic_{name}"), mean, name)
        same(now.by("tidegate_hydraulic_anomalies_total", "rule", "severity"),
             {(rule, severity): n for rule, severity, n in db.execute("SELECT rule, severity, count(*) FROM anomalies GROUP BY 1, 2")}, "anomalies")
        same(now.by("tidegate_iot_rule_breaches_total", "rule", "sensor"),
             {(rule, sensor or ""): n for rule, sensor, n in db.execute("SELECT rule, sensor_id, count FROM data_quality")}, "breaches of rules")
    for pipeline, topic in PIPELINES.items():
        if pipeline != "hydraulic":
            for side, metric in (("late", "late"), ("dlq", "rejected")):
                same(now.sum("tidegate_output_rows", output=f"{topic}.{side}"),
                     now.sum(f"tidegate_source_records_{metric}_total", pipeline=pipeline), f"what {topic}.{side} holds")
    same({kind for (kind,), n in now.by("tidegate_transit_unknown_total", "kind").items() if n == 1}, {"field", "symbol"}, "what the feed's schema does not name")


def process(now, pid, version):
    same([labels["version"] for labels, _ in now.of("tidegate_build_info")], [version], "the version")
    resident = int(re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024
    assert 0.5 < now.sum("tidegate_process_resident_bytes") / resident < 2, "resident memory"
    assert 0 < now.sum("tidegate_process_cpu_seconds_total") and 0 < now.sum("tidegate_process_uptime_seconds") < 1000, "processor and uptime"


def once(what, run, log, condition):
    """Asks again until the condition holds: scrapes and tables are not of the same moment."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return condition()
        except (AssertionError, OSError, sqlite3.Error) as error:
            if run.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"it does not happen: {what}: {error}\n{log.read_text()[-4000:]}")
        time.sleep(0.1)


def fixtures(place):
    """The recorded ones, with the record that is waited for, and one whose schema nobody knows."""
    for pipeline, topic in PIPELINES.items():
        shutil.copytree(ROOT / "fixtures" / pipeline, place / pipeline)
        line = {"topic": topic, "partition": 0, "offset": 1_000_000_000, "tstype": "create", "ts": FAR, "headers": [], "key": None, "payload": "{}"}
        (place / pipeline / "zz-last.jsonl").write_text(json.dumps(line) + "\n")
    vehicle = {"id": "v", "vehicle": {"currentStatus": 99, "noSuchField": 1, "trip": {"tripId": "t", "routeId": "R0"}, "vehicle": {"id": "v"},
               "position": {"latitude": 1.0, "longitude": 1.0}, "timestamp": 1767225607}}
    line = {"topic": "dev_topic", "partition": 7, "offset": 0, "tstype": "create", "ts": 1767225615000, "headers": [], "key": "feed",
            "payload": json.dumps({"header": {"gtfsRealtimeVersion": "2.0", "timestamp": 1767225607}, "entity": [vehicle]})}
    (place / "transit" / "unknown.jsonl").write_text(json.dumps(line) + "\n")


def faults(port, run, log, place):
    """A checkpoint that cannot be written is counted and tried again, and the run goes on."""
    checkpoint, aside = place / "out.checkpoint/iot", place / "aside"

    def failed():
        failures = scrape(port).sum("tidegate_checkpoint_failures_total", pipeline="iot")
        assert failures > 0, f"{failures} failures"

    def decided():
        return scrape(port).sum("tidegate_epoch_decided_number", pipeline="iot")

    def goes_on():
        assert decided() > stood, f"iot stands at epoch {stood}"

    checkpoint.rename(aside)
    checkpoint.write_text("in its way")
    once("a checkpoint fails", run, log, failed)
    checkpoint.unlink()
    aside.rename(checkpoint)
    stood = decided()
    once("iot goes on", run, log, goes_on)
    # Each has moved by now, but for those that cannot here.
    now = scrape(port)
    still = {name for name, kind in documented().items() if not any(value for _, value in now.of(name + ("_count" if kind == "histogram" else "")))}
    same(still, set(QUIET), "metrics that have not moved")


def main():
    binary = os.path.abspath(sys.argv[1])
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        place = pathlib.Path(folder)
        fixtures(place / "fixtures")
        probe.bind(("127.0.0.1", 0))
        port, log = probe.getsockname()[1], place / "log"
        probe.close()
        command = [binary, "run", *PIPELINES, "--fixture", "fixtures", "--out", "out", "--speed", SPEED, "--epoch", "300ms", "-w", "2"]
        with open(log, "wb") as said:
            run = subprocess.Popen([*command, "--web", f"127.0.0.1:{port}"], stdout=said, stderr=said, env=BARE, cwd=place)
        try:
            def all_of_it():
                now = scrape(port)
                for pipeline in PIPELINES:
                    counts(now, pipeline, 1 if pipeline == "transit" else 0)
                shapes(now, documented())
                written(now, place / "out/tables.sqlite")
                process(now, run.pid, version)
                return now

            now = once("every metric is right", run, log, all_of_it)
            print(f"{len(documented())} metrics, {sum(map(len, now.values.values()))} samples, "
                  f"{now.sum('tidegate_source_records_read_total'):.0f} records of four pipelines: all accounted for")
            faults(port, run, log, place)
            print("a checkpoint in whose way something is was counted, and the run went on")
        finally:
            run.terminate()
            run.wait(30)
        same(run.returncode, 0, "exit code after SIGTERM")


main()
