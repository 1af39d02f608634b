//! `tidegate prove`.

use std::fs;

use serde_json::json;
use tidegate_dataflows::prove::{Done, Proof, ProveError, runs};

use super::args::{Global, ProveArgs};
use super::failure::Failure;
use super::signals::Signals;
use super::ui::{Style, Ui};
use super::{places, settings};

/// Runs a fixture in many ways, and prints one digest or the first difference.
pub(crate) fn run(ui: &Ui, global: &Global, args: &ProveArgs) -> Result<(), Failure> {
    // A wrong configuration is told once and not by every run.
    settings(global)?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::running(format!("cannot find this program to run it again: {error}")))?;
    let mut scratch = tempfile::Builder::new();
    scratch.prefix("tidegate-prove-");
    let made = match &args.scratch {
        Some(dir) => fs::create_dir_all(dir).and_then(|()| scratch.tempdir_in(dir)),
        None => scratch.tempdir(),
    };
    let scratch = made.map_err(|error| {
        Failure::running(format!("cannot make a directory for the runs: {error}"))
            .mend("name a directory that may be written, with --scratch DIR")
    })?;
    let proof = Proof {
        program,
        pipeline: args.pipeline.clone(),
        fixture: places::fixture(args.fixture.as_deref())?,
        config: global.config.clone(),
        runs: runs(args.quick, args.seed),
        timeout: args.timeout,
        scratch: scratch.path().to_owned(),
    };
    let signals = Signals::listen(ui, 1)?;
    let all = proof.runs.len();
    let mut killed = 0;
    let mut done = |done: Done| {
        let seconds = done.elapsed.as_secs_f64();
        let what = if done.number == 1 { "sets" } else { "agrees" };
        let early = if done.kills < done.run.kills { " wanted; at its end before that" } else { "" };
        let (number, run) = (done.number, done.run);
        ui.note(format_args!("run {number:>2} of {all} {what:<6}  {seconds:>7.2} s  {run}{early}"));
        killed += done.kills;
    };
    let proven = proof.prove(&mut done, &|| signals.asked()).map_err(failure)?;
    if args.json {
        let (pipeline, facts, digest) = (&args.pipeline, proven.facts, &proven.digest);
        return ui.json(&json!({
            "pipeline": pipeline, "runs": all, "kills": killed, "facts": facts, "digest": digest,
        }));
    }
    ui.result(format_args!(
        "{}: {all} runs of {} agree in {} facts, {killed} kills among them\ndigest {}\n",
        ui.styled(Style::GOOD, "proven"),
        args.pipeline,
        proven.facts,
        proven.digest,
    ))
}

fn failure(error: ProveError) -> Failure {
    let mend = match &error {
        ProveError::Differs { run, .. } => {
            format!(
                "this is a defect of tidegate: report it with the fixture; to see it: tidegate {} … {run}",
                run.command()
            )
        }
        ProveError::Failed { run, .. } | ProveError::NoSummary { run, .. } => {
            format!("to see it alone: tidegate {} … {run}", run.command())
        }
        ProveError::TimedOut { .. } => {
            "give it more time with --timeout, or take a smaller fixture".to_owned()
        }
        ProveError::Io { .. } => {
            "see to space and permissions, or name another place with --scratch DIR".to_owned()
        }
        ProveError::Cancelled => "start it again".to_owned(),
    };
    Failure::running(error).mend(mend)
}
