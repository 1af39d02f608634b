#!/usr/bin/env python3
"""Precision and recall of the rules on a fixture whose generator has marked the faults.

usage: score.py FIXTURE OUT      (FIXTURE made by `tidegate generate hydraulic`, OUT by a replay of it)

A fault is found when its rule has an anomaly in it: in the seconds from its first reading to its last, and,
for rules that look back over the last rows, as long after its end as they look back. Precision counts the
anomalies of a rule that lie in any fault of a sensor that the rule looks at there; recall counts the faults.
"""

import json
import os
import sqlite3
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import times

# How long after a fault's end a rule may still speak of it: the way back, and what is remembered.
AFTER = {"sudden_change": 1, "zscore": 1, "pattern": 1, "correlation": 60}
OVER = {"pressure_spike": ["PS%d" % i for i in range(1, 7)], "correlation": ["PS5", "PS6"]}


def main(fixture, out):
    with open(os.path.join(fixture, "faults.json"), encoding="utf-8") as file:
        faults = json.load(file)
    connection = sqlite3.connect("file:%s?mode=ro" % os.path.join(out, "tables.sqlite"), uri=True)
    found = connection.execute("SELECT window_start, rule, sensor FROM anomalies").fetchall()
    rules = sorted({rule for _, rule, _ in found} | {fault["rule"] for fault in faults})
    print("%-17s %9s %9s  %10s   %6s %6s  %6s" % ("rule", "anomalies", "in faults", "precision", "faults", "found", "recall"))
    for rule in rules:
        own = [(times.read_text(start), sensor) for start, r, sensor in found if r == rule]
        right = [(start, sensor) for start, sensor in own if any(within(start, rule, sensor, f) for f in faults)]
        expected = [f for f in faults if f["rule"] == rule]
        recalled = [f for f in expected if any(within(start, rule, sensor, f) for start, sensor in own)]
        print("%-17s %9d %9d  %10s   %6d %6d  %6s" % (
            rule, len(own), len(right), share(right, own), len(expected), len(recalled), share(recalled, expected)))


def within(start, rule, sensor, fault):
    first = times.read_text(fault["start"]) // times.SECOND * times.SECOND
    last = times.read_text(fault["end"]) + AFTER.get(rule, 0) * times.SECOND
    sensors = [sensor] if sensor else OVER.get(rule, [])
    return fault["sensor"] in sensors and first <= start < last


def share(part, whole):
    return "%.3f" % (len(part) / len(whole)) if whole else "-"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
