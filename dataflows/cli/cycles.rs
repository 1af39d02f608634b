//! `tidegate cycles compare|trend|score`.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use tidegate::sink::lake::replace_file;
use tidegate::storage;
use tidegate_dataflows::cycles::{Anomalies, Report, compare, read_anomalies, score_table, trend};
use tidegate_dataflows::dataset::features;
use tidegate_dataflows::hydraulic::score::{MarkedFault, score};

use super::args::{CyclesCommand, Global, Look, ScoreArgs};
use super::dataset::reading;
use super::failure::Failure;
use super::settings;
use super::ui::Ui;

/// Looks back at the cycles of a rig.
pub(crate) fn run(ui: &Ui, global: &Global, command: &CyclesCommand) -> Result<(), Failure> {
    let open = |look: &Look| {
        let credentials = settings(global)?.credentials();
        storage::open(&look.lake, &credentials).map_err(|error| reading(error.into()))
    };
    let (look, report, name) = match command {
        CyclesCommand::Score(args) => return scored(ui, global, args),
        CyclesCommand::Compare { a, b, feature, most, look } => {
            let place = open(look)?;
            let wanted = if feature.is_empty() { features() } else { known(feature)? };
            let found = compare(place, &wanted, [*a, *b], *most).map_err(reading)?;
            let report = found.map_err(|cycle| {
                Failure::usage(format!("cycle {cycle} is not in {}", look.lake))
                    .mend("tidegate cycles trend sensors_present lists the cycles that are")
            })?;
            (look, report, format!("cycles-{a}-{b}.svg"))
        }
        CyclesCommand::Trend { feature, look } => {
            let place = open(look)?;
            known(std::slice::from_ref(feature))?;
            let report = trend(place, feature).map_err(reading)?;
            let report = report.ok_or_else(|| {
                Failure::running(format!("no cycle in {} has a value of {feature}", look.lake))
            })?;
            (look, report, format!("trend-{feature}.svg"))
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

/// Scores the anomalies of a run by the faults that were marked.
fn scored(ui: &Ui, global: &Global, args: &ScoreArgs) -> Result<(), Failure> {
    let settings = settings(global)?;
    let mend = "name faults.json of a fixture that tidegate generate hydraulic has made, or its --marks FILE";
    let path = args.marks.display();
    let bytes = fs::read(&args.marks)
        .map_err(|error| Failure::running(format!("cannot read {path}: {error}")).mend(mend))?;
    let marks: Vec<MarkedFault> = serde_json::from_slice(&bytes).map_err(|error| {
        Failure::running(format!("{path} tells no faults of the rig: {error}")).mend(mend)
    })?;
    let database = settings.database_of("hydraulic");
    let place = args.out.as_deref().map_or(Anomalies::Postgres(&database), Anomalies::Sqlite);
    let found = read_anomalies(place).map_err(|error| {
        Failure::running(error).mend("name the --out of a replay or run of hydraulic, or see to the database")
    })?;
    let scores = score(&settings.pipelines.hydraulic.rules, &marks, &found)
        .map_err(|error| Failure::running(format!("{path}: {error}")).mend(mend))?;
    if args.json {
        return ui.json(&serde_json::to_value(&scores).map_err(Failure::running)?);
    }
    ui.result(score_table(&scores))
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
