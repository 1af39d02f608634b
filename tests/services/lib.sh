# Shared by the service scripts of this folder and by tests/run; sourced, never run.
#   TIDEGATE_SERVICES_DIR  data, logs and pid files of services           (default ./.services)
#   TIDEGATE_CACHE         what was downloaded and built, kept for ever   (default ~/.cache/tidegate)
set -eu
umask 022
TIDEGATE_CACHE=${TIDEGATE_CACHE:-$HOME/.cache/tidegate}
TIDEGATE_SERVICES_DIR=${TIDEGATE_SERVICES_DIR:-$PWD/.services}
mkdir -p "$TIDEGATE_CACHE" "$TIDEGATE_SERVICES_DIR"
TIDEGATE_CACHE=$(cd "$TIDEGATE_CACHE" && pwd)
TIDEGATE_SERVICES_DIR=$(cd "$TIDEGATE_SERVICES_DIR" && pwd)
HOST=127.0.0.1
# Of Java's virtual machines, which live for a test: the slower of their compilers costs more than it gives. Benches do without.
JVM_FLAGS=${JVM_FLAGS--XX:TieredStopAtLevel=1 -XX:+UseSerialGC}

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
# A command that ends a script by failing is named: many say nothing themselves.
set -E
trap '_status=$?; case $- in *e*) say "error: ${BASH_SOURCE[0]}:$LINENO: status $_status of: $BASH_COMMAND" ;; esac' ERR

# Installs the Debian packages of commands that are missing: apt_for COMMAND PACKAGE [COMMAND PACKAGE]...
# Root, or sudo without a password.
apt_for() {
    local missing=() as=()
    while [ $# -ge 2 ]; do
        command -v "$1" >/dev/null 2>&1 || missing+=("$2")
        shift 2
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || as=(sudo -n)
    say "installing ${missing[*]}"
    {
        "${as[@]}" apt-get update -q &&
            "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
    } >"$TIDEGATE_CACHE/apt.log" 2>&1 || { tail -n 20 "$TIDEGATE_CACHE/apt.log" >&2; die "apt-get could not install ${missing[*]}"; }
}

# A Python environment of packages, made once: venv NAME PACKAGE... prints its folder.
# A stamp with the list of packages tells whether one of an earlier run still serves.
venv() {
    local dir=$TIDEGATE_CACHE/venv-$1 log=$TIDEGATE_CACHE/venv-$1.log
    shift
    if [ "$(cat "$dir/.packages" 2>/dev/null)" != "$*" ]; then
        apt_for python3 python3
        say "making a Python environment with $*"
        rm -rf "$dir"
        # Debian splits ensurepip off: without python3-venv the module is there and fails.
        python3 -m venv "$dir" >"$log" 2>&1 || {
            apt_for python3-venv-is-missing python3-venv
            rm -rf "$dir"
            python3 -m venv "$dir" >"$log" 2>&1 || { cat "$log" >&2; die "python3 -m venv failed"; }
        }
        "$dir/bin/pip" install -q --disable-pip-version-check "$@" >>"$log" 2>&1 || { tail -n 20 "$log" >&2; die "pip could not install $*"; }
        printf '%s' "$*" >"$dir/.packages"
    fi
    printf '%s\n' "$dir"
}
# The Python of the tests, with what they need: prints the interpreter's path.
python_venv() {
    local dir
    dir=$(venv tests pyarrow zstandard confluent-kafka deltalake duckdb opentelemetry-proto)
    printf '%s\n' "$dir/bin/python"
}

# The jars of Maven artifacts and of what they need at run time, fetched once, and a JVM: maven_jars DIR GROUP:ARTIFACT:VERSION...
maven_jars() {
    local dir=$1 artifact group name version
    shift
    apt_for java default-jre-headless
    [ ! -f "$dir/.complete" ] || return 0
    apt_for mvn maven
    mkdir -p "$dir"
    {
        echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        echo '<groupId>tidegate.services</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging><dependencies>'
        for artifact in "$@"; do
            IFS=: read -r group name version <<<"$artifact"
            echo "<dependency><groupId>$group</groupId><artifactId>$name</artifactId><version>$version</version></dependency>"
        done
        echo '</dependencies></project>'
    } >"$dir/../pom.xml"
    say "fetching $*"
    mvn -q -B -f "$dir/../pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$dir" >"$dir/../mvn.log" 2>&1 ||
        { tail -n 20 "$dir/../mvn.log" >&2; die "maven could not fetch $*"; }
    touch "$dir/.complete"
}

# A pid file holds "PID STARTTIME", so that a reused pid is never taken for ours.
start_time_of() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
state_of() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f1; }
pid_of() { # FILE: prints the pid when that very process still lives
    local pid started
    [ -s "$1" ] || return 1
    read -r pid started <"$1" || return 1
    [ -d "/proc/$pid" ] && [ "$(start_time_of "$pid")" = "$started" ] || return 1
    # The first thread of a killed process may be gone while others still hold its ports and files.
    case $(state_of "$pid") in X | '') return 1 ;; Z) [ "$(ls "/proc/$pid/task" 2>/dev/null | wc -l)" -gt 1 ] || return 1 ;; esac
    printf '%s\n' "$pid"
}
spawn() { # PIDFILE LOGFILE COMMAND...: in the background, in a session of its own
    local pid_file=$1 log=$2
    shift 2
    setsid "$@" </dev/null >>"$log" 2>&1 &
    printf '%s %s\n' "$!" "$(start_time_of "$!")" >"$pid_file"
}
# Kills the background jobs of this shell that still run, or have been stopped. No pid that was kept: there are few, and by then it
# may be that of somebody else.
kill_jobs() {
    local pid
    for pid in $(jobs -pr); do kill -9 "$pid" 2>/dev/null || :; done
}
stop_pid() { # PIDFILE SIGNAL SECONDS: then SIGKILL
    local pid tenths=$(($3 * 10))
    if pid=$(pid_of "$1"); then
        kill "-$2" "$pid" 2>/dev/null || :
        while pid_of "$1" >/dev/null && [ "$tenths" -gt 0 ]; do tenths=$((tenths - 1)) && sleep 0.1; done
        if pid_of "$1" >/dev/null; then kill -KILL "$pid" 2>/dev/null || :; fi
    fi
    rm -f "$1"
}
wait_until() { # SECONDS PIDFILE LOGFILE COMMAND...: until it answers 0, or the process is gone
    local fifths=$(($1 * 5)) pid_file=$2 log=$3
    shift 3
    until "$@" >/dev/null 2>&1; do
        pid_of "$pid_file" >/dev/null || { tail -n 30 "$log" | cut -c1-300 >&2; die "the process ended before it was ready (log: $log)"; }
        [ "$fifths" -gt 0 ] || { tail -n 30 "$log" | cut -c1-300 >&2; die "not ready in time (log: $log)"; }
        fifths=$((fifths - 1)) && sleep 0.2
    done
}
# What each service script of one process can be told. It has functions `install`, `start` and `environment` (what `env` prints),
# and `PID`, its pid file, which lies in its folder.
verbs() { # SIGNAL SECONDS, how it is stopped; then the script's own arguments
    local pid
    case ${3:-} in
    install | start) "$3" ;;
    stop) stop_pid "$PID" "$1" "$2" ;;
    kill) stop_pid "$PID" KILL 5 ;;
    wipe)
        stop_pid "$PID" KILL 5
        rm -rf "${PID%/*}"
        ;;
    status) if pid=$(pid_of "$PID"); then echo "running $pid"; else echo stopped; exit 3; fi ;;
    env) environment ;;
    *) usage ;;
    esac
}
usage() { # the comment at the top of the script
    sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
}
port_open() { (exec 3<>"/dev/tcp/$HOST/$1") 2>/dev/null; }
port_free_or_die() { # PORT [VARIABLE]: a client that looks for a server that was just killed may hold its port for a moment
    local tenths=150
    while port_open "$1"; do
        [ "$tenths" -gt 0 ] || die "port $1 is taken by something that this script did not start${2:+: set $2}"
        tenths=$((tenths - 1)) && sleep 0.1
    done
}
free_port() { # FROM: the first port from there that nobody listens on
    local port=$1
    while port_open "$port"; do port=$((port + 1)); done
    printf '%s\n' "$port"
}

