#!/usr/bin/env bash
# Kafka and PostgreSQL behind passwords and TLS, and secrets that show nowhere. Called by tests/run.
# usage: tests/security.sh     TIDEGATE_BINARY   the program (default: the release build)
# A secret is planted in everything that takes one; then every byte that a command says or leaves is searched for it.
cd "$(dirname "$0")/.."
. tests/services/live.sh
own_place security
KAFKA_PORT=$(free_port 29292) KAFKA_CONTROLLER_PORT=$(free_port 29393)
KAFKA_SASL_SSL_PORT=$(free_port 29494) KAFKA_SSL_PORT=$(free_port 29595) PG_PORT=$(free_port 25433)
secret=Sesam0effne-Dich-9271
export KAFKA_PORT KAFKA_CONTROLLER_PORT KAFKA_SASL_SSL_PORT KAFKA_SSL_PORT PG_PORT
export KAFKA_PASSWORD=$secret PG_PASSWORD=$secret PG_DATABASE=stream_data
kafka() { bash tests/services/kafka.sh "$@"; }
pg() { bash tests/services/postgres.sh "$@"; }
finish() { kill_jobs; kafka wipe >/dev/null 2>&1 || :; pg wipe >/dev/null 2>&1 || :; rm -rf "$work"; }
trap finish EXIT
for name in $(compgen -e | grep -E '^(KAFKA_|PG)'); do bare+=(-u "$name"); done
said=$work/said && mkdir "$said" "$work/place"
count=0
# Runs tidegate, keeps what it says, and asserts its exit code.
run() { # CODE ARGUMENTS...
    local wanted=$1 status=0
    shift
    count=$((count + 1))
    (cd "$work/place" && timeout -k 5 100 "${bare[@]}" ${with[@]+"${with[@]}"} "$binary" "$@") >"$said/$count.out" 2>"$said/$count.err" || status=$?
    [ "$status" = "$wanted" ] || { cat "$said/$count.err"; die "tidegate $*: exit code $status, not $wanted"; }
}
says() { grep -qF -- "$1" "$said/$count.err" "$said/$count.out" || { cat "$said/$count.err"; die "it does not say: $1"; }; }
with=()

kafka start
pg start
tls=$TIDEGATE_SERVICES_DIR/tls

properties() { # FILE PASSWORD MECHANISM
    printf '%s\n' security.protocol=SASL_SSL "sasl.mechanisms=$3" sasl.username=tidegate "sasl.password=$2" \
        "ssl.ca.location=$tls/ca.crt" >"$work/$1"
}
properties plain "$secret" PLAIN
properties scram256 "$secret" SCRAM-SHA-256
properties scram512 "$secret" SCRAM-SHA-512
properties wrong "$secret-not" SCRAM-SHA-512
sed /ssl.ca/d "$work/plain" >"$work/no-ca"
printf '%s\n' security.protocol=SSL "ssl.ca.location=$tls/ca.crt" "ssl.certificate.location=$tls/client.crt" \
    "ssl.key.location=$tls/client.key" >"$work/certificate"
printf '%s\n' "sasl.mechanism $secret" >"$work/broken"
printf '%s\n' "security.protocol=$secret" >"$work/nonsense"
sasl=127.0.0.1:$KAFKA_SASL_SSL_PORT ssl=127.0.0.1:$KAFKA_SSL_PORT

# Each way in: written to, read from, asked.
for way in plain scram256 scram512; do
    run 0 generate activity --bootstrap-servers "$sasl" --client-properties "$work/$way" --topic "t-$way" --records 500 --partitions 2
    run 0 record --bootstrap-servers "$sasl" --client-properties "$work/$way" --topic "t-$way" --out "$work/recorded-$way"
    [ "$(cat "$work/recorded-$way"/*.jsonl | wc -l)" = 500 ] || die "$way: not all was recorded"
done
run 0 generate activity --bootstrap-servers "$ssl" --client-properties "$work/certificate" --topic user_activity --records 3000 --partitions 2
run 0 tap user_activity --bootstrap-servers "$ssl" --client-properties "$work/certificate" -c 2
database=(DB_HOST=localhost "DB_PORT=$PG_PORT" DB_USER=tidegate DB_NAME=stream_data "DB_PASSWORD=$secret" TIDEGATE_LOG=trace)
with=("${database[@]}")
run 0 validate --connect activity --bootstrap-servers "$sasl" --client-properties "$work/scram512"
says 'topic user_activity'

