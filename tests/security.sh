#!/usr/bin/env bash
# Kafka, PostgreSQL, S3 and the run's page behind passwords and TLS, and secrets that show nowhere. Called by tests/run.
# usage: tests/security.sh     TIDEGATE_BINARY   the program (default: the release build)
#   S3_SERVER (seaweedfs)  whose S3: seaweedfs, minio
# A secret is planted in everything that takes one; then every byte that a command says or leaves is searched for it.
cd "$(dirname "$0")/.."
. tests/services/live.sh
own_place security
KAFKA_PORT=$(free_port 29292) KAFKA_CONTROLLER_PORT=$(free_port 29393)
KAFKA_SASL_SSL_PORT=$(free_port 29494) KAFKA_SSL_PORT=$(free_port 29595) PG_PORT=$(free_port 25433)
# SeaweedFS takes each of these ten thousand higher too, which must be below the ports that clients are given.
S3_PORT=$(free_port 22600) SEAWEEDFS_MASTER_PORT=$(free_port 22620) SEAWEEDFS_VOLUME_PORT=$(free_port 22640) SEAWEEDFS_FILER_PORT=$(free_port 22660)
secret=Sesam0effne-Dich-9271
export KAFKA_PORT KAFKA_CONTROLLER_PORT KAFKA_SASL_SSL_PORT KAFKA_SSL_PORT PG_PORT
export S3_PORT SEAWEEDFS_MASTER_PORT SEAWEEDFS_VOLUME_PORT SEAWEEDFS_FILER_PORT
export KAFKA_PASSWORD=$secret PG_PASSWORD=$secret PG_DATABASE=stream_data S3_USER=tidegate S3_PASSWORD=$secret S3_TLS=1
kafka() { bash tests/services/kafka.sh "$@"; }
pg() { bash tests/services/postgres.sh "$@"; }
s3() { bash tests/services/s3.sh "$@"; }
finish() { kill_jobs; kafka wipe >/dev/null 2>&1 || :; pg wipe >/dev/null 2>&1 || :; s3 wipe >/dev/null 2>&1 || :; rm -rf "$work"; }
trap finish EXIT
for name in $(compgen -e | grep -E '^(KAFKA_|PG|S3_|AWS_|MINIO_|SSL_CERT_)'); do bare+=(-u "$name"); done
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
s3 start
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

# S3 over TLS: Delta tables and the checkpoint, written and read back. Its CA is what SSL_CERT_FILE names; without it the server is
# refused, at once and by its name, whatever the S3 client's own variables say.
s3=("AWS_ENDPOINT_URL=https://127.0.0.1:$S3_PORT" AWS_ACCESS_KEY_ID=tidegate "AWS_SECRET_ACCESS_KEY=$secret") ca=SSL_CERT_FILE=$tls/ca.crt
fixture=$PWD/fixtures/transit
with=("${database[@]}" "${s3[@]}" "$ca")
run 0 run transit --fixture "$fixture" --out transit --lake s3a://tidegate/delta --checkpoint s3://tidegate/checkpoint --web off
run 0 verify transit --fixture "$fixture" --out transit --lake=s3a://tidegate/delta
run 0 delta history s3://tidegate/delta/vehicle_positions
run 0 checkpoint verify --checkpoint s3://tidegate/checkpoint --pipeline transit
with=("${database[@]}" "${s3[@]}" AWS_ALLOW_INVALID_CERTIFICATES=true)
run 1 run transit --fixture "$fixture" --out refused --lake s3a://tidegate/refused --web off
says 'invalid peer certificate: UnknownIssuer; check SSL_CERT_FILE'

# Live runs: SCRAM over TLS in, PostgreSQL and S3 over TLS out, verified.
with=("${database[@]}" "${s3[@]}" "$ca")
printf 'kafka: {bootstrap_servers: "%s", client_properties: "%s"}\nactivity: {sinks: {lake: "s3://tidegate/clicks", topics: files, postgres: {tls: verify-full, ca_file: "%s"}}}\n' \
    "$sasl" "$work/scram512" "$tls/ca.crt" >"$work/live.yaml"
# The first has a page that wants a token or a password, over TLS, and its database goes away: what it shows is searched like all else.
web_port=$(free_port 24240) token=$secret-token password=$secret-page
printf '%s' "$token" >"$work/token"
printf 'ann:%s' "$password" >"$work/password"
{ cat "$work/live.yaml" && printf 'web: {address: "127.0.0.1:%s", token_file: "%s", password_file: "%s", tls_certificate: "%s", tls_key: "%s"}\n' \
    "$web_port" "$work/token" "$work/password" "$tls/server.crt" "$tls/server.key"; } >"$work/page.yaml"
