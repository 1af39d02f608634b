//! `tidegate cycles compare|trend`.

use std::path::PathBuf;

use serde_json::json;
use tidegate::sink::lake::replace_file;
use tidegate::storage;
use tidegate_dataflows::cycles::{Report, compare, trend};
use tidegate_dataflows::dataset::features;

use super::args::{CyclesCommand, Global};
use super::dataset::reading;
use super::failure::Failure;
use super::settings;
use super::ui::Ui;

/// Looks back at the cycles of a lake.
pub(crate) fn run(ui: &Ui, global: &Global, command: &CyclesCommand) -> Result<(), Failure> {
    let (CyclesCommand::Compare { look, .. } | CyclesCommand::Trend { look, .. }) = command;
    let place =
        storage::open(&look.lake, &settings(global)?.credentials()).map_err(|error| reading(error.into()))?;
    let (report, name) = match command {
        CyclesCommand::Compare { a, b, feature, most, .. } => {
            let wanted = if feature.is_empty() { features() } else { known(feature)? };
            let found = compare(place, &wanted, [*a, *b], *most).map_err(reading)?;
            let report = found.map_err(|cycle| {
                Failure::usage(format!("cycle {cycle} is not in {}", look.lake))
                    .mend("tidegate cycles trend sensors_present lists the cycles that are")
            })?;
            (report, format!("cycles-{a}-{b}.svg"))
        }
        CyclesCommand::Trend { feature, .. } => {
            known(std::slice::from_ref(feature))?;
            let report = trend(place, feature).map_err(reading)?;
            let report = report.ok_or_else(|| {
                Failure::running(format!("no cycle in {} has a value of {feature}", look.lake))
            })?;
            (report, format!("trend-{feature}.svg"))
        }
    };
    let Report { table, mut object, picture } = report;
    let path = look.picture.clone().unwrap_or_else(|| PathBuf::from(name));
    replace_file(&path, picture.as_bytes()).map_err(Failure::running)?;
    if look.json {
        object["picture"] = json!(path);
        return ui.json(&object);
    }
    ui.result(table)?;
    ui.note(format_args!("picture: {}", path.display()));
    Ok(())
}

fn known(wanted: &[String]) -> Result<Vec<String>, Failure> {
    let all = features();
    for name in wanted {
        if !all.contains(name) {
            let near = all.iter().min_by_key(|other| strsim::damerau_levenshtein(name, other));
            let near = near.map_or("PS1_avg", String::as_str);
            return Err(Failure::usage(format!("{name:?} is no feature")).mend(format!(
                "did you mean {near}? Features are PS1_avg, PS1_min, PS1_max, PS1_std, PS1_count and so on, and pressure_mean and the like"
            )));
        }
    }
    Ok(wanted.to_vec())
}