# Each way that is barred: told, with the cause, and without the password.
run 2 record --bootstrap-servers "$sasl" --client-properties "$work/broken" --topic t --out "$work/x"
says 'there is no ='
run 2 record --bootstrap-servers "$sasl" --client-properties "$work/nonsense" --topic t --out "$work/x"
says security.protocol
for way in wrong no-ca; do
    run 1 validate --connect activity --bootstrap-servers "$sasl" --client-properties "$work/$way"
    says BAD
done

# Live runs: SCRAM over TLS in, PostgreSQL over TLS out, verified.
printf 'kafka: {bootstrap_servers: "%s", client_properties: "%s"}\nactivity: {sinks: {topics: files, postgres: {tls: verify-full, ca_file: "%s"}}}\n' \
    "$sasl" "$work/scram512" "$tls/ca.crt" >"$work/live.yaml"
# The first has a page that wants a token, and its database goes away: what it shows is searched like all else.
web_port=$(free_port 24240) token=$secret-token
printf '%s' "$token" >"$work/token"
{ cat "$work/live.yaml" && printf 'web: {address: "127.0.0.1:%s", token_file: "%s"}\n' "$web_port" "$work/token"; } >"$work/page.yaml"
(cd "$work/place" && exec "${bare[@]}" "${with[@]}" AWS_ACCESS_KEY_ID=tidegate "AWS_SECRET_ACCESS_KEY=$secret" RUST_BACKTRACE=1 \
    "$binary" run activity --config "$work/page.yaml") >"$said/page.out" 2>"$said/page.err" &
runner=$!
page() { curl -sS --max-time 10 -H "Authorization: Bearer $token" "http://127.0.0.1:$web_port/$1" || :; } # PATH
until_page_says() { # TEXT PATH
    local left=100
    until page "$2" 2>/dev/null | grep -qF -- "$1"; do
        left=$((left - 1))
        if [ "$left" = 0 ] || ! kill -0 "$runner"; then
            tail -n 20 "$said/page.err"
            die "the page does not say: $1"
        fi
        sleep 0.2
    done
}
look() { # WHEN
    local path
    for path in '' page.js metrics api/v1/state api/v1/history; do page "$path" >"$said/page-$1-${path//\//-}"; done
    curl -sS --max-time 10 -i "http://127.0.0.1:$web_port/api/v1/state" >"$said/page-$1-barred"
    grep -q '^HTTP/1.1 401' "$said/page-$1-barred" || die "the page is shown to anybody"
}
until_page_says ready readyz
look well
pg stop
run 0 generate activity --bootstrap-servers "$ssl" --client-properties "$work/certificate" --topic user_activity --records 500 --partitions 2 --seed 2
until_page_says 'tidegate_sink_failing{pipeline="activity",sink="postgres"} 1' metrics
look away
pg start
kill -TERM "$runner"
wait "$runner" || die "the live run ended with $?"
# The second goes on from there.
run 0 run activity --config "$work/live.yaml" --until-end
rows=$(pg psql -qAt -c 'select coalesce(sum(view_count), 0) from page_view_counts')
[ "$rows" -gt 0 ] || die "no page views arrived in PostgreSQL"
run 0 validate --connect activity --config "$work/live.yaml" --json
run 0 doctor --config "$work/live.yaml"
run 0 checkpoint show --checkpoint data/checkpoint
run 0 checkpoint list --checkpoint data/checkpoint --json
# A wrong password for the database, and a certificate that nobody signed.
with[4]=DB_PASSWORD=$secret-not
run 1 validate --connect activity --config "$work/live.yaml"
says PostgreSQL
with[4]=DB_PASSWORD=$secret
printf 'activity: {sinks: {postgres: {tls: verify-full}}}\n' >"$work/no-ca.yaml"
run 1 validate --connect activity --config "$work/no-ca.yaml"

# The secret is nowhere: not in what was said at the finest log level, and not in what was left.
! grep -rlF "$secret" "$said" "$work/place" "$work"/recorded-* || die "the secret is in the files above"
echo "security: all of it held, $count commands searched"
