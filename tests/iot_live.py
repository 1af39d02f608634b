#!/usr/bin/env python3
"""The live iot pipelines under kills, and what they leave in MongoDB and PostgreSQL against a replay of the same log.

usage: iot_live.py crash BINARY SEED KILLS [--hook COMMAND] -- RUN-ARGUMENTS...
           starts `BINARY run …` again and again, with other workers, and kills it at random moments; COMMAND runs beside the
           first start, in a shell. Exits 0 when the run has come to its end, and was killed on the way.
       iot_live.py compare OUT mongo|postgres|bouncer
           OUT is a replay's directory. MONGO_URI, MONGO_DATABASE and the PG variables say where to look.
"""

import csv
import io
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

COLUMNS = (
    "sensor_id,window_start,window_end,avg_temperature,max_temperature,min_temperature,avg_humidity,"
    "total_energy_consumption,count,location,state,device_type"
).split(",")
TIMES = {"window_start", "window_end"}


def crash(arguments):
    at = arguments.index("--")
    binary, seed, kills, *hook = arguments[:at]
    rnd, kills, patience, done = random.Random(int(seed)), int(kills), 1.5, 0
    beside = subprocess.Popen(hook[1], shell=True) if hook else None
    for start in range(100):
        workers = rnd.choice([1, 2, 3])
        command = [binary, "run", *arguments[at + 1 :], "-w", str(workers)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        limit = rnd.uniform(0.4, 1.0) * patience if done < kills else 120
        patience *= 1.2
        try:
            said, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            if done >= kills:
                os.killpg(process.pid, signal.SIGKILL)
                said, _ = process.communicate()
                sys.exit("it does not come to its end:\n" + said.decode()[-3000:])
            os.killpg(process.pid, signal.SIGKILL if rnd.random() < 0.8 else signal.SIGTERM)
            done += 1
            process.communicate(timeout=60)
            continue
        if process.returncode != 0:
            sys.exit("start %d, %d workers: exit code %d\n%s" % (start, workers, process.returncode, said.decode()[-3000:]))
        if beside and beside.wait(60) != 0:
            sys.exit("the command beside it failed")
        if done == 0 and kills > 0:
            sys.exit("it came to its end before it was killed: give it more to do")
        print("done after %d kills in %d starts" % (done, start + 1))
        return
    sys.exit("it never came to its end")


def expected(out):
    connection = sqlite3.connect("file:%s/tables.sqlite?mode=ro" % out, uri=True)
    rows = sorted(tuple(map(str, row)) for row in connection.execute("SELECT %s FROM real_time_aggregates" % ",".join(COLUMNS)))
    quality = sorted(tuple(map(str, row)) for row in connection.execute("SELECT sensor_id, rule, count FROM data_quality"))
    return rows, quality


def in_mongo():
    import datetime

    import pymongo

    database = pymongo.MongoClient(os.environ["MONGO_URI"], tz_aware=True)[os.environ["MONGO_DATABASE"]]

    def text(value):
        if isinstance(value, datetime.datetime):
            return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return str(value)

    documents = list(database["real_time_aggregates"].find())
    for document in documents:
        assert document["revision"] == 0 and document["epoch"] >= 1, "not final: %r" % document
        assert isinstance(document["processed_at"], datetime.datetime), document
    rows = sorted(tuple(text(document[column]) for column in COLUMNS) for document in documents)
    found = database["data_quality"].find()
    quality = sorted(tuple(str(document[name]) for name in ("sensor_id", "rule", "count")) for document in found)
    return rows, quality


def in_postgres(port):
    times = {c: "to_char(%s AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')" % c for c in TIMES}
    columns = ",".join(times.get(column, column) for column in COLUMNS)
    query = "COPY (SELECT %s FROM real_time_aggregates) TO STDOUT (FORMAT csv)" % columns
    command = ["psql", "-X", "-qAt", "-v", "ON_ERROR_STOP=1", "-p", str(port), "-c", query]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()
    floats = {i for i, column in enumerate(COLUMNS) if column.startswith(("avg", "max", "min", "total"))}
    rows = [tuple(str(float(v)) if i in floats else v for i, v in enumerate(row)) for row in csv.reader(io.StringIO(said))]
    return sorted(rows)


def compare(arguments):
    out, where = arguments
    rows, quality = expected(out)
    if not rows or not quality:
        sys.exit("the replay has left nothing to compare with")
    if where == "mongo":
        found, found_quality = in_mongo()
        if found_quality != quality:
            sys.exit("data_quality differs: %r" % sorted(set(quality) ^ set(found_quality))[:6])
    else:
        found = in_postgres(os.environ["PGPORT"])
    if found != rows:
        sys.exit("%d rows expected, %d found; %r" % (len(rows), len(found), sorted(set(rows) ^ set(found))[:6]))
    print("%s: the same %d rows" % (where, len(rows)))


if sys.argv[1:2] == ["crash"]:
    crash(sys.argv[2:])
elif sys.argv[1:2] == ["compare"]:
    compare(sys.argv[2:])
else:
    sys.exit(__doc__)
