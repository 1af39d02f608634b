//! What a run tells before it begins: what it reads, what it makes of it, where that goes and what is promised.

use std::path::Path;

use tidegate_dataflows::graph::{Kind, Topology};
use tidegate_dataflows::replay::Options;

use super::ui::{Style, Ui};

/// Shows the banner of a replay through `pipelines`.
pub(crate) fn show(ui: &Ui, options: &Options, pipelines: &[Topology]) {
    let cluster = &options.cluster;
    let workers = match (cluster.threads, cluster.processes) {
        (1, 1) => "1 worker".to_owned(),
        (threads, 1) => format!("{threads} workers"),
        (threads, n) => format!("{threads} × {n} workers, process {} of {n}", cluster.process),
    };
    let version = env!("CARGO_PKG_VERSION");
    if ui.is_json() {
        let (fixture, out) = (options.fixture.display(), options.out.display());
        tracing::info!(version, %fixture, %out, workers, "replay");
        return;
    }
    let title = ui.styled_err(Style::TITLE, &format!("tidegate {version}"));
    ui.note(format_args!("{title}  replay of {}, {workers}", options.fixture.display()));
    if cluster.process > 0 {
        ui.note("  process 0 writes the results and tells of them");
        return;
    }
    for topology in pipelines {
        outputs(ui, topology, &options.out);
    }
    ui.note(ui.styled_err(
        Style::FAINT,
        "  late and unusable records are counted and written, never dropped; \
         nothing is visible before the end is reached",
    ));
}

fn outputs(ui: &Ui, topology: &Topology, out: &Path) {
    for node in &topology.nodes {
        match &node.kind {
            Kind::Input => ui.note(format_args!("  {} ◄ {}", ui.styled_err(Style::TITLE, &topology.pipeline), node.name)),
            Kind::Step => {
                let detail = if node.detail.is_empty() { String::new() } else { format!(": {}", node.detail) };
                ui.note(format_args!("    {}{detail}", node.name));
            }
            Kind::Output { place, guarantee } => {
                let place = out.join(place);
                ui.note(format_args!("    ► {:<22} {} ({guarantee})", node.name, place.display()));
            }
        }
    }
}
