"""The oracle against cases computed by hand. Run: python3 -m unittest discover -s tests/oracle"""

import datetime
import json
import os
import random
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import activity
import activity_canonical
import fixture
import kcat
import poison
import segments
import strict_json
import times

NOON = times.read_text("2026-01-15T12:00:00Z")


def at(text):
    return times.read_text("2026-01-15T" + text + "Z")


class Partition:
    """Writes records with counting offsets."""

    def __init__(self, number=0):
        self.number = number
        self.records = []

    def put(self, payload, ts_ms=NOON // 1000, headers=(), key=b"k", offset=None):
        offset = len(self.records) if offset is None else offset
        self.records.append(kcat.Record("user_activity", self.number, offset, ts_ms, list(headers), key, payload))
        return self

    def event(self, time, kind="page_view", user="u", page="/", **members):
        micros = at(time)
        body = {"event_time": times.rfc3339(micros), "user_id": user, "page_url": page, "event_type": kind}
        body.update(members)
        return self.put(json.dumps(body).encode(), ts_ms=micros // 1000)


def answer(*partitions):
    return activity.compute([record for partition in partitions for record in partition.records])


def rows(result, table, *columns):
    return sorted(tuple(row[c] for c in columns) for row in result.tables[table])


def clock(text):
    """The time of day of an RFC 3339 text, for short."""
    return text[11:19]


class Time(unittest.TestCase):
    def test_agrees_with_the_standard_library(self):
        r = random.Random(1)
        epoch = datetime.datetime(1970, 1, 1)
        for _ in range(3000):
            micros = r.randrange(times.FIRST_US, times.LAST_US)
            wanted = (epoch + datetime.timedelta(microseconds=micros)).isoformat(timespec="microseconds") + "Z"
            self.assertEqual(times.rfc3339(micros), wanted)
            self.assertEqual(times.read_text(wanted), micros)

    def test_spellings_of_one_instant(self):
        for text in (
            "2026-01-15T12:00:00Z", "2026-01-15 12:00:00z", "2026-01-15t12:00:00", "2026-01-15T17:30:00+05:30",
            "2026-01-14T12:01:00.000000999-23:59", "2026-01-15T12:00:00.0+00:00",
        ):
            self.assertEqual(times.read_text(text), NOON, text)
        self.assertEqual(times.read_text("2026-01-15T12:00:00.123456999Z"), NOON + 123456)
        self.assertEqual(times.read_text("2026-01-15T12:00:00.5Z"), NOON + 500_000)
        self.assertEqual(times.read_millis(NOON // 1000), NOON)

    def test_first_and_last_year(self):
        self.assertEqual(times.rfc3339(times.read_text("0001-01-01T00:00:00Z")), "0001-01-01T00:00:00.000000Z")
        self.assertEqual(times.rfc3339(times.LAST_US), "9999-12-31T23:59:59.999999Z")
        self.assertEqual(times.read_text("1969-12-31T23:59:59.999999Z"), -1)


class Json(unittest.TestCase):
    def test_compact_keeps_what_was_written(self):
        node = strict_json.parse(' { "a" : [ 1.50 , "x y\\u0041" ] , "b":{ } }\n')
        self.assertEqual(node.compact, '{"a":[1.50,"x y\\u0041"],"b":{}}')

    def test_agrees_with_the_standard_library_on_what_both_accept(self):
        for payload, _ in poison.payloads({"event_time": 1, "user_id": "u", "page_url": "/", "event_type": "click"}):
            try:
                text = (payload or b"").decode()
                node = strict_json.parse(text)
            except (UnicodeDecodeError, strict_json.NotJson):
                continue
            self.assertEqual(json.loads(text), json.loads(node.compact))

    def test_surrogates(self):
        self.assertEqual(strict_json.parse('"\\ud83d\\ude00"').value, "\U0001f600")
        for bad in ('"\\ud83d"', '"\\ude00"', '"\\ud83dx"', '"\\ud83d\\n"', '"\\ud83d\\ud83d"'):
            with self.assertRaises(strict_json.NotJson):
                strict_json.parse(bad)


class DeadLetters(unittest.TestCase):
    def test_every_poison_has_its_reason(self):
        event = {"event_time": "2026-01-15T12:00:00Z", "user_id": "u", "page_url": "/", "event_type": "page_view"}
        for payload, reason in poison.payloads(event):
            result = answer(Partition().put(payload))
            rejected = result.summary["rejected"]
            self.assertEqual(rejected, {reason: 1} if reason else {}, (payload or b"")[:200])

    def test_size_is_judged_before_anything_else(self):
        self.assertEqual(answer(Partition().put(b"\xff" * (1 << 20))).summary["rejected"], {"not_utf8": 1})
        self.assertEqual(answer(Partition().put(b"\xff" * ((1 << 20) + 1))).summary["rejected"], {"too_large": 1})

    def test_an_hour_ahead_is_allowed_and_a_microsecond_more_is_not(self):
        body = '{"event_time":"2026-01-15T13:00:00%s","user_id":"u","page_url":"/","event_type":"click"}'
        hour, more = (body % "").encode(), (body % ".000001").encode()
        self.assertEqual(answer(Partition().put(hour)).summary["accepted"], 1)
        self.assertEqual(answer(Partition().put(more)).summary["rejected"], {"ahead": 1})
        self.assertEqual(answer(Partition().put(more, ts_ms=None)).summary["accepted"], 1)

    def test_an_ahead_event_moves_no_watermark(self):
        p = Partition().event("12:00:00")
        p.put(b'{"event_time":"2026-01-16T12:00:00Z","user_id":"u","page_url":"/","event_type":"click"}')
        self.assertEqual(answer(p.event("12:00:01")).summary["outputs"]["user_sessions"]["late"], 0)

    def test_a_dead_letter_says_where_it_came_from(self):
        result = answer(Partition(3).put(b"x", key=b"a").event("12:00:00").put(b"", key=None))
        lines = result.topics["user_activity.dlq"]
        self.assertEqual([(line.partition, line.key, line.payload) for line in lines], [(3, b"a", b"x"), (3, None, b"")])
        self.assertEqual([name for name, _ in lines[1].headers], ["reason", "detail", "topic", "partition", "offset"])
        self.assertEqual(dict(lines[1].headers)["offset"], "2")


class Watermarks(unittest.TestCase):
    def test_a_window_that_ends_at_the_watermark_is_late(self):
        # 12:03 makes the watermark 12:01: the window 12:00 to 12:01 has ended, 12:01 to 12:02 has not.
        p = Partition().event("12:03:00").event("12:00:59.999999").event("12:01:00")
        result = answer(p)
        self.assertEqual(result.summary["outputs"]["page_view_counts"]["late"], 1)
        self.assertEqual(result.summary["outputs"]["user_sessions"]["late"], 1)
        self.assertEqual(
            [(clock(s), n) for s, n in rows(result, "page_view_counts", "window_start", "view_count")],
            [("12:01:00", 1), ("12:03:00", 1)],
        )

    def test_a_sliding_record_counts_where_it_is_on_time(self):
        # Watermark 12:03. An event at 12:01:30 lies in windows ending 12:02 to 12:06: 12:02 and 12:03 are over.
        result = answer(Partition().event("12:05:00").event("12:01:30", user="v"))
        found = {clock(e): n for e, n in rows(result, "active_users", "window_end", "active_user_count")}
        self.assertEqual(
            found, {"12:04:00": 1, "12:05:00": 1, "12:06:00": 2, "12:07:00": 1, "12:08:00": 1, "12:09:00": 1, "12:10:00": 1}
        )
        late = result.topics["user_activity.late"]
        self.assertEqual(
            late[0].headers,
            [("reason", "late"), ("outputs", "page_view_counts,user_sessions"), ("late_by_ms", "90000"),
             ("topic", "user_activity"), ("partition", "0"), ("offset", "1")],
        )

    def test_lateness_rounds_up_to_a_millisecond(self):
        late = answer(Partition().event("12:03:00").event("12:00:59.999999")).topics["user_activity.late"]
        self.assertEqual(dict(late[0].headers)["late_by_ms"], "1")
        self.assertEqual(dict(late[0].headers)["outputs"], "page_view_counts,user_sessions")

    def test_partitions_do_not_make_one_another_late(self):
        result = answer(Partition(0).event("15:00:00"), Partition(1).event("12:00:00"))
        self.assertEqual(result.topics["user_activity.late"], [])

    def test_a_heartbeat_is_nothing_but_a_watermark(self):
        beat = [(b"tidegate-watermark", b"%d" % at("12:01:00"))]
        p = Partition().event("12:00:00").put(None, headers=beat).event("12:00:59").event("12:01:00")
        result = answer(p)
        self.assertEqual(result.summary["read"], 3)
        self.assertEqual(result.summary["rejected"], {})
        self.assertEqual(result.summary["outputs"]["user_sessions"]["late"], 1)

    def test_an_older_heartbeat_lowers_nothing(self):
        beat = [(b"tidegate-watermark", b"%d" % at("11:00:00"))]
        p = Partition().event("12:03:00").put(None, headers=beat).event("12:00:59")
        self.assertEqual(answer(p).summary["outputs"]["page_view_counts"]["late"], 1)

    def test_an_offset_is_read_once(self):
        p = Partition().event("12:00:00").put(b"x", offset=0).event("12:00:01")
        p.records[-1].offset = 7
        summary = answer(p.put(b"", offset=3)).summary
        self.assertEqual((summary["read"], summary["duplicate_offsets"], summary["accepted"]), (4, 2, 2))


class Sessions(unittest.TestCase):
    def history(self, *partitions):
        found = rows(
            answer(*partitions), "session_history",
            "session_start_time", "seq", "session_end_time", "end_reason", "events", "page_views", "session_duration_seconds",
        )
        return [(clock(a), seq, clock(b)) + tuple(rest) for a, seq, b, *rest in found]

    def test_thirty_minutes_end_a_session_and_a_microsecond_less_does_not(self):
        p = Partition().event("12:00:00").event("12:30:00").event("12:59:59.999999", "click")
        self.assertEqual(
            self.history(p),
            [("12:00:00", 0, "12:00:00", "timeout", 1, 1, 0), ("12:30:00", 0, "12:59:59", "open", 2, 1, 1799)],
        )

    def test_markers(self):
        p = Partition().event("12:00:00", "session_end").event("12:00:01", "session_start").event("12:00:02")
        p.event("12:00:03", "session_start").event("12:00:04.5", "session_end").event("12:00:05", "session_end")
        result = answer(p)
        self.assertEqual(
            self.history(p),
            [("12:00:01", 0, "12:00:02", "restart", 2, 1, 1), ("12:00:03", 0, "12:00:04", "ended", 2, 0, 1)],
        )
        self.assertEqual(
            result.summary["outputs"]["user_sessions"], {"counted": 4, "filtered": 2, "late": 0, "idle": 0, "rows": 1}
        )
        self.assertEqual([clock(r[0]) for r in rows(result, "user_sessions", "session_start_time")], ["12:00:03"])

    def test_two_starts_at_one_instant_go_by_partition_then_offset(self):
        one = Partition(1).event("12:00:00", "session_start").event("12:00:00", "session_end")
        two = Partition(0).event("12:00:00", "session_start").event("12:00:00")
        self.assertEqual(
            self.history(one, two),
            [("12:00:00", 0, "12:00:00", "restart", 2, 1, 0), ("12:00:00", 1, "12:00:00", "ended", 2, 0, 0)],
        )

    def test_the_largest_partition_watermark_decides_the_end(self):
        quiet = Partition(0).event("12:00:00")
        self.assertEqual(self.history(quiet, Partition(1).event("12:31:59.999999", user="v"))[0][3], "open")
        self.assertEqual(self.history(quiet, Partition(1).event("12:32:00", user="v"))[0][3], "timeout")
        beat = Partition(1).put(None, headers=[(b"tidegate-watermark", b"%d" % at("12:30:00"))])
        self.assertEqual(self.history(quiet, beat)[0][3], "timeout")

    def test_a_session_end_after_the_gap_ends_nothing(self):
        p = Partition().event("12:00:00").event("12:30:00", "session_end")
        self.assertEqual(self.history(p), [("12:00:00", 0, "12:00:00", "timeout", 1, 1, 0)])
        self.assertEqual(answer(p).summary["outputs"]["user_sessions"]["filtered"], 1)


class PassThrough(unittest.TestCase):
    def test_the_hundred_and_first_name_goes_to_the_rest(self):
        p = Partition()
        p.event("12:00:00", **{"n%d" % i: i for i in range(99)})
        p.event("12:00:01", b=[1, 2], c="x", n3=None)
        p.event("12:00:02", c=1, rest=2, b=3)
        other = Partition(1).event("12:00:00", c=5)
        lake = answer(p, other).lake
        extras = [{k: v for k, v in row.items() if k.startswith("x_")} for row in lake[1:]]
        self.assertEqual(extras[0], {"x_b": "[1,2]", "x_n3": "null", "x_rest": '{"c":"x"}'})
        self.assertEqual(extras[1], {"x_b": "3", "x_rest": '{"c":1,"rest":2}'})
        self.assertEqual(extras[2], {"x_c": "5"})

    def test_processing_time_is_replaced_and_stands_last(self):
        p = Partition().put(
            b' { "processing_time" : 1, "event_time":"2026-01-15T12:00:00Z","user_id":"u",\n"page_url":"/","event_type":"click","a":[ 1.0 ]}'
        )
        self.assertEqual(
            answer(p).topics["enriched_activity"][0].payload.decode(),
            '{"event_time":"2026-01-15T12:00:00Z","user_id":"u","page_url":"/","event_type":"click","a":[1.0],'
            '"processing_time":"2026-01-15T12:00:00.000000Z"}',
        )

    def test_no_kafka_timestamp_is_null(self):
        p = Partition().event("12:00:00")
        p.records[0].ts_ms = None
        result = answer(p)
        self.assertTrue(result.topics["enriched_activity"][0].payload.endswith(b'"processing_time":null}'))
        self.assertIsNone(result.lake[0]["kafka_timestamp"])


class Files(unittest.TestCase):
    def read(self, data, name="a.jsonl"):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)
            return list(fixture.read_directory(folder))

    LINE = b'{"topic":"t","partition":0,"offset":%d,"tstype":"create","ts":5,"headers":["a",null],"key":null,"payload":"%s"}'

    def test_bytes_that_are_not_utf8_stand_as_they_are(self):
        record = self.read(self.LINE % (0, b'\xff\\"\\u00e9\xe9\\ud83d\\ude00') + b"\n")[0]
        self.assertEqual(record.value, b'\xff"\xc3\xa9\xe9\xf0\x9f\x98\x80')
        self.assertEqual(record.headers, [(b"a", None)])

    def test_a_last_line_counts_if_it_is_whole(self):
        whole = self.LINE % (0, b"x") + b"\n" + self.LINE % (1, b"y")
        self.assertEqual(len(self.read(whole)), 2)
        with self.assertRaises(kcat.Damaged):
            self.read(whole[:-1])

    def test_files_come_in_byte_order_of_their_path(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("a/1.jsonl", "a-b.jsonl", "a.jsonl", "B.jsonl", ".h.jsonl", "a.json"):
                os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
                open(os.path.join(folder, name), "wb").close()
            self.assertEqual(fixture.files(folder), [b"B.jsonl", b"a-b.jsonl", b"a.jsonl", b"a/1.jsonl"])


class Segments(unittest.TestCase):
    ACTIVITY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "fixtures", "activity")

    def test_the_checksum_is_crc32c(self):
        self.assertEqual(segments.crc32c(b"123456789"), 0xE3069283)

    def test_the_recording_has_both_forms_and_gives_the_kept_answer(self):
        import compare

        form = activity_canonical.of_answer(activity.answer(self.ACTIVITY))
        kept = compare.load(os.path.join(self.ACTIVITY, "..", "..", "tests", "expected", "activity"))
        for name in activity_canonical.OUTPUTS:
            lines = compare.blocks(name, form[name]) if name in activity_canonical.LARGE else form[name]
            self.assertEqual(compare.differences(name, kept[name], lines), [])


class Comparison(unittest.TestCase):
    def test_one_wrong_row_is_named(self):
        import compare

        form = activity_canonical.of_answer(answer(Partition().event("12:00:00").event("12:00:01", user="v")))
        other = {name: list(lines) for name, lines in form.items()}
        other["active_users"][2] = other["active_users"][2].replace("2", "3", 1)
        self.assertEqual(compare.differences("active_users", form["active_users"], form["active_users"]), [])
        found = compare.differences("active_users", form["active_users"], other["active_users"])
        self.assertEqual(len(found), 3)

    def test_a_kept_answer_is_read_back(self):
        import compare

        form = activity_canonical.of_answer(answer(Partition().event("12:00:00", a="\u2028\n").put(b"\xff")))
        with tempfile.TemporaryDirectory() as folder:
            compare.save(folder, form)
            kept = compare.load(folder)
        for name in activity_canonical.OUTPUTS:
            wanted = compare.blocks(name, form[name]) if name in activity_canonical.LARGE else form[name]
            self.assertEqual(kept[name], wanted, name)

    def test_the_kept_answers_to_iot_and_transit_are_the_oracles(self):
        import compare

        for name in ("iot", "transit"):
            pipeline, root = compare.PIPELINES[name], os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
            form = pipeline.of_answer(pipeline.answer(os.path.join(root, "fixtures", name)))
            kept = compare.load(os.path.join(root, "tests", "expected", name), pipeline)
            for output in pipeline.OUTPUTS:
                lines = compare.blocks(output, form[output]) if output in pipeline.LARGE else form[output]
                self.assertEqual(compare.differences(output, kept[output], lines, pipeline), [])


if __name__ == "__main__":
    unittest.main()
