#!/bin/bash
# Makes every topic that the pipelines read and write, where it is not there. Runs in the Kafka image, which has bash.
#   BOOTSTRAP   brokers   PARTITIONS   of each topic   KAFKA_HOME   where Kafka's scripts are
set -eu
bootstrap=${BOOTSTRAP:-kafka:9092} partitions=${PARTITIONS:-4} home=${KAFKA_HOME:-/opt/kafka}

topics=(user_activity enriched_activity iot_data validated_iot_data hydraulic-alerts dev_topic)
for sensor in PS1 PS2 PS3 PS4 PS5 PS6 EPS1 FS1 FS2 TS1 TS2 TS3 TS4 VS1 CE CP SE; do topics+=("hydraulic-$sensor"); done

# Kafka's script takes a second to start: where all topics are there, it is started once.
there=$("$home/bin/kafka-topics.sh" --bootstrap-server "$bootstrap" --list)
make() { # TOPIC FLAGS...
    [[ $'\n'$there$'\n' != *$'\n'$1$'\n'* ]] || return 0
    echo "$1"
    "$home/bin/kafka-topics.sh" --bootstrap-server "$bootstrap" --create --if-not-exists --topic "$1" --partitions "$partitions" "${@:2}" >/dev/null
}
for topic in "${topics[@]}"; do
    make "$topic" --config message.timestamp.after.max.ms=3600000
    # What was set aside: late records and dead letters of each input.
    case $topic in enriched_activity | validated_iot_data | hydraulic-alerts) continue ;; esac
    for side in late dlq; do
        make "$topic.$side"
    done
done
