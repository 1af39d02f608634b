"""Payloads that hurt: what real topics have held, each with the reason it must be refused for (None: accepted).

`payloads(event)` builds each around a good event, so that a refusal can only be for the fault.
"""

import json

DEEP = 128


def nested(levels):
    """A value that is `levels` arrays deep."""
    return "[" * levels + "]" * levels


def with_member(event, text):
    """The event's object with one more member, given as text."""
    return (json.dumps(event, ensure_ascii=False)[:-1] + "," + text + "}").encode()


def replaced(event, **members):
    changed = dict(event)
    changed.update(members)
    return json.dumps(changed, ensure_ascii=False).encode()


def without(event, name):
    return json.dumps({k: v for k, v in event.items() if k != name}).encode()


def raw_member(event, name, text):
    """The event with the member's value written as `text`."""
    parts = [json.dumps(k) + ":" + (text if k == name else json.dumps(v)) for k, v in event.items()]
    return ("{" + ",".join(parts) + "}").encode()


def payloads(event):
    """[(payload, reason)] around `event`, an object with the four members."""
    good = json.dumps(event).encode()
    found = [(None, "tombstone"), (b"", "tombstone")]
    found += [(p, "not_utf8") for p in not_utf8(good)]
    found += [(p, "not_json") for p in not_json(event, good)]
    found += [(p, "schema") for p in schema(event)]
    found += [(raw_member(event, "event_time", t), "time") for t in BAD_TIMES]
    found += [(p, None) for p in strange_but_good(event, good)]
    return found


def not_utf8(good):
    half = len(good) // 2
    return [
        b"\xff\xfe" + good,
        good[:half] + b"\xc3\x28" + good[half:],
        good[:-2] + b"\xe2\x82\"}",
        good[:-2] + b"\xed\xa0\x80\"}",  # a surrogate in bytes
        good[:-2] + b"\xc0\xaf\"}",  # an overlong slash
        good[:-2] + b"\xf4\x90\x80\x80\"}",  # beyond U+10FFFF
        b"\x00\x01\x02\xff\x80",
        b"\x80",
    ]


