//! What the pipeline consists of under given settings, for `tidegate graph` and the start-up banner.

use super::Stage;
use super::config::Config;
use super::tables::{DATA_QUALITY, DEAD, LATE, REAL_TIME_AGGREGATES, VALIDATED, outputs, topics};
use crate::graph::{Class, Topology};

const TABLES_FILE: &str = "tables.sqlite";

/// The pipeline under `config`, from `stage` on.
pub fn topology(config: &Config, stage: Stage) -> Topology {
    let show = |duration| humantime::format_duration(duration).to_string();
    let names = outputs(config, stage);
    let mut topology = Topology::new("iot");
    let input = topology.input(format!("topic {}", config.input(stage)), "JSON, one reading a record");
    let detail = format!("delay {}, max_ahead {}", show(config.delay), show(config.max_ahead));
    let judge = topology.step(input, "judge each record in its partition", detail);
    let size = std::time::Duration::from_micros(config.windows.size_us().unsigned_abs());
    let mut judged = judge;
    if stage != Stage::Aggregates {
        let ranges = &config.ranges;
        let detail = format!(
            "temperature {}, humidity {}, energy_consumption {}; no repeats within {}",
            ranges.temperature,
            ranges.humidity,
            ranges.energy,
            show(size)
        );
        judged = topology.step(judge, "validate", detail);
        topology.output(judged, &*names[DATA_QUALITY], "broken rules by sensor", Class::Table, TABLES_FILE);
    }
    if stage != Stage::Validate {
        let step = topology.step(judged, "aggregate by sensor", format!("{} windows", show(size)));
        topology.output(step, &*names[REAL_TIME_AGGREGATES], "", Class::Table, TABLES_FILE);
    }
    for (output, topic) in topics(config, stage) {
        let detail = match output {
            VALIDATED => "every accepted reading, unchanged",
            LATE => "readings late for their window, counted and kept",
            DEAD => "unusable and refused records, with the reason",
            _ => "",
        };
        topology.output(judged, &*topic, detail, Class::Topic, format!("topics/{topic}.jsonl"));
    }
    topology
}
