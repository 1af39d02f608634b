//! A topology as a Mermaid flowchart.

use super::{Kind, Topology};

pub(super) fn draw(topology: &Topology) -> String {
    let mut out = "flowchart LR\n".to_owned();
    for (i, node) in topology.nodes.iter().enumerate() {
        let label: Vec<String> = topology.label(i).iter().map(|line| escape(line)).collect();
        let label = label.join("<br/>");
        let (open, close) = match node.kind {
            Kind::Input => ("([", "])"),
            Kind::Step => ("[", "]"),
            Kind::Output { .. } => ("[(", ")]"),
        };
        out.push_str(&format!("  n{i}{open}\"{label}\"{close}\n"));
    }
    for (from, to) in &topology.edges {
        out.push_str(&format!("  n{from} --> n{to}\n"));
    }
    out
}

/// Mermaid's own entities, without the ampersand.
fn escape(text: &str) -> String {
    text.replace('#', "#35;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;")
}
