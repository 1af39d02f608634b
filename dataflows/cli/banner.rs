//! What a run tells before it begins: what it reads, what it makes of it, where that goes and what is promised.

use tidegate::source::Source;
use tidegate_dataflows::graph::{Format, Topology};
use tidegate_dataflows::replay::Options;

use super::ui::{Style, Ui, grouped};

/// Shows the banner of a replay of about `records` records of `source` through a pipeline.
pub(crate) fn show(ui: &Ui, options: &Options, pipeline: &Topology, source: &dyn Source, records: u64) {
    let cluster = &options.cluster;
    let workers = match (cluster.threads, cluster.processes) {
        (1, 1) => "1 worker".to_owned(),
        (threads, 1) => format!("{threads} workers"),
        (threads, n) => format!("{n} × {threads} workers, process {} of {n}", cluster.process),
    };
    let (version, fixture, out) =
        (env!("CARGO_PKG_VERSION"), options.fixture.display(), options.out.display());
    if ui.is_json() {
        let (pipeline, partitions) = (&pipeline.pipeline, source.partitions().len());
        tracing::info!(version, pipeline, %fixture, %out, workers, partitions, records, "replay");
        return;
    }
    let title = ui.styled_err(Style::TITLE, &format!("tidegate {version}"));
    if cluster.process > 0 {
        ui.note(format_args!("{title}  {fixture} ► process 0, {workers}"));
        return;
    }
    ui.note(format_args!("{title}  {fixture} ► {out}, {workers}"));
    ui.note(pipeline.draw(Format::Text).trim_end());
    let partitions = source.partitions().len();
    ui.note(ui.styled_err(
        Style::FAINT,
        &format!(
            "about {} records in {partitions} partitions; late and unusable ones are counted and written, \
             never dropped; results are visible when all is done",
            grouped(records)
        ),
    ));
}
