//! `tidegate delta`: the history of Delta tables, small files, and files that no version needs any more.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tidegate::sink::delta::{Commit, Optimized, history, optimize, vacuum, vacuum_remote};
use tidegate::storage::{self, Location, Storage};
use tidegate::time;

use super::args::Global;
use super::failure::Failure;
use super::settings;
use super::ui::{Ui, grouped};

/// Deleting what is younger than this would take files from readers that are at work, and from commits under way.
const LEAST: Duration = Duration::from_secs(7 * 86_400);

#[derive(Debug, Subcommand)]
pub(crate) enum DeltaCommand {
    /// The versions of a table, the newest first.
    History(HistoryArgs),
    /// Merge small files, each with those of its partition. A run may write to the table meanwhile.
    Optimize(OptimizeArgs),
    /// Remove data files that the newest version does not have; older versions that had them cannot be read any more.
    Vacuum(VacuumArgs),
}

#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// The table's directory, such as out/delta/vehicle_positions or s3://bucket/delta-lake/vehicle_positions.
    #[arg(value_name = "TABLE", value_parser = Location::parse)]
    table: Location,
    /// JSON in place of text.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct OptimizeArgs {
    /// The table's directory, such as out/delta/vehicle_positions or s3://bucket/delta-lake/vehicle_positions.
    #[arg(value_name = "TABLE", value_parser = Location::parse)]
    table: Location,
    /// How large files become, in MiB; one with half of it stays as it is.
    #[arg(long, value_name = "MIB", default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=16384))]
    target_mib: u64,
    /// JSON in place of text.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct VacuumArgs {
    /// The table's directory, such as out/delta/vehicle_positions or s3://bucket/delta-lake/vehicle_positions.
    #[arg(value_name = "TABLE", value_parser = Location::parse)]
    table: Location,
    /// Files younger than this stay, and files that were taken out since.
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = humantime::parse_duration)]
    retention: Duration,
    /// Only say what would be removed.
    #[arg(long)]
    dry_run: bool,
    /// Allow a retention below 7 days: no reader and no writer may be at work.
    #[arg(long)]
    force: bool,
    /// JSON in place of text.
    #[arg(long)]
    json: bool,
}

fn open(global: &Global, table: &Location) -> Result<Arc<dyn Storage>, Failure> {
    storage::open(table, &settings(global)?.credentials()).map_err(Failure::running)
}

/// Looks after a table.
pub(crate) fn run(ui: &Ui, global: &Global, command: &DeltaCommand) -> Result<(), Failure> {
    match command {
        DeltaCommand::History(args) => {
            let commits = history(&open(global, &args.table)?).map_err(Failure::running)?;
            let when = |commit: &Commit| {
                let us = commit.timestamp_ms.and_then(time::from_epoch_ms);
                us.map(|us| String::from_utf8_lossy(&time::format(us)).into_owned())
            };
            if args.json {
                let line = |commit: &Commit| {
                    let Commit { version, operation, added, removed, rows, .. } = commit;
                    json!({
                        "version": version, "when": when(commit), "operation": operation,
                        "added": added, "removed": removed, "rows": rows,
                    })
                };
                return ui.json(&commits.iter().map(line).collect::<Value>());
            }
            let mut text = String::from(
                "version  when                         added  removed          rows  operation\n",
            );
            for commit in commits {
                text.push_str(&format!(
                    "{:>7}  {:<27}  {:>5}  {:>7}  {:>12}  {}\n",
                    commit.version,
                    when(&commit).as_deref().unwrap_or("-"),
                    commit.added,
                    commit.removed,
                    commit.rows,
                    commit.operation,
                ));
            }
            ui.result(text)
        }
        DeltaCommand::Optimize(args) => {
            let done =
                optimize(&open(global, &args.table)?, args.target_mib << 20).map_err(Failure::running)?;
            let Optimized { version, merged, into, rows, bytes_before, bytes_after } = done;
            if args.json {
                return ui.json(&json!({
                    "version": version, "merged": merged, "into": into, "rows": rows,
                    "bytes_before": bytes_before, "bytes_after": bytes_after,
                }));
            }
            ui.result(match version {
                None => "nothing to merge\n".to_owned(),
                Some(version) => format!(
                    "version {version}: {merged} files became {into}, {} rows, {} bytes became {}\n",
                    grouped(rows),
                    grouped(bytes_before),
                    grouped(bytes_after),
                ),
            })
        }
        DeltaCommand::Vacuum(args) => {
            if args.retention < LEAST && !args.force && !args.dry_run {
                return Err(Failure::usage(
                    "a retention below 7 days can take files from those who are at work",
                )
                .mend("see that nobody reads or writes the table, and add --force"));
            }
            let removed = match &args.table {
                Location::Dir(dir) => vacuum(dir, args.retention, args.dry_run),
                remote => vacuum_remote(&open(global, remote)?, args.retention, args.dry_run),
            };
            let removed = removed.map_err(Failure::running)?;
            if args.json {
                let files = &removed.files;
                return ui.json(&json!({"files": files, "bytes": removed.bytes, "removed": !args.dry_run}));
            }
            let mut text = String::new();
            removed.files.iter().for_each(|file| text.push_str(&format!("{}\n", file.display())));
            let verb = if args.dry_run { "would be removed" } else { "removed" };
            let (files, bytes) = (removed.files.len() as u64, removed.bytes);
            text.push_str(&format!("{} files, {} bytes {verb}\n", grouped(files), grouped(bytes)));
            ui.result(text)
        }
    }
}
