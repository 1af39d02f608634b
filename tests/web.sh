#!/usr/bin/env bash
# The web page in a real browser, Prometheus' rules, real scrapes by every dashboard, and an alert that arrives and is resolved.
# usage: tests/web.sh [SCREENSHOT.png]
#   TIDEGATE_BINARY   the program (default: the release build)
cd "$(dirname "$0")/.."
. tests/services/live.sh
[ -x "$binary" ] || die "there is no $binary"
screenshot=${1:-}
own_place web
PG_PORT=$(free_port 5533) PROM_PORT=$(free_port 9590) ALERTMANAGER_PORT=$(free_port 9690) web=$(free_port 4540) guarded=$(free_port 4640)
slack=$(free_port 9790) mail=$(free_port 9890)
export PG_PORT PROM_PORT ALERTMANAGER_PORT
export PROM_CONFIG=$work/prometheus.yml ALERTMANAGER_CONFIG=$work/alertmanager.yml
pg() { bash tests/services/postgres.sh "$@"; }
finish() {
    code=$?
    trap - EXIT
    [ "$code" = 0 ] || { say "the runs said:"; tail -n 15 "$work/run.log" "$work/hydraulic.log" >&2 || :; }
    stop_pid "$work/run.pid" TERM 20 || :
    stop_pid "$work/hydraulic.pid" TERM 20 || :
    stop_pid "$work/receiver.pid" TERM 5 || :
    bash tests/services/prometheus.sh stop || :
    pg stop || :
    rm -rf "$work"
    exit "$code"
}
trap finish EXIT

# Rules and dashboards, without anything running.
# What is fetched is there before the run is: it moves for a while only.
bash tests/services/prometheus.sh install
bash tests/services/chromium.sh install
promtool test rules docker/monitoring/rules/tests.yml >"$work/rules.log" 2>&1 || { cat "$work/rules.log"; die "a rule does not do what its test says"; }
alerts=$(grep -c -- '- alert:' docker/monitoring/rules/alerts.yml)
tested=$(grep -o 'alertname: [A-Za-z]*' docker/monitoring/rules/tests.yml | sort -u | wc -l)
[ "$alerts" = "$tested" ] || die "$alerts alerts, of which $tested are tested"
say "$alerts alerts, each with a unit test"
bash tests/services/grafana-check.sh check docker/monitoring/grafana/dashboards/*.json

# A run that moves for a minute and a half and then stands still, into PostgreSQL and files.
pg start >/dev/null
python3 tests/web/fixture.py "$work/fixture" 75
cat >"$work/config.yaml" <<X
data: $work/data
checkpoint: $work/checkpoint
activity:
  sinks:
    tables: postgres
    lake: embedded
    topics: files
    postgres: {host: localhost, port: $PG_PORT, user: tidegate, database: tidegate, tls: prefer}
X
# Somebody's settings must not reach the run.
spawn "$work/run.pid" "$work/run.log" "${bare[@]}" DB_PASSWORD=tidegate-secret \
    "$binary" run activity --config "$work/config.yaml" --fixture "$work/fixture" --speed 1x --epoch 500ms --web "127.0.0.1:$web"
wait_until 60 "$work/run.pid" "$work/run.log" curl -fsS "http://127.0.0.1:$web/readyz"

# Beside it hydraulic, whose page wants a token, as it does in containers: a minute of its recording every few seconds.
token=$(openssl rand -hex 32)
printf '%s' "$token" >"$work/tidegate_web_token"
printf 'web: {address: "127.0.0.1:%s", token_file: %s}\n' "$guarded" "$work/tidegate_web_token" >"$work/hydraulic.yaml"
spawn "$work/hydraulic.pid" "$work/hydraulic.log" "${bare[@]}" "$binary" run hydraulic --config "$work/hydraulic.yaml" \
    --fixture fixtures/hydraulic --speed 5x --epoch 500ms --out "$work/hydraulic"
wait_until 60 "$work/hydraulic.pid" "$work/hydraulic.log" curl -fsS "http://127.0.0.1:$guarded/readyz"
asked() { curl -sS -o /dev/null -w '%{http_code}' "$@" "http://127.0.0.1:$guarded/metrics"; }
[ "$(asked)" = 401 ] || die "metrics are given without a token: $(asked)"
[ "$(asked -H 'Authorization: Bearer somebody-else')" = 401 ] || die "metrics are given for another token"
[ "$(asked -H @- <<<"Authorization: Bearer $token")" = 200 ] || die "no metrics for the token"

# The rules as they are, but for their patience.
mkdir "$work/rules" && cp docker/monitoring/rules/recording.yml "$work/rules/"
sed 's/^\( *for: \).*/\11s/' docker/monitoring/rules/alerts.yml >"$work/rules/alerts.yml"
sed -e 's/scrape_interval: .*/scrape_interval: 1s/; s/evaluation_interval: .*/evaluation_interval: 1s/' \
    -e "s|/etc/prometheus/rules|$work/rules|; s|alertmanager:9093|127.0.0.1:$ALERTMANAGER_PORT|; s|localhost:9090|127.0.0.1:$PROM_PORT|" \
    -e "s|- activity:4040|- 127.0.0.1:$web|; s|- hydraulic:4040|- 127.0.0.1:$guarded|; /- \(iot\|transit\):4040/d; s|/run/secrets|$work|" \
    docker/monitoring/prometheus.yml >"$PROM_CONFIG"
