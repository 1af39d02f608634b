#!/usr/bin/env bash
# What containers run, outside of one, against a real Kafka and PostgreSQL: the scripts that make topics and databases, and the service
# activity with the command, the settings, the variables and the health check that it has in docker/. Called by tests/run.
# usage: tests/deploy.sh     TIDEGATE_BINARY   the program (default: the release build)
cd "$(dirname "$0")/.."
export PG_DATABASE=stream_data
. tests/services/live.sh
apt_for curl curl unshare util-linux
yaml=$(venv deploy pyyaml==6.0.3)/bin/python
broker_and_postgres deploy 22520 22540 22560

# Kafka's own tool where an image has it. It takes a second to start: most topics are made by a stand-in, with the same flags.
home=$work/kafka
mkdir -p "$home/bin"
cat >"$home/stand-in.py" <<'X'
import argparse
from confluent_kafka.admin import AdminClient, NewTopic

parser = argparse.ArgumentParser(allow_abbrev=False)
for flag in ("--bootstrap-server", "--topic", "--config"):
    parser.add_argument(flag)
parser.add_argument("--partitions", type=int)
for flag in ("--create", "--if-not-exists"):
    parser.add_argument(flag, action="store_true", required=True)
said = parser.parse_args()
config = dict([said.config.split("=")]) if said.config else {}
admin = AdminClient({"bootstrap.servers": said.bootstrap_server})
admin.create_topics([NewTopic(said.topic, said.partitions, 1, config=config)])[said.topic].result(60)
X
jars=$(printf '%s:' "$TIDEGATE_CACHE"/kafka-*/libs/*.jar)
cat >"$home/bin/kafka-topics.sh" <<X
#!/bin/sh
case "\$* " in
*' --list '* | *' --topic dev_topic '* | *' --topic dev_topic.dlq '*)
    exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$jars" org.apache.kafka.tools.TopicCommand "\$@" 2>>"$home/log"
    ;;
*) exec "$python" "$home/stand-in.py" "\$@" ;;
esac
X
chmod +x "$home/bin/kafka-topics.sh"
make_topics() { BOOTSTRAP=$KAFKA_BOOTSTRAP_SERVERS KAFKA_HOME=$home PARTITIONS=$1 bash docker/make-topics.sh; } # PARTITIONS
# A line a topic: its partitions, and its limit on times that are ahead where it has one of its own.
topics() {
    "$python" - "$KAFKA_BOOTSTRAP_SERVERS" <<'X'
import sys
from confluent_kafka.admin import AdminClient, ConfigResource

admin = AdminClient({"bootstrap.servers": sys.argv[1]})
topics = {name: topic for name, topic in admin.list_topics(timeout=30).topics.items() if not name.startswith("__")}
asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in topics]
limits = {of.name: future.result()["message.timestamp.after.max.ms"] for of, future in admin.describe_configs(asked).items()}
for name in sorted(topics):
    print(name, len(topics[name].partitions), "-" if limits[name].is_default else limits[name].value)
X
}
make_topics 3 >/dev/null
topics >"$work/topics"
# Each input has its late records and dead letters, and no topic is forgotten that a pipeline writes.
inputs=(user_activity iot_data dev_topic "${rig_topics[@]}")
{
    for topic in "${inputs[@]}" enriched_activity validated_iot_data hydraulic-alerts; do echo "$topic 3 3600000"; done
    for topic in "${inputs[@]}"; do printf '%s 3 -\n' "$topic.late" "$topic.dlq"; done
} | LC_ALL=C sort | diff - <(LC_ALL=C sort "$work/topics") || die 'not the topics that were to be made'
make_topics 5 >/dev/null
topics | diff "$work/topics" - || die 'topics that were there have changed'
say "$(wc -l <"$work/topics") topics are made, and stay as they are the second time"

# What the image of PostgreSQL does with the files in docker-entrypoint-initdb.d, when its volume is new.
databases() { psql -d postgres -c "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate"; }
prepared() {
    psql -v ON_ERROR_STOP=1 -f docker/init-db.sql 2>>"$work/init.log"
    POSTGRES_USER=$PGUSER POSTGRES_DB=$PGDATABASE IOT_DATABASE=iot_analytics sh docker/init-iot.sh >>"$work/init.log" 2>&1
}
schema() { psql -c "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"; }
PGSSLMODE=prefer prepared
[ "$(databases)" = 'iot_analytics postgres stream_data' ] || die "databases: $(databases)"
schema >"$work/schema"
PGSSLMODE=prefer prepared
schema | diff "$work/schema" - || die 'the second time has changed a table'
[ "$(cut -d'|' -f1 "$work/schema" | sort -u | wc -l)" -ge 7 ] || { cat "$work/schema"; die 'tables are missing'; }
say 'both databases are there'

# The service's own command and variables, but for where the servers are; its settings with their places, in file systems of its own
# that are gone with the process.
page=$(free_port 22580)
service() { # command|variables|health
    "$yaml" - "$1" <<'X'
import re, sys, yaml

service = yaml.safe_load(open("docker/docker-compose.yml"))["services"]["activity"]
example = dict(line.strip().split("=", 1) for line in open("docker/.env.example") if re.match(r"[A-Z_]+=", line))
said = {"command": service["command"], "health": service["healthcheck"]["test"][2:],
        "variables": [f"{name}={value}" for name, value in service["environment"].items()]}[sys.argv[1]]
for word in said:
    print(re.sub(r"\$\{(\w+)(?::[-?]([^}]*))?\}", lambda found: example.get(found[1], found[2]), word))
X
}
mapfile -t command < <(service command)
mapfile -t variables < <(service variables)
mapfile -t health < <(service health)
[ "${command[*]:0:4}" = 'run activity --config config/prod.yaml' ] || die "the service's command is ${command[*]}"
there=(KAFKA_BOOTSTRAP_SERVERS="$KAFKA_BOOTSTRAP_SERVERS" DB_HOST=localhost DB_PORT="$PGPORT" DB_USER="$PGUSER" DB_PASSWORD="$PGPASSWORD")
mkdir "$work/srv" && cp -r config "$work/srv/"
token=$(openssl rand -hex 32)
rights=()
[ "$(id -u)" = 0 ] || rights=(--user --map-root-user)
log=$work/run.log
(
    cd "$work/srv"
    # shellcheck disable=SC2016
    exec unshare "${rights[@]}" --mount "${bare[@]}" "${variables[@]}" "${there[@]}" TOKEN="$token" bash -c '
        mount -t tmpfs tidegate /run && mount -t tmpfs tidegate /var/lib && mkdir -p /run/secrets /var/lib/tidegate &&
            printf %s "$TOKEN" >/run/secrets/tidegate_web_token && unset TOKEN && exec "$@"' - "$binary" "${command[@]}" --web "127.0.0.1:$page"
) >"$log" 2>&1 &
runner=$!
well() { tidegate "${health[@]}" --url "http://127.0.0.1:$page" >"$work/health" 2>&1; }
[ "${health[0]}" = health ] || die "the health check is ${health[*]}"
until_true 60 'a run that is well' well
tidegate generate activity "${servers[@]}" --topic user_activity --records 20000 --span 2h --late-every 50 2>"$work/generate.log"
has_rows() { more_rows 0; }
until_true 60 'rows in PostgreSQL' has_rows
all_read() {
    # Prometheus' way to ask: with the token of the file.
    [ "$(curl -sS -H @- "http://127.0.0.1:$page/metrics" <<<"Authorization: Bearer $token" |
        awk '/^tidegate_source_records_read_total/ { sum += $NF } END { print sum + 0 }')" = 20000 ]
}
until_true 60 'all records are read' all_read
[ "$(curl -sS -o /dev/null -w '%{http_code}' "http://127.0.0.1:$page/metrics")" = 401 ] || fail 'metrics without a token'
well || fail "it is not well: $(cat "$work/health")"
kill -TERM "$runner"
has_ended() { ! kill -0 "$runner" 2>/dev/null; }
until_true 120 'its end after SIGTERM' has_ended
wait "$runner" || fail "exit code $? after SIGTERM"
status=0 && well || status=$?
[ "$status" = 1 ] || die "the health check exits with $status where nobody answers"
! grep -qF -e "$token" -e "$PGPASSWORD" "$log" || die 'a secret is in the log'
# The tables are those that the script has made.
schema | diff "$work/schema" - || die 'the run has changed a table'
views=$(psql -c 'SELECT sum(view_count) FROM page_view_counts')
[ "$views" -gt 1000 ] || die "$views page views"
[ ! -e /var/lib/tidegate/data/lake ] || die 'the run was not in a file system of its own'
say "deploy: the service was well, wrote $(rows) rows of $views page views, and is not well any more"
