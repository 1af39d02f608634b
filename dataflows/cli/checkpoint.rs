//! `tidegate checkpoint list|show|verify`.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidegate::checkpoint::{Found, Manifest, survey};
use tidegate::telemetry::Conservation;
use tidegate::time;
use tidegate_dataflows::run::{Access, open_store};

use super::args::{CheckpointArgs, CheckpointCommand, Global};
use super::failure::Failure;
use super::settings;
use super::ui::{Ui, grouped};

/// Looks at checkpoints.
pub(crate) fn run(ui: &Ui, global: &Global, command: &CheckpointCommand) -> Result<(), Failure> {
    let (CheckpointCommand::List(args) | CheckpointCommand::Show(args) | CheckpointCommand::Verify(args)) =
        command;
    let place = args.checkpoint.join(&args.pipeline);
    let store =
        open_store(&place, &settings(global)?.credentials(), Access::Look).map_err(Failure::running)?;
    if store.names().map_err(Failure::running)?.is_empty() {
        return Err(Failure::usage(format!(
            "there is no checkpoint of {:?} in {}",
            args.pipeline, args.checkpoint
        ))
        .mend("name the place that a run was given, with --checkpoint"));
    }
    let found = survey(&*store).map_err(Failure::running)?;
    match command {
        CheckpointCommand::List(_) => list(ui, args, &found),
        CheckpointCommand::Show(_) => show(ui, args, &found),
        CheckpointCommand::Verify(_) => verify(ui, args, &found),
    }
}

fn bytes(found: &Found) -> u64 {
    found.state.iter().filter_map(|(_, state)| state.as_ref().ok()).sum()
}

fn damages(found: &Found) -> Vec<String> {
    let manifest = found.copies.iter().map(|(name, damage)| format!("{name}: {damage}"));
    let state =
        found.state.iter().filter_map(|(name, state)| Some(format!("{name}: {}", state.as_ref().err()?)));
    manifest.chain(state).collect()
}

fn list(ui: &Ui, args: &CheckpointArgs, found: &[Found]) -> Result<(), Failure> {
    if args.json {
        return ui.json(&Value::Array(found.iter().map(line).collect()));
    }
    let mut text =
        format!("{:>10}  {:<27}  {:>15}  {:>12}  {}\n", "epoch", "decided", "records", "state bytes", "");
    for found in found {
        match &found.manifest {
            Ok(manifest) => text.push_str(&format!(
                "{:>10}  {:<27}  {:>15}  {:>12}  {}\n",
                found.epoch,
                String::from_utf8_lossy(&time::format(manifest.decided_us)),
                grouped(manifest.counts.read),
                grouped(bytes(found)),
                if !found.is_whole() {
                    "damaged"
                } else if manifest.finished {
                    "finished"
                } else {
                    ""
                },
            )),
            Err(damage) => text.push_str(&format!("{:>10}  {damage}\n", found.epoch)),
        }
    }
    ui.result(text)
}

fn line(found: &Found) -> Value {
    let mut line = json!({"epoch": found.epoch, "whole": found.is_whole(), "state_bytes": bytes(found)});
    match &found.manifest {
        Ok(manifest) => {
            line["decided"] = json!(String::from_utf8_lossy(&time::format(manifest.decided_us)));
            line["records"] = json!(manifest.counts.read);
            line["generation"] = json!(manifest.generation);
            line["finished"] = json!(manifest.finished);
        }
        Err(_) => line["damage"] = json!(damages(found)),
    }
    line
}

fn show(ui: &Ui, args: &CheckpointArgs, found: &[Found]) -> Result<(), Failure> {
    let chosen = match args.epoch {
        Some(epoch) => found.iter().find(|found| found.epoch == epoch),
        None => found.iter().find(|found| found.is_whole()),
    };
    let manifest = chosen.and_then(|found| found.manifest.as_ref().ok());
    let Some(manifest) = manifest else {
        return Err(Failure::running("there is no such checkpoint that is whole")
            .mend("look at them with: tidegate checkpoint list"));
    };
    // It is for programs as much as for people: one form serves both.
    ui.json(&describe(manifest))
}

fn describe(manifest: &Manifest) -> Value {
    let time = |us: i64| match us {
        i64::MIN | i64::MAX => Value::Null,
        us => json!(String::from_utf8_lossy(&time::format(us))),
    };
    let partitions = manifest.partitions.iter().map(|cut| {
        json!({
            "partition": cut.id.to_string(),
            "next_offset": cut.next_offset().unwrap_or(0),
            "records": cut.seen,
            "accepted": cut.accepted,
            "watermark": time(cut.watermark_us),
        })
    });
    let outputs =
        manifest.tallies.iter().map(|tally| json!({"rows": tally.rows, "digest": tally.digest.hex()}));
    let ledger = Conservation::of(manifest, &[]);
    let in_state = ledger.outputs.iter().map(|output| output.in_state);
    let staged = manifest.staged.iter().map(|(sink, staged)| json!({"sink": sink, "bytes": staged.0.len()}));
    json!({
        "pipeline": manifest.pipeline,
        "settings": manifest.schema,
        "epoch": manifest.epoch,
        "generation": manifest.generation,
        "decided": time(manifest.decided_us),
        "watermark": time(manifest.watermark_us),
        "finished": manifest.finished,
        "counts": manifest.counts,
        "in_state": in_state.collect::<Vec<_>>(),
        "partitions": partitions.collect::<Vec<_>>(),
        "outputs": outputs.collect::<Vec<_>>(),
        "staged": staged.collect::<Vec<_>>(),
        "state": manifest.state.iter().map(|file| json!({"file": file.name, "bytes": file.bytes})).collect::<Vec<_>>(),
    })
}

fn verify(ui: &Ui, args: &CheckpointArgs, found: &[Found]) -> Result<(), Failure> {
    // A file that several checkpoints need is one file.
    let mut damages: Vec<String> = found.iter().flat_map(damages).collect();
    let mut named = BTreeSet::new();
    damages.retain(|damage| named.insert(damage.clone()));
    if args.json {
        ui.json(&json!({"checkpoints": found.len(), "damages": damages}))?;
    } else {
        for damage in &damages {
            ui.result(format!("{damage}\n"))?;
        }
        ui.result(format!("{} checkpoints, {} damaged files\n", found.len(), damages.len()))?;
    }
    if damages.is_empty() {
        return Ok(());
    }
    Err(Failure::running(format!("{} files of checkpoints are damaged", damages.len()))
        .mend("a run uses the newest state that is whole, and repeats from there what is decided"))
}