# And once more as somebody who has no token.
printf '  - job_name: nobody\n    static_configs:\n      - targets: ["127.0.0.1:%s"]\n' "$guarded" >>"$PROM_CONFIG"
printf 'http://127.0.0.1:%s/services/T/B/secret' "$slack" >"$work/slack_webhook_url"
sed -e "s|/run/secrets|$work|; s|/etc/alertmanager|$PWD/docker/monitoring/alertmanager|; s|mail:587|127.0.0.1:$mail|" \
    -e 's/group_wait: .*/group_wait: 1s/; s/group_interval: .*/group_interval: 1s/' \
    -e '/smtp_auth/d; s/^\(  smtp_from: .*\)/\1\n  smtp_require_tls: false/' \
    docker/monitoring/alertmanager/alertmanager.yml >"$ALERTMANAGER_CONFIG"
spawn "$work/receiver.pid" "$work/receiver.log" python3 tests/web/receiver.py "$slack" "$mail" "$work/alerts.jsonl"
bash tests/services/prometheus.sh start

# In a browser, while it moves.
NODE_PATH=$(bash tests/services/chromium.sh modules) && export NODE_PATH
node tests/web/page.js moving "http://127.0.0.1:$web/"
say "the page follows, stands while paused, and comes back after the connection was lost"

# Prometheus has the token from the file that the run has it from.
answers() { # QUERY: the value of the one sample
    curl -fsS -G "http://127.0.0.1:$PROM_PORT/api/v1/query" --data-urlencode "query=$1" |
        python3 -c 'import json, sys; (one,) = json.load(sys.stdin)["data"]["result"]; print(one["value"][1])'
}
is() { [ "$(answers "$1")" = "$2" ]; }
for instance in "$web" "$guarded"; do
    wait_until 20 "$work/hydraulic.pid" "$work/hydraulic.log" is "up{job=\"tidegate\", instance=\"127.0.0.1:$instance\"}" 1
done
wait_until 20 "$work/hydraulic.pid" "$work/hydraulic.log" is 'up{job="nobody"}' 0
say "Prometheus scrapes with the token, and is given nothing without"

python3 tests/web/dashboards.py "http://127.0.0.1:$PROM_PORT" docker/monitoring/grafana/dashboards/*.json
pid_of "$work/hydraulic.pid" >/dev/null || die "hydraulic had ended before it was asked"
stop_pid "$work/hydraulic.pid" TERM 20
grep -q 'stopped after epoch' "$work/hydraulic.log" || die "hydraulic did not stop at a checkpoint"
! grep -qF "$token" "$work/hydraulic.log" || die "the token is in the log"

# A sink that is stopped is told, and so is that it works again.
arrived() { # KIND TEXT
    python3 - "$work/alerts.jsonl" "$1" "$2" <<'X'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
sys.exit(not any(line["kind"] == sys.argv[2] and sys.argv[3] in json.dumps(line["what"], ensure_ascii=False) for line in lines))
X
}
pg stop
wait_until 40 "$work/run.pid" "$work/receiver.log" arrived slack '1 firing: TidegateSinkFailing (activity)'
wait_until 10 "$work/run.pid" "$work/receiver.log" arrived mail 'TidegateSinkFailing'
arrived slack 'sink postgres of activity fails and is tried again' || die "the message does not say which sink"
arrived slack '"color": "danger"' || die "the message is not as Slack wants it"
pg start >/dev/null
wait_until 60 "$work/run.pid" "$work/receiver.log" arrived slack 'resolved: TidegateSinkFailing (activity)'
say "a stopped sink is told in Slack and by mail, and that it works again"
! grep -rq tidegate-secret "$work/run.log" || die "the password is in the log"
for path in metrics api/v1/state api/v1/history ''; do
    ! curl -fsS "http://127.0.0.1:$web/$path" | grep -q tidegate-secret || die "the password is in /$path"
done

# In a browser, once nothing moves any more.
read_so_far() { curl -fsS "http://127.0.0.1:$web/metrics" | awk '/^tidegate_source_records_read_total/ {sum += $NF} END {print sum}'; }
stands() { local before; before=$(read_so_far) && sleep 2 && [ "$before" = "$(read_so_far)" ]; }
wait_until 60 "$work/run.pid" "$work/run.log" stands
node tests/web/page.js still "http://127.0.0.1:$web/" $screenshot
kill -TERM "$(pid_of "$work/run.pid")"
for _ in $(seq 100); do pid_of "$work/run.pid" >/dev/null || break; sleep 0.2; done
grep -q 'stopped after epoch' "$work/run.log" || die "the run did not stop at a checkpoint"
say "web: all well"
