//! Data quality as a metric: how often each rule was broken, and by which sensor.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate::ingest::Breach;
use tidegate::telemetry::{Board, Family, Kind};

/// So many sensors have a label of their own, shared out to the workers; the table has them all.
const MOST_SENSORS: usize = 100;

/// The label of the others together.
const OTHERS: &str = "(others)";

const BREACHES: Family = Family {
    name: "tidegate_iot_rule_breaches_total",
    kind: Kind::Counter,
    labels: &["pipeline", "rule", "sensor"],
    help: "how often the rule was broken by the sensor; sensors beyond the first hundred are (others), and unusable records without a sensor have an empty one",
};

/// All of them.
pub const METRICS: &[Family] = &[BREACHES];

/// Counts broken rules as they leave with their epoch.
pub(super) fn breaches(board: &Arc<Board>, peers: usize) -> impl FnMut(&(Breach, u64)) + 'static {
    let most = (MOST_SENSORS / peers.max(1)).max(1);
    let (board, mut sensors) = (Arc::clone(board), Sensors { most, named: BTreeSet::new() });
    move |(breach, n)| board.add(&BREACHES, &[&breach.rule, &sensors.label(&breach.subject)], *n)
}

/// The sensors that have a label of their own.
struct Sensors {
    most: usize,
    named: BTreeSet<String>,
}

impl Sensors {
    fn label(&mut self, sensor: &[u8]) -> String {
        let name = String::from_utf8_lossy(sensor).into_owned();
        if name.is_empty() || self.named.contains(&name) {
            return name;
        }
        if self.named.len() >= self.most {
            return OTHERS.to_owned();
        }
        self.named.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaches_are_added_by_rule_and_by_sensor_with_a_bound() {
        let board = Arc::new(Board::default());
        let mut count = breaches(&board, 1);
        let breach = |sensor: &str, rule: &str| Breach { subject: sensor.into(), rule: rule.to_owned() };
        for sensor in (0..MOST_SENSORS + 5).map(|number| format!("s{number}")) {
            count(&(breach(&sensor, "range"), 2));
        }
        count(&(breach("s3", "range"), 1));
        count(&(breach("", "json"), 4));
        let values = board.snapshot(0).values;
        let of = |rule: &str, sensor: &str| {
            let labels = [("rule", rule), ("sensor", sensor)].map(|(a, b)| (a.to_owned(), b.to_owned()));
            values.iter().find(|view| view.labels == labels.clone().into()).map(|view| view.value)
        };
        assert_eq!((of("range", "s3"), of("range", "s4")), (Some(3.0), Some(2.0)));
        assert_eq!((of("range", OTHERS), of("json", "")), (Some(10.0), Some(4.0)));
        assert_eq!(values.len(), MOST_SENSORS + 2);
    }
}
