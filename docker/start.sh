#!/usr/bin/env bash
# Starts tidegate and what it needs, and waits until all of it is healthy.
# usage: docker/start.sh [PROFILE...]      activity (the default), iot, hydraulic, transit, generate, monitoring, dbt
#        docker/start.sh --prepare         only makes docker/.env and docker/secrets/
# The first start makes docker/.env, with passwords drawn at random, and docker/secrets/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
umask 077

random() { LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c 32 || :; }

if [ ! -e .env ]; then
    # Every password of the example is drawn anew.
    while IFS= read -r line; do
        case $line in
        *=change-me) printf '%s=%s\n' "${line%%=*}" "$(random)" ;;
        *) printf '%s\n' "$line" ;;
        esac
    done <.env.example >.env
    echo "made docker/.env, with new passwords"
fi
mkdir -p secrets
# Their users read them in the containers, whoever those are; the folder above is for you alone to protect.
chmod 755 secrets
for secret in tidegate_web_token slack_webhook_url smtp_password; do
    [ ! -e "secrets/$secret" ] || continue
    case $secret in
    tidegate_web_token) random >"secrets/$secret" ;;
    # Alertmanager wants one that looks like an address; nothing arrives until it is yours.
    slack_webhook_url) printf 'https://hooks.slack.com/services/put/yours/here' >"secrets/$secret" ;;
    smtp_password) printf 'change-me' >"secrets/$secret" ;;
    esac
    chmod 644 "secrets/$secret"
    echo "made docker/secrets/$secret"
done
[ "${1:-}" != --prepare ] || exit 0

docker compose version >/dev/null 2>&1 || { echo "error: docker compose is not there: install Docker with its compose plugin" >&2; exit 1; }
[ $# -gt 0 ] || set -- activity
profiles=()
for profile in "$@"; do
    case $profile in
    activity | iot | hydraulic | transit | generate | monitoring | dbt) profiles+=(--profile "$profile") ;;
    *) echo "error: there is no profile $profile: activity, iot, hydraulic, transit, generate, monitoring, dbt" >&2; exit 2 ;;
    esac
done
# Services come up in the order of what they need. `--wait` is not asked to: it takes a service that has done its work, as
# the one that makes topics, for one that has failed.
docker compose "${profiles[@]}" up --build --detach
echo "waiting until all are healthy"
for _ in $(seq 60); do
    health=$(docker compose "${profiles[@]}" ps --format '{{.Service}} {{.Health}}')
    grep -qE ' (starting|unhealthy)$' <<<"$health" || break
    sleep 5
done
docker compose "${profiles[@]}" ps
! grep -E ' (starting|unhealthy)$' <<<"$health" || { echo "error: the services above are not healthy; see their logs" >&2; exit 1; }
cat <<EOF
tidegate's page: http://localhost:4040 (any user, password: docker/secrets/tidegate_web_token)
its messages:    docker compose -f docker/docker-compose.yml logs -f
stop:            docker compose -f docker/docker-compose.yml --profile '*' down    (add --volumes to forget everything)
EOF