# Of an S3 server at S3_PORT: where it is, makes S3_BUCKETS where they are not there yet, by its protocol itself; what `env` prints.
# With S3_TLS=1 it speaks TLS alone, by the certificate of ensure_tls.
s3_url() { echo "http${S3_TLS:+s}://$HOST:$S3_PORT"; }
s3_curl() { curl -sS ${S3_TLS:+--cacert "$TLS/ca.crt"} "$@"; }
s3_buckets() {
    local bucket
    for bucket in $S3_BUCKETS; do
        case $(s3_curl -o /dev/null -w '%{http_code}' --aws-sigv4 aws:amz:us-east-1:s3 -u "$S3_USER:$S3_PASSWORD" -X PUT "$(s3_url)/$bucket") in
        200 | 409) ;;
        *) return 1 ;;
        esac
    done
}
s3_environment() {
    echo "export AWS_ENDPOINT_URL=$(s3_url) AWS_ACCESS_KEY_ID=$S3_USER AWS_SECRET_ACCESS_KEY=$S3_PASSWORD AWS_REGION=us-east-1 AWS_ALLOW_HTTP=true"
    [ -z "${S3_TLS:-}" ] || echo "export SSL_CERT_FILE=$TIDEGATE_SERVICES_DIR/tls/ca.crt"
}

# One test CA, a server's certificate (localhost, 127.0.0.1) and a client's, in $TLS.
ensure_tls() {
    TLS=$TIDEGATE_SERVICES_DIR/tls
    if [ -s "$TLS/client.crt" ] && openssl x509 -checkend 86400 -noout -in "$TLS/server.crt" >/dev/null 2>&1; then return 0; fi
    apt_for openssl openssl
    mkdir -p "$TLS"
    (
        cd "$TLS"
        openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=tidegate test CA" \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
            -keyout ca.key -out ca.crt
        for who in server client; do
            openssl req -newkey rsa:2048 -nodes -subj "/CN=$([ $who = server ] && echo localhost || echo tidegate)" \
                -keyout $who.key -out $who.csr
            if [ $who = server ]; then eku=serverAuth; else eku=clientAuth; fi
            printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=%s\nbasicConstraints=CA:FALSE\n' $eku >$who.ext
            openssl x509 -req -days 30 -in $who.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile $who.ext -out $who.crt
            cat $who.key $who.crt ca.crt >$who.pem
            rm -f $who.csr $who.ext
        done
        chmod 600 ./*.key ./*.pem
    ) >"$TLS.log" 2>&1 || { cat "$TLS.log" >&2; die "could not make the certificates"; }
}
