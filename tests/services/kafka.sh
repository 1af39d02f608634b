#!/usr/bin/env bash
# Apache Kafka as one KRaft node (broker and controller), from Maven's central repository.
# usage: kafka.sh install|start|stop|kill|wipe|status|env
#   KAFKA_VERSION (4.3.1)   KAFKA_PORT (9092)   KAFKA_CONTROLLER_PORT (9093)   KAFKA_HEAP ("-Xms256m -Xmx768m")
#   KAFKA_SASL_SSL_PORT, KAFKA_SSL_PORT   when set, further listeners: TLS with PLAIN or SCRAM for KAFKA_USER and
#                                         KAFKA_PASSWORD, and TLS with client certificates (ca.crt, client.* in tls/)
#   JVM_FLAGS (lib.sh)   more for each virtual machine
#   KAFKA_DATA_DIR   where the broker's log is, if not beside its files; who names it removes it
# `env` prints KAFKA_BOOTSTRAP and KAFKA_DATA (the broker's log directory) for eval.
# kill: SIGKILL, for crash tests; start afterwards finds the same data. wipe: stop and remove the data.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
KAFKA_USER=${KAFKA_USER:-tidegate} KAFKA_PASSWORD=${KAFKA_PASSWORD:-tidegate-secret}
KAFKA_VERSION=${KAFKA_VERSION:-4.3.1} SCALA=2.13 LOG4J_VERSION=2.25.4
KAFKA_PORT=${KAFKA_PORT:-9092} KAFKA_CONTROLLER_PORT=${KAFKA_CONTROLLER_PORT:-9093}
KAFKA_HEAP=${KAFKA_HEAP:--Xms256m -Xmx768m}
LIBS=$TIDEGATE_CACHE/kafka-$KAFKA_VERSION/libs
DIR=$TIDEGATE_SERVICES_DIR/kafka DATA=${KAFKA_DATA_DIR:-$TIDEGATE_SERVICES_DIR/kafka/data}
PID=$DIR/pid
LOG=$DIR/kafka.log

install() {
    maven_jars "$LIBS" "org.apache.kafka:kafka_$SCALA:$KAFKA_VERSION" "org.apache.kafka:kafka-tools:$KAFKA_VERSION" \
        "org.apache.logging.log4j:log4j-slf4j-impl:$LOG4J_VERSION"
}
logging() { # LEVEL: prints the option by which all of it is logged to stderr
    cat >"$DIR/log4j2-$1.yaml" <<X
Configuration:
  Appenders: {Console: {name: OUT, target: SYSTEM_ERR, PatternLayout: {pattern: "%d %p %m (%c)%n"}}}
  Loggers: {Root: {level: $1, AppenderRef: {ref: OUT}}}
X
    printf '%s' "-Dlog4j2.configurationFile=$DIR/log4j2-$1.yaml"
}
# As Kafka writes one: 16 bytes in base64 that go into an address. One that begins with a dash would be taken for an option.
random_uuid() { printf 't%s' "$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 2-22)"; }
config() {
    local listeners=PLAINTEXT://$HOST:$KAFKA_PORT,CONTROLLER://$HOST:$KAFKA_CONTROLLER_PORT
    if is_secure; then
        listeners=$listeners,SASL_SSL://$HOST:$KAFKA_SASL_SSL_PORT,SSL://$HOST:$KAFKA_SSL_PORT
        ensure_tls
    fi
    cat >"$DIR/server.properties" <<X
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=$HOST:$KAFKA_CONTROLLER_PORT
listeners=$listeners
advertised.listeners=$listeners
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$DATA
offsets.topic.num.partitions=4
log.retention.ms=-1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
X
    is_secure || return 0
    cat "$TLS/server.key" "$TLS/server.crt" "$TLS/ca.crt" >"$DIR/broker.pem"
    cat >>"$DIR/server.properties" <<X
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
ssl.keystore.type=PEM
ssl.keystore.location=$DIR/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=$TLS/ca.crt
listener.name.ssl.ssl.client.auth=required
listener.name.sasl_ssl.ssl.client.auth=none
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_$KAFKA_USER="$KAFKA_PASSWORD";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
X
    chmod 600 "$DIR/server.properties" "$DIR/broker.pem"
}
is_secure() { [ -n "${KAFKA_SASL_SSL_PORT:-}" ] && [ -n "${KAFKA_SSL_PORT:-}" ]; }
ready() { grep -q 'Kafka Server started' "$LOG" && port_open "$KAFKA_PORT"; }
start() {
    local pid port
    if pid=$(pid_of "$PID"); then
        say "kafka already runs (pid $pid)"
        return 0
    fi
    install
    mkdir -p "$DIR"
    for port in "$KAFKA_PORT" "$KAFKA_CONTROLLER_PORT" ${KAFKA_SASL_SSL_PORT:-} ${KAFKA_SSL_PORT:-}; do
        port_free_or_die "$port" "KAFKA_PORT and KAFKA_CONTROLLER_PORT"
    done
    config
    if [ ! -f "$DATA/meta.properties" ]; then
        local users=() mechanism
        if is_secure; then
            for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
                users+=(--add-scram "$mechanism=[name=$KAFKA_USER,password=$KAFKA_PASSWORD]")
            done
        fi
        # shellcheck disable=SC2086
        java $JVM_FLAGS "$(logging WARN)" -cp "$LIBS/*" kafka.tools.StorageTool format --standalone -c "$DIR/server.properties" \
            -t "$(random_uuid)" "${users[@]}" >"$DIR/format.log" 2>&1 ||
            { tail -n 20 "$DIR/format.log" >&2; die "could not format Kafka's storage"; }
    fi
    : >"$LOG"
    # shellcheck disable=SC2086
    spawn "$PID" "$LOG" java $KAFKA_HEAP $JVM_FLAGS -Djava.awt.headless=true -cp "$LIBS/*" "$(logging INFO)" kafka.Kafka "$DIR/server.properties"
    wait_until 180 "$PID" "$LOG" ready
    say "kafka $KAFKA_VERSION answers on $HOST:$KAFKA_PORT"
}
environment() { echo "export KAFKA_BOOTSTRAP=$HOST:$KAFKA_PORT KAFKA_DATA=$DATA"; }
verbs TERM 30 "$@"