live() { # NAME FLAGS...: in the background; a crash leaves no core, which would hold all that was in memory
    local name=$1
    shift
    (ulimit -c 0 && cd "$work/place" && exec "${bare[@]}" "${with[@]}" RUST_BACKTRACE=full "$binary" run activity --config "$work/page.yaml" "$@") \
        >"$said/$name.out" 2>"$said/$name.err" &
    runner=$!
}
ends() { # PID: it does, or is ended: what hangs must not hold everything up
    local left=600
    while kill -0 "$1" 2>/dev/null; do
        left=$((left - 1))
        if [ "$left" = 0 ]; then
            kill -KILL "$1"
            die "process $1 does not end"
        fi
        sleep 0.2
    done
}
asked() { curl -sS --max-time 10 --cacert "$tls/ca.crt" "$@"; }
page() { asked -H "Authorization: Bearer $token" "https://localhost:$web_port/$1" || :; } # PATH
until_page_says() { # REGEX PATH NAME, of the run
    local left=300
    until page "$2" 2>/dev/null | grep -qE -- "$1"; do
        left=$((left - 1))
        if [ "$left" = 0 ] || ! kill -0 "$runner"; then
            tail -n 20 "$said/$3.err" | cut -c1-400
            die "the page does not say: $1"
        fi
        sleep 0.2
    done
}
# Ready is also who still opens its sinks: not before an epoch is in the database is the connection one that can break.
committed='^tidegate_sink_epoch_number\{pipeline="activity",sink="postgres"\} [1-9]'
look() { # WHEN
    local path
    for path in '' assets/page.js metrics api/v1/state api/v1/history; do page "$path" >"$said/page-$1-${path//\//-}"; done
    asked -i "https://localhost:$web_port/api/v1/state" >"$said/page-$1-barred"
    grep -q '^HTTP/1.1 401' "$said/page-$1-barred" || die "the page is shown to anybody"
}
opens() { # STATUS CURL'S ARGUMENTS...: what the page answers to these
    local wanted=$1 status
    shift
    status=$(asked -o /dev/null -w '%{http_code}' "$@" "https://localhost:$web_port/")
    [ "$status" = "$wanted" ] || die "the page answers $status, not $wanted"
}
refuses() { # STATUS OF CURL, or any; CURL'S ARGUMENTS...: nothing of the page gets through
    local wanted=$1 status=0
    shift
    curl -sS --max-time 10 "$@" >"$said/refused.out" 2>"$said/refused.err" || status=$?
    [ "$status" != 0 ] || die "the page is shown to curl $*"
    [ "$wanted" = any ] || [ "$status" = "$wanted" ] || { cat "$said/refused.err"; die "curl $*: exit code $status, not $wanted"; }
    ! grep -qai -e '<html' -e '^HTTP/' "$said/refused.out" || die "something of the page is shown to curl $*"
}
live page
until_page_says "$committed" metrics page
look well
# Our own tools get in as others do.
at=(--url "https://localhost:$web_port" --ca-file "$tls/ca.crt")
run 0 health "${at[@]}"
run 0 top --once "${at[@]}" --token-file "$work/token"
run 0 top --once "${at[@]}" --password-file "$work/password"
run 2 top --once "${at[@]}"
says --token-file
before=("${with[@]}") with=()
run 1 health --url "https://localhost:$web_port"
says --ca-file
with=("${before[@]}")
# In either scheme, as docs/api.md has it; the token is the password of any user.
opens 200 -u "ann:$password"
opens 200 -u "anybody:$token"
opens 401 -u "ann:$password-not"
opens 401 -u "bob:$password"
opens 401 -H "Authorization: Bearer $password"
opens 401
grep -qi '^www-authenticate: Basic' "$said/page-well-barred" || die "a browser would not ask for a password"
# Who does not believe the CA breaks off (60), and without TLS nobody gets anything.
refuses 60 -H "Authorization: Bearer $token" "https://localhost:$web_port/"
refuses any -i -H "Authorization: Bearer $token" "http://localhost:$web_port/"
pg stop
run 0 generate activity --bootstrap-servers "$ssl" --client-properties "$work/certificate" --topic user_activity --records 500 --partitions 2 --seed 2
until_page_says 'tidegate_sink_failing\{pipeline="activity",sink="postgres"\} 1' metrics page
look away
pg start
kill -TERM "$runner"
ends "$runner"
wait "$runner" || die "the live run ended with $?"

# A crash: two processes go on from there, one is made to abort, and the other panics for it. Both have all secrets in their memory.
run 0 generate activity --bootstrap-servers "$ssl" --client-properties "$work/certificate" --topic user_activity --records 500 --partitions 2 --seed 3
first=$(free_port 27270)
printf '127.0.0.1:%s\n' "$first" "$(free_port $((first + 1)))" >"$work/hosts"
live crash-1 -w 1 -n 2 -p 1 -h "$work/hosts"
aborts=$runner
live crash-0 -w 1 -n 2 -p 0 -h "$work/hosts"
# The sinks have shown an epoch before the two have met; once another is decided, they have.
until_page_says '^tidegate_epoch_decided_number\{pipeline="activity"\} [1-9]' metrics crash-0
kill -ABRT "$aborts"
status=0
wait "$aborts" 2>/dev/null || status=$?
[ "$status" = 134 ] || die "the process that was to abort ended with $status"
status=0
ends "$runner"
wait "$runner" || status=$?
[ "$status" = 1 ] || die "the process whose peer is lost ended with $status"
for line in 'panicked at' 'stack backtrace:' 'a worker of this process has ended'; do
    grep -qF "$line" "$said/crash-0.err" || { tail -n 20 "$said/crash-0.err" | cut -c1-400; die "no real crash, it does not say: $line"; }
done

# One process again goes on from there.
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
with=("${database[@]}")
printf 'activity: {sinks: {postgres: {tls: verify-full}}}\n' >"$work/no-ca.yaml"
run 1 validate --connect activity --config "$work/no-ca.yaml" --bootstrap-servers "$sasl" --client-properties "$work/scram512"
says 'certificate verify failed'
# Where they name no CA, PostgreSQL and Kafka too believe SSL_CERT_FILE.
with=("${database[@]}" "$ca")
run 0 validate --connect activity --config "$work/no-ca.yaml" --bootstrap-servers "$sasl" --client-properties "$work/no-ca"

# The secret is nowhere: not in what was said at the finest log level, and not in what was left.
! grep -rlF "$secret" "$said" "$work/place" "$work"/recorded-* || die "the secret is in the files above"
echo "security: all of it held, $count commands searched"
