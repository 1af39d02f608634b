"""Asks Prometheus every query of every dashboard; each must return data.

usage: dashboards.py PROMETHEUS_URL DASHBOARD.json...
"""
import json, re, sys, time, urllib.parse, urllib.request

VARIABLES = [(r"\$__rate_interval", "1m"), (r"\$pipeline", ".*")]


def queries(panel):
    for target in panel.get("targets", []):
        yield panel["title"], target["expr"]


def ask(url, query):
    with urllib.request.urlopen(f"{url}/api/v1/query?" + urllib.parse.urlencode({"query": query}), timeout=10) as answer:
        return json.load(answer)["data"]["result"]


def main(url, files):
    wanted = []
    for file in files:
        for panel in json.load(open(file))["panels"]:
            for title, query in queries(panel):
                for pattern, value in VARIABLES:
                    query = re.sub(pattern, value, query)
                wanted.append((file, title, query))
    assert len(wanted) > 30, wanted
    last = time.monotonic() + 30
    while True:
        silent = [(file, title, query) for file, title, query in wanted if not ask(url, query)]
        if not silent or time.monotonic() > last:
            break
        time.sleep(1)
    for file, title, query in silent:
        print(f"no data: {file}: {title}: {query}", file=sys.stderr)
    print(f"{len(wanted) - len(silent)} of {len(wanted)} queries of {len(files)} dashboards return data")
    sys.exit(1 if silent else 0)


main(sys.argv[1], sys.argv[2:])
