#!/usr/bin/env python3
"""Compares what a replay of a pipeline left in OUT with what it must be.

usage: compare.py [--pipeline NAME] FIXTURE OUT...            with the oracle's computation from a fixture
       compare.py [--pipeline NAME] --expected DIR OUT...     with an answer kept by --save
       compare.py [--pipeline NAME] --save DIR FIXTURE        keeps the oracle's answer to FIXTURE in DIR

NAME is activity (the default), hydraulic, iot or transit.

Exit: 0 the same, 1 different (the first differences are printed), 2 wrong usage.

A kept answer has the small outputs line by line, and of the large ones (the lake and the topics that hold every
accepted record) the SHA-256 of each run of 64 offsets, so that a difference is still found to within a few records.
"""

import gzip
import hashlib
import json
import os
import sqlite3
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import activity_canonical
import canonical
import hydraulic_canonical
import iot_canonical
import kcat
import transit_canonical

PIPELINES = {
    "activity": activity_canonical, "hydraulic": hydraulic_canonical, "iot": iot_canonical, "transit": transit_canonical,
}

SHOWN = 5
BLOCK = 64


def differences(name, expected, actual, pipeline=activity_canonical):
    """Sentences about the first differences of one output; none when there is none."""
    if expected == actual:
        return []
    found = ["%s: %d lines expected, %d found" % (name, len(expected), len(actual))]
    if name in pipeline.TOPICS:
        for at in range(max(len(expected), len(actual))):
            want = expected[at] if at < len(expected) else "nothing more"
            have = actual[at] if at < len(actual) else "nothing more"
            if want != have:
                found.append("  line %d\n    expected %s\n    found    %s" % (at + 1, cut(want), cut(have)))
                if len(found) > SHOWN:
                    break
        return found
    missing, extra = surplus(expected, actual), surplus(actual, expected)
    found += ["  missing  " + cut(line) for line in missing[:SHOWN]]
    found += ["  too many " + cut(line) for line in extra[:SHOWN]]
    return found


def surplus(lines, others):
    """The multiset difference, in the order of `lines`."""
    left = {}
    for line in others:
        left[line] = left.get(line, 0) + 1
    out = []
    for line in lines:
        if left.get(line, 0):
            left[line] -= 1
        else:
            out.append(line)
    return out


def cut(line):
    return line if len(line) <= 600 else line[:600] + "…"


def blocks(name, lines):
    """A line for every (partition, run of 64 source offsets): how many there are, and their SHA-256."""
    found = {}
    for line in lines:
        row = json.loads(line)
        if name == "lake":
            place = row["kafka_partition"], row["kafka_offset"] // BLOCK
        else:
            place = row["partition"], row["offset"] // BLOCK
        found.setdefault(place, []).append(line)
    out = []
    for (partition, block), own in sorted(found.items()):
        digest = hashlib.sha256("\n".join(sorted(own)).encode()).hexdigest()
        out.append("partition %d offsets %d.. : %d %s" % (partition, block * BLOCK, len(own), digest))
    return out


def save(directory, form, pipeline=activity_canonical):
    os.makedirs(directory, exist_ok=True)
    for name in pipeline.OUTPUTS:
        lines = blocks(name, form[name]) if name in pipeline.LARGE else form[name]
        data = "".join(line + "\n" for line in lines).encode()
        if name == "summary":
            with open(os.path.join(directory, "summary.txt"), "wb") as file:
                file.write(data)
            continue
        with open(os.path.join(directory, name + ".gz"), "wb") as file:
            with gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
                packed.write(data)


def load(directory, pipeline=activity_canonical):
    form = {}
    for name in pipeline.OUTPUTS:
        if name == "summary":
            with open(os.path.join(directory, "summary.txt"), "rb") as file:
                data = file.read()
        else:
            with gzip.open(os.path.join(directory, name + ".gz")) as file:
                data = file.read()
        form[name] = data.decode().split("\n")[:-1]
    return form


def compare(expected, directory, kept, pipeline=activity_canonical):
    """Prints what differs in `directory`; whether all is the same."""
    try:
        actual = pipeline.of_out(directory)
    except (canonical.Wrong, kcat.Damaged, OSError, ValueError, KeyError, sqlite3.Error) as error:
        print("%s: %s: %s" % (directory, type(error).__name__, error))
        return False
    found = []
    for name in pipeline.OUTPUTS:
        lines = blocks(name, actual[name]) if kept and name in pipeline.LARGE else actual[name]
        found += differences(name, expected[name], lines, pipeline)
    if found:
        print("%s is not as expected" % directory)
    for sentence in found:
        print(sentence)
    return not found


def main(arguments):
    name = "activity"
    if len(arguments) > 1 and arguments[0] == "--pipeline":
        name, arguments = arguments[1], arguments[2:]
    pipeline = PIPELINES.get(name)
    if pipeline and len(arguments) == 3 and arguments[0] == "--save":
        save(arguments[1], pipeline.of_answer(pipeline.answer(arguments[2])), pipeline)
        return 0
    kept = arguments[:1] == ["--expected"]
    where, outs = (arguments[1:2], arguments[2:]) if kept else (arguments[:1], arguments[1:])
    if not pipeline or not outs or where[0].startswith("-"):
        sys.stderr.write(__doc__)
        return 2
    expected = load(where[0], pipeline) if kept else pipeline.of_answer(pipeline.answer(where[0]))
    return 0 if all([compare(expected, directory, kept, pipeline) for directory in outs]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
