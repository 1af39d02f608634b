//! What the pipeline consists of under given settings, for `tidegate graph` and the start-up banner.

use super::config::{Config, Format};
use super::tables::{
    DATE, DEAD, DELTA, FEED, LATE, ROUTE_ACTIVITY, ROUTE_TOTALS, VEHICLE_SESSIONS, outputs, topics,
};
use crate::graph::{Class, Topology};

const TABLES_FILE: &str = "tables.sqlite";

/// The pipeline under `config`.
pub fn topology(config: &Config) -> Topology {
    let show = |duration| humantime::format_duration(duration).to_string();
    let names = outputs(&config.topic);
    let mut topology = Topology::new("transit");
    let form = match config.format {
        Format::Json => "JSON: GTFS-Realtime feeds, other objects",
        Format::Protobuf => "GTFS-Realtime feeds as Protobuf",
        Format::Auto => "GTFS-Realtime feeds as Protobuf or JSON, other JSON objects",
    };
    let input = topology.input(format!("topic {}", config.topic), form);
    let detail = format!("delay {}, max_ahead {}", show(config.delay), show(config.max_ahead));
    let judge = topology.step(input, "judge each entity in its partition", detail);
    let size = std::time::Duration::from_micros(config.windows.size_us().unsigned_abs());
    let step = topology.step(judge, "vehicles by route", format!("{} windows", show(size)));
    topology.output(step, &*names[ROUTE_ACTIVITY], "", Class::Table, TABLES_FILE);
    let step = topology.step(judge, "runs of vehicles", format!("gap {}", show(config.session_gap)));
    topology.output(step, &*names[VEHICLE_SESSIONS], "", Class::Table, TABLES_FILE);
    let step = topology.step(judge, "totals by route", "late ones too");
    topology.output(step, &*names[ROUTE_TOTALS], "", Class::Table, TABLES_FILE);
    for name in &names[FEED..LATE] {
        let place = format!("{DELTA}/{name}/{DATE}=…/*.parquet");
        topology.output(judge, &**name, "", Class::Lake, place);
    }
    for (output, topic) in topics(&config.topic) {
        let detail = match output {
            LATE => "entities late for their window, counted and kept",
            DEAD => "unusable records and entities, with the reason",
            _ => "",
        };
        topology.output(judge, &*topic, detail, Class::Topic, format!("topics/{topic}.jsonl"));
    }
    topology
}
