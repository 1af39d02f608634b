//! The API's documents. `docs/api.md` says what is in them.

use serde_json::{Value, json};
use tidegate::telemetry::Snapshot;

use super::Shared;
use super::feed::Rates;

/// Everything: this process and all pipelines, over all processes.
pub(super) fn state(shared: &Shared, mut rates: impl FnMut(&Snapshot) -> Rates) -> Value {
    let pipelines: Vec<Value> = whole(shared)
        .into_iter()
        .map(|(snapshot, processes)| {
            let rates = rates(&snapshot);
            let graph = shared.graphs.lock().ok().and_then(|graphs| graphs.get(&snapshot.pipeline).cloned());
            let graph = graph.map(|graph| with_rates(graph, &rates));
            let mut document = serde_json::to_value(&snapshot).unwrap_or_default();
            if let Value::Object(fields) = &mut document {
                fields.insert("processes".to_owned(), processes);
                fields.insert("rates".to_owned(), serde_json::to_value(&rates).unwrap_or_default());
                fields.insert("graph".to_owned(), graph.unwrap_or_default());
                let balanced = snapshot.ledger.as_ref().map(|ledger| ledger.is_balanced());
                fields.insert("balanced".to_owned(), json!(balanced));
            }
            document
        })
        .collect();
    json!({
        "taken_us": shared.telemetry.now_us(),
        "process": shared.telemetry.process(),
        "pipelines": pipelines,
    })
}

/// Every pipeline as one: what this process shows, with what the others said of theirs, and a line a process.
fn whole(shared: &Shared) -> Vec<(Snapshot, Value)> {
    let others = shared.telemetry.others();
    let join = |mut snapshot: Snapshot| {
        let name = snapshot.pipeline.clone();
        let resident = shared.telemetry.process().resident_bytes;
        let mut lines = vec![line(&snapshot, Some(resident))];
        for other in others.iter().filter(|other| other.pipeline == name) {
            lines.push(line(other, None));
            snapshot.absorb(other);
        }
        (snapshot, Value::Array(lines))
    };
    shared.telemetry.snapshots().into_iter().map(join).collect()
}

fn line(snapshot: &Snapshot, resident_bytes: Option<u64>) -> Value {
    json!({
        "process": snapshot.process,
        "workers": snapshot.workers,
        "phase": snapshot.phase,
        "records": snapshot.records,
        "partitions": snapshot.partitions.len(),
        "taken_us": snapshot.taken_us,
        "resident_bytes": resident_bytes,
    })
}

/// What flows along the edges: rows into an output, records out of an input; between steps accepted records.
fn with_rates(mut graph: Value, rates: &Rates) -> Value {
    let nodes = graph["nodes"].as_array().cloned().unwrap_or_default();
    let Some(edges) = graph["edges"].as_array_mut() else { return graph };
    for edge in edges {
        let end = |end: &str| nodes.get(edge[end].as_u64().unwrap_or(0) as usize);
        let (Some(from), Some(to)) = (end("from"), end("to")) else { continue };
        let name = |node: &Value| node["name"].as_str().unwrap_or_default().to_owned();
        let rate = match (from["kind"].as_str(), to["kind"].as_str()) {
            (_, Some("output")) => rates
                .outputs
                .get(&name(to))
                .map(|rate| (*rate, "rows/s"))
                .or_else(|| side_rate(&name(to), rates)),
            (Some("input"), _) => {
                let topic = name(from);
                let one = rates
                    .topics
                    .iter()
                    .find(|(known, _)| topic == **known || topic.ends_with(&format!(" {known}")));
                Some((one.map_or(rates.processed, |(_, rate)| *rate), "records/s"))
            }
            _ => Some((rates.accepted, "records/s")),
        };
        edge["rate"] = json!(rate.map(|(rate, _)| rate));
        edge["unit"] = json!(rate.map(|(_, unit)| unit));
    }
    graph
}

/// The topics of late and refused records are outputs of no operator.
fn side_rate(name: &str, rates: &Rates) -> Option<(f64, &'static str)> {
    match name {
        _ if name.contains(".late") || name.contains("late records") => Some((rates.late, "records/s")),
        _ if name.contains(".dlq") || name.contains("dead letters") => Some((rates.rejected, "records/s")),
        _ => None,
    }
}

/// One pipeline of a state document.
pub(super) fn pipeline<'s>(state: &'s Value, name: &str) -> Option<&'s Value> {
    state["pipelines"].as_array()?.iter().find(|pipeline| pipeline["pipeline"] == name)
}
