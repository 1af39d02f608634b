//! What a run tells before it begins: what it reads, what it makes of it, where that goes and what is promised.

use tidegate_dataflows::graph::{Format, Topology};
use tidegate_dataflows::replay::Options;

use super::ui::{Style, Ui};

/// Shows the banner of a replay through `pipelines`.
pub(crate) fn show(ui: &Ui, options: &Options, pipelines: &[Topology]) {
    let cluster = &options.cluster;
    let workers = match (cluster.threads, cluster.processes) {
        (1, 1) => "1 worker".to_owned(),
        (threads, 1) => format!("{threads} workers"),
        (threads, n) => format!("{n} × {threads} workers, process {} of {n}", cluster.process),
    };
    let (version, fixture, out) = (env!("CARGO_PKG_VERSION"), options.fixture.display(), options.out.display());
    if ui.is_json() {
        tracing::info!(version, %fixture, %out, workers, "replay");
        return;
    }
    let title = ui.styled_err(Style::TITLE, &format!("tidegate {version}"));
    if cluster.process > 0 {
        ui.note(format_args!("{title}  {fixture} ► process 0, {workers}"));
        return;
    }
    ui.note(format_args!("{title}  {fixture} ► {out}, {workers}"));
    for topology in pipelines {
        ui.note(topology.draw(Format::Text).trim_end());
    }
    ui.note(ui.styled_err(
        Style::FAINT,
        "late and unusable records are counted and written, never dropped; results are visible when all is done",
    ));
}
