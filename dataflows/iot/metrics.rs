//! Data quality as a metric: how often each rule was broken, and by which sensor.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate::ingest::Breach;
use tidegate::telemetry::{Board, Family, Kind};

/// So many sensors have a label of their own on a worker; the table has them all.
const MOST_SENSORS: usize = 100;

/// The label of the others together.
const OTHERS: &str = "(others)";

const BREACHES: Family = Family {
    name: "tidegate_iot_rule_breaches_total",
    kind: Kind::Counter,
    labels: &["pipeline", "rule", "sensor"],
    help: "how often the rule was broken by the sensor; sensors beyond the first hundred of a worker are (others), and unusable records without a sensor have an empty one",
};

/// All of them.
pub const METRICS: &[Family] = &[BREACHES];

/// Counts broken rules as they leave with their epoch.
pub(super) fn breaches(board: &Arc<Board>) -> impl FnMut(&(Breach, u64)) + 'static {
    let (board, mut sensors) = (Arc::clone(board), Sensors::default());
    move |(breach, n)| board.add(&BREACHES, &[&breach.rule, &sensors.label(&breach.subject)], *n)
}

/// The sensors that have a label of their own.
#[derive(Default)]
struct Sensors(BTreeSet<String>);

impl Sensors {
    fn label(&mut self, sensor: &[u8]) -> String {
        let name = String::from_utf8_lossy(sensor).into_owned();
        if name.is_empty() || self.0.contains(&name) {
            return name;
        }
        if self.0.len() >= MOST_SENSORS {
            return OTHERS.to_owned();
        }
        self.0.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaches_are_added_by_rule_and_by_sensor_with_a_bound() {
        let board = Arc::new(Board::default());
        let mut count = breaches(&board);
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
