//! A topology for programs.

use serde_json::{Map, Value, json};

use super::{Kind, Node, Topology};

/// Its nodes, and edges as pairs of their places among them.
pub(super) fn of(topology: &Topology) -> Value {
    let node = |Node { name, detail, kind }: &Node| {
        let mut fields = Map::new();
        fields.insert("name".to_owned(), json!(name));
        fields.insert("detail".to_owned(), json!(detail));
        match kind {
            Kind::Input => fields.insert("kind".to_owned(), json!("input")),
            Kind::Step => fields.insert("kind".to_owned(), json!("step")),
            Kind::Output { places, .. } => {
                let names: Vec<&str> = places.iter().map(|place| &*place.name).collect();
                let mut guarantees: Vec<&str> = places.iter().map(|place| place.guarantee).collect();
                // Each once, in their order.
                let mut seen = Vec::new();
                guarantees.retain(|one| {
                    !seen.contains(one) && {
                        seen.push(*one);
                        true
                    }
                });
                fields.insert("place".to_owned(), json!(names.join(", ")));
                fields.insert("guarantee".to_owned(), json!(guarantees.join(", ")));
                fields.insert("kind".to_owned(), json!("output"))
            }
        };
        Value::Object(fields)
    };
    let nodes: Vec<Value> = topology.nodes.iter().map(node).collect();
    let edges = topology.edges.iter().map(|(from, to)| json!({"from": from, "to": to}));
    json!({"pipeline": topology.pipeline, "nodes": nodes, "edges": edges.collect::<Vec<_>>()})
}