def not_json(event, good):
    found = [
        b" ", b"null", b"17", b'"text"', b"[]", b"[" + good + b"]", b"{", b"{}}", good + b"x", good + good,
        good + b"\x00", good[:-1], good[: len(good) // 2], good[:-1] + b",}", b"\xef\xbb\xbf" + good,
        b"\xc2\xa0" + good, good.replace(b":", b"=", 1), good.replace(b'"', b"'"), b"{,}", b'{"a"}', b'{"a":}',
        good.replace(b",", b" ", 1), b"// a comment\n" + good, b"\x0b" + good, b"{event_time:1}",
    ]
    members = [
        '"a":NaN', '"a":Infinity', '"a":-Infinity', '"a":nan', '"a":004', '"a":-', '"a":+1', '"a":.5', '"a":1.',
        '"a":1e', '"a":0x10', '"a":1e400', '"a":-1e400', '"a":[{"b":1e999}]', '"a":1.7976931348623159e308',
        '"a":' + "9" * 400, '"a":True', '"a":nulll', '"a":undefined', '"a":\'x\'', '"a":"\t"', '"a":"\x1f"',
        '"a":"\\x41"', '"a":"\\u12"', '"a":"\\u12G4"', '"a":"\\ud800"', '"a":"\\udc00"', '"a":"\\ud800\\u0041"',
        '"a":"\\ud800x\\udc00"', '"a":{"\\udfff":1}', '"\\ud834":1', '"a":"\\', '"a":[1,]', '"a":[,1]',
        '"a":[1 2]', '"a":{"b":1,}', '"a":1,"a":1', '"a":1,"\\u0061":2', '"a":' + nested(DEEP),
        '"a":' + nested(5000), '"a":' + "[" * 100_000, '"a":' + '{"a":' * 5000 + "1" + "}" * 5000,
        '"user_id":"again"', '"\\u0075ser_id":"again"', '"event_time":1', '"a":1;"b":2', '"a" 1', '"a":"open',
        '"a":[1}', '"a":{"b":1]',
    ]
    return found + [with_member(event, m) for m in members]


def schema(event):
    found = [b"{}", b' { "a" : 1 } ', b"{\n}\t"]
    found += [without(event, name) for name in event]
    found += [replaced(event, **{name: None}) for name in event]
    for name in ("user_id", "page_url", "event_type"):
        for value in ("", 7, -0.5, True, [], {}, ["x"], "x" * 2049, "é" * 1024 + "x", "a\0b", "\0"):
            found.append(replaced(event, **{name: value}))
    kinds = ("PAGE_VIEW", "page_view ", "pageview", "purchase", "page_view\n", "click\u0301", "null")
    found += [replaced(event, event_type=value) for value in kinds]
    found.append(json.dumps({k.upper(): v for k, v in event.items()}).encode())
    # The first reason that holds is the one given: schema stands before time.
    found.append(replaced(event, event_time="yesterday", event_type="purchase"))
    return found


BAD_TIMES = [
    '""', "true", "false", "12.5", "1e12", "1E3", "1.0", "[]", "{}", '" "', '"now"', '"0"', '"1767225600000"',
    '"2024-13-01T00:00:00Z"', '"2024-00-01T00:00:00Z"', '"2024-02-30T00:00:00Z"', '"2023-02-29T00:00:00Z"',
    '"1900-02-29T00:00:00Z"', '"2024-01-00T00:00:00Z"', '"2024-01-32T00:00:00Z"', '"2024-01-01T24:00:00Z"',
    '"2024-01-01T23:60:00Z"', '"2024-06-30T23:59:60Z"', '"2024-01-01T00:00:00.Z"', '"2024-01-01T00:00:00,5Z"',
    '"2024-01-01T00:00:00.1234567890Z"', '"2024-01-01T00:00Z"', '"2024-01-01"', '"2024-01-01T00:00:00+0530"',
    '"2024-01-01T00:00:00+05"', '"2024-01-01T00:00:00+24:00"', '"2024-01-01T00:00:00+05:60"',
    '"2024-01-01T00:00:00 Z"', '"2024-01-01T00:00:00Z "', '" 2024-01-01T00:00:00Z"', '"2024-01-01  00:00:00Z"',
    '"2024-01-01\\t00:00:00Z"', '"2024-01-01_00:00:00Z"', '"24-01-01T00:00:00Z"', '"12024-01-01T00:00:00Z"',
    '"0000-01-01T00:00:00Z"', '"-001-01-01T00:00:00Z"', '"+2024-01-01T00:00:00Z"', '"2024-1-1T00:00:00Z"',
    '"20240101T000000Z"', '"2024-01-01T00:00:00UTC"', '"2024-01-01T00:00:00+00:00Z"', '"2024-01-01T00:00:00z+00:00"',
    '"\\u0662024-01-01T00:00:00Z"', '"2024-01-01T00:00:0\\u0665Z"', '"Mon, 01 Jan 2024 00:00:00 GMT"',
    '"2024-01-01T00:00:00Z\\u0000"', '"2024-01-01T-1:00:00Z"', '"' + "2" * 3000 + '"',
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "1" + "0" * 60,
]


def strange_but_good(event, good):
    """Payloads that look wrong and are not; each differs from `event` in nothing that counts."""
    escaped = "".join("\\u%04x" % ord(c) for c in event["event_type"])
    members = [
        '"a":-0.0', '"a":-0', '"a":1E5', '"a":1e-400', '"a":1.7976931348623158e308', '"a":9223372036854775808',
        '"a":"NaN"', '"a":"\\ud83d\\ude00"', '"a":"\U0001f600"', '"a":"\\u0000"', '"a":"\x7f"', '"a":"\\/\\b\\f"',
        '"a":{"b":1,"b":2}', '"a":null', '"a":[ ]', '"a": { } ', '"a":' + nested(DEEP - 1), '"a":"\u2028"',
        '"rest":1', '"rest":{"a":[1, 2]},"b":"x"', '"":0', '"A":1,"a":2', '"late":true', '"kafka_offset":-1',
        '"processing_time":"then"', '"\\u0070rocessing_time" : 5', '"a.b":1,"$set":2', '"x_a":1',
        '"; DROP TABLE user_sessions; --":"\'"', '"../../etc":"..\\\\"', '"event_time2":"2024"', '"Event_Time":1',
    ]
    return [with_member(event, m) for m in members] + [
        b" \t\r\n" + good + b"\n ",
        good.replace(b'":', b'" \n:\t').replace(b", ", b" \r,"),
        raw_member(event, "event_type", '"' + escaped + '"'),
        json.dumps(dict(reversed(list(event.items())))).encode(),
        replaced(event, page_url="x" * 2048),
        replaced(event, page_url="é" * 1024),
        replaced(event, user_id="'; DROP TABLE active_users; --"),
        replaced(event, user_id="../../../tmp/x"),
        replaced(event, user_id="user\nwith\tall \"signs\" \\ /"),
        replaced(event, user_id="\ufeff"),
        replaced(event, user_id="e\u0301"),
        replaced(event, user_id="\u00e9"),
        replaced(event, page_url=" "),
        replaced(event, page_url="$a.b"),
        replaced(event, page_url="null"),
    ]
