//! A topology as a Graphviz digraph.

use super::{Kind, Topology};

pub(super) fn draw(topology: &Topology) -> String {
    let mut out = format!(
        "digraph \"{}\" {{\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n",
        escape(&topology.pipeline)
    );
    for (i, node) in topology.nodes.iter().enumerate() {
        let label: Vec<String> = topology.label(i).iter().map(|line| escape(line)).collect();
        let shape = match node.kind {
            Kind::Input => "oval",
            Kind::Step => "box",
            Kind::Output { .. } => "cylinder",
        };
        out.push_str(&format!("  n{i} [label=\"{}\", shape={shape}];\n", label.join("\\n")));
    }
    for (from, to) in &topology.edges {
        out.push_str(&format!("  n{from} -> n{to};\n"));
    }
    out.push_str("}\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
