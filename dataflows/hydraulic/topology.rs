//! What the pipeline consists of under given settings, for `tidegate graph` and the start-up banner.

use std::time::Duration;

use super::config::{Config, SilentPolicy};
use super::tables::{ALERTS, ANOMALIES, LAKE, LAKE_OUTPUT, SENSOR_FEATURES, SYNCHRONIZED, outputs};
use crate::graph::{Class, Topology};

const TABLES_FILE: &str = "tables.sqlite";

/// The pipeline under `config`.
pub fn topology(config: &Config) -> Topology {
    let show = |duration: Duration| humantime::format_duration(duration).to_string();
    let outputs = outputs(config);
    let prefix = &config.topic_prefix;
    let mut topology = Topology::new("hydraulic");
    let input = topology.input(
        format!("topics {prefix}<sensor>"),
        format!("{} sensors, JSON, one reading a record", config.sensors.len()),
    );
    let detail = format!("delay {}, max_ahead {}", show(config.delay), show(config.max_ahead));
    let judge = topology.step(input, "judge each record in its partition", detail);
    let size = Duration::from_micros(config.windows.size_us().unsigned_abs());
    let detail = format!("avg, min, max, std, count, {} tumbling", show(size));
    let features = topology.step(judge, "features by (cycle, sensor)", detail);
    topology.output(features, &*outputs[SENSOR_FEATURES], "", Class::Table, TABLES_FILE);
    let silent = match config.silent {
        SilentPolicy::Null => "silent sensors are null".to_owned(),
        SilentPolicy::Hold(at_most) => format!("silent sensors held for {}", show(at_most)),
        SilentPolicy::Drop => "rows with a silent sensor are left out".to_owned(),
    };
    let pivot = topology.step(features, "all sensors of a (second, cycle)", silent);
    topology.output(pivot, &*outputs[SYNCHRONIZED], "", Class::Table, TABLES_FILE);
    let levels: Vec<String> = config.partition_by.iter().map(|level| format!("{}=…", level.name())).collect();
    let place = format!("{LAKE}/{}/*.parquet", levels.join("/"));
    topology.output(pivot, &*outputs[LAKE_OUTPUT], "", Class::Lake, place);
    let on: Vec<&str> = config.rules.iter().filter(|rule| rule.on).map(|rule| &*rule.name).collect();
    let rules = topology.step(pivot, "rules", on.join(", "));
    topology.output(rules, &*outputs[ANOMALIES], "every detection", Class::Table, TABLES_FILE);
    let place = format!("topics/{}.jsonl", outputs[ALERTS]);
    topology.output(rules, &*outputs[ALERTS], "less what the cooldown holds back", Class::Topic, place);
    for (end, detail) in [("late", "late readings, kept"), ("dlq", "unusable records, with the reason")] {
        let name = format!("{prefix}<sensor>.{end}");
        let place = format!("topics/{name}.jsonl");
        topology.output(judge, name, detail, Class::Topic, place);
    }
    topology
}
