//! `tidegate graph`.

use serde_json::Value;
use tidegate_dataflows::graph::Format;
use tidegate_dataflows::{activity, hydraulic, iot, transit};

use super::args::{FormatName, Global, GraphArgs};
use super::failure::Failure;
use super::settings;
use super::ui::Ui;

/// Draws the pipelines.
pub(crate) fn run(ui: &Ui, global: &Global, args: &GraphArgs) -> Result<(), Failure> {
    let settings = settings(global)?;
    let format = match args.format {
        FormatName::Text => Format::Text,
        FormatName::Mermaid => Format::Mermaid,
        FormatName::Dot => Format::Dot,
    };
    let all = [
        activity::topology(&settings.pipelines.activity),
        iot::topology(&settings.pipelines.iot, iot::Stage::Both),
        hydraulic::topology(&settings.pipelines.hydraulic),
        transit::topology(&settings.pipelines.transit),
    ];
    let chosen = |pipeline: &str| args.pipeline.as_deref().is_none_or(|name| name == pipeline);
    let drawn = all.into_iter().filter(|topology| chosen(&topology.pipeline)).map(|topology| {
        let sinks = settings.sinks_of(&topology.pipeline).drawn();
        topology.sent_to(&sinks)
    });
    if args.json {
        return ui.json(&drawn.map(|topology| topology.to_json()).collect::<Value>());
    }
    ui.result(drawn.map(|topology| topology.draw(format)).collect::<Vec<_>>().join("\n"))
}
