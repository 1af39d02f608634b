#!/usr/bin/env bash
# iot into a MongoDB that asks who comes: SCRAM, then TLS and X.509; secrets that show nowhere. Called by tests/run.
# usage: tests/mongo_auth.sh     TIDEGATE_BINARY   the program (default: the release build)
# Passwords are in MONGO_URI only, as docs/iot.md has it. Then every byte that a command says or leaves is searched for them.
cd "$(dirname "$0")/.."
. tests/services/live.sh
own_place mongo-auth
MONGO_PORT=$(free_port 27317) && export MONGO_PORT
finish() { tests/services/mongo.sh wipe >/dev/null 2>&1 || :; rm -rf "$work"; }
trap finish EXIT
for name in $(compgen -e | grep -E '^(KAFKA_|MONGO_|POSTGRES_)'); do bare+=(-u "$name"); done
said=$work/said && mkdir "$said" "$work/place"
fixture=$work/fixture
count=0 with=()
# It has what must be escaped in a URI, and no part of it may be seen, escaped or not.
word='Sesam@effne:Dich/9272' escaped=Sesam%40effne%3ADich%2F9272
# Runs tidegate with a MONGO_URI, keeps what it says, and asserts its exit code.
run() { # CODE URI ARGUMENTS...
    local wanted=$1 uri=$2 status=0
    shift 2
    count=$((count + 1))
    (cd "$work/place" && timeout -k 5 60 "${bare[@]}" MONGO_URI="$uri" TIDEGATE_LOG=trace ${with[@]+"${with[@]}"} "$binary" "$@") \
        >"$said/$count.out" 2>"$said/$count.err" || status=$?
    [ "$status" = "$wanted" ] || { tail -n 30 "$said/$count.err" | cut -c1-400; die "tidegate $*: exit code $status, not $wanted"; }
}
says() { grep -qF -- "$1" "$said/$count.err" "$said/$count.out" || { tail -n 30 "$said/$count.err"; die "it does not say: $1"; }; }
# The server, started anew: with these flags. Killed, since it takes its time to end while drivers hold connections.
server() { # FLAGS
    tests/services/mongo.sh kill
    MONGO_EXTRA=$1 tests/services/mongo.sh start
}
asked() { "$MONGO_TEST_PYTHON" - "$@"; } # URI [ARGUMENTS...], a program on stdin

# Users come in while the door is open: one for everything, one for this database, one without rights, and a certificate's.
server ''
eval "$(tests/services/mongo.sh env)"
asked "$MONGO_TEST_URI" "$word" <<'X'
import pymongo, sys
client = pymongo.MongoClient(sys.argv[1])
def make(database, name, roles, **more):
    client[database].command("createUser", name, roles=roles, **more)
make("admin", "tidegate", [{"role": "root", "db": "admin"}], pwd=sys.argv[2])
make("iot_own", "sensors", [{"role": "readWrite", "db": "iot_own"}], pwd=sys.argv[2])
make("admin", "guest", [{"role": "read", "db": "elsewhere"}], pwd=sys.argv[2])
make("$external", "CN=tidegate", [{"role": "root", "db": "admin"}], mechanisms=["MONGODB-X509"])
X
server --auth
at=127.0.0.1:$MONGO_PORT
root=mongodb://tidegate:$escaped@$at/

# It is locked, and not for tidegate alone: who says nothing is told so, and so is a wrong password.
if asked "$MONGO_TEST_URI" <<<'import pymongo, sys; pymongo.MongoClient(sys.argv[1]).iot_data.x.insert_one({})' 2>/dev/null; then
    die 'the server lets anybody in: this test says nothing'
fi

tidegate generate iot --fixture "$fixture" --records 1500 --seed 5 --partitions 3 --sensors 12 --span 20m --late-every 40 --fault-every 40
tidegate replay iot --fixture "$fixture" --out "$work/expected" -w 2 >/dev/null 2>&1
# A run over the recording into a database of its own, and the rows that must be there then.
iot() { # CODE DATABASE URI
    run "$1" "$3" run iot --fixture "$fixture" --config "$work/$2.yaml" --checkpoint "$work/place/checkpoint-$2" --until-end --web off -w 2
    [ "$1" = 0 ] || return 0
    MONGO_DATABASE=$2 MONGO_URI=$3 "$MONGO_TEST_PYTHON" tests/iot_live.py compare "$work/expected" mongo
}
settings() { # DATABASE
    printf 'data: data-%s\niot: {sinks: {topics: files, mongo: {database: %s}}}\n' "$1" "$1" >"$work/$1.yaml"
}
for name in iot_root iot_own iot_none iot_tls iot_x509; do settings "$name"; done

# SCRAM: the user of everything, and one of the database itself, which the URI names as its place.
iot 0 iot_root "$root"
iot 0 iot_own "mongodb://sensors:$escaped@$at/?authSource=iot_own"

# Barred: the cause and what to do are told, at once, without the password. Nothing is written.
for uri in "mongodb://tidegate:${escaped}x@$at/" "mongodb://nobody:$escaped@$at/" "mongodb://sensors:$escaped@$at/"; do
    iot 1 iot_none "$uri"
    says 'check user, password and authSource'
done
iot 1 iot_none "mongodb://guest:$escaped@$at/"
iot 1 iot_none "mongodb://$at/"
asked "$root" <<'X'
import pymongo, sys
names = pymongo.MongoClient(sys.argv[1]).list_database_names()
assert "iot_root" in names and "iot_none" not in names, names
X
# Strings that cannot be read are wrong settings: characters that are not escaped, a mechanism and a port that are none.
iot 2 iot_none "mongodb://tidegate:$word@$at/"
says 'password must be URL encoded'
for uri in "mongodb://tidegate:Sesam?effne@$at/" "${root}?authMechanism=GUESSING" "mongodb://tidegate:$escaped@127.0.0.1:here/"; do
    iot 2 iot_none "$uri"
    says 'the connection string cannot be read'
done
# Sync reads it too; nobody answers where PostgreSQL should be.
with=(POSTGRES_HOST=127.0.0.1 POSTGRES_PORT=1)
run 1 "$root" sync --config "$work/iot_root.yaml"
says POSTGRES_HOST
run 2 "mongodb://tidegate:$word@$at/" sync --config "$work/iot_root.yaml"
with=()

# TLS besides, and a certificate in place of a password.
ensure_tls
tls=$TIDEGATE_SERVICES_DIR/tls
server "--auth --tls-cert-file $tls/server.crt --tls-key-file $tls/server.key --tls-ca-file $tls/ca.crt"
iot 0 iot_tls "${root}?tls=true&tlsCAFile=$tls/ca.crt"
iot 0 iot_x509 "mongodb://$at/?authMechanism=MONGODB-X509&tls=true&tlsCAFile=$tls/ca.crt&tlsCertificateKeyFile=$tls/client.pem"

# The secret is nowhere: not in what was said at the finest log level, and not in what was left.
! grep -rlF -e Sesam -e effne "$said" "$work/place" || die "the secret is in the files above"
echo "mongo_auth: all of it held, $count commands searched"
