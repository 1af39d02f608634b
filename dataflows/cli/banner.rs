//! What a run tells before it begins: what it reads, what it makes of it, where that goes and what is promised.

use std::path::Path;

use tidegate::source::Source;
use tidegate::storage::Location;
use tidegate_dataflows::graph::{Format, Topology};
use tidegate_dataflows::pipeline::Pipeline;
use tidegate_dataflows::replay::Options;
use tidegate_dataflows::settings::Settings;

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

/// Shows the banner of a live run of `pipeline`: what it reads and makes, where that goes and what is promised, what
/// becomes of records that do not count and of partitions without any, and where its checkpoint lies. `drawn` is the pipeline with its sinks.
pub(crate) fn of_run(
    ui: &Ui,
    pipeline: &dyn Pipeline,
    drawn: &Topology,
    settings: &Settings,
    embedded: Option<&Path>,
    checkpoint: &Location,
) {
    let (name, inputs) = (pipeline.name(), pipeline.inputs());
    let sinks = match embedded {
        Some(out) => vec![format!("embedded sinks in {}, exactly once", out.display())],
        None => sinks_of(settings, name),
    };
    let checkpoint = checkpoint.join(name);
    let aside = match &inputs[..] {
        [topic] => {
            format!("late and idle records: {topic}.late; unusable ones: {topic}.dlq; all are counted")
        }
        _ => "late and idle records: <topic>.late; unusable ones: <topic>.dlq; all are counted".to_owned(),
    };
    if ui.is_json() {
        let (inputs, sinks) = (inputs.join(","), sinks.join("; "));
        tracing::info!(pipeline = name, inputs, sinks, aside, %checkpoint, "run");
        return;
    }
    ui.note(ui.styled_err(Style::TITLE, &format!("tidegate {}  {name}", env!("CARGO_PKG_VERSION"))));
    ui.note(drawn.draw(Format::Text).trim_end());
    let idle = match settings.idle_timeout {
        Some(timeout) => format!(
            "a partition without records for {} holds no window open",
            humantime::format_duration(timeout)
        ),
        None => "a partition without records holds windows open, however long".to_owned(),
    };
    for line in sinks.into_iter().chain([aside, idle, format!("checkpoint: {checkpoint}")]) {
        ui.note(ui.styled_err(Style::FAINT, &line));
    }
}

/// A line a kind of output: the sinks that the settings name, and what they promise.
fn sinks_of(settings: &Settings, pipeline: &str) -> Vec<String> {
    let of_kind = |kind: &str| {
        let setting = format!("{pipeline}.sinks.{kind}");
        let value = &settings.effective.iter().find(|one| one.setting == setting)?.value;
        let promised = |sink: &str| {
            let promise = if sink.starts_with("console") { "at least once" } else { "exactly once" };
            format!("{sink} ({promise})")
        };
        let sinks: Vec<String> = value.split(',').map(|sink| promised(sink.trim())).collect();
        Some(format!("{kind} → {}", if value == "none" { "none".to_owned() } else { sinks.join(", ") }))
    };
    ["tables", "lake", "topics"].into_iter().filter_map(of_kind).collect()
}

#[cfg(test)]
mod tests {
    use tidegate_dataflows::settings::Layers;

    use super::*;

    #[test]
    fn sinks_are_told_with_what_they_promise() {
        let environment = vec![("TIDEGATE_ACTIVITY_SINKS_TABLES".into(), "sqlite, console".into())];
        let settings = Layers { dir: "nowhere".into(), environment, ..Layers::default() }.load().unwrap();
        let drawn = settings.pipelines.live("activity").topology();
        let drawn = drawn.sent_to(&settings.sinks_of("activity").drawn()).draw(Format::Text);
        assert!(
            drawn.contains("active_users → tables.sqlite (exactly once), console (at least once)\n"),
            "{drawn}"
        );
        assert!(drawn.contains("with the reason → Kafka (exactly once)\n"), "{drawn}");
        let lines = sinks_of(&settings, "activity");
        assert_eq!(lines[0], "tables → sqlite (exactly once), console (at least once)");
        assert!(lines[2].starts_with("topics → kafka (exactly once)"), "{lines:?}");
    }
}
