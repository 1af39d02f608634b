//! `tidegate replay`, and `tidegate` without a command.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate::ingest::{IdleDecision, Interleave, read_decisions};
use tidegate::runtime::{ClusterError, Run, RunError, exit_on_panic};
use tidegate::sink::out_dir::OutDirError;
use tidegate::source::SourceError;
use tidegate_dataflows::replay::{Options, PIPELINES, Pipeline, ReplayError, replay};

use tidegate_dataflows::settings::Settings;

use super::args::{Global, ReplayArgs};
use super::failure::Failure;
use super::progress::Progress;
use super::signals::Signals;
use super::ui::{Style, Ui};
use super::{banner, places, settings, web};

/// Replays, and shows the summary.
pub(crate) fn run(ui: &Ui, global: &Global, args: &ReplayArgs) -> Result<(), Failure> {
    let idle = idle_decisions(&args.idle)?;
    let Settings { pipelines, web: web_settings, .. } = settings(global)?;
    let options = Options {
        fixture: places::fixture(args.fixture.as_deref())?,
        out: args.out.clone(),
        cluster: cluster(global)?,
        pace: args.speed,
        batch: args.batch,
        interleave: args.shuffle.map_or(Interleave::Aligned, Interleave::Shuffled),
        idle,
        pipelines,
    };
    let names: Vec<&'static str> = chosen(&args.pipelines);
    let signals = Signals::listen(ui, options.cluster.processes)?;
    // A worker that panics must not leave the others waiting, nor a half-dead process writing.
    exit_on_panic();
    let page = web::start(ui, &web_settings, Some(&args.web), options.cluster.process)?;
    let shown: RefCell<Option<Progress>> = RefCell::default();
    let replayed: RefCell<Vec<&'static str>> = RefCell::default();
    let started = |pipeline: &dyn Pipeline, run: &Arc<Run>, expected: u64| {
        signals.stops(run);
        page.show(&pipeline.topology(), run);
        replayed.borrow_mut().push(pipeline.name());
        banner::show(ui, &options, &pipeline.topology(), run.source(), expected);
        // Of several processes each reads a part, which it does not know.
        let expected = if options.cluster.processes > 1 { 0 } else { expected };
        // The one before ends first.
        shown.take();
        shown.replace(Some(Progress::show(ui, pipeline.name(), run, expected)));
    };
    let outcome = replay(&options, &names, &started);
    shown.take();
    let Some(summary) = outcome.map_err(failure)? else {
        return Ok(());
    };
    ui.result(summary.table(&options.out))?;
    ui.result(where_to_look(ui, &options, &replayed.borrow()))
}

/// The decisions about idle partitions in these files.
pub(super) fn idle_decisions(files: &[PathBuf]) -> Result<Vec<IdleDecision>, Failure> {
    let mut decisions = Vec::new();
    for file in files {
        let name = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
        let read = read_decisions(&text).map_err(|error| {
            Failure::usage(format!("{name}: {error}"))
                .mend("give what a live run wrote as topics/<topic>.idle.jsonl")
        })?;
        decisions.extend(read);
    }
    Ok(decisions)
}

/// The chosen pipelines in the order of the contract; none stands for all that have input.
fn chosen(names: &[String]) -> Vec<&'static str> {
    PIPELINES.into_iter().filter(|pipeline| names.iter().any(|name| name == pipeline)).collect()
}

pub(super) fn cluster(global: &Global) -> Result<tidegate::runtime::Cluster, Failure> {
    if global.process >= global.processes {
        return Err(Failure::usage(format!(
            "-p {} cannot be: with -n {} the processes are numbered 0 to {}",
            global.process,
            global.processes,
            global.processes - 1
        ))
        .mend("start each of the -n processes with its own -p, from 0"));
    }
    Ok(global.cluster())
}

/// What failed, the exit code, and what to do.
pub(super) fn failure(error: ReplayError) -> Failure {
    let (usage, mend) = match &error {
        ReplayError::Source(source) | ReplayError::Run(RunError::Source(source)) => {
            (false, mend_source(source))
        }
        ReplayError::NoInput { .. } => {
            (false, "name the fixture of this pipeline with --fixture DIR, or its topic in the settings")
        }
        ReplayError::BothStages { .. } => (
            false,
            "keep one of the two topics in the fixture: the first to validate again, the second not to",
        ),
        ReplayError::OutDir(OutDirError::Io(_)) => {
            (false, "see to space and permissions, or name another directory with --out DIR")
        }
        ReplayError::OutDir(_) => {
            (true, "name a new directory, or one that an earlier replay left, with --out DIR")
        }
        ReplayError::Sink(_) | ReplayError::Epoch(_) | ReplayError::Run(RunError::Sink(_)) => (
            false,
            "see to what it names, a server's settings or a directory's space and permissions, and start again",
        ),
        ReplayError::Cluster(ClusterError::Nonsense(_) | ClusterError::HostFile { .. }) => {
            (true, "-h names a file with one host:port a line, at least -n of them")
        }
        ReplayError::Cluster(ClusterError::Start(_)) => {
            (false, "every process of the run must be started, with the same -n, -w and hosts and its own -p")
        }
        ReplayError::Cluster(ClusterError::Worker(_)) => (false, "look at what the worker said before"),
        ReplayError::Run(RunError::State(_)) => {
            (false, "restore the checkpoint from a backup, or start anew with an empty checkpoint and output")
        }
        ReplayError::Run(RunError::Stopped) => (false, "start it again; a replay begins afresh"),
        ReplayError::Elsewhere(_) => (false, "look at what the other processes say"),
        ReplayError::Unbalanced { .. } => (false, "this is a defect of tidegate: report it with the fixture"),
    };
    let failure = if usage { Failure::usage(error) } else { Failure::running(error) };
    failure.mend(mend)
}

fn mend_source(error: &SourceError) -> &'static str {
    match error {
        SourceError::Io { .. } => "name a directory that is there and may be read, with --fixture DIR",
        SourceError::Damaged { .. } => {
            "copy the file again from where it came, or cut it off there; nothing of this replay is visible"
        }
        SourceError::Shorter { .. } => "give the log that the checkpoint is of",
        _ => "a replay reads files only: this is a defect of tidegate, report it",
    }
}

/// Commands that show the results; the summary's table says where each of them lies.
fn where_to_look(ui: &Ui, options: &Options, replayed: &[&str]) -> String {
    let out = options.out.display();
    let on = options.pipelines.activity.outputs;
    let activity = replayed.contains(&"activity");
    let tables = [
        (activity && on.page_views, "page_view_counts ORDER BY view_count DESC"),
        (activity && on.active_users, "active_users"),
        (activity && on.sessions, "user_sessions"),
        (replayed.contains(&"iot"), "real_time_aggregates"),
        (replayed.contains(&"hydraulic"), "anomalies ORDER BY window_start"),
        (replayed.contains(&"transit"), "route_activity"),
    ];
    let mut text = format!("\n{}\n", ui.styled(Style::TITLE, "look at it"));
    if let Some((_, table)) = tables.into_iter().find(|(on, _)| *on) {
        text.push_str(&format!("  sqlite3 {out}/tables.sqlite 'SELECT * FROM {table} LIMIT 5'\n"));
    }
    text.push_str(&format!("  head -n 2 {out}/topics/*.jsonl\n"));
    text
}
