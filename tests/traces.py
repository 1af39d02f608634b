#!/usr/bin/env python3
"""Traces of a run, as a collector gets them: a trace an epoch with a span a step and sink; one that is away, or refuses, disturbs nothing.

usage: traces.py BINARY FIXTURE DIR
The requests are read with OpenTelemetry's own definitions.
"""

import collections
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KEY = "Sesam0effne-Dich-5182"
SINKS = {"tables", "lake", "topics"}


class Collector(http.server.ThreadingHTTPServer):
    """Keeps the spans of every request, but refuses the first `refusals`."""

    def __init__(self, refusals=0):
        super().__init__(("127.0.0.1", 0), Answers)
        self.refusals, self.refused, self.spans, self.resources, self.faults = refusals, 0, [], [], []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        collector = self.server
        if collector.refused < collector.refusals:
            collector.refused += 1
            return self.answer(500)
        wanted = ("/v1/traces", "application/x-protobuf", f"Bearer {KEY}")
        if (self.path, self.headers["Content-Type"], self.headers["Authorization"]) != wanted:
            collector.faults.append((self.path, dict(self.headers)))
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            collector.resources.append(attributes(group.resource))
            for scope in group.scope_spans:
                collector.spans.extend(scope.spans)
        return self.answer(200)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def attributes(of):
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in of.attributes}


def run(binary, fixture, out, variables):
    """Runs the fixture; what it said, and the read records of its summary."""
    environment = {**os.environ, **variables, "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {KEY}", "OTEL_BSP_SCHEDULE_DELAY": "100", "NO_PROXY": "127.0.0.1"}
    command = [binary, "run", "activity", "--fixture", fixture, "--out", str(out), "--epoch", "20ms", "--web", "off", "-w", "2"]
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stderr, "the collector's key is in the log"
    return done.stderr, json.loads((out / "summary.json").read_text())["pipelines"]["activity"]["read"]


def told(binary, fixture, out):
    """Every epoch is a trace."""
    collector = Collector()
    _, read = run(binary, fixture, out, {"TIDEGATE_TRACES_ENDPOINT": collector.url, "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"})
    assert not collector.faults, collector.faults
    for resource in collector.resources:
        assert resource["service.name"] == "tidegate" and resource["deployment.environment.name"] == "test", resource
        assert resource["tidegate.process"] == 0 and resource["service.version"], resource

    traces = collections.defaultdict(list)
    for span in collector.spans:
        assert attributes(span)["tidegate.pipeline"] == "activity", span
        traces[span.trace_id].append(span)
    roots = {}
    for spans in traces.values():
        (root,) = [span for span in spans if not span.parent_span_id]
        assert root.name == "epoch", spans
        roots[attributes(root)["tidegate.epoch"]] = root
        steps = collections.Counter()
        for span in spans:
            assert span.start_time_unix_nano <= span.end_time_unix_nano, span
            if span is not root:
                assert span.parent_span_id == root.span_id, span
                assert span.end_time_unix_nano <= root.end_time_unix_nano, span
                steps[span.name, attributes(span).get("tidegate.sink")] += 1
        wanted = [("read", None), ("save", None), ("decide", None)] + [(step, sink) for step in ("prepare", "commit") for sink in SINKS]
        assert steps == collections.Counter(wanted), steps
    assert sorted(roots) == list(range(1, len(roots) + 1)) and len(roots) > 2, sorted(roots)
    records = [attributes(roots[epoch])["tidegate.records"] for epoch in sorted(roots)]
    assert records == sorted(records) and records[-1] == read, (records, read)
    print(f"{len(roots)} epochs are {len(traces)} traces of {len(collector.spans)} spans; the last one counts {read} records")


def not_told(binary, fixture, out):
    """Neither one that refuses nor one that is not there makes a difference, and each is said once."""
    collector = Collector(refusals=2)
    # At the finest log level, at which clients say what they send.
    finest = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "TIDEGATE_LOG": "trace"}
    said, read = run(binary, fixture, out / "refused", finest)
    assert collector.refused == 2 and said.count("traces are lost until") == 1, said
    port = Collector()
    port.shutdown()
    port.server_close()
    said, again = run(binary, fixture, out / "away", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{port.url}/v1/traces"})
    assert said.count("traces are lost until") == 1, said
    assert read == again > 0
    print("a collector that refuses and one that is away are told once, and the run goes on")


def main():
    binary, fixture, place = sys.argv[1:]
    told(binary, fixture, Path(place) / "told")
    not_told(binary, fixture, Path(place) / "not-told")


main()
