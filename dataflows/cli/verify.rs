//! `tidegate verify`: audits tables against the log.

use std::fmt::Write;
use std::sync::Arc;

use tidegate::ingest::Interleave;
use tidegate::runtime::{Pace, Run, exit_on_panic};
use tidegate_dataflows::pipeline::Pipeline;
use tidegate_dataflows::replay::{BATCH, Options};
use tidegate_dataflows::verify::{Rows, TableAudit, Target, verify};

use super::args::{Global, VerifyArgs};
use super::failure::Failure;
use super::signals::Signals;
use super::ui::Ui;
use super::{places, replay, settings};

/// Audits, and says what differs.
pub(crate) fn run(ui: &Ui, global: &Global, args: &VerifyArgs) -> Result<(), Failure> {
    if global.processes > 1 {
        return Err(
            Failure::usage("verify runs in one process").mend("leave -n out; -w gives it more workers")
        );
    }
    let settings = settings(global)?;
    let target = match &args.out {
        Some(out) => Target::Out(out.clone()),
        None => Target::Postgres(Box::new(settings.database_of(&args.pipeline))),
    };
    let options = Options {
        fixture: places::fixture(args.fixture.as_deref())?,
        out: std::path::PathBuf::new(),
        cluster: global.cluster(),
        pace: Pace::Max,
        batch: BATCH,
        interleave: Interleave::Aligned,
        idle: replay::idle_decisions(&args.idle)?,
        pipelines: settings.pipelines,
    };
    let signals = Signals::listen(ui, 1)?;
    exit_on_panic();
    let started = |_: &dyn Pipeline, run: &Arc<Run>, _: u64| signals.stops(run);
    let audits = verify(&options, &args.pipeline, &target, &started).map_err(replay::failure)?;
    if args.json {
        let text = serde_json::to_string(&audits).map_err(Failure::running)?;
        ui.result(format!("{text}\n"))?;
    } else {
        ui.result(report(&audits))?;
    }
    if audits.iter().all(TableAudit::agrees) {
        return Ok(());
    }
    Err(Failure::running("the tables are not what the log gives")
        .mend("compare the settings and the fixture with those of the run; the rows above say where"))
}

fn report(audits: &[TableAudit]) -> String {
    let mut text = String::new();
    for audit in audits {
        let verdict = if audit.agrees() { "agrees" } else { "DIFFERS" };
        // Writing to a string cannot fail.
        writeln!(text, "{}: {verdict}, {} rows expected", audit.table, audit.expected).unwrap_or_default();
        let kinds = [
            ("missing", &audit.missing),
            ("repeated", &audit.repeated),
            ("altered", &audit.altered),
            ("unexpected", &audit.unexpected),
        ];
        for (kind, Rows { count, first }) in kinds.into_iter().filter(|(_, rows)| rows.count > 0) {
            writeln!(text, "  {count} {kind}, the first:").unwrap_or_default();
            first.iter().for_each(|row| writeln!(text, "    {row}").unwrap_or_default());
        }
    }
    text
}
