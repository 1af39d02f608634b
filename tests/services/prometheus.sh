#!/usr/bin/env bash
# Prometheus and Alertmanager from Debian's packages, on loopback, each with a configuration that the caller gives.
# usage: prometheus.sh install|start|stop
#   PROM_PORT  PROM_CONFIG (a file)  ALERTMANAGER_PORT  ALERTMANAGER_CONFIG (a file)
. "$(dirname "$0")/lib.sh"
D=$TIDEGATE_SERVICES_DIR/prometheus

# Debian's packages start nothing where no init runs.
install() { apt_for prometheus prometheus prometheus-alertmanager prometheus-alertmanager curl curl; }
up() { curl -fsS "http://$HOST:$1/-/ready"; }
start() {
    install
    mkdir -p "$D/data" "$D/am"
    promtool check config "$PROM_CONFIG" >"$D/check.log" 2>&1 || { cat "$D/check.log" >&2; die "promtool refuses $PROM_CONFIG"; }
    amtool check-config "$ALERTMANAGER_CONFIG" >"$D/check.log" 2>&1 || { cat "$D/check.log" >&2; die "amtool refuses $ALERTMANAGER_CONFIG"; }
    spawn "$D/am.pid" "$D/am.log" prometheus-alertmanager --config.file="$ALERTMANAGER_CONFIG" --storage.path="$D/am" \
        --web.listen-address="$HOST:$ALERTMANAGER_PORT" --cluster.listen-address=
    spawn "$D/prom.pid" "$D/prom.log" prometheus --config.file="$PROM_CONFIG" --storage.tsdb.path="$D/data" \
        --web.listen-address="$HOST:$PROM_PORT"
    wait_until 60 "$D/am.pid" "$D/am.log" up "$ALERTMANAGER_PORT"
    wait_until 60 "$D/prom.pid" "$D/prom.log" up "$PROM_PORT"
}
case ${1:-} in
    install) install ;;
    start) start ;;
    stop) stop_pid "$D/prom.pid" TERM 20; stop_pid "$D/am.pid" TERM 20 ;;
    *) die "usage: $0 install|start|stop" ;;
esac
