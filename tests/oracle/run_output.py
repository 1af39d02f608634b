"""What a run has written, as the oracles of iot and transit compare it."""

import json
import os
import sqlite3

import kcat

SHOWN = 5


def tables(out):
    """The tables of a run, opened to be read."""
    return sqlite3.connect("file:%s?mode=ro" % os.path.join(out, "tables.sqlite"), uri=True)


def topic(out, name):
    """The lines of a topic file, whose order and offsets are checked on the way."""
    path = os.path.join(out, "topics", name + ".jsonl")
    lines, next_offset, previous = [], {}, -1
    for record in kcat.read_file(os.fsencode(path), name) if os.path.exists(path) else []:
        assert record.topic == name and record.partition >= previous, "%s: order" % name
        assert record.offset == next_offset.get(record.partition, 0), "%s: offsets" % name
        previous, next_offset[record.partition] = record.partition, record.offset + 1
        headers = [[n.decode(), v.decode("utf-8", "backslashreplace")] for n, v in record.headers]
        lines.append((record.partition, record.ts_ms, headers, record.key, record.value))
    return lines


def topics(out, expected, same_line):
    """How the topics of a run differ from `expected`, name -> [(place in the log, line...)]."""
    wrong = []
    for name, lines in expected.items():
        want = [line[1:] for line in sorted(lines, key=lambda line: line[0])]
        have = topic(out, name)
        if len(want) != len(have):
            wrong.append("%s: %d lines expected, %d found" % (name, len(want), len(have)))
        wrong += ["%s: expected %r\n  found %r" % (name, w, h) for w, h in zip(want, have) if not same_line(w, h)][:SHOWN]
    return wrong


def summary(out, pipeline, judged):
    """The counts of a run whose records meet the one output `judged`."""
    with open(os.path.join(out, "summary.json"), encoding="utf-8") as file:
        said = json.load(file)["pipelines"][pipeline]
    outputs = said["outputs"]
    return {
        **{name: said[name] for name in ("read", "duplicate_offsets", "accepted")},
        "rejected": {reason: n for reason, n in said["rejected"].items() if n},
        judged: [outputs[judged][c] for c in ("counted", "filtered", "late", "idle", "rows")],
        "rows": {name: outputs[name]["rows"] for name in outputs if name != judged},
    }


def tell(out, wrong):
    """Prints what is wrong; whether nothing is."""
    for sentence in wrong:
        print("%s: %s" % (out, sentence[:2000]))
    return not wrong

