//! A topology as a tree of lines.

use super::{Kind, NOWHERE, Topology};

pub(super) fn draw(topology: &Topology) -> String {
    let mut out = format!("{}\n", topology.pipeline);
    let mut drawn = vec![false; topology.nodes.len()];
    let receives = |node: usize| topology.edges.iter().any(|(_, receiver)| *receiver == node);
    let roots: Vec<usize> = (0..topology.nodes.len()).filter(|node| !receives(*node)).collect();
    draw_all(topology, &roots, "", &mut drawn, &mut out);
    out
}

fn draw_all(topology: &Topology, nodes: &[usize], indent: &str, drawn: &mut [bool], out: &mut String) {
    for (i, &node) in nodes.iter().enumerate() {
        let (branch, below) = if i + 1 == nodes.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        out.push_str(indent);
        out.push_str(branch);
        out.push_str(&topology.nodes[node].name);
        if std::mem::replace(&mut drawn[node], true) {
            out.push_str(" (above)\n");
            continue;
        }
        if !topology.nodes[node].detail.is_empty() {
            out.push_str(" · ");
            out.push_str(&topology.nodes[node].detail);
        }
        if let Kind::Output { places, .. } = &topology.nodes[node].kind {
            let said: Vec<String> =
                places.iter().map(|place| format!("{} ({})", place.name, place.guarantee)).collect();
            out.push_str(" → ");
            out.push_str(if said.is_empty() { NOWHERE } else { "" });
            out.push_str(&said.join(", "));
        }
        out.push('\n');
        let receivers: Vec<usize> = topology.receivers(node).collect();
        draw_all(topology, &receivers, &format!("{indent}{below}"), drawn, out);
    }
}
