//! What the pipeline consists of under given settings, for `tidegate graph` and the start-up banner.

use std::time::Duration;

use tidegate::window::WindowSpec;

use super::config::{Config, DistinctMode};
use super::tables::{
    ACTIVE_USERS, DEAD, ENRICHED, LAKE, LAKE_OUTPUT, LATE, OUTPUTS, PAGE_VIEW_COUNTS, SESSION_HISTORY,
    USER_SESSIONS, topics,
};
use crate::graph::{Class, Topology};

const TABLES_FILE: &str = "tables.sqlite";

/// The pipeline under `config`.
pub fn topology(config: &Config) -> Topology {
    let show = |duration: Duration| humantime::format_duration(duration).to_string();
    let mut topology = Topology::new("activity");
    let on = config.outputs;
    let input = topology.input(format!("topic {}", config.topic), "JSON, one event a record");
    let detail = format!("delay {}, max_ahead {}", show(config.delay), show(config.max_ahead));
    let judge = topology.step(input, "judge each record in its partition", detail);
    if on.page_views {
        let detail = format!("count, {}", windows(config.page_view_windows));
        let step = topology.step(judge, "page views by page", detail);
        topology.output(step, OUTPUTS[PAGE_VIEW_COUNTS], "", Class::Table, TABLES_FILE);
    }
    if on.active_users {
        let how = match config.distinct {
            DistinctMode::Exact => "exact distinct count",
            DistinctMode::Hll => "HyperLogLog estimate (0.81 % standard error)",
        };
        let detail = format!("{how}, {}", windows(config.active_user_windows));
        let step = topology.step(judge, "active users", detail);
        topology.output(step, OUTPUTS[ACTIVE_USERS], "", Class::Table, TABLES_FILE);
    }
    if on.sessions {
        let step = topology.step(judge, "sessions by user", format!("gap {}", show(config.session_gap)));
        topology.output(step, OUTPUTS[SESSION_HISTORY], "every session", Class::Table, TABLES_FILE);
        let latest = topology.step(step, "latest by user", "by start and seq");
        topology.output(latest, OUTPUTS[USER_SESSIONS], "", Class::Table, TABLES_FILE);
    }
    if on.lake {
        let place = format!("{LAKE}/event_date=…/*.parquet");
        topology.output(judge, OUTPUTS[LAKE_OUTPUT], "every accepted event", Class::Lake, place);
    }
    for (output, topic) in topics(&config.topic) {
        let detail = match output {
            ENRICHED if !on.enriched => continue,
            ENRICHED => "every accepted event with processing_time",
            LATE => "events late for an output, counted and kept",
            DEAD => "unusable records, with the reason",
            _ => "",
        };
        topology.output(judge, &*topic, detail, Class::Topic, format!("topics/{topic}.jsonl"));
    }
    topology
}

fn windows(spec: WindowSpec) -> String {
    let show = |us: i64| humantime::format_duration(Duration::from_micros(us.unsigned_abs())).to_string();
    match spec.is_tumbling() {
        true => format!("{} tumbling", show(spec.size_us())),
        false => format!("{} sliding by {}", show(spec.size_us()), show(spec.slide_us())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activity::Selection;
    use crate::graph::Kind;

    #[test]
    fn every_output_of_the_pipeline_is_drawn() {
        let topology = topology(&Config::default());
        let mut drawn: Vec<&str> = topology
            .nodes
            .iter()
            .filter(|node| matches!(node.kind, Kind::Output { .. }))
            .map(|node| node.name.as_str())
            .collect();
        let mut outputs = OUTPUTS;
        drawn.sort_unstable();
        outputs.sort_unstable();
        assert_eq!(drawn, outputs);
    }

    #[test]
    fn output_that_is_off_is_not_drawn() {
        let config = Config {
            outputs: Selection { sessions: false, lake: false, ..Selection::default() },
            ..Config::default()
        };
        let names: Vec<String> = topology(&config).nodes.into_iter().map(|node| node.name).collect();
        assert!(!names.iter().any(|name| name.contains("session") || name.contains("lake")), "{names:?}");
    }
}
